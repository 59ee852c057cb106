"""How far two masks, or several reviewers, agree: pure measures, without a word on who is right.

- Mask IoU: pixels that both say over pixels that either says.
- Boundary IoU (Cheng et al. 2021, "Boundary IoU", CVPR, section 4): the same, counted only on what lies inside each
  mask within _BAND of its outline, so that a large person does not hide a bad edge.
- Krippendorff's alpha for nominal values (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"): 1 is full
  agreement, 0 what chance would give, below 0 is systematic disagreement.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import cv2
import numpy as np

from sinet.images.decode import Array

AGREE_IOU = 0.95  # two kept masks of this IoU or more say the same
# Of the picture's diagonal: the width of the boundary, as the paper sets it for COCO-like pictures.
_BAND = 0.02


def mask_iou(one: Array, other: Array) -> float:
    """Intersection over union of two masks (H, W) uint8 in {0, 1}, 0..1; of two empty ones 1."""
    _same_shape(one, other)
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 1.0


def boundary_iou(one: Array, other: Array, band: float = _BAND) -> float:
    """IoU of the `inner_boundary` of two masks (H, W) uint8 in {0, 1}, 0..1; of two empty ones 1."""
    _same_shape(one, other)
    return mask_iou(inner_boundary(one, band), inner_boundary(other, band))


def inner_boundary(mask: Array, band: float = _BAND) -> Array:
    """The pixels of a mask (H, W) uint8 {0, 1} within `band` diagonals (at least one pixel) of its outline.

    As in the paper's code, the distance is that of a square, and outside of the picture is background: where the
    person is cut off by the picture's edge, that edge is outline too.
    """
    width = max(1, round(band * math.hypot(*mask.shape)))
    # The border stands for what is outside of the picture.
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return np.asarray(mask - eroded, np.uint8)


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Alpha of nominal values; a unit holds what its reviewers said, in any order, one value each.

    A unit with fewer than two values tells nothing of agreement and is passed over. None where no pair is left, or
    where all values are the same: chance would then agree as well, and alpha is undefined.
    """
    pairable = [Counter(unit) for unit in units if len(unit) > 1]
    totals: Counter[Hashable] = sum(pairable, Counter())
    count = totals.total()
    expected = count * count - sum(times * times for times in totals.values())
    if expected == 0:
        return None
    # Ordered pairs of different values inside a unit, each unit weighted by its number of values.
    observed = sum(
        (unit.total() ** 2 - sum(times * times for times in unit.values())) / (unit.total() - 1)
        for unit in pairable
    )
    return 1 - (count - 1) * observed / expected


def _same_shape(one: Array, other: Array) -> None:
    if one.shape != other.shape or one.ndim != 2:
        raise ValueError(f"expected two masks (H, W) of one size, found {one.shape} and {other.shape}")
