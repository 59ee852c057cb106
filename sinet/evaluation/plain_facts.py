"""The facts that a picture and a mask tell by themselves, for the slices of `sinet.evaluation.slices`."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sinet.core.paper import SIZE
from sinet.images.decode import Array

_SPREAD = 16  # of 255: what JPEG, resizing and slight toning leave between the channels of a grey picture


def picture_alone(image: Array) -> dict[str, float]:
    """brightness, sharpness and grey of (H, W, 3) uint8 RGB; `pipeline.dataset.facts_table` says what they are."""
    from sinet.network.preprocess import squash_image  # with torch, which takes seconds where nothing is new

    small = squash_image(image, SIZE)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return {
        "brightness": float(luma.mean()) / 255,
        "sharpness": float(cv2.Laplacian(luma, cv2.CV_64F).var()),
        "grey": _has_no_colour(small),
    }


def mask_alone(mask: Array) -> dict[str, float]:
    """person_share, centre_x and centre_y of (H, W) uint8 {0, 1}; there is no centre of nobody: NaN."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    return {
        "person_share": float(mask.mean()),
        "centre_x": (float(columns.mean()) + 0.5) / width if len(columns) else math.nan,
        "centre_y": (float(rows.mean()) + 0.5) / height if len(rows) else math.nan,
    }


def _has_no_colour(image: NDArray[np.uint8]) -> bool:
    """Whether nearly every pixel has the same level in its three channels, but for what files do to it."""
    spread = image.max(axis=2).astype(np.int64) - image.min(axis=2)
    return bool(np.quantile(spread, 0.99) <= _SPREAD)
