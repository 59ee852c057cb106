"""`python -m pipeline benchmark limits`: hand-made mistakes at known distances, and a real run of the command."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET, SINET
from pipeline.core.records import read_records
from pipeline.experiments import limits
from sinet.core.recipe import EvaluateRecipe
from sinet.images.decode import Array, encode_mask, encode_png
from sinet.images.sample import Sample
from sinet.inference.predictor import Probability
from tests.pipeline.dataset_inputs import write_dataset, write_tiny_params
from tests.sinet.portraits import taught_model, write_weights

MEASURE = EvaluateRecipe(size=224, boundary_kernel=15, gallery=0)


class Says:
    """A predictor that gives one answer."""

    def __init__(self, answer: Array) -> None:
        self.answer = answer

    def square_probability(self, image: Array) -> Probability:
        return np.asarray(self.answer, np.float32)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml, weights and a dataset of 4 train, 3 dev and 2 test pictures."""
    monkeypatch.chdir(tmp_path)
    write_tiny_params(root)
    write_dataset([*["train"] * 4, *["dev"] * 3, *["test"] * 2], ["human", "crop"] * 4 + ["human"])
    write_weights(SINET, taught_model())
    return tmp_path


@pytest.mark.parametrize("beyond", [0, 1, 5, 39, 60])
def test_mistakes_are_counted_by_their_distance(tmp_path: Path, beyond: int) -> None:
    """The person is the left half; the answer reaches `beyond` columns too far, so each column is one further."""
    true, found = np.zeros((224, 224), np.uint8), np.zeros((224, 224), np.uint8)
    true[:, :112] = found[:, : 112 + beyond] = 1
    sample = Sample("x", tmp_path / "x.png", tmp_path / "m.png")
    sample.image.write_bytes(encode_png(np.zeros((224, 224, 3), np.uint8)))
    sample.mask.write_bytes(encode_mask(true))
    counted = limits.mistakes(Says(found), sample, MEASURE)
    assert counted.tolist() == [224 * min(beyond, at) for at in range(1, limits.FARTHEST + 1)] + [
        224 * beyond
    ]


def test_what_the_worst_tenth_holds() -> None:
    each = np.linspace(0.5, 0.99, 20)
    wrong = np.ones(20, np.int64)
    wrong[0], wrong[1] = 30, 12
    assert limits.worst_share(each, wrong) == pytest.approx(42 / 60)
    assert limits.worst_share(each[::-1], wrong) == pytest.approx(2 / 60)
    assert limits.worst_share(each, np.zeros(20, np.int64)) == 0


def test_the_command_opens_no_test_picture(project: Path) -> None:
    records = read_records(DATASET)
    for name in records.loc[records["side"] == "test", ["image", "mask"]].to_numpy().ravel():
        Path(name).unlink()
    done = CliRunner().invoke(app, ["benchmark", "limits", "--out", "distance.csv"])
    assert done.exit_code == 0, done.output
    assert [line[:34].strip() for line in done.stdout.splitlines()[1:5]] == [
        "dev, crop", "dev, human", "train, crop", "train, human"
    ]  # fmt: skip
    assert "% in the worst 10 % of the pictures" in done.stdout
    table = pd.read_csv("distance.csv")
    assert table["pixels"].tolist() == list(range(1, limits.FARTHEST + 1))
    assert table["share"].is_monotonic_increasing and 0 < table["share"].iloc[-1] <= 1


def test_what_is_missing_is_a_sentence(project: Path) -> None:
    with pytest.raises(PipelineError, match="other, found no such file"):
        limits.main(Path("other"), None)
    write_dataset(["train"] * 4, ["human"] * 4)
    with pytest.raises(PipelineError, match="expected a dev side in data/dataset, found none"):
        limits.main(SINET, None)
