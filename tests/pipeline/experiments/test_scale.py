"""The simulated workers where the answer is known, and what the table says of the stages."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.experiments.scale import COSTS, Machines, dvc_hours, efficiency, hours, makespan


def test_equal_pictures_keep_all_workers_busy() -> None:
    assert makespan(np.full(100, 2.0), Machines(4, lost_an_hour=0, start=3)) == pytest.approx(3 + 100 * 2 / 4)
    assert efficiency(1.0, Machines(1, lost_an_hour=0, start=0)) == pytest.approx(1)


def test_a_slow_picture_holds_up_those_that_may_not_pass_it() -> None:
    """Of two workers one has a picture of 100 s: the other does 15 more, then waits."""
    costs = np.ones(60)
    costs[0] = 100
    done = makespan(costs, Machines(2, lost_an_hour=0, start=0))
    assert done == pytest.approx(100 + (60 - 16) / 2, abs=1)
    costs[0], costs[-1] = 1, 100
    assert makespan(costs, Machines(2, lost_an_hour=0, start=0)) < 131


def test_lost_workers_cost_their_picture_and_a_start() -> None:
    calm, lossy, slow = (
        makespan(np.ones(4000), Machines(4, lost_an_hour=lost, start=start))
        for lost, start in ((0, 5), (36.0, 5), (36.0, 30))
    )
    # Each is lost every 100 s: 105 s then hold 100 of work, of which half a picture is done again.
    assert 1.03 < lossy / calm < 1.1
    # In 30 s the other three do the 32 pictures that may wait, and then wait themselves.
    assert slow / calm > 1.6


def test_hours_are_the_costs_times_the_pictures() -> None:
    crop = next(one for one in COSTS if one.stage == "crop")
    in_workers, alone = hours(crop, 1_000_000, Machines(16, lost_an_hour=0))
    assert in_workers == pytest.approx(1_000_000 * crop.parallel / 16 / 3600, rel=0.05)
    assert alone == 0


def test_dvc_looks_at_each_file_once_a_stage_that_reads_it(tmp_path: Path, root: Path) -> None:
    written = {
        "stages": {
            "queue": {"deps": ["data/pseudo"]},
            "ingest": {"foreach": "x", "do": {"deps": ["data/crop/crawl"]}},
            "other": {"deps": ["data/other"]},
        }
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(written))
    assert dvc_hours(1_000_000, tmp_path / "dvc.yaml") == pytest.approx(1_000_000 * 0.00028 * (3 + 1) / 3600)
    known = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    read = {dep for stage in known.values() for dep in stage.get("do", stage).get("deps", [])}
    assert {one.out for one in COSTS if one.out} <= read
    assert {one.stage for one in COSTS} <= known.keys()
