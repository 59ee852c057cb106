"""Means over trainings and pictures, with intervals for both: other seeds and other pictures would have given others.

Two sources of chance are added, each with its degrees of freedom (Satterthwaite 1946, as in Welch's test): that of the
seeds, from the runs' own means, and that of the pictures, from each picture's mean over the runs. Pictures of one
photograph count as one draw. What seeds and pictures do together is in both, so that an interval is rather too wide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from pipeline.versions.paired import CONFIDENCE

_Floats = NDArray[np.float64]
_Part = tuple[float, float]  # a variance of the mean, and its degrees of freedom


@dataclass(frozen=True)
class Estimate:
    """A mean, and half its 95 % interval; None of a single run or photograph."""

    mean: float
    half: float | None


def mean_estimate(runs: _Floats, photographs: Sequence[str]) -> Estimate:
    """The mean of `runs` (R, P): the score of each of P pictures in R trainings that differ in their seed."""
    return _estimate(float(runs.mean()), [_of_seeds(runs), _of_pictures(runs.mean(axis=0), photographs)])


def gain_estimate(new: _Floats, old: _Floats, photographs: Sequence[str]) -> Estimate:
    """The mean difference of two such tables of the same pictures, whose runs have nothing to do with each other."""
    difference = new.mean(axis=0) - old.mean(axis=0)
    parts = [_of_seeds(new), _of_seeds(old), _of_pictures(difference, photographs)]
    return _estimate(float(difference.mean()), parts)


def _of_seeds(runs: _Floats) -> _Part:
    means = runs.mean(axis=1)
    return (float(means.var(ddof=1)) / len(means) if len(means) > 1 else math.nan, len(means) - 1)


def _of_pictures(values: _Floats, photographs: Sequence[str]) -> _Part:
    """Of the mean of `values`, a ratio of sums over photographs (Cochran 1977, Sampling Techniques, chapter 6)."""
    codes, _ = pd.factorize(np.asarray(photographs, dtype=object))
    residuals = np.bincount(codes, values - values.mean())
    count = len(residuals)
    return (
        float((residuals**2).sum()) / len(values) ** 2 * count / (count - 1) if count > 1 else math.nan,
        count - 1,
    )


def _estimate(mean: float, parts: Sequence[_Part]) -> Estimate:
    variance = sum(one for one, _ in parts)
    if math.isnan(variance):
        return Estimate(mean, None)
    spread = sum(one**2 / freedom for one, freedom in parts)
    freedom = variance**2 / spread if spread else math.inf
    return Estimate(mean, float(t.isf((1 - CONFIDENCE) / 2, freedom)) * math.sqrt(variance))
