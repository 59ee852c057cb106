"""Stage train: what it writes, what it never opens, and which run a checkpoint belongs to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import train as stage
from pipeline.errors import PipelineError
from pipeline.params import load_params
from pipeline.paths import CACHE, DATASET, PLOTS, SINET
from pipeline.records import dataset_hash, read_records
from sinet.checkpoint import load_state
from sinet.train import TrainingError
from sinet.weights import load
from tests.pipeline.dataset_inputs import write_dataset, write_tiny_params

SIDES = ["train"] * 8 + ["dev"] * 2 + ["test"] * 2
LABELS = ["human", "human", "crop", "crop", "reviewed", "reviewed", "pseudo", "pseudo", *["human"] * 4]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml and a dataset of 8 train, 2 dev and 2 test pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    write_tiny_params(root)
    write_dataset(SIDES, LABELS)
    return tmp_path


def test_what_the_stage_writes(project: Path) -> None:
    stage.main()
    metrics = json.loads(Path("metrics/train.json").read_text())
    assert metrics["images"] == {"train": 8, "dev": 2}
    assert metrics["epochs"] == 3
    assert metrics["parameters"] == 86_910
    assert metrics["unreviewed_pseudo_labels"] == 2
    assert 0 <= metrics["dev_foreground_iou"] <= 1
    curves = pd.read_csv(PLOTS / "train.csv")
    assert curves["epoch"].tolist() == [1, 2, 3]
    assert curves["phase"].tolist() == ["encoder", "full", "full"]
    assert {"loss", "segmentation", "boundary", "dev_foreground_iou", "learning_rate"} <= set(curves.columns)
    model, card = load(SINET)
    assert model.classes == 2
    assert card.preprocessing.size == 64
    assert card.metrics == {"dev_foreground_iou": metrics["dev_foreground_iou"]}
    assert card.unreviewed_pseudo_labels == 2
    assert not list(CACHE.rglob("checkpoint.pt")), "a finished run leaves no checkpoint"


def test_no_test_side_file_is_opened(project: Path, root: Path) -> None:
    records = read_records(DATASET)
    names = {side: set(records[records["side"] == side]["image"]) for side in ("train", "dev", "test")}
    log = project / "opened.txt"
    environment = {
        **os.environ,
        "AUDIT_LOG": str(log),
        "PYTHONPATH": f"{root / 'tests' / 'audit'}{os.pathsep}{root}",
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run([sys.executable, "-m", "pipeline.train"], check=True, env=environment, capture_output=True)
    opened = {line.split(" ", 1)[1] for line in log.read_text().splitlines()}
    for side in ("train", "dev"):
        assert {str(Path(name).resolve()) for name in names[side]} <= opened, "the log sees what is opened"
    test = records[records["side"] == "test"]
    assert not {str(Path(name).resolve()) for name in [*test["image"], *test["mask"]]} & opened


def test_a_test_side_file_may_even_be_missing(project: Path) -> None:
    records = read_records(DATASET)
    for name in records[records["side"] == "test"][["image", "mask"]].to_numpy().ravel():
        Path(name).unlink()
    stage.main()
    assert SINET.is_file()


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Stop training (as a kill would) after so many checkpoints."""
    import sinet.train as training

    saved = []
    save_state = training.save_state

    def save(folder: Path, state: Any) -> None:
        save_state(folder, state)
        saved.append(state.epoch)
        if len(saved) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", save)


def test_an_interrupted_run_goes_on_to_the_same_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage.main()
    undisturbed = [path.read_bytes() for path in (SINET, Path("metrics/train.json"), PLOTS / "train.csv")]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            stage.main()
    caplog.set_level("INFO")
    stage.main()
    assert "going on after epoch 1 of phase full" in caplog.text
    assert undisturbed == [
        path.read_bytes() for path in (SINET, Path("metrics/train.json"), PLOTS / "train.csv")
    ]


@pytest.mark.parametrize("change", ["recipe", "mask", "side"])
def test_a_checkpoint_of_another_recipe_or_dataset_is_not_taken_up(
    change: str, project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            stage.main()
    records = read_records(DATASET)
    recipe = load_params().train
    left = load_state(stage.checkpoint_folder(records, recipe))
    assert left is not None
    assert left.epoch == 1
    if change == "recipe":
        recipe = recipe.model_copy(update={"seed": 4})
    elif change == "mask":
        Path(records["mask"][0]).write_bytes(Path(records["mask"][1]).read_bytes())
    else:
        records.loc[0, "side"] = "test"
    caplog.set_level("INFO")
    trained = stage.train(records, recipe)
    assert "going on" not in caplog.text
    assert len(trained.history) == 3


def test_a_test_side_picture_does_not_change_the_hash_of_a_run(project: Path) -> None:
    records = read_records(DATASET)
    recipe = load_params().train
    folder = stage.checkpoint_folder(records, recipe)
    assert folder == stage.checkpoint_folder(records[records["side"] != "test"], recipe)
    assert dataset_hash(stage.seen(records)) != dataset_hash(records)


def test_samples_are_joined_by_id(project: Path) -> None:
    records = read_records(DATASET)
    for sample in stage.samples_of(records.sample(frac=1, random_state=1), "train"):
        row = records[records["id"] == sample.id].iloc[0]
        assert (str(sample.image), str(sample.mask), row["side"]) == (row["image"], row["mask"], "train")


def test_a_record_without_a_mask_is_named(project: Path) -> None:
    records = read_records(DATASET)
    records.loc[0, "mask"] = None
    with pytest.raises(PipelineError, match=f"expected a mask for each record.*{records['id'][0]}"):
        stage.samples_of(records, "train")


@pytest.mark.parametrize("side", ["train", "dev"])
def test_an_empty_side_is_a_sentence(side: str, project: Path) -> None:
    records = read_records(DATASET)
    with pytest.raises(PipelineError, match="needs at least 2 train and 1 dev samples"):
        stage.train(records[records["side"] != side], load_params().train)


def test_a_damaged_picture_is_a_sentence(project: Path) -> None:
    records = read_records(DATASET)
    Path(records["image"][0]).write_bytes(b"no picture")
    with pytest.raises(
        PipelineError, match=r"data/dataset holds a picture that cannot be read .*run `dvc repro`"
    ):
        stage.train(records, load_params().train)


def test_a_loss_that_is_no_number_is_a_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sinet.train as training

    def diverge(*_: object) -> None:
        raise TrainingError("the loss is not a number any more in phase full")

    monkeypatch.setattr(training, "train", diverge)
    with pytest.raises(PipelineError, match="not a number any more"):
        stage.train(read_records(DATASET), load_params().train)


def test_unreviewed_counts_the_train_side_alone(project: Path) -> None:
    records = read_records(DATASET)
    assert stage.unreviewed(records) == 2
    assert stage.unreviewed(records.assign(label="pseudo")) == 8


def test_the_recipe_of_params_yaml_has_the_articles_ranges(root: Path) -> None:
    augment = load_params(root / "params.yaml").train.augment
    assert (augment.rotation, augment.scale, augment.translation) == ((-45, 45), (0.5, 1.5), (-0.25, 0.25))
    assert (augment.colour, augment.brightness) == ((0.4, 1.7), (0.4, 1.7))
    assert (augment.contrast, augment.sharpness) == ((0.6, 1.5), (0.8, 1.3))
    assert augment.blur_kernels == (3, 5)
    assert augment.noise_sigma == (0, 10)
