"""Doubt and quality flags on masks that can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import Box
from pipeline.core.params import FlagParams, UncertaintyParams, UncertaintyWeights
from pipeline.deeplab.uncertainty import Parts, combine, doubt, quality_flags

PARAMS = UncertaintyParams(delta=0.2, band=3, weights=UncertaintyWeights(flip=1, stability=1, entropy=1))
FLAGS = FlagParams(min_person=0.05, piece=0.1, border=0.1, min_face_covered=0.7)


def left_half(p: float, columns: int = 5, rest: float = 0.0) -> np.ndarray:
    """10 x 10 with probability p in the first columns."""
    field = np.full((10, 10), rest, np.float32)
    field[:, :columns] = p
    return field


def test_certain_and_agreeing_has_no_doubt() -> None:
    parts = doubt(left_half(1.0), left_half(1.0), PARAMS)
    assert parts.flip == parts.stability == 0
    assert parts.entropy < 1e-4


def test_flip_is_one_minus_iou_of_the_two_masks() -> None:
    assert doubt(left_half(1.0, 4), left_half(1.0, 5), PARAMS).flip == pytest.approx(1 - 4 / 5)


def test_stability_compares_the_thresholds_around_a_half() -> None:
    soft = left_half(0.9, 6)
    soft[:, 4:6] = 0.6  # person at 0.5 and 0.3, not at 0.7: 4 of 6 columns
    assert doubt(soft, soft, PARAMS).stability == pytest.approx(1 - 4 / 6)


@pytest.mark.parametrize(("p", "bits"), [(0.75, 0.811278), (0.9, 0.468996)])
def test_entropy_is_in_bits_in_the_band_only(p: float, bits: float) -> None:
    # The band of the outline between columns 4 and 5 is these two columns; all others are certain.
    field = left_half(1.0)
    field[:, 4], field[:, 5] = p, 1 - p
    assert doubt(field, field, PARAMS).entropy == pytest.approx(bits, abs=1e-5)


def test_a_person_who_fills_the_picture_is_judged_by_all_pixels() -> None:
    field = np.full((10, 10), 0.75, np.float32)
    assert doubt(field, field, PARAMS) == Parts(0.0, 0.0, pytest.approx(0.811278, abs=1e-5))


def test_no_person_at_all_is_full_doubt() -> None:
    nothing = np.zeros((10, 10), np.float32)
    assert combine(doubt(nothing, nothing, PARAMS), PARAMS) == 1


def test_combine_is_the_weighted_mean() -> None:
    params = PARAMS.model_copy(update={"weights": UncertaintyWeights(flip=2, stability=1, entropy=1)})
    assert combine(Parts(0.1, 0.3, 0.5), params) == pytest.approx(0.25)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(4, 40))
def test_every_part_and_the_whole_stay_between_0_and_1(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.random((2, height, width), dtype=np.float32)
    parts = doubt(one, other, PARAMS)
    for value in (parts.flip, parts.stability, parts.entropy, combine(parts, PARAMS)):
        assert 0 <= value <= 1
    # Which of the two pictures was mirrored makes no difference.
    assert doubt(other, one, PARAMS) == parts


def person() -> np.ndarray:
    """20 x 20: a torso from the lower edge up to row 8, columns 6 to 13."""
    mask = np.zeros((20, 20), np.uint8)
    mask[8:, 6:14] = 1
    return mask


def with_piece(size: int) -> np.ndarray:
    mask = person()
    mask[0:size, 0:size] = 1
    return mask


def small() -> np.ndarray:
    mask = np.zeros((20, 20), np.uint8)
    mask[8:12, 8:12] = 1  # 16 of 400 pixels
    return mask


def in_a_tall_portrait(top: int) -> np.ndarray:
    """20 wide, 60 high: a person from row `top` to the lower edge, columns 6 to 13."""
    mask = np.zeros((60, 20), np.uint8)
    mask[top:, 6:14] = 1
    return mask


FACE = Box(8, 8, 12, 12)


@pytest.mark.parametrize(
    ("mask", "face", "expected"),
    [
        (person(), FACE, []),
        (small(), FACE, ["no_person"]),
        (np.zeros((20, 20), np.uint8), FACE, ["face_not_covered", "no_person"]),
        (with_piece(3), FACE, []),  # 9 of 105 pixels
        (with_piece(4), FACE, ["several_pieces"]),  # 16 of 112
        (np.ones((20, 20), np.uint8), FACE, ["touches_every_border"]),
        (person(), Box(0, 8, 8, 16), ["face_not_covered"]),  # a quarter of it
        (person(), Box(30, 30, 40, 40), ["face_not_covered"]),  # outside the picture
        (in_a_tall_portrait(30), Box(8, 34, 12, 40), []),  # lower than the picture is wide
        (in_a_tall_portrait(44), Box(8, 34, 12, 40), ["face_not_covered"]),
        (in_a_tall_portrait(30).T.copy(), Box(34, 8, 40, 12), []),  # further right than it is high
        (in_a_tall_portrait(30), Box(8, 54, 12, 70), []),  # its part outside the picture does not count
    ],
)
def test_flags(mask: np.ndarray, face: Box, expected: list[str]) -> None:
    assert quality_flags(mask, face, FLAGS) == expected


def shape(*boxes: str) -> np.ndarray:
    """20 x 20 with these boxes filled."""
    mask = np.zeros((20, 20), np.uint8)
    for box in map(Box.parse, boxes):
        mask[box.y0 : box.y1, box.x0 : box.x1] = 1
    return mask


FACE_LEFT = Box(0, 0, 2, 2)
EDGES = {"top": "9,0,11,1", "bottom": "9,19,11,20", "left": "0,9,1,11", "right": "19,9,20,11"}


@pytest.mark.parametrize("missing", [None, *EDGES])
def test_each_of_the_four_edges_counts_from_the_stated_share_on(missing: str | None) -> None:
    """Two of twenty pixels of an edge are the share of 0.1; the cross in the middle joins them to one piece."""
    arms = [box for name, box in EDGES.items() if name != missing]
    mask = shape("9,1,11,19", "1,9,19,11", *arms)
    assert quality_flags(mask, Box(9, 9, 11, 11), FLAGS) == ([] if missing else ["touches_every_border"])
    thin = mask.copy()
    thin[0, 9], thin[-1, 9], thin[9, 0], thin[9, -1] = 0, 0, 0, 0
    assert quality_flags(thin, Box(9, 9, 11, 11), FLAGS) == []


@pytest.mark.parametrize(
    ("mask", "face", "expected"),
    [
        (shape("0,0,4,5"), Box(0, 0, 2, 2), []),  # 20 of 400 pixels are the least of a person
        (shape("0,0,4,5") - shape("3,4,4,5"), Box(0, 0, 2, 2), ["no_person"]),
        (shape("0,0,9,10", "15,0,20,2"), FACE_LEFT, ["several_pieces"]),  # 10 of 100
        (shape("0,0,9,11", "15,0,20,2"), FACE_LEFT, []),  # 10 of 109, though 10 to 99
        (shape("0,0,9,10", "9,10,14,13"), FACE_LEFT, []),  # they meet at a corner: one piece
        (shape("0,0,9,10", "15,0,20,3", "19,19,20,20"), FACE_LEFT, ["several_pieces"]),  # and a speck
        (shape("0,0,10,10"), Box(3, 0, 13, 2), []),  # 14 of 20 pixels of the face
        (shape("0,0,10,10"), Box(4, 0, 14, 2), ["face_not_covered"]),
    ],
)
def test_flags_at_their_limits(mask: np.ndarray, face: Box, expected: list[str]) -> None:
    assert quality_flags(mask, face, FLAGS) == expected


def test_a_half_is_not_yet_a_person() -> None:
    half = np.full((10, 10), 0.5, np.float32)
    assert doubt(half, half, PARAMS) == Parts(1.0, 1.0, 1.0)


def test_an_even_band_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="odd"):
        UncertaintyParams(delta=0.2, band=4, weights=PARAMS.weights)
