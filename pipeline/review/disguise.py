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


def guise(record: Any, pseudo: pd.DataFrame) -> Guise:
    """The guise of a labelled record (id, width, height): a size like one pseudo label's, at a place like another's.

    Of those that suit a hash of both ids decides, so that a gold task stays as it is when others come or go.
    """
    widths, heights = pseudo["width"].to_numpy(), pseudo["height"].to_numpy()
    costs = _costs(int(record.width), int(record.height), widths, heights)
    suiting = list(pseudo[costs <= max(_COST, costs.min())].itertuples())
    model = _drawn(record, suiting, "guise")
    width, height = int(model.width), int(model.height)
    same = np.count_nonzero((widths == model.width) & (heights == model.height))
    if same <= max(1, _SHARED * len(pseudo)):
        width = max(1, round(width * _between(record, "width", _SCALE)))
        height = max(1, round(model.height * width / model.width))
    box, boxes = Box.parse(model.crop_box), [Box.parse(one) for one in pseudo["crop_box"].tolist()]
    x, y = box.x0, box.y0
    if (x, y) != (0, 0):
        others = [row for row in suiting if not str(row.crop_box).startswith("0,0,")]
        at = Box.parse(_drawn(record, others, "place").crop_box)
        x = _place(record, "x", at.x0, at.x1, width, [one.x1 for one in boxes])
        y = _place(record, "y", at.y0, at.y1, height, [one.y1 for one in boxes])
    return Guise(width, height, f"{x},{y},{x + width},{y + height}")


def _drawn(record: Any, rows: Sequence[Any], salt: str) -> Any:
    return min(rows, key=lambda row: hashed_share(f"{record.id} {row.id}", salt))


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
