"""Intervals and verdicts where the truth is known: no difference, chance alone, and a shift."""

import numpy as np
import pytest

from pipeline.versions import paired
from pipeline.versions.paired import FEWEST, Interval, mean_interval, survive, verdict


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer draws, for tests of many comparisons."""
    monkeypatch.setattr(paired, "DRAWS", 600)


def alone(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def heavy_tailed(generator: np.random.Generator, count: int) -> np.ndarray:
    """Differences of two models that are equally good: most pictures alike, a few far apart."""
    return generator.standard_t(3, count) * 0.02


def test_equal_scores_have_no_difference() -> None:
    found = mean_interval(np.zeros(100), alone(100))
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert verdict(found, 0.005, survives=True) == "no difference"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("count", "most"), [(FEWEST, 0.09), (120, 0.075)])
def test_chance_alone_is_taken_for_a_difference_in_about_one_of_twenty(count: int, most: float) -> None:
    """A thousand comparisons of equally good models; 0.05 of them is what 95 % promises."""
    generator = np.random.default_rng(5)
    found = [mean_interval(heavy_tailed(generator, count), alone(count)) for _ in range(1000)]
    wrong = np.mean([one.p_value is not None and one.p_value < 0.05 for one in found])
    assert 0.03 < wrong < most
    outside = np.mean([one.low > 0 or one.high < 0 for one in found])  # type: ignore[operator]
    assert abs(outside - wrong) < 0.01, "interval and p-value say the same"


@pytest.mark.usefixtures("quick")
def test_crops_of_one_photograph_are_no_more_pictures_than_it() -> None:
    """Four equal crops each: taken for independent, chance would look like a difference in a third of the cases."""
    generator = np.random.default_rng(6)
    photographs = np.repeat(alone(60), 4).tolist()
    together = apart = 0
    for _ in range(300):
        values = np.repeat(heavy_tailed(generator, 60), 4)
        together += mean_interval(values, photographs).p_value < 0.05  # type: ignore[operator]
        apart += mean_interval(values, alone(240)).p_value < 0.05  # type: ignore[operator]
    assert together / 300 < 0.09
    assert apart / 300 > 0.2


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("shift", "word"), [(0.01, "better"), (-0.01, "worse")])
def test_a_shift_is_found_and_lies_in_the_interval(shift: float, word: str) -> None:
    generator = np.random.default_rng(7)
    found = [mean_interval(heavy_tailed(generator, 300) + shift, alone(300)) for _ in range(100)]
    words = [verdict(one, 0.005, survives=True) for one in found]
    assert words.count(word) >= 95
    inside = np.mean([one.low <= shift <= one.high for one in found])  # type: ignore[operator]
    assert inside >= 0.9


def test_few_photographs_have_no_interval() -> None:
    found = mean_interval(np.ones(100), np.repeat(alone(FEWEST - 1), 100)[:100].tolist())
    assert found.mean == 1 and found.low is None and found.p_value is None
    assert verdict(found, 0.005, survives=False) == "not enough pictures (30 photographs at least)"
    assert np.isnan(mean_interval(np.zeros(0), []).mean)


def test_the_number_of_pictures_asked_for_decides() -> None:
    """With so many pictures of the same kind the interval is as narrow as half of the smallest difference."""
    generator = np.random.default_rng(8)
    few = mean_interval(generator.normal(0, 0.05, 100), alone(100))
    said = verdict(few, 0.005, survives=True)
    needed = int(said.removeprefix("not enough pictures (about ").removesuffix(")").replace(",", ""))
    assert 800 < needed < 2500
    many = mean_interval(generator.normal(0, 0.05, needed), alone(needed))
    assert not verdict(many, 0.005, survives=True).startswith("not enough")


def test_of_many_slices_those_stay_that_hold_together() -> None:
    """By hand: 0.01 <= 0.05 / 4, 0.013 <= 0.05 / 3, 0.03 > 0.05 / 2; what has no interval counts as none."""
    assert survive([0.03, 0.01, None, 0.04, 0.013]) == [False, True, False, False, True]
    assert survive([]) == []
    hint = Interval(100, 100, 0.01, 0.001, 0.02, 0.03)
    assert verdict(hint, 0.005, survives=False) == "perhaps better"


def test_a_clear_difference_holds_among_many_slices() -> None:
    """Of 200 the smallest p-value has to be below 0.05 / 200, which no share of the draws can show."""
    generator = np.random.default_rng(9)
    clear = mean_interval(generator.normal(0.02, 0.01, 60), alone(60)).p_value
    assert survive([clear, *[0.9] * 199])[0]
    # By hand: mean 0.003, its standard error 0.01 / sqrt(60), 2.3 of them from 0.
    hardly = mean_interval(np.repeat([0.013, -0.007], 30), alone(60)).p_value
    assert hardly == pytest.approx(0.02, abs=0.01)
    assert not survive([hardly, *[0.9] * 199])[0]


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(10).random(70)
    assert mean_interval(values, alone(70)) == mean_interval(values, alone(70))
