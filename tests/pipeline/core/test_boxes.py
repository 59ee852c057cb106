"""Boxes: text and back, clipping, overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.boxes import Box

EDGE = st.integers(-2000, 2000)
BOXES = st.builds(lambda a, b, c, d: Box(min(a, c), min(b, d), max(a, c), max(b, d)), EDGE, EDGE, EDGE, EDGE)


@given(BOXES)
def test_text_and_back(box: Box) -> None:
    assert Box.parse(str(box)) == box


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "5,0,4,9", "0,5,9,4"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Box.parse(text)


@given(BOXES, st.integers(1, 500), st.integers(1, 500))
def test_the_clipped_box_lies_inside_and_loses_no_inner_pixel(box: Box, width: int, height: int) -> None:
    clipped = box.clipped(width, height)
    assert 0 <= clipped.x0 <= clipped.x1 <= width
    assert 0 <= clipped.y0 <= clipped.y1 <= height
    inner_columns = len(range(max(box.x0, 0), min(box.x1, width)))
    inner_rows = len(range(max(box.y0, 0), min(box.y1, height)))
    assert (clipped.width, clipped.height) == (inner_columns, inner_rows)


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("0,0,10,10", "0,0,10,10", 1),
        ("0,0,10,10", "5,0,15,10", 50 / 150),
        ("0,0,4,20", "0,10,4,30", 40 / 120),
        ("0,0,10,10", "2,3,4,7", 8 / 100),
        ("0,0,10,10", "10,0,20,10", 0),
        ("0,0,10,10", "20,30,30,40", 0),  # apart in both directions
        ("0,0,10,10", "20,0,30,10", 0),
        ("-5,-5,5,5", "0,0,10,10", 25 / 175),
        ("3,3,3,9", "7,7,7,7", 1),  # neither has a pixel
    ],
)
def test_overlap_by_hand(one: str, other: str, share: float) -> None:
    first, second = Box.parse(one), Box.parse(other)
    assert first.iou(second) == second.iou(first) == pytest.approx(share)


def test_a_moved_box_goes_right_by_x_and_down_by_y() -> None:
    assert Box(1, 2, 3, 5).moved(10, 100) == Box(11, 102, 13, 105)
