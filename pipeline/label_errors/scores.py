"""How likely a mask is wrong, by the probability that a network which never saw its picture gives each pixel."""

import cv2
import numpy as np
from numpy.typing import NDArray

from sinet.images.decode import Array

_CONFIDENT = 0.8  # of the probability that the mask's label of a pixel is wrong
_RIM = 0.03  # of the side: a disagreement that is thinner is how an outline is drawn, and no error


def confident_disagreement(probability: NDArray[np.float32], mask: Array) -> NDArray[np.bool_]:
    """Where a network is sure of the other label, in places wider than a rim along the outline.

    `probability` of "person" is (size, size) in 0..1, `mask` (size, size) uint8 in {0, 1}.
    """
    sure = (np.abs(probability - mask) > _CONFIDENT).astype(np.uint8)
    square = np.ones((max(2, round(_RIM * len(mask))),) * 2, np.uint8)
    return np.asarray(cv2.morphologyEx(sure, cv2.MORPH_OPEN, square), np.bool_)


def label_error_score(probability: NDArray[np.float32], mask: Array) -> float:
    """The share of person, by mask or network, where the two disagree confidently: 0 (right) to 1 (wrong)."""
    person = int(((probability > 0.5) | (mask == 1)).sum())
    return float(confident_disagreement(probability, mask).sum()) / max(1, person)


def softmin_quality(probability: NDArray[np.float32], mask: Array, temperature: float = 0.1) -> float:
    """The same question answered as Lad and Mueller do (2023, "Estimating label quality and errors in semantic
    segmentation data via any model", arXiv 2307.05080): a mean of the probabilities that the network gives each
    pixel's label, in which low ones weigh most. 0 (wrong) to 1 (right).
    """
    right = np.where(mask == 1, probability, 1 - probability).astype(np.float64)
    weights = np.exp((1 - right) / temperature)
    return float((right * weights).sum() / weights.sum())
