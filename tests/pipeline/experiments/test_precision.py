"""`python -m pipeline benchmark precision`: a real tiny run, and the curves that are committed."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.experiments import precision
from pipeline.reporting.figures import precision_curves
from tests.pipeline.dataset_inputs import enter_project, write_dataset


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml and a dataset of 6 train, 3 dev and 2 test pictures."""
    return enter_project(
        tmp_path, monkeypatch, root, [*["train"] * 6, *["dev"] * 3, *["test"] * 2], ["human"] * 11
    )


def test_a_run_trains_in_both_and_opens_no_test_picture(project: Path) -> None:
    records = read_records(DATASET)
    for name in records.loc[records["side"] == "test", ["image", "mask"]].to_numpy().ravel():
        Path(name).unlink()
    done = CliRunner().invoke(app, ["benchmark", "precision", "--out", "curves"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()[2:4]] == list(precision.PRECISIONS)
    table = pd.read_csv("curves/precision.csv")
    losses = [part["loss"].tolist() for _, part in table.groupby("precision")]
    assert len(losses) == 2 and losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
    assert Path("curves/precision.svg").read_text() == precision_curves(table)


def test_without_a_dev_side_there_is_a_sentence(project: Path) -> None:
    write_dataset(["train"] * 4, ["human"] * 4)
    with pytest.raises(PipelineError, match="expected a train and a dev side"):
        precision.main(None)


def test_the_committed_curves_are_those_of_their_numbers(root: Path) -> None:
    table = pd.read_csv(root / "docs" / "precision.csv")
    assert (root / "docs" / "precision.svg").read_text() == precision_curves(table)
    last = {name: part["dev_foreground_iou"].dropna().iloc[-1] for name, part in table.groupby("precision")}
    assert set(last) == set(precision.PRECISIONS)
