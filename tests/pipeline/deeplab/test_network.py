"""The teacher's file: what is written is what is read, and a wrong file says what is wrong with it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.core.errors import PipelineError
from pipeline.core.records import teacher_name
from pipeline.deeplab import network as deeplab
from pipeline.deeplab import packaged_encoder

CARD = deeplab.TeacherCard("resnet18", 16, (2, 4, 6), 1, deeplab.imagenet_input(64))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return deeplab.build(CARD).eval()


def test_saved_and_loaded_weights_give_the_same_answers(model: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "models" / "teacher.safetensors"
    deeplab.save_teacher(path, model.state_dict(), CARD)
    again, card = deeplab.load_teacher(path)
    assert card == CARD
    assert not again.training
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(again(x), model(x))
    first = path.read_bytes()
    deeplab.save_teacher(path, again.state_dict(), card)
    assert path.read_bytes() == first
    assert len(teacher_name(path)) == 16
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_two_opinions_change_places_for_the_mirrored_picture(model: torch.nn.Module) -> None:
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    straight, mirrored = deeplab.two_opinions(model, CARD.preprocessing, image)
    assert straight.shape == mirrored.shape == (64, 64)
    assert 0 <= straight.min() <= straight.max() <= 1
    swapped = deeplab.two_opinions(model, CARD.preprocessing, np.ascontiguousarray(image[:, ::-1]))
    np.testing.assert_allclose(swapped[0][:, ::-1], mirrored, atol=1e-5)
    np.testing.assert_allclose(swapped[1][:, ::-1], straight, atol=1e-5)


@pytest.mark.parametrize("shape", [(48, 30), (900, 300), (320, 320)])
def test_a_picture_of_any_size_becomes_the_input(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    assert np.array_equal(deeplab.teacher_input(image, 64), np.full((64, 64, 3), 77, np.uint8))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_encoder_weights_are_taken_over(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    donor = deeplab.build(CARD).get_submodule("encoder").state_dict()
    donor = {**donor, "fc.weight": torch.zeros(1000, 512)}  # a classifier's head is left aside
    path = tmp_path / f"encoder{suffix}"
    save_file(donor, path) if suffix == ".safetensors" else torch.save(donor, path)
    assert deeplab.find_encoder_weights(str(path), "resnet18") == path
    torch.manual_seed(2)
    taker = deeplab.build(CARD)
    deeplab.load_encoder(taker, path)
    got = taker.get_submodule("encoder").state_dict()
    assert all(torch.equal(got[key], donor[key]) for key in got)


def test_the_packaged_imagenet_weights_fill_their_encoder_without_a_hub() -> None:
    path = deeplab.find_encoder_weights("imagenet", packaged_encoder.ENCODER)
    assert path is not None
    card = deeplab.TeacherCard(packaged_encoder.ENCODER, 16, (3, 6, 9), 1, deeplab.imagenet_input(64))
    torch.manual_seed(3)
    taker = deeplab.build(card)
    deeplab.load_encoder(taker, path)
    found = torch.load(path, weights_only=True)
    got = taker.get_submodule("encoder").state_dict()
    # One layer of each kind, under the name that timm gives it.
    for name, package in {
        "conv_stem.weight": "_conv_stem.weight",
        "blocks.1.1.conv_dw.weight": "_blocks.2._depthwise_conv.weight",
        "blocks.3.2.bn1.running_var": "_blocks.7._bn0.running_var",
        "blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "blocks.6.0.bn3.bias": "_blocks.15._bn2.bias",
    }.items():
        assert torch.equal(got[f"model.{name}"], found[package]), name
    assert packaged_encoder.packaged_weights("resnet18") is None


def test_packaged_weights_for_another_encoder_are_refused(model: torch.nn.Module) -> None:
    path = packaged_encoder.packaged_weights(packaged_encoder.ENCODER)
    assert path is not None
    with pytest.raises(PipelineError, match=r"168 unknown .* of another shape \(conv1.weight"):
        deeplab.load_encoder(model, path)


def wrong_files(folder: Path) -> dict[str, Path]:
    state = deeplab.build(CARD).get_submodule("encoder").state_dict()
    few = dict(list(state.items())[3:])
    named = {f"model.{key}": value for key, value in state.items()}
    wide = {**state, "conv1.weight": torch.zeros(64, 4, 7, 7)}
    for name, content in {"few": few, "named": named, "wide": wide, "nested": {"state_dict": state}}.items():
        torch.save(content, folder / f"{name}.pth")
    torch.save({"a": Path("x")}, folder / "pickle.pth")
    (folder / "junk.safetensors").write_bytes(b"junk")
    return {path.stem: path for path in folder.iterdir()}


def test_weights_that_do_not_fit_are_refused_with_the_keys(tmp_path: Path, model: torch.nn.Module) -> None:
    files = wrong_files(tmp_path)
    for name, message in {
        "few": r"few\.pth does not fit the encoder \w+: 3 missing \(conv1.weight, bn1.weight, bn1.bias\)",
        "named": r"unknown \(model.conv1.weight",
        "wide": r"1 of another shape \(conv1.weight\)",
        "nested": r"expected a state dict .* found \['state_dict'\]",
        "pickle": "neither safetensors nor a file of torch.save with tensors alone",
        "junk": "neither safetensors nor",
    }.items():
        with pytest.raises(PipelineError, match=message):
            deeplab.load_encoder(model, files[name])


@pytest.mark.parametrize(
    ("weights", "encoder", "message"),
    [
        ("weights/missing.pth", "resnet18", "expected none, imagenet, or a file.*missing.pth"),
        ("imagenet", "tu-regnety_002", "no ImageNet weights are known for the encoder 'tu-regnety_002'"),
    ],
)
def test_weights_that_cannot_be_had(weights: str, encoder: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        deeplab.find_encoder_weights(weights, encoder)


def test_an_unreachable_hub_is_one_sentence_within_seconds(tmp_path: Path) -> None:
    # Nothing listens on the discard port, so the connection is refused at once.
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_CACHE": str(tmp_path)}
    code = (
        "import time; from pipeline.deeplab import network as deeplab; from pipeline.core.errors import PipelineError\n"
        "deeplab.build(deeplab.TeacherCard('resnet18', 16, (2, 4, 6), 1, deeplab.imagenet_input(64)))\n"
        "start = time.monotonic()\n"
        "try: deeplab.find_encoder_weights('imagenet', 'se_resnext50_32x4d')\n"
        "except PipelineError as error: print(error, '|', time.monotonic() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    message, seconds = done.stdout.split("|")
    assert "imagenet needs model.safetensors of smp-hub/se_resnext50_32x4d.imagenet" in message
    assert "set teacher.weights to the file, or set it to none" in message
    assert float(seconds) < 10


def test_an_unknown_encoder_is_refused_by_name() -> None:
    with pytest.raises(PipelineError, match=r"teacher\.encoder: .*'resnet1800'"):
        deeplab.build(deeplab.TeacherCard("resnet1800", 16, (2, 4, 6), 1, deeplab.imagenet_input(64)))


def test_a_file_that_is_no_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="found none; run `dvc repro teacher`"):
        deeplab.load_teacher(tmp_path / "teacher.safetensors")
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(PipelineError, match="is no teacher of this project"):
        deeplab.load_teacher(path)
