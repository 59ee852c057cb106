"""A click changes what is connected to it, one way only; a second one into that takes it back exactly."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.clicks.repair import Click, clicked, repair
from annotations.clicks.walker import walk
from annotations.masks.overlap import mask_iou
from tests.annotations.drawn import person


def clicks(height: int, width: int) -> st.SearchStrategy[Click]:
    """Anywhere, borders and corners among them."""
    return st.builds(
        Click,
        st.one_of(st.just(0), st.just(height - 1), st.integers(0, height - 1)),
        st.one_of(st.just(0), st.just(width - 1), st.integers(0, width - 1)),
    )


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))
def test_a_click_changes_one_connected_region_in_the_direction_that_was_asked_and_a_second_takes_it_back(
    data: st.DataObject, height: int, width: int, seed: int
):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    kind = data.draw(st.sampled_from(["nobody", "everything", "noise", "half"]))
    mask = {
        "nobody": np.zeros((height, width), np.uint8),
        "everything": np.ones((height, width), np.uint8),
        "noise": rng.integers(0, 2, (height, width), np.uint8),
        "half": (np.arange(width) < width // 2).astype(np.uint8)[None].repeat(height, 0),
    }[kind]
    click = data.draw(clicks(height, width))
    before = mask.copy()
    after = repair(rgb, mask, [click])
    changed = after != mask
    assert np.array_equal(mask, before), "the mask that was given is left alone"
    assert after.dtype == np.uint8 and changed[click.row, click.column]
    assert (after[changed] == 1 - mask[click.row, click.column]).all()
    assert cv2.connectedComponents(changed.astype(np.uint8), connectivity=4)[0] == 2
    again = data.draw(st.sampled_from([Click(int(y), int(x)) for y, x in np.argwhere(changed)]))
    assert np.array_equal(repair(rgb, mask, [click, again]), mask)
    assert np.array_equal(repair(rgb, mask, [click, again, click]), after)


def test_what_was_taken_back_is_forgotten_and_the_change_before_it_is_the_last_one():
    rgb, right = person(1, 360, 480)
    wrong = right.copy()
    wrong[200:300, 0:110] = 1
    wrong[360:, 230:] = 0
    chunk, shoulder = Click(250, 40), Click(440, 262)
    first = clicked(rgb, [wrong], chunk)
    both = clicked(rgb, first, shoulder)
    assert len(both) == 3 and not np.array_equal(both[-1], first[-1])
    back = clicked(rgb, both, shoulder)
    assert len(back) == 2 and np.array_equal(back[-1], first[-1])
    (start,) = clicked(rgb, back, chunk)
    assert np.array_equal(start, wrong)


def test_a_strip_along_the_border_goes_alone_however_deep_the_person_is_there():
    """The floor under somebody, in their own colours: the mask's edge is far, and the picture's is near."""
    rgb = np.full((400, 300, 3), 120, np.uint8)
    rgb[380:] = 135
    rgb[:, :100], rgb[:, 200:] = 30, 30
    mask = np.zeros((400, 300), np.uint8)
    mask[:, 100:200] = 1
    after = repair(rgb, mask, [Click(390, 150)])
    assert not after[382:, 145:156].any() and after[:360, 100:200].all()


@pytest.mark.parametrize("seed", [1, 3, 5])  # whose clothes and ground have different colours
def test_a_chunk_of_plain_background_goes_and_a_missing_shoulder_comes_with_one_click(seed: int):
    rgb, right = person(seed, 360, 480)
    chunk, shoulder = right.copy(), right.copy()
    chunk[200:300, 0:110] = 1
    chunk[right == 1] = 1
    shoulder[360:, 230:] = 0
    gone = repair(rgb, chunk, [Click(250, 40)])
    come = repair(rgb, shoulder, [Click(440, 262)])
    assert mask_iou(chunk, right) < 0.93 and mask_iou(shoulder, right) < 0.96
    assert mask_iou(gone, right) > 0.985 and mask_iou(come, right) > 0.985


@pytest.mark.parametrize(
    ("rgb", "mask", "click", "found"),
    [
        ((9, 9, 3), (9, 8), Click(0, 0), "mask's size \\(9, 8\\), found \\(9, 9, 3\\)"),
        ((9, 9), (9, 9), Click(0, 0), "found \\(9, 9\\)"),
        ((9, 9, 3), (9, 9), Click(9, 0), "inside 9x9 pixels, found 0, 9"),
        ((9, 9, 3), (9, 9), Click(0, -1), "found -1, 0"),
    ],
)
def test_what_does_not_fit_is_refused(rgb, mask, click, found):
    with pytest.raises(ValueError, match=found):
        repair(np.zeros(rgb, np.uint8), np.zeros(mask, np.uint8), [click])


def test_a_walk_stops_at_an_edge():
    """Two plain halves: all of the left one ends at the 1, all of the right one at the 0."""
    colours = np.zeros((20, 30, 3))
    colours[:, 15:] = 0.5
    known = np.full((20, 30), np.nan)
    known[10, 3], known[:, -1] = 1.0, 0.0
    chance = walk(colours, known)
    assert (chance[:, :15] > 0.9).all() and (chance[:, 15:] < 0.1).all()
    assert chance.min() >= 0 and chance.max() <= 1 + 1e-9


def test_a_walk_over_one_plain_colour_knows_no_side():
    """On a line of equal pixels the chance falls evenly from the one end to the other, as algebra says."""
    known = np.full((1, 11), np.nan)
    known[0, 0], known[0, 10] = 1.0, 0.0
    chance = walk(np.zeros((1, 11, 3)), known)
    assert np.allclose(chance[0], np.linspace(1, 0, 11), atol=0.01)
