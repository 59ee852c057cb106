"""The portrait's box and cut: inside, in shape, around the face, alike in a mirror and at any scale."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.boxes import Box
from pipeline.core.params import GeometryParams, load_params
from pipeline.faces.face import Face
from pipeline.faces.portrait import NoPortraitError, Portrait, choose_portrait, cut, portrait_box

PARAMS = load_params(Path(__file__).parents[3] / "params.yaml").crop
SHIFT = GeometryParams(above=0.4, below=0.75, aspect=0.75, border="shift")
PAD = GeometryParams(above=0.4, below=0.75, aspect=0.75, border="pad")


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Box, int, int]:
    """A face inside a picture, and the picture's size."""
    width, height = draw(st.integers(20, 900)), draw(st.integers(20, 900))
    x0, y0 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    return Box(x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))), width, height


@st.composite
def geometries(draw: st.DrawFn) -> GeometryParams:
    room = st.floats(0, 3, allow_nan=False)
    aspect, border = draw(st.floats(0.4, 1.6)), draw(st.sampled_from(["shift", "pad"]))
    return GeometryParams(above=draw(room), below=draw(room), aspect=aspect, border=border)


def fits(face: Box, width: int, height: int, geometry: GeometryParams) -> bool:
    """Whether the largest box of the aspect inside the picture could hold the face, with a pixel to spare."""
    tall = min(height, width / geometry.aspect)
    return face.height <= tall - 2 and face.width <= tall * geometry.aspect - 2


def holds(outer: Box, inner: Box) -> bool:
    return outer.x0 <= inner.x0 and outer.y0 <= inner.y0 and outer.x1 >= inner.x1 and outer.y1 >= inner.y1


@pytest.mark.parametrize(
    ("face", "geometry", "expected"),
    [
        # 80 high: 172 high in all, 32 above; 129 wide about the middle at 232.5
        (Box(200, 60, 265, 140), SHIFT, Box(168, 28, 297, 200)),
        (Box(200, 60, 265, 140), PAD, Box(168, 28, 297, 200)),
        # in the corner: moved in, or left outside
        (Box(0, 10, 60, 90), SHIFT, Box(0, 0, 128, 172)),
        (Box(0, 10, 60, 90), PAD, Box(-34, -22, 94, 150)),
        # 946 high, larger than the picture: shrunk to its width of 550, 102 above, moved in by 2
        (Box(100, 100, 500, 540), SHIFT, Box(0, 0, 550, 734)),
    ],
)
def test_boxes_by_hand(face: Box, geometry: GeometryParams, expected: Box) -> None:
    assert portrait_box(face, 550, 830, geometry) == expected


@given(scenes(), geometries())
def test_the_box_stays_inside_and_keeps_its_aspect(
    scene: tuple[Box, int, int], geometry: GeometryParams
) -> None:
    face, width, height = scene
    box = portrait_box(face, width, height, geometry)
    assert box.width >= 1
    assert box.height >= 1
    # A pixel more or less puts the face in the middle; a box of two pixels has no choice.
    assert abs(box.width - box.height * geometry.aspect) <= 1 or box.width == 2
    if geometry.border == "shift":
        assert box == box.clipped(width, height)


@given(scenes(), geometries())
def test_the_box_holds_the_face(scene: tuple[Box, int, int], geometry: GeometryParams) -> None:
    face, width, height = scene
    total = face.height * (geometry.above + 1 + geometry.below)
    assume(face.width <= total * geometry.aspect - 2)  # the geometry asks for more than the face
    if geometry.border == "shift":
        assume(fits(face, width, height, geometry))
    box = portrait_box(face, width, height, geometry)
    grown = Box(box.x0, box.y0 - 1, box.x1, box.y1 + 1)  # the room above is rounded to a pixel
    assert holds(grown, face)


@given(scenes(), geometries())
def test_a_mirrored_face_has_the_mirrored_box(scene: tuple[Box, int, int], geometry: GeometryParams) -> None:
    face, width, height = scene
    box = portrait_box(face, width, height, geometry)
    mirrored = portrait_box(Box(width - face.x1, face.y0, width - face.x0, face.y1), width, height, geometry)
    assert mirrored == Box(width - box.x1, box.y0, width - box.x0, box.y1)


@given(scenes(), geometries(), st.integers(2, 5))
def test_a_scaled_picture_has_the_scaled_box(
    scene: tuple[Box, int, int], geometry: GeometryParams, scale: int
) -> None:
    face, width, height = scene
    box = portrait_box(face, width, height, geometry)
    larger = Box(face.x0 * scale, face.y0 * scale, face.x1 * scale, face.y1 * scale)
    scaled = portrait_box(larger, width * scale, height * scale, geometry)
    for one, other in zip(str(box).split(","), str(scaled).split(","), strict=True):
        assert abs(int(one) * scale - int(other)) <= 2.5 * scale + 2


