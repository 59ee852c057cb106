"""Stage train: what it writes, what it never opens, and which run a checkpoint belongs to."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import sinet
from pipeline import train as stage
from pipeline.commands.configure import render
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params, parse_params
from pipeline.core.paths import CACHE, DATASET, PLOTS, SINET
from pipeline.core.records import dataset_hash, read_records
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing
from sinet.network.weights import WeightsCard, read_weights, save_weights
from sinet.training.checkpoint import load_state
from sinet.training.epoch import TrainingError
from sinet.training.start import check_start, read_start
from tests.pipeline.dataset_inputs import enter_project
from tests.sinet.tiny_training import tiny_recipe

SIDES = ["train"] * 8 + ["dev"] * 2 + ["test"] * 2
LABELS = ["human", "human", "crop", "crop", "reviewed", "reviewed", "pseudo", "pseudo", *["human"] * 4]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml and a dataset of 8 train, 2 dev and 2 test pictures."""
    return enter_project(tmp_path, monkeypatch, root, SIDES, LABELS)


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
    model, card = read_weights(SINET)
    assert model.classes == 2
    assert card.preprocessing.size == 64
    assert card.metrics == {"dev_foreground_iou": metrics["dev_foreground_iou"]}
    assert card.unreviewed_pseudo_labels == 2
    assert not list(CACHE.rglob("checkpoint.pt")), "a finished run leaves no checkpoint"


def test_two_processes_of_torchrun_write_once(project: Path, root: Path) -> None:
    """Rank 0 holds the stage's lock, writes and reports; on the CPU both share its cores."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "pipeline.train"]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("8 pictures to train on, 2 to judge by, on cpu by 2 process(es)") == 1
    assert done.stderr.count("train: done in") == 1
    assert json.loads(Path("metrics/train.json").read_text())["epochs"] == 3
    assert pd.read_csv(PLOTS / "train.csv")["epoch"].tolist() == [1, 2, 3]
    assert read_weights(SINET)[0].classes == 2
    assert not list(CACHE.rglob("checkpoint.pt"))


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
    import sinet.training.loop as training

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
    trained = stage.train_sinet(records, recipe)
    assert "going on" not in caplog.text
    assert len(trained.history) == 3


def test_a_test_side_picture_does_not_change_the_hash_of_a_run(project: Path) -> None:
    records = read_records(DATASET)
    recipe = load_params().train
    folder = stage.checkpoint_folder(records, recipe)
    assert folder == stage.checkpoint_folder(records[records["side"] != "test"], recipe)
    assert dataset_hash(stage.seen(records)) != dataset_hash(records)


def test_a_temporary_experiment_keeps_its_checkpoint_in_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of such an experiment is gone when it stops."""
    records, recipe = read_records(DATASET), load_params().train
    folder = stage.checkpoint_folder(records, recipe).resolve()
    temporary = Path(".dvc/tmp/exps/standalone/tmp1234").resolve()
    temporary.mkdir(parents=True)
    (temporary / "data").symlink_to(Path("data").resolve())
    monkeypatch.chdir(temporary)
    assert stage.checkpoint_folder(read_records(DATASET), recipe).resolve() == folder


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
        stage.train_sinet(records[records["side"] != side], load_params().train)


def test_a_damaged_picture_is_a_sentence(project: Path) -> None:
    records = read_records(DATASET)
    Path(records["image"][0]).write_bytes(b"no picture")
    with pytest.raises(
        PipelineError, match=r"data/dataset holds a picture that cannot be read .*run `dvc repro`"
    ):
        stage.train_sinet(records, load_params().train)


def test_a_loss_that_is_no_number_is_a_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sinet.training.loop as training

    def diverge(*_: object) -> None:
        raise TrainingError("the loss is not a number any more in phase full")

    monkeypatch.setattr(training, "train", diverge)
    with pytest.raises(PipelineError, match="not a number any more"):
        stage.train_sinet(read_records(DATASET), load_params().train)


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


def start_from(weights: str, **train: Any) -> None:
    """params.yaml with these first weights."""
    content = YAML().load(Path("params.yaml"))
    content["train"].update(weights=weights, **train)
    YAML().dump(content, Path("params.yaml"))


