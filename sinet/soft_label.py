"""A label that also holds what a teacher thinks, in one byte a pixel, so that it is warped as a mask is.

Distillation (Hinton et al. 2015): SINet learns the teacher's probability beside the label, since that says where the
outline is in doubt. Bit 0 is the label, the others are the probability of "person" in 127ths.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sinet.images import Array

LEVELS = 127


def packed(mask: Array, probability: NDArray[np.float32]) -> Array:
    """Masks (H, W) uint8 {0, 1} and probabilities (H, W) 0..1 as (H, W) uint8."""
    levels = np.rint(probability * LEVELS).astype(np.uint8)
    return np.asarray(mask | levels << 1, np.uint8)


def label_of(packed: Tensor) -> Tensor:
    """The label, uint8 {0, 1}."""
    return packed & 1


def probability_of(packed: Tensor) -> Tensor:
    """The teacher's probability of "person", float32 0..1."""
    return (packed >> 1).float() / LEVELS
