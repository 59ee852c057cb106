"""The portrait of a masked person: the right face is chosen, and each gate that refuses has its reason."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.boxes import Box
from pipeline.core.params import load_params
from pipeline.faces.face import Face
from pipeline.faces.masked_person import faces_in, find_portrait, masked_portrait, on_mask, upper_body
from pipeline.faces.portrait import NoPortraitError, Portrait, portrait_box
from sinet.images.decode import Array

PARAMS = load_params(Path(__file__).parents[3] / "params.yaml").crop
BODY = Box(100, 50, 300, 750)  # the masked person of the gate tests, in 550 x 830
MASK = np.zeros((830, 550), np.uint8)
MASK[BODY.y0 : BODY.y1, BODY.x0 : BODY.x1] = 1


def face(x0: int, y0: int, x1: int, y1: int, probability: float = 0.99) -> Face:
    return Face(Box(x0, y0, x1, y1), probability)


GOOD = face(110, 80, 170, 160)


@pytest.mark.parametrize(
    ("faces", "reason", "words"),
    [
        ([], "no_face", "no face was found"),
        ([face(400, 80, 460, 160)], "face_not_on_mask", "of 1 faces none lies on the person's mask"),
        ([face(110, 80, 170, 160, 0.8)], "face_probability", "0.800, below 0.9"),
        ([face(110, 80, 130, 110)], "face_too_small", "30 pixels high, below 40"),
        ([GOOD, face(60, 90, 98, 150)], "several_people", "holds 1 more faces"),
        ([face(180, 200, 240, 280)], "mask_coverage", "100.0% of the crop is person; 20% to 95%"),
    ],
)
def test_each_gate_has_its_reason(faces: list[Face], reason: str, words: str) -> None:
    with pytest.raises(NoPortraitError, match=words) as caught:
        masked_portrait(faces, MASK, PARAMS)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("x0", "lies"), [(260, True), (261, False), (290, False), (220, True)])
def test_a_face_lies_on_the_mask_from_the_stated_share_on(x0: int, lies: bool) -> None:
    """80 pixels wide, and the person ends at 300: of the first the half is on the mask."""
    assert on_mask(face(x0, 80, x0 + 80, 160), MASK, PARAMS) == lies


def test_a_person_of_whom_the_crop_shows_too_little_is_refused() -> None:
    """A mask of most of the face and nothing below it, as of a head behind a hedge."""
    mask = np.zeros_like(MASK)
    mask[90:150, 112:168] = 1
    with pytest.raises(NoPortraitError, match=r"15\.3% of the crop is person; 20% to 95%") as caught:
        masked_portrait([GOOD], mask, PARAMS)
    assert caught.value.reason == "mask_coverage"


@pytest.mark.parametrize(
    "others",
    [
        [],
        [face(400, 80, 520, 240)],  # a larger face of somebody else, outside the crop
        [face(76, 100, 98, 130)],  # in the crop, but far smaller
        [face(60, 90, 98, 150, 0.7)],  # in the crop, but unsure
        [face(150, 300, 180, 340)],  # a smaller one on the mask: a print on a shirt
        [face(160, 100, 200, 165)],  # such a print in the crop
        [face(60, 400, 98, 460)],  # of another person, right below the crop
        [face(120, 300, 250, 500, 0.8)],  # a larger one on the mask, unsure
    ],
)
def test_the_face_on_the_mask_is_chosen(others: list[Face]) -> None:
    portrait = masked_portrait([*others, GOOD], MASK, PARAMS)
    assert portrait == Portrait(portrait_box(GOOD.box, 550, 830, PARAMS.geometry), GOOD)


class Eyes:
    """A finder that knows where the faces are, and what parts it was asked to look at."""

    def __init__(self, image: Array, faces: Sequence[Face]) -> None:
        self.image, self.faces, self.asked = image, faces, []

    def find(self, image: Array) -> list[Face]:
        self.asked.append(image.shape[:2])
        x, y = int(image[0, 0, 0]) * 10, int(image[0, 0, 1]) * 10
        part = Box(x, y, x + image.shape[1], y + image.shape[0])
        seen = [f for f in self.faces if f.box.x0 >= part.x0 and f.box.x1 <= part.x1 and f.box.y1 <= part.y1]
        return [Face(f.box.moved(-x, -y), f.probability) for f in seen]


def test_the_upper_body_is_searched_first_and_the_rest_only_without_a_face_there() -> None:
    image = np.zeros((830, 550, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(550) // 10, (np.arange(830) // 10)[:, None]
    part = upper_body(MASK)
    assert part == Box(30, 0, 370, 284)  # a third of 700, and a tenth around
    for faces, searched in (
        ([GOOD], 1),
        ([face(110, 500, 170, 580)], 2),
        ([face(110, 210, 170, 280)], 2),  # its portrait reaches out of the part at the bottom
        ([face(262, 60, 336, 170)], 2),  # on the right
        ([face(64, 60, 138, 170)], 2),  # on the left
    ):
        eyes = Eyes(image, faces)
        assert find_portrait(MASK, partial(faces_in, image, finder=eyes), PARAMS).face == faces[0]
        assert eyes.asked == [(284, 340), (830, 550)][:searched]
    strict = PARAMS.model_copy(update={"min_coverage": 0.9, "max_coverage": 0.9})
    eyes = Eyes(image, [GOOD])
    with pytest.raises(NoPortraitError, match="of the crop is person"):
        find_portrait(MASK, partial(faces_in, image, finder=eyes), strict)
    assert eyes.asked == [(284, 340)]  # the whole shows no other person
