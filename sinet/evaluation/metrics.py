"""How good a mask is, by names that leave no doubt which number is meant.

Every picture is counted once, into one row of a table; every figure is a reduction of that table:

- `foreground_iou`: IoU of the person, per picture, averaged over the pictures (the SINet paper's mIoU);
- `mean_iou`: mean of person and background IoU, pixels summed over the data set;
- `boundary_f1`: F1 of the person inside the band of the outline, per picture, averaged (the paper's F1).

Where there is no person in the mask and none in the prediction the score is 1.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sinet.core import paper
from sinet.images.decode import Array

Table = NDArray[np.void]  # (pictures,), one named field of int64 for each count


class PixelCounts(NamedTuple):
    """Pixels of one picture; positive means person."""

    tp: int
    fp: int
    fn: int
    tn: int


class Counts(NamedTuple):
    """Pixels of one picture, and those of them in the band of the true outline."""

    tp: int
    fp: int
    fn: int
    tn: int
    band_tp: int
    band_fp: int
    band_fn: int
    band_tn: int


def count_pixels(pred: Array, target: Array) -> PixelCounts:
    """Compare two (H, W) masks in {0, 1} of the same size."""
    if pred.shape != target.shape or pred.ndim != 2:
        raise ValueError(f"expected two masks (H, W) of one size, found {pred.shape} and {target.shape}")
    said, true = pred.astype(bool), target.astype(bool)
    tp = int(np.count_nonzero(said & true))
    fp = int(np.count_nonzero(said)) - tp
    fn = int(np.count_nonzero(true)) - tp
    return PixelCounts(tp, fp, fn, said.size - tp - fp - fn)


def count(pred: Array, target: Array, kernel: int = paper.BAND) -> Counts:
    """One row of the table: two (H, W) masks in {0, 1} compared everywhere and in the band of the outline."""
    on_band = boundary_band(target, kernel)
    inside = count_pixels(pred[on_band][None], target[on_band][None])
    return Counts(*count_pixels(pred, target), *inside)


def boundary_band(target: Array, kernel: int = paper.BAND) -> NDArray[np.bool_]:
    """dilate(target) - erode(target) with a square of `kernel` pixels; the picture's border is no outline."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"the band's kernel must be an odd number of pixels, found {kernel}")
    square = np.ones((kernel, kernel), np.uint8)
    return np.asarray(cv2.dilate(target, square) != cv2.erode(target, square))


def tabulate(rows: Iterable[PixelCounts] | Iterable[Counts]) -> Table:
    """Rows of one kind as a table; `table["tp"]` is a column, in the order of the rows."""
    listed: Sequence[PixelCounts | Counts] = list(rows)
    if not listed:
        raise ValueError("no picture was counted, so there is nothing to average")
    fields = [(name, np.int64) for name in listed[0]._fields]
    return np.array([tuple(row) for row in listed], dtype=fields)


def foreground_iou(table: Table) -> float:
    """IoU of the person per picture, averaged over the pictures, 0..1."""
    return float(foreground_iou_each(table).mean())


def foreground_iou_each(table: Table) -> NDArray[np.float64]:
    """IoU of the person, one number a picture."""
    return _ratio(table["tp"], table["tp"] + table["fp"] + table["fn"])


def mean_iou(table: Table) -> float:
    """Mean of the IoU of person and background, pixels summed over all pictures, 0..1."""
    tp, fp, fn, tn = (table[name].sum(keepdims=True) for name in ("tp", "fp", "fn", "tn"))
    return float((_ratio(tp, tp + fp + fn) + _ratio(tn, tn + fp + fn)).item() / 2)


def mean_iou_each(table: Table) -> NDArray[np.float64]:
    """Mean of the IoU of person and background, one number a picture."""
    wrong = table["fp"] + table["fn"]
    return (_ratio(table["tp"], table["tp"] + wrong) + _ratio(table["tn"], table["tn"] + wrong)) / 2


def boundary_f1(table: Table) -> float:
    """F1 of the person inside the band per picture, averaged over the pictures, 0..1."""
    return float(boundary_f1_each(table).mean())


def boundary_f1_each(table: Table) -> NDArray[np.float64]:
    """F1 of the person inside the band, one number a picture."""
    twice = 2 * table["band_tp"]
    return _ratio(twice, twice + table["band_fp"] + table["band_fn"])


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
