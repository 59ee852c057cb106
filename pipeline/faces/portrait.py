"""From a face to the portrait around it: the box, the choice of the face, and the cut through image and mask.

The frame follows EG1800, measured there with our own face finder: see `crop.geometry` in params.yaml.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Box
from pipeline.faces.face import Face

if TYPE_CHECKING:
    from pipeline.core.params import CropParams, GeometryParams


class NoPortraitError(ValueError):
    """A photograph without a usable portrait. `reason` is a code, the message a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Portrait:
    """`box` and `face` in the photograph's pixels; `box` may reach outside."""

    box: Box
    face: Face


def portrait_box(face: Box, width: int, height: int, geometry: "GeometryParams") -> Box:
    """The portrait around a face in a picture of `width` x `height` pixels.

    `above` and `below` heights of the face are added over and under it; the width follows from the aspect,
    with the face in the middle. What reaches outside is treated by `border`:
    - `pad`: it stays, and `cut` fills it;
    - `shift`: the box is moved inside; one larger than the picture is first shrunk to it, aspect kept, and
      the room over and under the face shrinks in proportion. A face too large for any such box is cut.
    """
    tall = max(1, round(face.height * (geometry.above + 1 + geometry.below)))
    if geometry.border == "shift":
        tall = max(1, min(tall, height, int((width + 0.5) / geometry.aspect)))
    # A width as even or odd as the face's puts both middles together: a mirrored face mirrors the box.
    wide = _nearest(tall * geometry.aspect, face.x0 + face.x1)
    if geometry.border == "shift" and wide > width:
        wide = width
    left = (face.x0 + face.x1 - wide) // 2
    room = geometry.above + geometry.below
    top = face.y0 - round((tall - face.height) * (geometry.above / room if room else 0.5))
    if geometry.border == "shift":
        left = min(max(left, 0), width - wide)
        top = min(max(top, 0), height - tall)
    return Box(left, top, left + wide, top + tall)


def choose_portrait(width: int, height: int, faces: Sequence[Face], params: "CropParams") -> Portrait:
    """The portrait in a photograph of `width` x `height` pixels without a mask; NoPortraitError says why there is none.

    The largest face of enough probability and size is taken. Where its box would cover `whole_from` of the
    picture, the picture is a portrait already and is taken whole.
    """
    sure = [face for face in faces if is_confident(face, params)]
    large = [face for face in sure if is_large(face, params)]
    if not faces:
        raise NoPortraitError("no_face", "no face was found")
    if not sure:
        best, needed = max(face.probability for face in faces), params.faces.min_probability
        detail = f"of {len(faces)} faces the surest has probability {best:.3f}, below {needed:g}"
        raise NoPortraitError("face_probability", detail)
    if not large:
        tallest, least = max(face.box.height for face in sure), params.faces.min_height
        raise NoPortraitError("face_too_small", f"the largest face is {tallest} pixels high, below {least}")
    face = max(large, key=lambda one: one.box.width * one.box.height)
    box = portrait_box(face.box, width, height, params.geometry)
    seen = box.clipped(width, height)
    whole = seen.width * seen.height >= params.whole_from * width * height
    return Portrait(Box(0, 0, width, height) if whole else box, face)


def is_confident(face: Face, params: "CropParams") -> bool:
    """Whether the detector is sure enough of the face."""
    return face.probability >= params.faces.min_probability


def is_large(face: Face, params: "CropParams") -> bool:
    """Whether the face has pixels enough for a portrait."""
    return face.box.height >= params.faces.min_height


def cut(array: NDArray[np.uint8], box: Box, fill: int) -> NDArray[np.uint8]:
    """A copy of the part of an (H, W) or (H, W, 3) array in the box; `fill` where the box reaches outside."""
    height, width = array.shape[:2]
    inside = box.clipped(width, height)
    result = np.full((box.height, box.width, *array.shape[2:]), fill, array.dtype)
    rows = slice(inside.y0 - box.y0, inside.y1 - box.y0)
    columns = slice(inside.x0 - box.x0, inside.x1 - box.x0)
    result[rows, columns] = array[inside.y0 : inside.y1, inside.x0 : inside.x1]
    return result


def _nearest(value: float, parity: int) -> int:
    """The positive whole number nearest to `value` that is even or odd as `parity` is."""
    return max(2 - parity % 2, 2 * round((value - parity % 2) / 2) + parity % 2)
