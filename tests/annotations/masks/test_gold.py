"""Gold tasks: the damage shows, is the same every time, and is not the same everywhere."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.masks import gold
from annotations.masks.gold import DAMAGED_IOU, WORST_IOU, damaged
from annotations.masks.overlap import AGREE_IOU, mask_iou
from tests.annotations.drawn import person


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 50), st.text("0123456789abcdef", min_size=16, max_size=16), st.sampled_from([40, 120, 400])
)
def test_the_damage_shows_and_leaves_a_person(seed: int, key: str, width: int):
    mask = person(seed, width, width * 4 // 3)[1]
    wrong = damaged(mask, key)
    assert wrong.dtype == np.uint8 and set(np.unique(wrong)) == {0, 1} and wrong.shape == mask.shape
    assert WORST_IOU <= mask_iou(wrong, mask) <= DAMAGED_IOU < AGREE_IOU
    assert np.array_equal(wrong, damaged(mask, key))


def test_some_masks_have_too_much_and_some_too_little():
    mask = person(1)[1]
    wrong = [damaged(mask, f"{number:016x}") for number in range(40)]
    too_much = [one for one in wrong if (one > mask).any()]
    assert 10 < len(too_much) < 30
    assert all(not (one < mask).any() for one in too_much)
    assert len({one.tobytes() for one in wrong}) > 10


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_the_smallest_and_largest_masks(rows: int):
    mask = np.zeros((100, 100), np.uint8)
    mask[:rows, : max(2, rows)] = 1
    for number in range(8):
        wrong = damaged(mask, f"{number:016x}")
        assert wrong.any() and mask_iou(wrong, mask) <= DAMAGED_IOU


@pytest.mark.parametrize("ground", [20, 200])
def test_a_mask_that_fills_nearly_all_of_a_photograph(ground: int):
    """It cannot grow until that shows: every reach is tried, which took minutes with discs that went over it."""
    mask = np.ones((800, 600), np.uint8)
    mask[:ground, :ground] = 0
    for number in range(4):
        wrong = damaged(mask, f"{number:016x}")
        assert WORST_IOU <= mask_iou(wrong, mask) <= DAMAGED_IOU


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_wider_and_narrower_are_a_disc_that_goes_along_the_outline(reach: int):
    mask = person(3)[1]
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x * x + y * y <= reach * reach).astype(np.uint8)
    assert np.array_equal(gold._wider(mask, (0, 0), reach), cv2.dilate(mask, disc))
    assert np.array_equal(gold._narrower(mask, (0, 0), reach), cv2.erode(mask, disc))


def test_nobody_cannot_be_damaged():
    with pytest.raises(ValueError, match="found nobody in that of ab"):
        damaged(np.zeros((5, 5), np.uint8), "ab")
    with pytest.raises(ValueError, match="cannot be damaged so that it shows; leave it out"):
        damaged(np.ones((1, 1), np.uint8), "ab")


def test_the_damage_is_the_least_that_shows():
    """A mask that is wrong at a glance measures nobody's care."""
    mask = person(1, 400, 533)[1]
    likeness = [mask_iou(damaged(mask, f"{number:016x}"), mask) for number in range(20)]
    assert min(likeness) > DAMAGED_IOU - 0.05


def test_a_small_mask_is_damaged_in_the_way_that_leaves_most_of_it():
    """Narrower by a pixel, 16 of these 36 pixels are left: another kind of damage leaves enough of them."""
    mask = np.zeros((100, 100), np.uint8)
    mask[40:46, 40:46] = 1
    for number in range(20):
        assert mask_iou(damaged(mask, f"{number:016x}"), mask) >= WORST_IOU


def test_a_spot_lies_where_the_outline_is():
    spot = gold._spot(np.zeros((20, 60), np.uint8), (5, 50), 2)
    assert spot[5, 50] == 1 and spot.sum() == 13 and spot[3:8, 48:53].sum() == 13
