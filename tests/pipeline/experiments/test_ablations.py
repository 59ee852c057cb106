"""`python -m pipeline benchmark ablations`: what each variant leaves out, and a real tiny run."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.experiments import ablations, runs
from sinet.core.recipe import TrainRecipe
from sinet.inference.predictor import Predictor
from sinet.network.model import SINet
from sinet.network.preprocess import STANDARD
from tests.pipeline.dataset_inputs import enter_project, write_dataset
from tests.sinet.tiny_training import tiny_recipe


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml and a dataset of 6 train, 3 dev and 2 test pictures."""
    return enter_project(
        tmp_path, monkeypatch, root, [*["train"] * 6, *["dev"] * 3, *["test"] * 2], ["human"] * 11
    )


def test_a_run_prints_a_row_a_variant_and_opens_no_test_picture(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (project / "data/dataset/images").iterdir():
        if path.stem in _test_ids():
            path.unlink()
    ablations.main(images=6, size=64, seeds=2)
    head, columns, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("6 image steps at 64 pixels, 2 seeds; on 3 dev pictures")
    assert columns.split()[-4:] == list(runs.FOUR_METRICS)
    assert [line[:34].strip() for line in rows] == [
        variant.name for variant in ablations.variants(load_params().train)
    ]
    assert len({line[43:] for line in rows}) > 1, "the variants change nothing"


def _test_ids() -> set[str]:
    records = read_records(DATASET)
    return set(records.loc[records["side"] == "test", "id"])


@pytest.mark.parametrize("architecture", [ablations.OpenGate, ablations.NoDetail])
def test_a_variant_has_sinets_parameters_and_another_result(architecture: type[SINet]) -> None:
    torch.manual_seed(0)
    plain = SINet().eval()
    other = architecture(classes=2).eval()
    other.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.allclose(plain(x), other(x))


@pytest.mark.parametrize("architecture", [ablations.OpenGate, ablations.NoDetail])
def test_a_variant_is_measured_as_it_was_trained(architecture: type[SINet]) -> None:
    torch.manual_seed(0)
    model = architecture(classes=2).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(Predictor(model, STANDARD).logits(x), model(x)), "measured with another gate"


def test_without_the_low_level_branch_its_weights_do_not_matter() -> None:
    torch.manual_seed(0)
    model = ablations.NoDetail(classes=2).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = model(x)
        for parameter in model.level2_C.parameters():
            parameter.mul_(3).add_(1)
        assert torch.equal(model(x), before)


def test_each_variant_changes_one_thing() -> None:
    both = {"average_decay": 0.9, "augment": {**tiny_recipe().augment.model_dump(), "background": 0.5}}
    for recipe in (tiny_recipe(average_decay=0.0), tiny_recipe(**both)):
        changes = {v.name: _changes(recipe, v.change(recipe)) for v in ablations.variants(recipe)}
        first, gate, detail, loss, mean, behind, warps = changes.values()
        assert first == gate == detail == {}
        assert loss == {"phases.full.boundary_weight": 0.0}
        assert mean == {"average_decay": 0.98 if recipe.average_decay == 0 else 0.0}
        assert behind == {"augment.background": 0.3 if recipe.augment.background == 0 else 0.0}
        assert set(warps) == {"augment.rotation", "augment.scale", "augment.translation"}
        back = {v.name: v for v in ablations.variants(ablations.variants(recipe)[-1].change(recipe))}
        assert {"narrow warps", "wide warps"} & set(changes) and not set(back) >= set(changes)


def _changes(before: TrainRecipe, after: TrainRecipe) -> dict[str, Any]:
    flat = [pd.json_normalize(recipe.model_dump()).iloc[0].to_dict() for recipe in (before, after)]
    return {key: value for key, value in flat[1].items() if flat[0][key] != value}


@pytest.mark.parametrize("name", ["ablations", "queue"])
def test_a_size_that_sinet_does_not_take_is_refused(name: str) -> None:
    done = CliRunner().invoke(app, ["benchmark", name, "--size", "100"])
    assert done.exit_code == 2 and "multiple of 32" in " ".join(done.stderr.split())


def test_a_dataset_without_a_dev_side_is_refused(project: Path) -> None:
    write_dataset(["train", "train", "test"], ["human"] * 3)
    with pytest.raises(PipelineError, match="expected a train and a dev side"):
        ablations.main(images=6, size=64, seeds=1)
