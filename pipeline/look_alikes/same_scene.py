"""Whether two pictures show the same photograph, or the same scene a moment later: by geometry.

Features that look alike must lie alike: one turn, one scale and one shift, in the picture or in its mirror image, take
those of one picture to those of the other.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.look_alikes.local_features import Features, similarity

_RATIO = 0.85  # a match is nearer than the next best by this (Lowe 2004)
_APART = 5.0  # pixels between a feature and where the other picture has it
_SCALES = (1 / 6, 6.0)
# The matches cover more than a line of text does, in parts of the picture's shorter side: in both, and in one of them.
_THICK_BOTH, _THICK_ONE = 0.04, 0.12


def matches(one: Features, other: Features) -> int:
    """How many features of two pictures, one of them mirrored or not, agree in looks and in place."""
    return max(_matches(one, other), _matches(one.mirrored(), other))


def _matches(one: Features, other: Features) -> int:
    first, second = _alike(one, other)
    if len(first) < 4:
        return 0
    points, others = one.points[first], other.points[second]
    moved, inside = cv2.estimateAffinePartial2D(
        points, others, method=cv2.RANSAC, ransacReprojThreshold=_APART, maxIters=500
    )
    if moved is None or not _SCALES[0] < np.hypot(moved[0, 0], moved[1, 0]) < _SCALES[1]:
        return 0
    agreeing = inside.ravel().astype(bool)
    points, others = points[agreeing], others[agreeing]
    thick = sorted((_thickness(points, one), _thickness(others, other)))
    if thick[0] < _THICK_BOTH or thick[1] < _THICK_ONE:
        return 0
    # SIFT finds some places several times, with other scales and directions.
    return min(len(np.unique(np.round(each), axis=0)) for each in (points, others))


def _alike(one: Features, other: Features) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Features that are each other's nearest, by a margin."""
    if len(one.points) < 2 or len(other.points) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    cosine = similarity(one, other)
    rows = np.arange(len(cosine))
    nearest = cosine.argmax(1)
    mutual = cosine.argmax(0)[nearest] == rows
    best = cosine[rows, nearest]
    cosine[rows, nearest] = -1
    clear = 1 - best < _RATIO**2 * (1 - cosine.max(1))  # distances squared are 2 - 2 cos
    chosen = np.flatnonzero(mutual & clear)
    return chosen, nearest[chosen]


def _thickness(points: NDArray[np.float32], picture: Features) -> float:
    """The shorter side of the smallest rectangle around the points, in shorter sides of the picture."""
    return min(cv2.minAreaRect(points)[1]) / min(picture.width, picture.height)
