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


def test_gains_of_scores_with_a_long_tail_hold_too() -> None:
    """As IoU has it: a few pictures are very wrong, some photographs have eight pictures and most one."""
    generator, made, held = np.random.default_rng(9), 600, 0
    sizes = [1, 1, 1, 8] * 15
    photographs = [str(at) for at, size in enumerate(sizes) for _ in range(size)]
    of = np.array([int(one) for one in photographs])
    for _ in range(made):
        shared = 0.02 * generator.pareto(2.5, len(sizes))[of]
        wrong = [shared * generator.lognormal(0, 0.3, len(sizes))[of] for _ in range(2)]
        new, old = (
            0.95 - one + generator.normal(0, 0.005, (3, 1)) + generator.normal(0, 0.01, (3, len(of)))
            for one in wrong
        )
        one = gain_estimate(new, old, photographs)
        assert one.half is not None
        held += abs(one.mean) <= one.half
    assert held / made >= 0.93


def test_a_real_gain_is_found() -> None:
    generator = np.random.default_rng(7)
    photographs = [f"{number // 2}" for number in range(80)]
    shared = generator.normal(0, 0.05, 40)
    old = runs(generator, 3, 80, 0.001, shared)
    one = gain_estimate(runs(generator, 3, 80, 0.001, shared) + 0.02, old, photographs)
    assert one.half is not None and one.half < 0.01 < one.mean < 0.03


def test_one_run_or_few_photographs_say_nothing_of_chance() -> None:
    scores, names = np.full((1, 40), 0.8), [str(number) for number in range(40)]
    assert mean_estimate(scores, names).half is None
    assert mean_estimate(scores, names).mean == pytest.approx(0.8)
    assert mean_estimate(np.repeat(scores, 3, axis=0), names).half is not None
    assert mean_estimate(np.repeat(scores, 3, axis=0), [*names[:28], *["one"] * 12]).half is None, (
        "29 of them"
    )


def test_pictures_of_one_photograph_count_as_one_draw() -> None:
    """The same scores twice are not twice as many."""
    generator = np.random.default_rng(1)
    scores = generator.uniform(0.8, 0.9, (3, 40))
    alone = mean_estimate(scores, [str(number) for number in range(40)])
    twice = mean_estimate(np.repeat(scores, 2, axis=1), [str(number // 2) for number in range(80)])
    assert twice.mean == pytest.approx(alone.mean)
    assert twice.half == pytest.approx(alone.half)
