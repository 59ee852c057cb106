"""`python -m pipeline benchmark queue`: teachers label only what they never saw, and the table says what came out."""

from pathlib import Path

import pandas as pd
import pytest

from annotations.masks.gold import DAMAGED_IOU
from pipeline.core.errors import PipelineError
from pipeline.core.paths import INGEST, SPLIT
from pipeline.core.records import make_records, write_records
from pipeline.experiments import queue
from tests.pipeline.dataset_inputs import eg1800, on_sides, write_tiny_params


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml and 40 labelled portraits, the first four of them published as test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    write_tiny_params(root)
    write_records(SPLIT / "labelled", make_records(on_sides(eg1800(INGEST / "labelled", 40, 4))))
    return tmp_path


def test_a_run_writes_the_table_and_says_what_it_tells(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.main(Path("masks.csv"), folds=2, epochs=1, size=64)
    masks = pd.read_csv("masks.csv")
    published = set(pd.DataFrame(eg1800(project / "again", 4, 4))["id"])
    for kind in ("the teacher's own", "damaged on purpose"):
        rows = masks[masks["kind"] == kind]
        assert rows["id"].is_unique and len(rows) == 36
        assert not set(rows["id"]) & published, "test is measured once, and for nothing else"
    damaged = masks[masks["kind"] == "damaged on purpose"]
    assert ((damaged["iou"] == 1) | (damaged["iou"] <= DAMAGED_IOU)).all()
    assert 1 <= (damaged["iou"] < 1).sum() <= 18
    said = capsys.readouterr().out
    assert "masks.csv: 72 masks" in said and "of 36 masks are bad" in said


def test_too_few_pictures_for_the_folds_is_an_error(project: Path) -> None:
    with pytest.raises(PipelineError, match="too few for 40 folds"):
        queue.main(Path("masks.csv"), folds=40, epochs=1, size=64)
