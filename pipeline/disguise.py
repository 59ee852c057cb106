"""Give a gold task a picture of the size and place that the pseudo labels have, so that neither tells what it is.

What goes in is a labelled record and the pseudo labels; what comes out is a size, a box, and pixels of that size.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd

from annotations.random_slice import draw
from sinet.images import Array

_COST = 0.1  # up to which a size suits: about a tenth of the picture cut off
_MOVE = 8  # pixels that the box is moved by, at most: no two boxes of a queue are the same
_SHAVE = 3  # pixels of width cut off, at most, where a size is one pseudo label's alone


@dataclass(frozen=True)
class Guise:
    """What a gold task says of its picture."""

    width: int
    height: int
    crop_box: str  # made up: the picture was scaled, so it is a box in no photograph


def guise(record: Any, pseudo: pd.DataFrame) -> Guise:
    """The guise of a labelled record (id, width, height): a pseudo label's size, and nearly its box.

    Of those that suit a hash of both ids decides, so that a gold task stays as it is when others come or go.
    """
    costs = [_cost(int(record.width), int(record.height), row) for row in pseudo.itertuples()]
    enough = max(_COST, min(costs))
    suiting = [row for row, cost in zip(pseudo.itertuples(), costs, strict=True) if cost <= enough]
    model: Any = min(suiting, key=lambda row: draw(f"{record.id} {row.id}", "guise"))
    sizes = Counter(zip(pseudo["width"], pseudo["height"], strict=True))
    width, height = int(model.width), int(model.height)
    x, y = (int(side) for side in str(model.crop_box).split(",")[:2])
    if sizes[model.width, model.height] == 1 and width > 16 * _SHAVE:
        shaved = 1 + int(draw(str(record.id), "shaved") * _SHAVE)
        width, height = width - shaved, height - round(shaved * height / width)
    if (x, y) != (0, 0):
        x, y = (side + int(draw(str(record.id), axis) * _MOVE) for side, axis in ((x, "x"), (y, "y")))
    return Guise(width, height, f"{x},{y},{x + width},{y + height}")


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


def _cost(width: int, height: int, model: Any) -> float:
    """How little a pseudo label's size suits: what is cut off, and how much is enlarged, 0 for the same size."""
    scale = max(model.width / width, model.height / height)
    kept = model.width * model.height / (width * height * scale * scale)
    return float(-math.log(kept) + max(0.0, 2 * math.log(scale)))
