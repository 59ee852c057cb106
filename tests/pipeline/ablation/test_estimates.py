"""Intervals over seeds and pictures: they hold the truth as often as they promise, and shrink with either."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.ablation.estimates import gain_estimate, mean_estimate


def runs(
    generator: np.random.Generator, seeds: int, pictures: int, by_seed: float, by_picture: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scores around 0.9: each run and each photograph (of two pictures) is off by a draw, and each score by another."""
    return np.asarray(
        0.9
        + generator.normal(0, by_seed, (seeds, 1))
        + np.repeat(by_picture, 2)[None, :pictures]
        + generator.normal(0, 0.01, (seeds, pictures))
    )


@pytest.mark.parametrize(("by_seed", "by_picture"), [(0.01, 0.02), (0.02, 0.002), (0.001, 0.05), (0.0, 0.0)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_nineteen_of_twenty_intervals_hold_the_truth(seeds: int, by_seed: float, by_picture: float) -> None:
    generator, pictures, made = np.random.default_rng(5), 80, 1000
    photographs = [f"{number // 2}" for number in range(pictures)]
    held = {"mean": 0, "gain": 0}
    for _ in range(made):
        shared = generator.normal(0, by_picture, pictures // 2)
        new = runs(
            generator, seeds, pictures, by_seed, shared + generator.normal(0, by_picture / 4, len(shared))
        )
        old = runs(generator, seeds, pictures, by_seed, shared)
        for name, one, truth in (
            ("mean", mean_estimate(old, photographs), 0.9),
            ("gain", gain_estimate(new, old, photographs), 0.0),
        ):
            assert one.half is not None
            held[name] += abs(one.mean - truth) <= one.half
    # Rather too wide than too narrow; 0.935 is two standard deviations of such a share below 0.95.
    assert all(0.935 <= count / made <= 0.999 for count in held.values()), held


def test_a_real_gain_is_found() -> None:
    generator = np.random.default_rng(7)
    photographs = [f"{number // 2}" for number in range(80)]
    shared = generator.normal(0, 0.05, 40)
    old = runs(generator, 3, 80, 0.001, shared)
    one = gain_estimate(runs(generator, 3, 80, 0.001, shared) + 0.02, old, photographs)
    assert one.half is not None and one.half < 0.01 < one.mean < 0.03


def test_one_run_or_one_photograph_says_nothing_of_chance() -> None:
    scores = np.array([[0.8, 0.9, 0.7]])
    assert mean_estimate(scores, ["a", "b", "c"]).half is None
    assert mean_estimate(np.repeat(scores, 3, axis=0), ["a", "a", "a"]).half is None
    assert mean_estimate(scores, ["a", "b", "c"]).mean == pytest.approx(0.8)


def test_pictures_of_one_photograph_count_as_one_draw() -> None:
    """The same scores twice are not twice as many."""
    generator = np.random.default_rng(1)
    scores = generator.uniform(0.8, 0.9, (3, 20))
    alone = mean_estimate(scores, [str(number) for number in range(20)])
    twice = mean_estimate(np.repeat(scores, 2, axis=1), [str(number // 2) for number in range(40)])
    assert twice.mean == pytest.approx(alone.mean)
    assert twice.half == pytest.approx(alone.half)
