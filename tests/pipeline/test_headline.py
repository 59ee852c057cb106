"""headline.json: which figures it has, and what becomes of one that nobody measured; with DVC in test_recipe.py."""

import json
from pathlib import Path

import pytest

from pipeline import headline as stage
from pipeline.core.errors import PipelineError
from tests.pipeline.report_metrics import metrics

NAMES = ["iou", "mean_iou", "f1", "native", "teacher", "train", "dev", "test", "leaks", "moved", "accepted"]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The metrics of five stages in a folder of their own, each leak and each move another number."""
    monkeypatch.chdir(tmp_path)
    found = metrics()
    given = {
        "split": {
            "labelled": {**found["split@labelled"], "moved": 2},
            "crawl": {**found["split@crawl"], "moved": 3},
        },
        "teacher": found["teacher"],
        "reviews": found["agreement"],
        "merge": {**found["merge"], "leaks": 100},
        "evaluate": found["evaluate"],
    }
    (tmp_path / "metrics").mkdir()
    for name, figures in given.items():
        (tmp_path / f"metrics/{name}.json").write_text(json.dumps(figures))
    return tmp_path / "headline.json"


def test_the_figures_by_hand(written: Path) -> None:
    stage.main()
    values = [0.9512, 0.9423, 0.8734, 0.9501, 0.9312, 31720, 1773, 2004, 131, 5, 0.6843]
    assert json.loads(written.read_text()) == dict(zip(NAMES, values, strict=True))


def test_without_a_review_there_is_no_share_of_accepted_ones(written: Path) -> None:
    Path("metrics/reviews.json").write_text('{"accept_rate": "not measured"}')
    stage.main()
    assert json.loads(written.read_text())["accepted"] is None


def test_damaged_metrics_are_named(written: Path) -> None:
    Path("metrics/teacher.json").write_text("{")
    with pytest.raises(PipelineError, match=r"metrics/teacher.json is not JSON .*dvc repro headline"):
        stage.main()
    assert not written.exists()
