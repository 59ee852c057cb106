"""Repair a mask with clicks: one outside of it adds what lies there, one on it takes that away.

A click changes a region that is connected to it, and nothing the other way. A second click into what the last one
changed takes that back.

How wide the region may be follows from how deep the click lies: who clicks into the middle of what is wrong clicks
half its width away from the mask's edge, or from the picture's where it ends there. What lies deeper than that, on
either side, stays as it is; between, a random walker finds the edge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np

from annotations.clicks.walker import Grid, walk
from sinet.images.decode import Array

# In depths of the click, that is in its distances from the mask's edge, and in pixels of the picture on top.
_SURE = 0.7  # so far around the click all is as wrong as the click
_WIDTH, _MORE_WIDTH = 2.2, 1  # so far from its edge the mask may be wrong near the click,
_NARROW, _FROM, _FALL = 1.3, 1.5, 0.5  # and far from it so far; the one falls to the other from a distance on
_REACH, _MORE_REACH = 5, 20  # so far from the click anything may change
# Pixels, and share of the picture's diagonal: a click counts as no less and no more deep.
_LEAST, _MOST = 2, 0.05

_SIDE = 100  # pixels of the longer side of the window in which the walker walks, at most
_WRONG = 0.5  # chance from which on a pixel is changed


@dataclass(frozen=True)
class Click:
    """A pixel of the picture."""

    row: int
    column: int


def repair(rgb: Array, mask: Array, clicks: Sequence[Click]) -> Array:
    """The mask after these clicks, one after the other: (H, W) uint8 {0, 1}.

    `rgb` (H, W, 3) uint8, `mask` (H, W) uint8 {0, 1}. ValueError where they do not fit, or a click lies outside.
    """
    return reduce(lambda masks, click: clicked(rgb, masks, click), clicks, [mask])[-1]


def clicked(rgb: Array, masks: Sequence[Array], click: Click) -> list[Array]:
    """The masks that led here, oldest first, after one more click: one more of them, or the last one is gone."""
    now, at = masks[-1], (click.row, click.column)
    if rgb.shape != (*now.shape, 3):
        raise ValueError(f"expected a picture (H, W, 3) of the mask's size {now.shape}, found {rgb.shape}")
    if not (0 <= click.row < now.shape[0] and 0 <= click.column < now.shape[1]):
        raise ValueError(
            f"expected a click inside {now.shape[1]}x{now.shape[0]} pixels, found {click.column}, {click.row}"
        )
    if len(masks) > 1 and masks[-2][at] != now[at]:
        return list(masks[:-1])
    return [*masks, now ^ _change(rgb, now, click)]


@dataclass(frozen=True)
class _Window:
    """The part of a picture around a click that may change, and its size while it is looked at."""

    rows: slice
    columns: slice
    height: int
    width: int

    def cut(self, pixels: Array | Grid, interpolation: int = cv2.INTER_AREA) -> Grid:
        part = pixels[self.rows, self.columns]
        small = cv2.resize(part, (self.width, self.height), interpolation=interpolation)
        return np.asarray(small, np.float64)


def _change(rgb: Array, mask: Array, click: Click) -> Array:
    """What is to be flipped, (H, W) uint8 {0, 1}: connected to the click, and all of it as the click's pixel is."""
    alike = (mask == mask[click.row, click.column]).astype(np.uint8)
    most = _MOST * math.hypot(*mask.shape)
    # Outside of the picture nothing is wrong: else a click on a strip along its border counts as deep as the person is.
    depth = _depth(np.pad(alike, 1))[1:-1, 1:-1]
    deep = min(max(float(depth[click.row, click.column]), _LEAST), most)
    reach = _REACH * deep + _MORE_REACH
    window = _window(mask.shape, click, reach)
    distance = _distance(window, click)
    sure = distance <= max(_SURE * deep, float(distance.min()))
    own, others = window.cut(depth), window.cut(_depth(1 - alike))
    width = _WIDTH * deep + _MORE_WIDTH
    width_here = np.maximum(
        _NARROW * deep + _MORE_WIDTH, width - _FALL * np.maximum(0, distance - _FROM * deep)
    )
    stays = (own > width_here) | ((distance >= reach) & (others == 0))
    ends = np.select([sure, stays, others > width], [1.0, 0.0, 1.0], np.nan)
    wrong = walk(window.cut(rgb) / 255, ends)
    size = (window.columns.stop - window.columns.start, window.rows.stop - window.rows.start)
    change = np.zeros_like(mask)
    change[window.rows, window.columns] = cv2.resize(wrong, size, interpolation=cv2.INTER_LINEAR) > _WRONG
    change &= alike
    change[click.row, click.column] = 1
    _, pieces = cv2.connectedComponents(change, connectivity=4)
    return np.asarray(pieces == pieces[click.row, click.column], np.uint8)


def _depth(inside: Array) -> Grid:
    """Pixels from each that is inside to the nearest that is not, (H, W); one that is not must be there."""
    return np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5), np.float64)


def _window(shape: tuple[int, ...], click: Click, reach: float) -> _Window:
    steps = int(np.ceil(reach))
    rows, columns = (
        slice(max(0, at - steps), min(size, at + steps + 1))
        for at, size in zip((click.row, click.column), shape, strict=True)
    )
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = min(1.0, _SIDE / max(height, width))
    return _Window(rows, columns, max(1, round(height * scale)), max(1, round(width * scale)))


def _distance(window: _Window, click: Click) -> Grid:
    """Pixels of the picture from each of the window's to the click, (h, w)."""
    rows, columns = (
        part.start + (np.arange(size) + 0.5) * (part.stop - part.start) / size - 0.5
        for part, size in ((window.rows, window.height), (window.columns, window.width))
    )
    return np.asarray(np.hypot(rows[:, None] - click.row, columns[None] - click.column), np.float64)
