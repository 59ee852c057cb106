"""Damage a known mask on purpose, so that a gold task shows whether a reviewer looks.

What is damaged, and where, follows from the key alone; how much is the least that no rule of the guidelines passes.
"""

import hashlib
import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from annotations.masks.overlap import inner_boundary, mask_iou
from sinet.images.decode import Array

DAMAGED_IOU = 0.90  # at most, of the damaged and the right mask: clearly below the IoU of two who agree
WORST_IOU = 0.5  # at least: a fault to find, no nonsense
Point = tuple[int, int]  # row, column
Kind = Callable[[Array, Point, int], Array]  # the mask, a point of its outline, pixels of damage

_STEP = 0.005  # of the picture's diagonal, by which the damage grows until it is large enough


def damaged(mask: Array, key: str) -> Array:
    """The mask (H, W) uint8 {0, 1} too wide, too narrow, without a piece of its outline, or with a piece too much.

    The IoU with the right mask is at most DAMAGED_IOU, and at least WORST_IOU unless a few pixels are all there is.
    ValueError where the mask is empty, or fills a picture of a few pixels.
    """
    if not mask.any():
        raise ValueError(f"a gold task needs somebody in its mask, found nobody in that of {key}")
    digest = hashlib.sha256(f"gold {key}".encode()).digest()
    outline = np.argwhere(inner_boundary(mask, 0.0))
    row, column = outline[int.from_bytes(digest[:4], "big") % len(outline)]
    kinds: tuple[Kind, ...] = (_wider, _narrower, _missing, _added)
    first = digest[4] % len(kinds)
    found = [_enough(mask, (int(row), int(column)), kind) for kind in kinds[first:] + kinds[:first]]
    usable = [(likeness, one) for likeness, one in found if one.any() and likeness <= DAMAGED_IOU]
    if not usable:
        raise ValueError(f"the mask of {key} cannot be damaged so that it shows; leave it out")
    good = next((one for likeness, one in usable if likeness >= WORST_IOU), None)
    return max(usable, key=lambda pair: pair[0])[1] if good is None else good


def _enough(mask: Array, place: Point, kind: Kind) -> tuple[float, Array]:
    """The least damage of this kind that shows, or the most there is; and its IoU with the mask."""
    likeness, changed = 1.0, mask
    for changed in _growing(mask, place, kind):
        likeness = mask_iou(changed, mask)
        if likeness <= DAMAGED_IOU:
            break
    return likeness, changed


def _growing(mask: Array, place: Point, kind: Kind) -> Iterator[Array]:
    step = max(1.0, _STEP * math.hypot(*mask.shape))
    for number in range(1, 101):
        yield kind(mask, place, round(number * step))


def _wider(mask: Array, place: Point, reach: int) -> Array:
    return (_distance(1 - mask) <= reach).astype(np.uint8)


def _narrower(mask: Array, place: Point, reach: int) -> Array:
    return (_distance(mask) > reach).astype(np.uint8)


def _missing(mask: Array, place: Point, reach: int) -> Array:
    return mask & ~_spot(mask, place, reach)


def _added(mask: Array, place: Point, reach: int) -> Array:
    return mask | _spot(mask, place, reach)


def _distance(mask: Array) -> NDArray[np.float32]:
    """Pixels from each pixel of the mask to the nearest outside it; what is beyond the picture counts for neither.

    A disc of a hundred pixels that goes over a picture takes seconds, and this a millisecond whatever the reach.
    """
    return np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def _spot(mask: Array, place: Point, reach: int) -> Array:
    spot = np.zeros_like(mask)
    cv2.circle(spot, place[::-1], reach, 1, -1)
    return spot
