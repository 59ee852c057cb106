"""Each figure against scikit-learn, and against masks one can count by hand."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sinet.evaluation.metrics import (
    boundary_band,
    boundary_f1,
    boundary_f1_each,
    count,
    count_pixels,
    foreground_iou,
    foreground_iou_each,
    mean_iou,
    mean_iou_each,
    tabulate,
)

Mask = NDArray[np.uint8]


def mask(*rows: str) -> Mask:
    """A mask drawn with # and a dot."""
    return np.array([[letter == "#" for letter in row] for row in rows], np.uint8)


@pytest.mark.parametrize(
    ("pred", "target", "pixels"),
    [
        (mask("##..", "##.."), mask(".##.", ".##."), (2, 2, 2, 2)),
        (mask("##", "##"), mask("##", "##"), (4, 0, 0, 0)),
        (mask("..", ".."), mask("..", ".."), (0, 0, 0, 4)),
        (mask("#.", ".."), mask("..", ".."), (0, 1, 0, 3)),
    ],
)
def test_pixels_by_hand(pred: Mask, target: Mask, pixels: tuple[int, ...]) -> None:
    assert count_pixels(pred, target) == pixels


def test_the_figures_by_hand() -> None:
    half = count(
        mask("##..", "##.."), mask(".##.", ".##."), kernel=3
    )  # IoU of the person 2/6, of the rest 2/6
    right = count(mask("####", "...."), mask("####", "...."), kernel=3)
    table = tabulate([half, right])
    assert foreground_iou_each(table).tolist() == pytest.approx([1 / 3, 1])
    assert foreground_iou(table) == pytest.approx(2 / 3)
    # Pixels summed: tp 6, fp 2, fn 2, tn 6.
    assert mean_iou(table) == pytest.approx(0.6)
    assert mean_iou_each(table).tolist() == pytest.approx([1 / 3, 1])
    # The band of the first is all of its pixels: 2 * 2 / (4 + 2 + 2).
    assert boundary_f1(table) == pytest.approx((0.5 + 1) / 2)


def test_the_band_by_hand() -> None:
    person = mask(*[".........."] * 3, *["...####..."] * 4, *[".........."] * 3)
    band = boundary_band(person, kernel=3)
    assert band.sum() == 6 * 6 - 2 * 2  # one pixel out on each side, one pixel in
    assert not band[4:6, 4:6].any()


def test_a_person_cut_by_the_border_has_no_outline_there() -> None:
    assert not boundary_band(np.ones((40, 40), np.uint8)).any()
    person = np.zeros((40, 40), np.uint8)
    person[20:] = 1
    assert boundary_band(person).sum() == 14 * 40


def test_the_mistake_far_from_the_outline_does_not_touch_the_boundary_f1() -> None:
    target = np.zeros((60, 60), np.uint8)
    target[30:] = 1
    pred = target.copy()
    pred[:5, :5] = 1
    table = tabulate([count(pred, target)])
    assert boundary_f1(table) == 1
    assert foreground_iou(table) < 1


@pytest.mark.parametrize(("value", "score"), [(0, 1.0), (1, 0.0)])
def test_an_empty_union_counts_one(value: int, score: float) -> None:
    nobody = np.zeros((32, 32), np.uint8)
    table = tabulate([count(np.full((32, 32), value, np.uint8), nobody)])
    assert foreground_iou(table) == score
    assert boundary_f1(table) == 1  # no outline, no band, nothing to be wrong about
    everybody = np.ones((32, 32), np.uint8)
    assert mean_iou(tabulate([count(everybody, everybody)])) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pictures=st.integers(1, 4), size=st.integers(16, 40))
