"""The teacher on a few drawn shapes: the right pictures, a resumable run, and messages that name the trouble."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline import teacher
from pipeline.core.errors import PipelineError
from pipeline.core.params import TeacherParams, load_params
from pipeline.core.paths import INGEST, SPLIT
from pipeline.core.records import make_records, write_records
from pipeline.deeplab import network as deeplab
from pipeline.teacher import (
    TrainedTeacher,
    evaluate_teacher,
    load_dev,
    read_labelled,
    summarise,
    teacher_checkpoint,
    teacher_loss,
    train_teacher,
    write_curves,
)
from sinet.images.decode import encode_mask, encode_png
from sinet.images.sample import Sample
from sinet.training.checkpoint import load_state

ROOT = Path(__file__).resolve().parent.parent.parent


def params(**changes: Any) -> TeacherParams:
    """The sample profile's teacher, small and quick."""
    small = {"size": 64, "epochs": 3, "batch": 4, "average_decay": 0.5}
    base = load_params(ROOT / "params.yaml").teacher.model_dump()
    return TeacherParams.model_validate({**base, **small, **changes})


def draw(folder: Path, index: int) -> dict[str, Any]:
    """A bright figure on a dark ground as a record: wrong in every way but that it can be learned in seconds."""
    rng = np.random.default_rng(index)
    mask = np.zeros((80, 60), np.uint8)
    x, y, r = rng.integers(20, 40), rng.integers(20, 40), rng.integers(10, 18)
    rows, columns = np.mgrid[:80, :60]
    mask[(rows - y) ** 2 + (columns - x) ** 2 < r * r] = 1
    mask[y + r // 2 :, x - r : x + r] = 1
    image = rng.integers(0, 90, (80, 60, 3)) + mask[..., None] * rng.integers(80, 160, 3)
    id_ = f"{index:016x}"
    image_path, mask_path = folder / f"{id_}.png", folder / f"{id_}-mask.png"
    image_path.write_bytes(encode_png(image.astype(np.uint8)))
    mask_path.write_bytes(encode_mask(mask))
    return row(index, image=str(image_path), mask=str(mask_path), published_side="train")


def row(index: int, **more: Any) -> dict[str, Any]:
    base = {"id": f"{index:016x}", "source": "eg1800", "source_key": f"{index:05d}.jpg", "label": "human"}
    files = {"image": f"{index}.png", "mask": f"{index}-mask.png", "sha256": f"{index:064x}"}
    return {**base, **files, "width": 60, "height": 80, **more}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("world")
    return make_records([draw(folder, index) for index in range(24)])


@pytest.fixture(scope="module")
def sides(world: pd.DataFrame) -> pd.DataFrame:
    """The records of `world`, a quarter of them on dev."""
    return world.assign(side=["dev" if at % 4 == 0 else "train" for at in range(len(world))])


def test_only_what_split_put_on_train_and_dev_is_taught(
    world: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [draw_in(INGEST / "labelled", index) for index in range(6)]
    sides = ("train", "test", "dev", "train", "test", "dev")
    write_records(
        SPLIT / "labelled", make_records([{**r, "side": s} for r, s in zip(rows, sides, strict=True)])
    )
    records, items = read_labelled()
    assert items == 6 and records["side"].tolist() == ["train", "dev", "train", "dev"]
    write_records(SPLIT / "labelled", make_records([{**row, "side": "test"} for row in rows]))
    with pytest.raises(PipelineError, match=r"found 0 and 0; give a source with masks .* split.dev_share"):
        read_labelled()
    Path(rows[3]["mask"]).unlink()
    with pytest.raises(PipelineError, match=r"expected .*3-mask.png, found no such file; `dvc checkout`"):
        read_labelled()
    write_records(
        SPLIT / "labelled", make_records([{**rows[0], "side": "train", "image": "elsewhere/a.png"}])
    )
    with pytest.raises(
        PipelineError, match=r"expected elsewhere/a.png in data/ingest/labelled or data/crop/bodies"
    ):
        read_labelled()


def draw_in(folder: Path, index: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return draw(folder, index)


def test_the_loss_by_hand() -> None:
    target = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.uint8)
    unsure = teacher_loss(torch.zeros(1, 1, 2, 2), target, dice_weight=2.0)
    assert unsure["cross_entropy"].item() == pytest.approx(np.log(2))
    assert unsure["dice"].item() == pytest.approx(
        1 - (2 * 1 + 1) / (4 + 1)
    )  # p = 0.5: overlap 1, sizes 2 + 2
    assert unsure["loss"].item() == pytest.approx(np.log(2) + 2 * 0.4)
    sure = teacher_loss(torch.tensor([[[[20.0, 20], [-20, -20]]]]), target, dice_weight=1.0)
    assert sure["loss"].item() == pytest.approx(0, abs=1e-6)


class Bright(torch.nn.Module):
    """Says "person" where the picture is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1]


class Normal(torch.nn.Module):
    """Says of each picture what its batch norm makes of it, and doubts all but what is brighter than usual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)[:, :1] / 100


def test_dev_is_judged_by_the_kept_statistics_and_a_logit_above_0_is_a_person(world: pd.DataFrame) -> None:
    """A network in training looks at the other pictures of a batch, and remembers them."""
    samples = [Sample(r.id, Path(r.image), Path(r.mask)) for r in world.head(4).itertuples()]
    dev, model, cpu = load_dev(samples, 64), Normal().train(), torch.device("cpu")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = [evaluate_teacher(model.train(), deeplab.imagenet_input(64), dev, cpu, batch) for batch in (4, 1)]
    assert found[0] == found[1] and found[0]["foreground_iou"] > 0.3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_dev_is_measured_at_224_in_any_number_of_batches(world: pd.DataFrame) -> None:
    samples = [Sample(r.id, Path(r.image), Path(r.mask)) for r in world.head(5).itertuples()]
    dev = load_dev(samples, 64)
    assert dev.inputs.shape == (5, 64, 64, 3)
    assert dev.masks.shape == (5, 224, 224)
    one, many = (
        evaluate_teacher(Bright(), deeplab.imagenet_input(64), dev, torch.device("cpu"), batch)
        for batch in (5, 2)
    )
    assert one == many
    assert set(one) == {"foreground_iou", "mean_iou", "boundary_f1"}
    truth = deeplab.imagenet_input(64)
    painted = np.repeat(
        dev.masks[:, ::3, ::3][:, :64, :64, None] * 255, 3, axis=3
    )  # not to scale: a poor score
    worse = evaluate_teacher(
        Bright(), truth, type(dev)(painted.astype(np.uint8), dev.masks), torch.device("cpu")
    )
    assert worse["foreground_iou"] < 1


def test_dice_counts_every_picture_alike_however_small_its_person_is() -> None:
    """One large person found, one of four pixels missed: half of all persons, though a thousandth of the pixels."""
    target = torch.zeros(2, 64, 64)
    target[0, 8:] = 1
    target[1, :2, :2] = 1
    said = torch.where(target == 1, 30.0, -30.0)
    said[1] = -30.0
    terms = teacher_loss(said[:, None], target, dice_weight=0.5)
    assert float(terms["dice"]) == pytest.approx((0 + (1 - 1 / (4 + 1))) / 2, abs=1e-5)
    assert float(terms["cross_entropy"]) == pytest.approx(30 * 4 / (2 * 64 * 64), abs=1e-5)
    assert float(terms["loss"]) == pytest.approx(float(terms["cross_entropy"] + 0.5 * terms["dice"]))


def scores_again(trained: TrainedTeacher, sides: pd.DataFrame) -> dict[str, float]:
    """What the kept weights, put into a new network, score on dev."""
    model = deeplab.build(trained.card)
    model.load_state_dict(trained.weights)
    dev = sides[sides["side"] == "dev"]
    samples = [Sample(row.id, Path(row.image), Path(row.mask)) for row in dev.itertuples()]
    return evaluate_teacher(model, trained.card.preprocessing, load_dev(samples, 64), torch.device("cpu"))


def test_a_short_run_learns_and_is_summarised(sides: pd.DataFrame, tmp_path: Path) -> None:
    trained = train_teacher(sides, params(epochs=12), None, tmp_path)
    found = summarise(sides, 30, trained)
    for name, score in scores_again(trained, sides).items():  # the kept weights are those that were judged
        assert found[name] == pytest.approx(score, abs=1e-5)
    assert found["foreground_iou"] == max(r["dev_foreground_iou"] for r in trained.history) > 0.5
    assert found["train"] + found["dev"] + found["left_out"] == found["in"] == 30
    assert found["parameters"] == 2_161_137
    losses = [r["loss"] for r in trained.history]
    assert losses[-1] < losses[0]
    write_curves(tmp_path / "plots" / "teacher.csv", trained.history)
    lines = list(csv.DictReader((tmp_path / "plots" / "teacher.csv").open()))
    assert [int(line["epoch"]) for line in lines] == list(range(1, len(lines) + 1))
    assert float(lines[-1]["learning_rate"]) < float(lines[1]["learning_rate"])


def test_it_stops_when_dev_gets_no_better(
    sides: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Real training, but the dev scores are given: the best epoch is the second, two worse ones follow it.
    scores = iter([0.5, 0.6, 0.6, 0.4, 0.9])
    names = ("foreground_iou", "mean_iou", "boundary_f1")
    judged: list[dict[str, torch.Tensor]] = []

    def judge(model: torch.nn.Module, *_: object) -> dict[str, float]:
        judged.append({name: value.clone() for name, value in model.state_dict().items()})
        return dict.fromkeys(names, next(scores))

    monkeypatch.setattr("pipeline.teacher.evaluate_teacher", judge)
    trained = train_teacher(sides, params(epochs=9, patience=2), None, tmp_path)
    assert (len(trained.history), trained.best_epoch) == (4, 2)
    for name, value in trained.weights.items():
        assert torch.equal(value, judged[1][name])


def test_fewer_pictures_than_a_batch_are_one_step_an_epoch(sides: pd.DataFrame, tmp_path: Path) -> None:
    """The only step of an epoch of warm-up has half the rate."""
    few = pd.concat([rows.head(3) for _, rows in sides.groupby("side")])
    schedule = {"kind": "cosine", "warmup": 1}
    trained = train_teacher(few, params(epochs=2, batch=8, schedule=schedule), None, tmp_path)
    assert trained.history[0]["learning_rate"] == pytest.approx(params().learning_rate / 2)


def test_a_loss_that_is_no_number_names_the_pictures(sides: pd.DataFrame, tmp_path: Path) -> None:
    broken = params(learning_rate=1e38, max_gradient=1e30, schedule={"kind": "cosine", "warmup": 0})
    with pytest.raises(
        PipelineError, match=r"the loss is nan in step \d+ of epoch \d; .*0000000000"
    ) as caught:
        train_teacher(sides, broken, None, tmp_path)
    named = [
        word for word in str(caught.value).replace(",", " ").replace(".", " ").split() if len(word) == 16
    ]
    train = set(sides.loc[sides["side"] == "train", "id"])
    assert len(set(named) & train) == 4


def test_another_picture_mask_or_param_is_another_run(
    sides: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = teacher_checkpoint(sides, params(), None, tmp_path)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"x")
    others = {
        teacher_checkpoint(sides.iloc[1:], params(), None, tmp_path),
        teacher_checkpoint(sides, params(seed=7), None, tmp_path),
        teacher_checkpoint(sides, params(), weights, tmp_path),
        teacher_checkpoint(sides.assign(side="train"), params(), None, tmp_path),
    }
    assert len(others) == 4
    assert base not in others
    assert teacher_checkpoint(sides, params(), None, tmp_path) == base
    monkeypatch.setattr(teacher, "code_of", lambda module: f"other {module}")  # goes on from no old state
    assert teacher_checkpoint(sides, params(), None, tmp_path) != base


def start(folder: Path, sides: pd.DataFrame) -> "subprocess.Popen[bytes]":
    """The stage in a folder of its own, with the same pictures."""
    pictures = folder / INGEST / "labelled"
    pictures.mkdir(parents=True, exist_ok=True)
    placed = sides.copy()
    for column in ("image", "mask"):
        for path in map(Path, sides[column]):
            shutil.copyfile(path, pictures / path.name)
        placed[column] = [str(pictures / Path(path).name) for path in sides[column]]
    write_records(folder / SPLIT / "labelled", placed)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["teacher"] = params().model_dump(mode="json")
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    environment = {**os.environ, "SINET_DEVICE": "cpu", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.teacher"], cwd=folder, env=environment, stderr=subprocess.PIPE
    )


def outputs(folder: Path) -> dict[str, bytes]:
    names = ("models/teacher.safetensors", "metrics/teacher.json", "plots/teacher.csv")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(sides: pd.DataFrame, tmp_path: Path) -> None:
    killed = start(tmp_path / "killed", sides)
    deadline = time.monotonic() + 240
    while not list((tmp_path / "killed").glob(".cache/teacher/*/checkpoint.pt")):
        assert killed.poll() is None, killed.stderr.read() if killed.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed" / "models").exists()
    checkpoint = next((tmp_path / "killed").glob(".cache/teacher/*"))
    state = load_state(checkpoint)
    assert state is not None
    assert 1 <= state.epoch < 3

    resumed, undisturbed = start(tmp_path / "killed", sides), start(tmp_path / "undisturbed", sides)
    for process in (resumed, undisturbed):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "undisturbed")
    assert not list((tmp_path / "killed").glob(".cache/teacher/*"))  # a finished run leaves no checkpoint
