"""Stage agreement: the judgements beside the lock become metrics and plots, the same bytes every time."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from annotations.ledger.judgements import FOLDER, JudgedTask, Opinion, edit_of, write_judgements
from annotations.ledger.lock import pack_mask, review_key
from annotations.quality.reviewers import NOT_MEASURED
from pipeline.agreement import DECILE_COLUMNS, main, read_judged_tasks
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.reporting.figures import bias_grids
from tests.annotations.drawn import person
from tests.annotations.quality.test_quality import grown


@pytest.fixture
def lock(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder of the lock, in a folder with params.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((root / "params.yaml").read_text())
    folder = Path(load_params().reviews.path)
    folder.mkdir(parents=True)
    return folder


def judged(number: int, purpose: str, reviewer: str, said: str, mask: np.ndarray | None) -> JudgedTask:
    """One reviewer's word on task NUMBER; gold tasks propose a mask that is 4 pixels too wide."""
    truth = person(number)[1]
    shown = {"gold": grown(truth, 4), "scratch": np.zeros_like(truth)}.get(purpose, truth)
    opinion = Opinion(
        reviewer=reviewer,
        at="2025-01-31T12:00:00+00:00",
        said=said,
        reasons=(),
        seconds=60.0 if purpose == "scratch" else 10.0,
        edit=None if mask is None else edit_of(mask, shown),
    )
    return JudgedTask(
        key=review_key("ab" * 32, f"0,0,{number + 1},9"),
        version=f"{purpose} {reviewer}",
        purpose=purpose,
        round=1,
        width=120,
        height=160,
        uncertainty=number / 40,
        teacher=None,
        proposed=pack_mask(shown),
        truth=pack_mask(truth) if purpose == "gold" else None,
        opinions=(opinion,),
    )


def session() -> list[JudgedTask]:
    """Of 20 pictures ann accepts the certain half and draws the others 2 pixels wider; ben accepts all."""
    tasks = []
    for number in range(20):
        truth = person(number)[1]
        fixes = number >= 10
        mask = grown(truth, 2) if fixes else truth
        tasks.append(judged(number, "review", "ann", "fix" if fixes else "accept", mask))
        tasks.append(judged(number, "second", "ben", "accept", truth))
    for number in range(20, 24):
        truth = person(number)[1]
        tasks.append(judged(number, "gold", "ann", "fix", grown(truth, 2)))
        tasks.append(judged(number, "gold", "ben", "accept", grown(truth, 4)))
        tasks.append(judged(number + 10, "scratch", "ann", "fix", person(number + 10)[1]))
    return tasks


def test_the_report_finds_who_draws_wide_and_who_accepts_all(lock: Path):
    write_judgements(lock, session())
    main()
    metrics = json.loads(Path("metrics/reviews.json").read_text())
    ann, ben = metrics["by_reviewer"]["ann"], metrics["by_reviewer"]["ben"]
    assert (metrics["judgements"], metrics["double"]["crops"]) == (52, 20)
    assert (ann["gold"]["caught"], ben["gold"]["caught"]) == (1, 0)
    wide = [grown(person(number)[1], 2).sum() / person(number)[1].sum() - 1 for number in range(20, 24)]
    assert ann["gold"]["signed_area"] == pytest.approx(np.mean(wide), abs=1e-6)
    assert ben["gold"]["signed_area"] > ann["gold"]["signed_area"] > 0
    assert metrics["minutes_saved"] == pytest.approx((60 - 10) * 40 / 60, abs=1e-6)
    # A unit is a mask of one crop: both said accept of 10, accept and fix of 10; n = 40, 30 of them accept.
    assert metrics["double"]["alpha"] == pytest.approx(1 - 39 * 20 / (2 * 30 * 10), abs=1e-6)

    table = pd.read_csv("plots/reviews.csv")
    assert tuple(table.columns) == DECILE_COLUMNS and list(table["decile"]) == list(range(1, 11))
    assert table["accept_rate"][0] == 1 and table["accept_rate"][9] == 0.5
    assert np.isnan(table["edit_size"][0]) and table["edit_size"][9] > 0
    drawing = Path("plots/bias_maps.svg").read_text()
    assert "ann: +" in drawing and "ben: +" in drawing and "data:image" not in drawing


def test_the_same_judgements_give_the_same_bytes(lock: Path):
    written = []
    for tasks in (session(), session()[::-1]):
        write_judgements(lock, tasks)
        main()
        names = ("metrics/reviews.json", "plots/reviews.csv", "plots/bias_maps.svg")
        written.append([Path(name).read_bytes() for name in names])
    assert written[0] == written[1]


def test_a_lock_without_judgements_is_not_measured(lock: Path):
    main()
    metrics = json.loads(Path("metrics/reviews.json").read_text())
    assert metrics["judgements"] == 0 and metrics["minutes_saved"] == metrics["accept_rate"] == NOT_MEASURED
    assert Path("plots/reviews.csv").read_text() == ",".join(DECILE_COLUMNS) + "\n"
    assert "not measured" in Path("plots/bias_maps.svg").read_text()


def test_a_damaged_judgement_is_named(lock: Path):
    write_judgements(lock, session())
    path = next((lock / FOLDER).iterdir())
    path.write_text("{}\n")
    with pytest.raises(
        PipelineError, match=rf"the judgements cannot be read: .*{path.name}, line 1: key: Field"
    ):
        read_judged_tasks(lock)


def test_a_map_is_drawn_upright_and_without_a_raster():
    grid = np.zeros((4, 4))
    grid[0, 3] = 0.5
    text = bias_grids({"ann": grid, "ben": -grid})
    assert text == bias_grids({"ann": grid, "ben": -grid}) and "data:image" not in text