@given(scenes(), geometries())
def test_the_cut_is_the_box_and_outside_it_the_fill(
    scene: tuple[Box, int, int], geometry: GeometryParams
) -> None:
    face, width, height = scene
    box = portrait_box(face, width, height, geometry)
    assume(box.width * box.height < 500_000)
    image = np.random.default_rng(width).integers(0, 100, (height, width, 3), np.uint8)
    result = cut(image, box, 200)
    assert result.shape == (box.height, box.width, 3)
    seen = box.clipped(width, height)
    inside = result[seen.y0 - box.y0 : seen.y1 - box.y0, seen.x0 - box.x0 : seen.x1 - box.x0]
    assert np.array_equal(inside, image[seen.y0 : seen.y1, seen.x0 : seen.x1])
    assert (result == 200).sum() == result.size - inside.size


def test_a_cut_is_a_copy_and_masks_are_cut_alike() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    result = cut(mask, Box(-1, 1, 3, 5), 0)
    assert result.tolist() == [[0, 4, 5, 6], [0, 8, 9, 10], [0, 0, 0, 0], [0, 0, 0, 0]]
    result[:] = 9
    assert mask[1, 0] == 4
    assert not cut(mask, Box(10, 10, 12, 12), 0).any()


def face(x0: int, y0: int, x1: int, y1: int, probability: float = 0.99) -> Face:
    return Face(Box(x0, y0, x1, y1), probability)


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ([face(200, 60, 265, 140)], Box(168, 28, 297, 200)),  # a full body is cut
        ([face(10, 10, 60, 70), face(200, 60, 265, 140)], Box(168, 28, 297, 200)),  # the largest
        ([face(10, 10, 500, 500, 0.3), face(200, 60, 265, 140)], Box(168, 28, 297, 200)),  # of the sure ones
        ([face(130, 150, 400, 520)], Box(0, 0, 550, 830)),  # a portrait already: whole
    ],
)
def test_which_portrait_is_chosen_without_a_mask(faces: list[Face], expected: Box) -> None:
    chosen = choose_portrait(550, 830, faces, PARAMS.model_copy(update={"geometry": SHIFT}))
    assert chosen.box == expected
    assert chosen.face in faces


@pytest.mark.parametrize(
    ("faces", "reason", "sentence"),
    [
        ([], "no_face", "no face was found"),
        (
            [face(100, 100, 160, 180, 0.5), face(10, 10, 30, 40, 0.75)],
            "face_probability",
            "of 2 faces the surest has probability 0.750, below 0.9",
        ),
        (
            [face(100, 100, 115, 120), face(200, 60, 220, 85), face(10, 10, 90, 90, 0.5)],
            "face_too_small",
            "the largest face is 25 pixels high, below 40",
        ),
    ],
)
def test_why_there_is_no_portrait_without_a_mask(faces: list[Face], reason: str, sentence: str) -> None:
    with pytest.raises(NoPortraitError) as caught:
        choose_portrait(550, 830, faces, PARAMS)
    assert (caught.value.reason, caught.value.detail, str(caught.value)) == (reason, sentence, sentence)


def test_the_largest_face_is_the_one_of_most_pixels() -> None:
    wide, tall = face(200, 60, 290, 140, 0.95), face(20, 60, 70, 160)  # 7200 and 5000
    assert choose_portrait(550, 830, [tall, wide], PARAMS).face == wide


def test_a_face_at_the_limits_is_good_enough() -> None:
    least = PARAMS.faces
    at_limit = face(200, 60, 232, 60 + least.min_height, least.min_probability)
    assert choose_portrait(550, 830, [at_limit], PARAMS).face == at_limit


@pytest.mark.parametrize("border", ["pad", "shift"])
def test_a_picture_is_taken_whole_from_the_stated_share_on_of_what_is_seen_of_the_box(border: str) -> None:
    """A padded box in the corner covers less of the picture than it has pixels."""
    geometry = GeometryParams(above=0.4, below=0.75, aspect=0.75, border=border)
    corner = face(0, 0, 240, 320)
    box = portrait_box(corner.box, 550, 830, geometry)
    seen = box.clipped(550, 830)
    share = seen.width * seen.height / (550 * 830)
    for whole_from, expected in ((share, Box(0, 0, 550, 830)), (share + 1e-6, box)):
        params = PARAMS.model_copy(update={"geometry": geometry, "whole_from": whole_from})
        assert choose_portrait(550, 830, [corner], params) == Portrait(expected, corner)


def test_the_drawing_in_the_docs_shows_the_numbers_of_params_yaml(root: Path) -> None:
    geometry = load_params(root / "params.yaml").crop.geometry
    svg = (root / "docs" / "portrait_box.svg").read_text()
    assert svg == runpy.run_path(str(root / "docs" / "draw_portrait_box.py"))["draw"](geometry), (
        "run `python docs/draw_portrait_box.py` after a change of crop.geometry"
    )
    for number in (
        f"above {geometry.above:g} F",
        f"below {geometry.below:g} F",
        f"aspect {geometry.aspect:g}",
    ):
        assert number in svg
    assert "<image" not in svg