def test_equals_scikit_learn(seed: int, pictures: int, size: int) -> None:
    from sklearn.metrics import f1_score, jaccard_score

    rng = np.random.default_rng(seed)
    cut = rng.integers(1, size, pictures)
    targets = [(np.add.outer(np.arange(size), np.zeros(size)) >= c).astype(np.uint8) for c in cut]
    preds = [
        np.where(rng.random((size, size)) < 0.2, 1 - target, target).astype(np.uint8) for target in targets
    ]
    table = tabulate([count(pred, target) for pred, target in zip(preds, targets, strict=True)])
    pairs = list(zip(targets, preds, strict=True))
    each = [jaccard_score(target.ravel(), pred.ravel(), zero_division=1) for target, pred in pairs]
    assert foreground_iou(table) == pytest.approx(np.mean(each))
    all_targets, all_preds = (np.concatenate([one.ravel() for one in kind]) for kind in (targets, preds))
    assert mean_iou(table) == pytest.approx(
        jaccard_score(all_targets, all_preds, average="macro", zero_division=1)
    )
    in_band = [
        f1_score(target[boundary_band(target)], pred[boundary_band(target)], zero_division=1)
        for target, pred in pairs
    ]
    assert boundary_f1(table) == pytest.approx(np.mean(in_band))


def test_every_pixel_is_counted_once() -> None:
    rng = np.random.default_rng(0)
    pred, target = rng.integers(0, 2, (2, 50, 70), np.uint8)
    row = count(pred, target)
    assert sum(row[:4]) == 50 * 70
    assert sum(row[4:]) == boundary_band(target).sum()


@pytest.mark.parametrize(("one", "other"), [((4, 4), (4, 5)), ((1, 20), (20, 1)), ((20,), (20,))])
def test_masks_of_two_sizes_or_without_rows_are_refused(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    found = re.escape(f"one size, found {one} and {other}")
    with pytest.raises(ValueError, match=found):
        count_pixels(np.zeros(one, np.uint8), np.zeros(other, np.uint8))


def test_no_picture_has_no_average() -> None:
    with pytest.raises(ValueError, match="no picture was counted"):
        tabulate([])


@pytest.mark.parametrize("kernel", [14, 0, -3])
def test_a_kernel_that_is_even_or_no_size_is_refused(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"odd number of pixels, found {kernel}"):
        boundary_band(np.zeros((4, 4), np.uint8), kernel)


def test_each_picture_counts_once_whatever_its_size_and_its_mistakes() -> None:
    """Three pictures, so that a mean is neither a median nor a sum of pixels; person and rest do not mirror."""
    pairs = [
        (mask("#...", "...."), mask("##..", "....")),
        (mask("###.", "...."), mask("##..", "....")),
        (mask("##", "##"), mask("##", "##")),
    ]
    table = tabulate([count(pred, target, kernel=3) for pred, target in pairs])
    assert foreground_iou_each(table).tolist() == pytest.approx([1 / 2, 2 / 3, 1])
    assert foreground_iou(table) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert mean_iou_each(table).tolist() == pytest.approx([(1 / 2 + 6 / 7) / 2, (2 / 3 + 5 / 6) / 2, 1])
    assert mean_iou(table) == pytest.approx((7 / 9 + 11 / 13) / 2)  # tp 7, fp 1, fn 1, tn 11
    assert boundary_f1_each(table).tolist() == pytest.approx([2 / 3, 4 / 5, 1])
    assert boundary_f1(table) == pytest.approx((2 / 3 + 4 / 5 + 1) / 3)


def test_the_band_of_the_protocol_is_fifteen_pixels_wide() -> None:
    target = np.zeros((60, 60), np.uint8)
    target[30:] = 1
    row = count(target, target)
    assert sum(row[4:]) == 14 * 60 and boundary_band(target)[23:37].all()


def test_counts_of_a_large_picture_do_not_overflow() -> None:
    everybody = np.ones((300, 300), np.uint8)
    table = tabulate([count_pixels(everybody, everybody)] * 2)
    assert table["tp"].sum() == 2 * 300 * 300 and mean_iou(table) == 1
