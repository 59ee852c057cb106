"""What a picture is recognised by where only a part of it is left: local features, and the words that they make.

The features are SIFT's (Lowe 2004, in OpenCV), as square roots of shares (Arandjelovic and Zisserman 2012), spread over
the picture so that a caption does not take them all. A word is the pair of nearest centres of the upper and the lower
half of a descriptor, as in an inverted multi-index (Babenko and Lempitsky 2012). The centres lie beside this file;
`python -m pipeline benchmark copies --vocabulary` makes them from photographs.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sinet.images.decode import Array

VOCABULARY = Path(__file__).with_name("vocabulary.npy")  # (2, 2048, 64) uint8
FEATURES = 400  # of a picture, at most
VOCABULARY_WORDS = 2048 * 2048
FEATURE_WORDS = 144  # features of a picture that have a word
_SIDE = 288  # pixels of the longer side; SIFT looks at the double
_CELLS = 6  # a side of the grid over which features are spread
_SCALE = 512  # a descriptor's length, as bytes

# SIFT's histogram is 4 x 4 places of 8 directions, turned to the feature's own. In a mirror the rows and the directions
# run the other way.
_MIRROR = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()


@dataclass(frozen=True)
class Features:
    """Where the features are, (N, 2) float32 pixels x, y; what they look like, (N, 128) uint8; pixels of the sides."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    width: int
    height: int

    def mirrored(self) -> "Features":
        """The features of the picture's mirror image."""
        points = self.points * np.array([-1, 1], np.float32) + np.array([self.width, 0], np.float32)
        return Features(points, self.descriptors[:, _MIRROR], self.width, self.height)


def local_features(image: Array) -> Features:
    """Up to FEATURES features of (H, W, 3) uint8 RGB, the strongest of each part of the picture first."""
    grey = _reduced(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
    height, width = grey.shape
    sift = _sift()
    found = sift.detect(grey, None)
    if not found:
        return Features(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8), width, height)
    points = np.array([one.pt for one in found], np.float32)
    strongest = _spread(points, np.array([one.response for one in found], np.float32), width, height)
    chosen, descriptors = sift.compute(grey, [found[index] for index in strongest[:FEATURES]])
    shares = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1))
    levels = np.minimum(np.round(shares * _SCALE), 255).astype(np.uint8)
    return Features(np.array([one.pt for one in chosen], np.float32), levels, width, height)


def words_of(features: Features) -> NDArray[np.int32]:
    """The words of the first features, and of those in the mirror: (2, FEATURE_WORDS) int32, -1 where there is none."""
    words = np.full((2, FEATURE_WORDS), -1, np.int32)
    for row, one in zip(words, (features, features.mirrored()), strict=True):
        first = one.descriptors[:FEATURE_WORDS]
        halves = (
            _nearest(half, centres) for half, centres in zip(halves_of(first), _vocabulary(), strict=True)
        )
        upper, lower = halves
        row[: len(first)] = upper * len(_vocabulary()[0]) + lower
    return words


def halves_of(descriptors: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The upper and the lower rows of the histograms: twice (N, 64) float32."""
    floats = descriptors.astype(np.float32)
    return floats[:, :64], floats[:, 64:]


def similarity(one: Features, other: Features) -> NDArray[np.float32]:
    """The cosines between the descriptors of two pictures: (N, M), 0 to about 1."""
    product = one.descriptors.astype(np.float32) @ other.descriptors.astype(np.float32).T
    return product / np.float32(_SCALE * _SCALE)


@cache
def _sift() -> cv2.SIFT:
    return cv2.SIFT.create(nfeatures=0, contrastThreshold=0.015, edgeThreshold=12)


@cache
def _vocabulary() -> NDArray[np.float32]:
    return np.asarray(np.load(VOCABULARY), np.float32)


@cache
def vocabulary_hash() -> str:
    """Of the file of centres: 16 hex digits."""
    return hashlib.sha256(VOCABULARY.read_bytes()).hexdigest()[:16]


def _nearest(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    # |p - c|^2 less |p|^2, which is the same for all centres
    return np.asarray(np.argmin((centres * centres).sum(1) - 2 * (points @ centres.T), axis=1))


def _reduced(grey: Array) -> Array:
    height, width = grey.shape
    factor = _SIDE / max(height, width)
    if factor >= 1:
        return grey
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _spread(
    points: NDArray[np.float32], strength: NDArray[np.float32], width: int, height: int
) -> NDArray[np.int64]:
    """The order of features: the strongest of each cell of a grid, then the second ones, and so on."""
    shares = points / np.array([width, height], np.float32)
    column, row = np.minimum(shares * _CELLS, _CELLS - 1).astype(int).T
    cell = row * _CELLS + column
    order = np.lexsort((-strength, cell))
    first = np.searchsorted(cell[order], cell[order])
    place = np.empty(len(points), int)
    place[order] = np.arange(len(points)) - first
    return np.asarray(np.lexsort((-strength, place)))
