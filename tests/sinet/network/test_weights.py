"""Weights files carry what a user must know, are refused without it, and never execute code."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sinet.exporting.onnx_file import OnnxPredictor
from sinet.network.convert import convert_official
from sinet.network.model import SINet
from sinet.network.preprocess import OFFICIAL
from sinet.network.weights import CARD as ENTRY
from sinet.network.weights import WeightsCard, WeightsError, read_weights, save_weights
from tests.sinet.portraits import CARD, write_weights


def test_there_and_back(tmp_path: Path) -> None:
    model = SINet(classes=2)
    save_weights(tmp_path / "deep" / "w.safetensors", model, CARD)
    loaded, card = read_weights(tmp_path / "deep" / "w.safetensors")
    assert card == CARD
    assert not loaded.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key]), key


def test_what_training_started_from_stays_in_the_card(tmp_path: Path) -> None:
    assert "started_from" not in CARD.to_json(), "weights of random ones keep their bytes"
    write_weights(tmp_path / "w", SINet(classes=2), replace(CARD, started_from="abc"))
    assert read_weights(tmp_path / "w")[1].started_from == "abc"


@pytest.mark.parametrize("width", [0.5, 1.5])
def test_the_file_says_the_width(tmp_path: Path, width: float) -> None:
    assert "width" not in CARD.to_json(), "weights of the paper's network keep their bytes"
    model = SINet(width=width)
    loaded, card = read_weights(write_weights(tmp_path / "w", model, replace(CARD, width=width)))
    assert card.width == loaded.width == width
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (0.5, r"not those of SINet of width 0\.5, as its card says"),
        (2, r"not those of SINet of width 2, as its card says"),
        (0.1, r"cannot be used: expected a width of 0\.25 to 4, found 0\.1"),
        (float("nan"), "cannot be used: expected a width of .* found nan"),
        ("large", "cannot be used: expected a number for width, found 'large'"),
        (None, "cannot be used: expected a number for width, found None"),
        (True, "cannot be used: expected a number for width, found True"),
    ],
)
def test_another_width_than_that_of_the_tensors_is_refused(
    tmp_path: Path, width: object, message: str
) -> None:
    card = json.dumps({**json.loads(CARD.to_json()), "width": width})
    save_file(SINet().state_dict(), tmp_path / "w", metadata={ENTRY: card})
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "w")


def test_a_width_is_never_told_from_the_tensors(tmp_path: Path) -> None:
    save_file(SINet(width=2).state_dict(), tmp_path / "w", metadata={ENTRY: CARD.to_json()})
    with pytest.raises(WeightsError, match="not those of SINet of width 1, as its card says"):
        read_weights(tmp_path / "w")
    with pytest.raises(WeightsError, match="the model has width 2, its card says 1"):
        save_weights(tmp_path / "other", SINet(width=2), CARD)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    model = SINet(classes=2)
    contents = set()
    for number, metrics in enumerate(({"a": 0.1, "b": 0.2}, {"b": 0.2, "a": 0.1})):
        card = WeightsCard(2, OFFICIAL, "0123", metrics, 0)
        contents.add(write_weights(tmp_path / f"{number}.safetensors", model, card).read_bytes())
    assert len(contents) == 1
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


def test_weights_in_another_memory_format_are_the_same(tmp_path: Path) -> None:
    model = SINet(classes=2)
    plain = write_weights(tmp_path / "a", model).read_bytes()
    assert write_weights(tmp_path / "b", model.to(memory_format=torch.channels_last)).read_bytes() == plain


def test_a_file_without_a_card_is_refused(tmp_path: Path) -> None:
    save_file(SINet().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="does not say which classes, preprocessing and dataset"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "missing", ["classes", "preprocessing", "dataset", "metrics", "unreviewed_pseudo_labels"]
)
def test_a_card_that_lacks_something_is_refused(tmp_path: Path, missing: str) -> None:
    values = json.loads(CARD.to_json())
    del values[missing]
    save_file(SINet().state_dict(), tmp_path / "w", metadata={ENTRY: json.dumps(values)})
    with pytest.raises(WeightsError, match=f"lacks '{missing}'"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, number: float) -> None:
    model = SINet(classes=2)
    with torch.no_grad():
        dict(model.named_parameters())["encoder.level1.conv.weight"][1, 2] = number
    write_weights(tmp_path / "w", model)
    with pytest.raises(WeightsError, match=r"found NaN or infinity in encoder\.level1\.conv\.weight"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize("card", ["", "[]", "{", '{"classes": 2, "preprocessing": {"size": 224}}'])
def test_a_damaged_card_is_refused(tmp_path: Path, card: str) -> None:
    save_file(SINet().state_dict(), tmp_path / "w", metadata={ENTRY: card})
    with pytest.raises(WeightsError, match="the card inside the weights file cannot be used"):
        read_weights(tmp_path / "w")


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    one = WeightsCard(1, OFFICIAL, "0123", {}, 0)
    write_weights(tmp_path / "w", SINet(1), one)
    with pytest.raises(WeightsError, match=r"expected weights of 2 classes, .* has 1"):
        read_weights(tmp_path / "w")
    assert read_weights(tmp_path / "w", classes=1)[0].classes == 1


def test_a_card_of_another_model_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the model has 1 classes, its card says 2"):
        save_weights(tmp_path / "w", SINet(1), CARD)


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    tensors = load_file(write_weights(tmp_path / "w"))
    del tensors["encoder.level1.conv.weight"]
    save_file(tensors, tmp_path / "less", metadata={ENTRY: CARD.to_json()})
    with pytest.raises(
        WeightsError, match=r"not those of SINet of width 1, .*: .*encoder\.level1\.conv\.weight"
    ):
        read_weights(tmp_path / "less")


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04pickle"])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        read_weights(tmp_path / "w.pth")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe or device stands there"):
        read_weights(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe or device stands there"):
        OnnxPredictor(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="pipe or device stands there"):
        convert_official(tmp_path / "pipe", tmp_path / "w.safetensors")
    with pytest.raises(OSError, match="pipe or device stands there"):
        save_weights(tmp_path / "pipe", SINet(), CARD)
    assert not (tmp_path / "pipe").is_file()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="found no such file"):
        read_weights(tmp_path / "nothing.safetensors")
