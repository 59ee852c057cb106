"""Boxes: text and back, clipping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.boxes import Box

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
