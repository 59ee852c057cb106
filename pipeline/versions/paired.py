"""Intervals of means over pictures, and what they say: better, worse, the same, or not enough pictures.

Pictures are drawn again with replacement (Efron 1979): of two versions the differences of each picture, which is what
makes the comparison paired. Pictures of one photograph are drawn together, since they are right or wrong together. The
draws are stretched as Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3, says, or the
interval of few pictures would be too narrow. Everything here is a share in 0..1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, t

DRAWS = 5000
FEWEST = 30  # photographs; of fewer there is no interval
CONFIDENCE = 0.95
_AT_ONCE = 4_000_000  # numbers in memory
_SEED = 1800

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over pictures, its 95 % interval, and how likely one so far from 0 were by chance."""

    pictures: int
    photographs: int
    mean: float
    low: float | None  # None of fewer photographs than FEWEST
    high: float | None
    p_value: float | None

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return math.inf if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_interval(values: _Floats, photographs: Sequence[str]) -> Interval:
    """The interval of the mean of `values`, one a picture; `photographs` names the one behind each.

    The same values give the same interval: the draws have a fixed seed.
    """
    codes, _ = pd.factorize(np.asarray(photographs, dtype=object))
    sums = np.asarray(np.bincount(codes, values), np.float64)
    sizes = np.asarray(np.bincount(codes), np.float64)
    mean = float(np.mean(values)) if len(values) else math.nan
    count = len(sums)
    if count < FEWEST:
        return Interval(len(values), count, mean, None, None, None)
    tail = (1 - CONFIDENCE) / 2
    stretch = math.sqrt(count / (count - 1)) * t.isf(tail, count - 1) / norm.isf(tail)
    means = mean + stretch * (_drawn_means(sums, sizes) - mean)
    low, high = np.quantile(means, (tail, 1 - tail))
    below, above = float(np.mean(means <= 0)), float(np.mean(means >= 0))
    p_value = min(1.0, 2 * min(below, above)) or _p_value_beyond_draws(mean, means)
    return Interval(len(values), count, mean, float(low), float(high), p_value)


def _p_value_beyond_draws(mean: float, means: _Floats) -> float:
    """Where no draw lies on the other side of 0: the normal tail of the draws' spread, at most what one draw shows.

    A share of the draws could not tell a clear difference from a hint, as many slices judged together ask for.
    """
    spread = float(np.std(means))
    return min(2 / DRAWS, 2 * float(norm.sf(abs(mean) / spread))) if spread else 0.0


def _drawn_means(sums: _Floats, sizes: _Floats) -> _Floats:
    """The mean of each of DRAWS draws of as many photographs, by their sums and numbers of pictures."""
    generator = np.random.default_rng(_SEED)
    means = np.empty(DRAWS)
    step = max(1, _AT_ONCE // len(sums))
    for start in range(0, DRAWS, step):
        drawn = generator.integers(0, len(sums), (min(step, DRAWS - start), len(sums)), np.int32)
        means[start : start + step] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def survive(p_values: Sequence[float | None], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which of several p-values stay below `level` together (Holm 1979); None is none of them."""
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    kept = [False] * len(p_values)
    for rank, (p, at) in enumerate(known):
        if p > level / (len(known) - rank):
            break
        kept[at] = True
    return kept


def verdict(difference: Interval, smallest: float, survives: bool) -> str:
    """What the interval of a difference says, where `smallest` (0..1) is the least difference that matters.

    Where half the interval is at most half of `smallest`, it always decides; so many pictures are asked for.
    """
    low, high = difference.low, difference.high
    if low is None or high is None:
        return f"not enough pictures ({FEWEST} photographs at least)"
    if low > 0 or high < 0:
        word = "better" if low > 0 else "worse"
        return word if survives else f"perhaps {word}"
    if max(-low, high) <= smallest:
        return "no difference"
    needed = math.ceil(difference.pictures * (2 * difference.half / smallest) ** 2)
    return f"not enough pictures (about {_rounded_up(needed):,})"


def _rounded_up(count: int) -> int:
    """At two digits: the estimate knows no more."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step
