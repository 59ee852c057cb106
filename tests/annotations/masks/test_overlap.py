"""Measures of agreement: worked by hand, and what must hold for any masks and any reviewers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotations.masks.overlap import boundary_iou, inner_boundary, krippendorff_alpha, mask_iou

masks = arrays(np.uint8, (12, 9), elements=st.integers(0, 1))
values = st.lists(st.lists(st.sampled_from("arfu"), max_size=4), max_size=12)


def square(size: int, left: int = 20, top: int = 20) -> np.ndarray:
    """A square of person in 100 x 100 pixels."""
    mask = np.zeros((100, 100), np.uint8)
    mask[top : top + size, left : left + size] = 1
    return mask


def test_mask_iou_by_hand():
    assert mask_iou(square(10), square(10, left=25)) == 50 / 150
    assert mask_iou(square(0), square(0)) == 1 and mask_iou(square(0), square(1)) == 0
    with pytest.raises(ValueError, match=r"two masks \(H, W\) of one size, found \(100, 100\) and \(9, 9\)"):
        mask_iou(square(1), np.zeros((9, 9), np.uint8))


def test_boundary_iou_by_hand():
    # The diagonal is 141 pixels, so that 2 % of it are 3: a square of 40 has a boundary of 40² - 34² pixels.
    assert inner_boundary(square(40)).sum() == 40**2 - 34**2
    # One pixel to the right, 3 columns of each upright side become 2 common ones, and the flat sides lose one.
    common = 2 * 3 * 39 + 2 * 2 * 34
    shifted = boundary_iou(square(40), square(40, left=21))
    assert shifted == common / (2 * (40**2 - 34**2) - common)
    assert shifted < mask_iou(square(40), square(40, left=21))


def test_the_pictures_edge_is_outline_of_a_person_who_reaches_it():
    everything = np.ones((100, 100), np.uint8)
    assert inner_boundary(everything).sum() == 100**2 - 94**2
    assert boundary_iou(everything, everything) == 1


@given(masks, masks)
def test_iou_of_any_masks(one: np.ndarray, other: np.ndarray):
    for measure in (mask_iou, boundary_iou):
        assert measure(one, one) == 1
        assert 0 <= measure(one, other) == measure(other, one) <= 1
    assert not (inner_boundary(one) & ~one & 1).any()


def test_alpha_of_two_observers_as_krippendorff_works_it_out():
    # His section B: 14 zeros and 6 ones in 20 values, 4 of the 10 units disagree.
    units = ["01", "11", "01", "00", "00", "01", "00", "00", "10", "00"]
    # o_01 = 4, n_0 = 14, n_1 = 6: alpha = 1 - 19 * 4 / (14 * 6)
    assert krippendorff_alpha(units) == pytest.approx(1 - 19 * 4 / 84)
    assert krippendorff_alpha(units) == pytest.approx(0.095, abs=5e-4)


def test_alpha_of_four_observers_with_missing_values_as_krippendorff_works_it_out():
    # His section C: a column for each unit; the twelfth has one value and is passed over.
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("units", [[], ["a"], ["a", "b"], ["aa", "aaa"]])
def test_alpha_is_undefined_without_pairs_or_without_two_values(units: list[str]):
    assert krippendorff_alpha(units) is None


def test_alpha_below_zero_is_systematic_disagreement():
    found = krippendorff_alpha(["ab"] * 10)
    assert found is not None and found < 0


@given(values, st.permutations("arfu"), st.randoms(use_true_random=False))
def test_alpha_of_any_answers(units: list[list[str]], names: list[str], random: object):
    alpha = krippendorff_alpha(units)
    renamed = [[names["arfu".index(value)] for value in unit] for unit in units]
    shuffled = [sorted(unit, key=lambda _: random.random()) for unit in units[::-1]]
    for same in (renamed, shuffled, [*units, ["a"], []]):
        assert krippendorff_alpha(same) == (alpha if alpha is None else pytest.approx(alpha))
    assert alpha is None or -1 <= alpha <= 1
    if alpha is not None:
        agreed = all(len(set(unit)) <= 1 for unit in units)
        assert agreed == (alpha == 1)


@given(masks, st.sampled_from([0.0, 0.1, 0.2]))
def test_the_inner_boundary_is_what_a_square_reaches_from_outside(mask: np.ndarray, band: float):
    width = max(1, round(band * 15))  # the diagonal of 12 x 9 pixels
    framed = np.pad(mask, width)
    rows, columns = mask.shape
    near = [
        framed[y : y + rows, x : x + columns] == 0 for y in range(2 * width + 1) for x in range(2 * width + 1)
    ]
    assert np.array_equal(inner_boundary(mask, band), mask & np.logical_or.reduce(near))


def test_masks_that_only_have_as_many_pixels_are_refused():
    with pytest.raises(ValueError, match=r"found \(1, 20\) and \(20, 1\)"):
        mask_iou(np.ones((1, 20), np.uint8), np.ones((20, 1), np.uint8))
