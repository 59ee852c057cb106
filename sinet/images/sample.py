"""A portrait with its mask on disk, and both reduced to the size that a training keeps in memory."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sinet.images.decode import Array

# Pixels on the longer side: no training size needs more, a 600x800 portrait becomes 230 kB.
REDUCED_SIDE = 320


@dataclass(frozen=True)
class Sample:
    """A portrait and its mask, joined by the record's id."""

    id: str
    image: Path
    mask: Path


def reduce(image: Array, mask: Array, side: int) -> tuple[Array, Array]:
    """Shrink to `side` pixels on the longer side (area average, mask by majority); a smaller one stays."""
    height, width = mask.shape
    factor = side / max(height, width)
    if factor >= 1:
        return image, mask
    shape = (max(1, round(width * factor)), max(1, round(height * factor)))
    share = np.asarray(cv2.resize(mask * np.uint8(255), shape, interpolation=cv2.INTER_AREA))
    small = np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), np.uint8)
    return small, (share > 127).astype(np.uint8)
