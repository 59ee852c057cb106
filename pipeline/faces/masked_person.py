"""The portrait of the person whom a mask covers: which face is theirs, and what makes a photograph unfit.

A photograph without a mask has its portrait from `choose_portrait` instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.core.boxes import Box
from pipeline.core.params import CropParams
from pipeline.faces.face import Face
from pipeline.faces.portrait import NoPortraitError, Portrait, cut, is_confident, is_large, portrait_box
from sinet.images.decode import Array

if TYPE_CHECKING:
    from pipeline.faces.detector import FaceFinder

Search = Callable[[Box], Sequence[Face]]


def find_portrait(mask: Array, search: Search, params: CropParams) -> Portrait:
    """The portrait of the person under the mask; NoPortraitError names the gate that refused the photograph.

    `mask` is (H, W) uint8 in {0, 1}; `search` finds the faces in a part of the photograph. The upper third of the
    masked person, a small part of a street photograph, is searched first. Where that shows no face of the person, or
    one whose portrait reaches out of the searched part, the whole photograph is searched. The gates behind that choice
    search nothing again.
    """
    height, width = mask.shape
    part = upper_body(mask)
    faces = search(part)
    try:
        box = portrait_box(_chosen(faces, mask, params).box, width, height, params.geometry)
    except NoPortraitError:
        box = None
    if box is None or not _holds(part, box.clipped(width, height)):
        faces = search(Box(0, 0, width, height))
    return masked_portrait(faces, mask, params)


def faces_in(image: Array, part: Box, finder: "FaceFinder") -> list[Face]:
    """The faces in a part of a photograph (H, W, 3) uint8 RGB, in the photograph's pixels."""
    found = finder.find(np.ascontiguousarray(cut(image, part, 0)))
    return [replace(face, box=face.box.moved(part.x0, part.y0)) for face in found]


def upper_body(mask: Array) -> Box:
    """The upper third of what a mask (H, W) covers, with a tenth of its height on top and at the sides."""
    _, top, _, tall = cv2.boundingRect(mask)
    margin = tall // 10
    x, y, width, height = cv2.boundingRect(mask[: top + -(-tall // 3)])
    return Box(x - margin, y - margin, x + width + margin, y + height).clipped(mask.shape[1], mask.shape[0])


def masked_portrait(faces: Sequence[Face], mask: Array, params: CropParams) -> Portrait:
    """The portrait of the largest good face on the mask; NoPortraitError names the gate that refused."""
    face = _chosen(faces, mask, params)
    height, width = mask.shape
    box = portrait_box(face.box, width, height, params.geometry)
    strangers = [one for one in faces if not on_mask(one, mask, params)]
    others = [one for one in strangers if _spoils(one, face, box, params)]
    if others:
        raise NoPortraitError(
            "several_people",
            f"the crop holds {len(others)} more faces of at least {params.other_face:g} of this one's height",
        )
    coverage = _share(mask, box)
    if not params.min_coverage <= coverage <= params.max_coverage:
        allowed = f"{params.min_coverage:.0%} to {params.max_coverage:.0%}"
        raise NoPortraitError("mask_coverage", f"{coverage:.1%} of the crop is person; {allowed} may be")
    return Portrait(box, face)


def _chosen(faces: Sequence[Face], mask: Array, params: CropParams) -> Face:
    """The largest sure face on the mask; NoPortraitError where there is none, or one too small."""
    if not faces:
        raise NoPortraitError("no_face", "no face was found")
    good = [face for face in faces if on_mask(face, mask, params)]
    if not good:
        best = max(_share(mask, face.box) for face in faces)
        raise NoPortraitError(
            "face_not_on_mask",
            f"of {len(faces)} faces none lies on the person's mask: at most {best:.0%} of a face's box does, "
            f"at least {params.min_on_mask:.0%} should",
        )
    sure = [face for face in good if is_confident(face, params)]
    if not sure:
        best, least = max(face.probability for face in good), params.faces.min_probability
        raise NoPortraitError("face_probability", f"the face has probability {best:.3f}, below {least:g}")
    face = max(sure, key=lambda one: one.box.width * one.box.height)
    if not is_large(face, params):
        low = params.faces.min_height
        raise NoPortraitError("face_too_small", f"the face is {face.box.height} pixels high, below {low}")
    return face


def on_mask(face: Face, mask: Array, params: CropParams) -> bool:
    """Whether enough of the face's box lies on the person."""
    return _share(mask, face.box) >= params.min_on_mask


def _spoils(other: Face, face: Face, box: Box, params: CropParams) -> bool:
    """Whether another person's face is sure, large and at least by half inside the crop."""
    x, y = (other.box.x0 + other.box.x1) / 2, (other.box.y0 + other.box.y1) / 2
    inside = box.x0 <= x < box.x1 and box.y0 <= y < box.y1
    return inside and is_confident(other, params) and other.box.height >= params.other_face * face.box.height


def _holds(outer: Box, inner: Box) -> bool:
    return outer.x0 <= inner.x0 and outer.y0 <= inner.y0 and inner.x1 <= outer.x1 and inner.y1 <= outer.y1


def _share(mask: Array, box: Box) -> float:
    return float(cut(mask, box, 0).mean())
