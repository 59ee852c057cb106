"""What an order of the queue finds, on tables whose answer is known."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from annotations.__main__ import app
from annotations.errors import ReviewError
from annotations.quality.simulate import FRONTS, Found, Simulation, describe_orders, read_masks, simulate


def table(uncertainty: list[float], bad: list[bool], cluster: list[str] | None = None) -> pd.DataFrame:
    names = [f"{number:03d}" for number in range(len(bad))]
    return pd.DataFrame(
        {
            "id": names,
            "kind": "own",
            "cluster": cluster or names,
            "uncertainty": uncertainty,
            "iou": [0.5 if one else 0.99 for one in bad],
        }
    )


def found(result: Simulation, order: str, front: float = 0.2) -> Found:
    return next(one for one in result.found if one.order.startswith(order) and one.front == front)


def test_doubt_that_knows_finds_all_and_doubt_that_lies_finds_none():
    bad = [number < 20 for number in range(100)]
    (right,) = simulate(table([1.0 - number / 100 for number in range(100)], bad), resamples=200)
    (wrong,) = simulate(table([number / 100 for number in range(100)], bad), resamples=200)
    assert (right.masks, right.bad, right.clusters) == (100, 20, 100)
    assert [found(right, "uncertainty", front).share for front in FRONTS] == [0.5, 1.0, 1.0]
    assert found(right, "uncertainty").low > 0.7  # a resample holds more or fewer than 20 bad ones
    assert [found(wrong, "uncertainty", front).share for front in FRONTS] == [0.0, 0.0, 0.0]
    assert found(wrong, "uncertainty").high == 0.0


def test_a_random_order_finds_its_share():
    rng = np.random.default_rng(3)
    bad = list(rng.random(2000) < 0.3)
    (result,) = simulate(table(list(rng.random(2000)), bad), resamples=200)
    for front in FRONTS:
        one = found(result, "random", front)
        assert one.share == front
        assert one.low < front < one.high and one.high - one.low < 0.12
    doubt = found(result, "uncertainty")  # knows nothing, so it is random too
    assert doubt.low < 0.2 < doubt.high


def test_look_alikes_in_front_of_the_queue_make_room():
    # Twenty shots of one doubtful scene, all of them good; ten bad ones of people of their own behind them.
    doubt = [0.9] * 20 + [0.5] * 10 + [0.1] * 70
    bad = [False] * 20 + [True] * 10 + [False] * 70
    cluster = ["scene"] * 20 + [f"alone {number}" for number in range(80)]
    (result,) = simulate(table(doubt, bad, cluster), resamples=200)
    assert found(result, "uncertainty").share == 0.0
    assert found(result, "uncertainty, shared").share == 1.0
    assert result.gained[0] == 1.0 and result.gained[1] <= 1.0 <= result.gained[2]
    assert result.clusters == 81


@pytest.mark.parametrize("bad", [True, False])
def test_masks_of_one_sort_have_no_order(bad: bool):
    (result,) = simulate(table([0.1, 0.2], [bad, bad]))
    assert result.found == [] and "nothing to order" in "\n".join(describe_orders([result], 0.95))


def test_the_same_table_gives_the_same_words():
    rng = np.random.default_rng(0)
    masks = table(list(rng.random(60)), list(rng.random(60) < 0.4))
    one, other = (describe_orders(simulate(masks, resamples=50), 0.95) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,kind,cluster,uncertainty\na,own,a,0.5\n", "without iou"),
        ("id,kind,cluster,uncertainty,iou\n", "found 0 rows"),
        ("id,kind,cluster,uncertainty,iou\na,own,a,0.5,1.2\n", "expected iou from 0 to 1 .* found 1.2 for a"),
        ("id,kind,cluster,uncertainty,iou\na,own,a,much,1\n", "expected uncertainty from 0 to 1"),
        ("", "none that can be read"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "masks.csv"
    path.write_text(text)
    with pytest.raises(ReviewError, match=message):
        read_masks(path)
    with pytest.raises(ReviewError, match="benchmark queue"):
        read_masks(tmp_path / "nothing.csv")


def test_the_command_prints_a_row_an_order(tmp_path: Path):
    path = tmp_path / "masks.csv"
    bad = [number % 4 == 0 for number in range(40)]
    table([1.0 if one else 0.0 for one in bad], bad).to_csv(path, index=False)
    done = CliRunner().invoke(app, ["simulate", str(path), "--bad-below", "0.9"])
    assert done.exit_code == 0, done.output
    assert "own: 10 of 40 masks are bad (IoU with the right one below 0.9), in 40 clusters" in done.output
    for row in ("random", "uncertainty ", "uncertainty, shared (queue)"):
        assert row in done.output
    assert not re.search(r"%\)\d", done.output), "the cells of a row stand apart"
    assert "80.0% (" in done.output  # eight of the ten bad ones are the first eight


def test_a_mask_at_the_limit_is_good():
    masks = table([0.5, 0.4], [True, False])
    masks["iou"] = [0.9, 0.95]
    (result,) = simulate(masks, bad_below=0.95, resamples=5)
    assert result.bad == 1


def test_limits_are_those_of_ninety_five_in_a_hundred():
    """Of 600 bad masks in 2,000, a fifth of the queue finds a fifth: twice 1.96 standard deviations of 0.016."""
    rng = np.random.default_rng(4)
    masks = table(list(rng.random(2000)), list(np.arange(2000) % 10 < 3))
    (result,) = simulate(masks, resamples=400)
    one = found(result, "random")
    assert 0.05 < one.high - one.low < 0.08


def test_resamples_without_any_bad_mask_are_drawn_again():
    (result,) = simulate(table([0.9, 0.1, 0.2, 0.3], [True, False, False, False]), resamples=100)
    assert all(np.isfinite([one.share, one.low, one.high]).all() for one in result.found)


def test_an_id_of_digits_is_named_as_it_stands(tmp_path: Path):
    path = tmp_path / "masks.csv"
    path.write_text("id,kind,cluster,uncertainty,iou\n007,own,01,0.5,2\n")
    with pytest.raises(ReviewError, match=r"found 2.* for 007"):
        read_masks(path)