def slow_steps(learning_rate: float) -> dict[str, Any]:
    """The tiny recipe's phases: no encoder phase, and everything at this learning rate."""
    recipe = tiny_recipe()
    full = recipe.phases.full.model_copy(update={"learning_rate": learning_rate}).model_dump(mode="json")
    return {"phases": {"encoder": {**full, "epochs": 0}, "full": full}, "average_decay": 0.0}


def first_weights(dataset: str = "abc123") -> SINet:
    """first.safetensors in the scale of the tiny recipe, of another size, and what is in it."""
    torch.manual_seed(5)
    shown = Preprocessing(size=96, **tiny_recipe().input.model_dump())
    model = SINet(classes=2).eval()
    save_weights(Path("first.safetensors"), model, WeightsCard(2, shown, dataset, {}, 7))
    return model


def rising(monkeypatch: pytest.MonkeyPatch, *judged: float) -> None:
    """Dev is judged so: the first weights, then each epoch; the loss is a tenth of that."""
    import sinet.training.loop as training

    scores = iter(judged)
    monkeypatch.setattr(training, "evaluate_dev", lambda *_: ((iou := next(scores)), iou / 10))


def far(one: SINet, other: SINet) -> float:
    """The largest difference of a parameter."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def test_training_starts_from_the_weights_of_a_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = first_weights()
    start_from("first.safetensors", **slow_steps(1e-9))
    rising(monkeypatch, 0.5, 0.6, 0.7)
    stage.main()
    found, card = read_weights(SINET)
    assert far(first, found) < 1e-6
    assert card.started_from == "abc123"
    assert card.dataset == dataset_hash(stage.seen(read_records(DATASET)))
    metrics = json.loads(Path("metrics/train.json").read_text())
    assert (metrics["start_dev_foreground_iou"], metrics["best_epoch"]) == (0.5, 2), (
        "an epoch won, not the start"
    )
    assert metrics["unreviewed_pseudo_labels"] == card.unreviewed_pseudo_labels == 9, "7 before and 2 now"


def test_first_weights_of_no_named_dataset_are_first_weights_all_the_same(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_weights(dataset="")
    start_from("first.safetensors")
    rising(monkeypatch, 0.5, 0.6, 0.7, 0.8)
    stage.main()
    assert read_weights(SINET)[1].started_from == ""


def test_training_without_first_weights_says_so(project: Path) -> None:
    stage.main()
    assert read_weights(SINET)[1].started_from is None
    assert "start_dev_foreground_iou" not in json.loads(Path("metrics/train.json").read_text())


def test_training_that_starts_from_the_packaged_weights(
    project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = read_weights(sinet.SHIPPED)[1]
    shown = {key: value for key, value in card.preprocessing.to_dict().items() if key != "size"}
    start_from("packaged", **slow_steps(1e-9), input=shown)
    rising(monkeypatch, 0.5, 0.6, 0.7)
    caplog.set_level("INFO")
    stage.main()
    assert "the weights that training starts from: dev foreground IoU" in caplog.text
    assert read_weights(SINET)[1].started_from == card.dataset
    assert far(read_weights(SINET)[0], read_weights(sinet.SHIPPED)[0]) < 1e-6


def test_the_profile_tune_fits_the_packaged_weights(tmp_path: Path) -> None:
    mine = {"eg1800": tmp_path, "baidu": None, "crawl": None}
    assert check_start(parse_params(YAML(typ="safe").load(render("tune", mine))).train) == sinet.SHIPPED


def test_an_interrupted_run_from_first_weights_goes_on_to_the_same_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_weights()
    start_from("first.safetensors")
    stage.main()
    undisturbed = [path.read_bytes() for path in (SINET, Path("metrics/train.json"))]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            stage.main()
    stage.main()
    assert undisturbed == [path.read_bytes() for path in (SINET, Path("metrics/train.json"))]


def test_a_checkpoint_of_other_first_weights_is_not_taken_up(project: Path) -> None:
    records, recipe = read_records(DATASET), tiny_recipe(weights="first.safetensors")
    folders = {stage.checkpoint_folder(records, recipe)}
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = SINet(classes=2)
        save_weights(
            Path("first.safetensors"),
            model,
            WeightsCard(2, Preprocessing(size=64, **recipe.input.model_dump()), "", {}, 0),
        )
        folders.add(stage.checkpoint_folder(records, recipe, read_start(recipe)))
    assert len(folders) == 3


@pytest.mark.parametrize("after", [0.1, 0.9, 0.95])
def test_weights_that_training_makes_no_better_are_kept(
    after: float, project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = first_weights()
    start_from("first.safetensors")
    rising(monkeypatch, 0.9, *[after] * 9)
    stage.main()
    kept = after <= 0.9
    assert ("was better on dev than the weights that training started from" in caplog.text) == kept
    metrics = json.loads(Path("metrics/train.json").read_text())
    assert metrics["dev_foreground_iou"] == (0.9 if kept else 0.95)
    assert metrics["dev_loss"] == pytest.approx(0.09 if kept else 0.095)
    assert (metrics["best_epoch"] == 0) == kept
    found, card = read_weights(SINET)
    assert (far(first, found) == 0) == kept
    assert (card.dataset == "abc123", card.unreviewed_pseudo_labels == 7) == (kept, kept)
    assert card.preprocessing.size == 64


@pytest.mark.parametrize(
    ("weights", "changes", "message"),
    [
        (
            "pakaged",
            {},
            r"train\.weights: found 'pakaged'; expected none, packaged or a file .* no such file",
        ),
        (".", {}, "expected none, packaged or a file of SINet weights, found a folder"),
        (
            "broken.safetensors",
            {},
            "expected a weights file of this project, .*found another file .`python -m",
        ),
        (str(SINET), {}, "dvc removes models/sinet.safetensors before stage train runs; copy it"),
        (f"./data/../{SINET}", {}, "dvc removes models/sinet.safetensors"),
        ("loop", {}, "found no such file"),
        ("a\0b", {}, "found no such file"),
        ("one_class.safetensors", {}, "expected weights of 2 classes, found 1"),
        ("nan.safetensors", {}, r"found NaN or infinity in encoder\.level1\.conv\.weight"),
        (
            "first.safetensors",
            {"order": "bgr", "scale": 0.5},
            "trained with another train.input: order rgb, not bgr; scale 1.0, not 0.5. Set train.input",
        ),
    ],
)
def test_first_weights_that_cannot_be_used_are_a_sentence_at_once(
    weights: str, changes: dict[str, Any], message: str, project: Path
) -> None:
    first = first_weights()
    shown = Preprocessing(size=96, **tiny_recipe().input.model_dump())
    save_weights(Path("one_class.safetensors"), SINet(classes=1), WeightsCard(1, shown, "", {}, 0))
    with torch.no_grad():
        dict(first.named_parameters())["encoder.level1.conv.weight"][1, 2] = float("nan")
    save_weights(Path("nan.safetensors"), first, WeightsCard(2, shown, "", {}, 0))
    Path("loop").symlink_to("loop")
    SINET.parent.mkdir()
    SINET.write_bytes(Path("first.safetensors").read_bytes())
    Path("broken.safetensors").write_bytes(b"no weights")
    start_from(weights, input={**tiny_recipe().input.model_dump(mode="json"), **changes})
    with pytest.raises(PipelineError, match=message):
        load_params()  # what every stage begins with


def test_first_weights_of_another_width_are_a_sentence_at_once(project: Path) -> None:
    first_weights()
    start_from("first.safetensors", width=1.5)
    with pytest.raises(PipelineError, match=r"expected weights of train\.width 1\.5, found width 1\.0: set"):
        load_params()


def test_a_width_is_trained_and_stands_in_the_file(project: Path) -> None:
    start_from("none", width=0.5)
    stage.main()
    model, card = read_weights(SINET)
    assert card.width == model.width == 0.5
    assert json.loads(Path("metrics/train.json").read_text())["parameters"] == 28_914


def test_first_weights_of_another_network_are_a_sentence(project: Path) -> None:
    first_weights()
    tensors = load_file("first.safetensors")
    tensors.popitem()
    with safe_open("first.safetensors", framework="pt") as file:
        save_file(tensors, "less.safetensors", metadata=file.metadata())
    start_from("less.safetensors")
    with pytest.raises(
        PipelineError, match=r"train\.weights: the tensors in less.safetensors are not those of SINet"
    ):
        stage.main()
    assert not SINET.exists()


def test_training_does_without_no_weights_that_the_recipe_names(project: Path) -> None:
    with pytest.raises(ValueError, match=r"read it with sinet\.training\.start\.read_start"):
        stage.train_sinet(read_records(DATASET), tiny_recipe(weights="packaged"))
