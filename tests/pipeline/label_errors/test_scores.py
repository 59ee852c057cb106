"""How likely a mask is wrong: figures worked out by hand; what is only drawn a little otherwise is no error."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.label_errors.scores import confident_disagreement, label_error_score, softmin_quality
from sinet.images.decode import Array


def square(side: int = 40, start: int = 0) -> Array:
    """A mask of 100 x 100 with a person of `side` x `side` pixels at `start`."""
    mask = np.zeros((100, 100), np.uint8)
    mask[start : start + side, start : start + side] = 1
    return mask


def sure(mask: Array, probability: float = 0.95) -> NDArray[np.float32]:
    return np.where(mask == 1, probability, 1 - probability).astype(np.float32)


def test_a_network_of_the_same_mind_scores_nothing() -> None:
    assert label_error_score(sure(square()), square()) == 0


def test_a_missing_piece_counts_by_its_share_of_the_person() -> None:
    mask = square()
    mask[20:40] = 0
    assert label_error_score(sure(square()), mask) == 0.5
    where = confident_disagreement(sure(square()), mask)
    assert where[20:40, :40].all() and where.sum() == 800


def test_a_mask_of_somebody_else_and_one_of_nobody_are_wrong_all_over() -> None:
    assert label_error_score(sure(square(40, 0)), square(40, 50)) == 1
    assert label_error_score(sure(square()), np.zeros((100, 100), np.uint8)) == 1


def test_a_rim_along_the_outline_and_what_the_network_doubts_are_no_errors() -> None:
    assert label_error_score(sure(square(42)), square(40)) == 0
    assert label_error_score(sure(square(), 0.75), np.zeros((100, 100), np.uint8)) == 0


def test_softmin_weighs_the_worst_pixels_most() -> None:
    """Of two pixels with the probabilities 1 and 0.5 for their label: (1 + 0.5 e^5) / (1 + e^5)."""
    probability, mask = np.array([[1.0, 0.5]], np.float32), np.ones((1, 2), np.uint8)
    expected = (1 + 0.5 * np.exp(5)) / (1 + np.exp(5))
    assert softmin_quality(probability, mask) == pytest.approx(expected)
