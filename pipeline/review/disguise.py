"""Give a gold task a picture of a size and place like those of the pseudo labels, so that neither tells what it is.

For a labelled record, it chooses a size and a box among those of the pseudo labels, and makes pixels of that size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from annotations.quality.random_slice import hashed_share
from pipeline.core.boxes import Box
from sinet.images.decode import Array

_COST = 0.1  # up to which a size suits: about a tenth of the picture cut off
# How far a made-up number may be from the pseudo label's it is drawn from: so far that others are as near.
_SCALE = (0.85, 1.04)  # of a size that few pseudo labels have
_MOVE = (0.6, 1.2)  # of the box's distances from the photograph's left and upper border
_SHARED = 0.05  # share of the pseudo labels of one size, or that end at one border: above it that is kept


@dataclass(frozen=True)
class Guise:
    """What a gold task says of its picture."""

    width: int
    height: int
    crop_box: str  # made up: the picture was scaled, so it is a box in no photograph


@dataclass(frozen=True, slots=True)
class _Model:
    """A pseudo label to look like."""

    id: str
    width: int
    height: int
    box: Box


class Guises:
    """What labelled records can look like: of a size like one pseudo label's, at a place like another's."""

    def __init__(self, pseudo: pd.DataFrame) -> None:
        """Those that the records of pseudo labels lend."""
        self._models = [
            _Model(str(one), int(width), int(height), Box.parse(str(box)))
            for one, width, height, box in zip(
                pseudo["id"], pseudo["width"], pseudo["height"], pseudo["crop_box"], strict=True
            )
        ]
        self._widths, self._heights = pseudo["width"].to_numpy(), pseudo["height"].to_numpy()
        self._right = [one.box.x1 for one in self._models]
        self._bottom = [one.box.y1 for one in self._models]

    def of(self, record: Any) -> Guise:
        """The guise of a labelled record (id, width, height).

        Of those that suit a hash of both ids decides, so that a gold task stays as it is when others come or go.
        """
        costs = _costs(int(record.width), int(record.height), self._widths, self._heights)
        suiting = [self._models[at] for at in np.flatnonzero(costs <= max(_COST, costs.min()))]
        model = _drawn(record, suiting, "guise")
        width, height = model.width, model.height
        same = np.count_nonzero((self._widths == width) & (self._heights == height))
        if same <= max(1, _SHARED * len(self._models)):
            width = max(1, round(width * _between(record, "width", _SCALE)))
            height = max(1, round(model.height * width / model.width))
        x, y = model.box.x0, model.box.y0
        if (x, y) != (0, 0):
            others = [one for one in suiting if (one.box.x0, one.box.y0) != (0, 0)]
            at = _drawn(record, others, "place").box
            x = _place(record, "x", at.x0, at.x1, width, self._right)
            y = _place(record, "y", at.y0, at.y1, height, self._bottom)
        return Guise(width, height, f"{x},{y},{x + width},{y + height}")


def _drawn(record: Any, models: Sequence[_Model], salt: str) -> _Model:
    return min(models, key=lambda one: hashed_share(f"{record.id} {one.id}", salt))


def _between(record: Any, salt: str, limits: tuple[float, float]) -> float:
    return limits[0] + hashed_share(str(record.id), salt) * (limits[1] - limits[0])


def _place(record: Any, axis: str, start: int, end: int, length: int, ends: Sequence[int]) -> int:
    """Where a box of this length starts: at the border that the other's lies at, or at a distance like the other's."""
    if end - length > 0 and ends.count(end) > max(1, _SHARED * len(ends)):
        return end - length
    return round(start * _between(record, axis, _MOVE))


def fitted(pixels: Array, width: int, height: int) -> Array:
    """A picture (H, W, 3) or mask (H, W) uint8 {0, 1}, scaled to fill the size, and its middle cut out."""
    if pixels.shape[:2] == (height, width):
        return pixels
    mask = pixels.ndim == 2
    scale = max(width / pixels.shape[1], height / pixels.shape[0])
    size = max(width, round(pixels.shape[1] * scale)), max(height, round(pixels.shape[0] * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(pixels * np.uint8(255) if mask else pixels, size, interpolation=way)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    cut = scaled[top : top + height, left : left + width]
    return np.asarray(cut > 127, np.uint8) if mask else np.ascontiguousarray(cut)


def _costs(
    width: int, height: int, widths: NDArray[np.int64], heights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How little each pseudo label's size suits: what is cut off, and how much is enlarged, 0 for the same size."""
    scale = np.maximum(widths / width, heights / height)
    kept = widths * heights / (width * height * scale * scale)
    return np.asarray(-np.log(kept) + np.maximum(0.0, 2 * np.log(scale)))
