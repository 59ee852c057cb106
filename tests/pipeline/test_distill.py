"""Distillation: a real (untrained) teacher's probabilities, kept, and trained on by the stage."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline import deeplab
from pipeline import train as stage
from pipeline.distill import taught
from pipeline.errors import PipelineError
from pipeline.params import load_params
from pipeline.paths import CACHE, DATASET, SINET, TEACHER
from pipeline.records import read_records
from pipeline.train import checkpoint_folder, samples_of
from sinet.images import decode_image, read_image
from sinet.weights import load
from tests.pipeline.dataset_inputs import write_dataset, write_tiny_params
from tests.pipeline.test_pseudo_label import write_teacher


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder with params.yaml, an untrained teacher and a dataset of 6 train, 2 dev and 2 test pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    write_tiny_params(root)
    write_teacher(TEACHER, 0)
    write_dataset([*["train"] * 6, *["dev"] * 2, *["test"] * 2], ["human"] * 10)
    return tmp_path


def ask_for(share: str) -> None:
    params = Path("params.yaml")
    text = params.read_text()
    assert "distill: 0.0" in text
    params.write_text(text.replace("distill: 0.0", f"distill: {share}"))


def test_the_probabilities_are_the_teachers_mean_opinion(project: Path) -> None:
    samples = samples_of(read_records(DATASET), "train")
    found = taught(samples, TEACHER, CACHE)
    assert [one.id for one in found] == [one.id for one in samples]
    model, card = deeplab.load(TEACHER)
    image = read_image(samples[2].image)
    straight, mirrored = deeplab.two_opinions(model, card.preprocessing, image)
    assert found[2].probability is not None
    grey = decode_image(found[2].probability)[..., 0]
    assert np.abs(grey / 255 - (straight + mirrored) / 2).max() < 0.01
    assert np.abs(straight - cv2.flip(straight, 1)).max() > 0.01  # a left and a right to mix up


def test_they_are_kept_for_this_teacher_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = samples_of(read_records(DATASET), "train")
    first = taught(samples, TEACHER, CACHE)
    asked = []
    ask = deeplab.two_opinions
    monkeypatch.setattr(deeplab, "two_opinions", lambda *a: (asked.append(1), ask(*a))[1])
    assert taught(samples, TEACHER, CACHE) == first
    assert not asked
    damaged = next(path for path in (CACHE / "distill").rglob("*") if path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert taught(samples, TEACHER, CACHE) == first
    assert len(asked) == 1
    write_teacher(TEACHER, 1)
    assert taught(samples, TEACHER, CACHE) != first
    assert len(asked) == 1 + len(samples)


def test_the_stage_learns_from_the_teacher_where_it_is_asked_to(project: Path) -> None:
    weights = []
    for share in (None, "0.5"):
        if share is not None:
            ask_for(share)
        stage.main()
        assert json.loads(Path("metrics/train.json").read_text())["epochs"] == 3
        weights.append(load(SINET)[0].state_dict())
    assert any(not torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_checkpoint_belongs_to_its_teacher(project: Path) -> None:
    records = read_records(DATASET)
    alone = checkpoint_folder(records, load_params().train)
    ask_for("0.5")
    recipe = load_params().train
    first = checkpoint_folder(records, recipe)
    write_teacher(TEACHER, 1)
    assert len({alone, first, checkpoint_folder(records, recipe)}) == 3


def test_without_a_teacher_it_says_what_to_run(project: Path) -> None:
    ask_for("0.5")
    TEACHER.unlink()
    with pytest.raises(PipelineError, match=r"expected a teacher at .*run `dvc repro teacher`"):
        stage.main()
