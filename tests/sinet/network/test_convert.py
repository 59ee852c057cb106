"""Checkpoints of the official code become weights files that give its logits; everything else is told apart."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sinet
from sinet.__main__ import app
from sinet.network.convert import convert_official
from sinet.network.model import SINet
from sinet.network.preprocess import OFFICIAL
from sinet.network.weights import WeightsError, read_weights
from tests.sinet.portraits import portrait, taught_model


def checkpoint(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def prefixed(tensors: dict[str, Any]) -> dict[str, Any]:
    return {f"module.{name}": value for name, value in tensors.items()}


def training_state(tensors: dict[str, Any]) -> dict[str, Any]:
    """As the official code saves it in the middle of a training."""
    model = SINet()
    return {
        "epoch": 300,
        "arch": str(model),
        "state_dict": tensors,
        "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
        "iouTr": np.float64(0.9),
        "iouVal": np.mean(np.float32([0.9, 0.8])),
        "lr": 5e-4,
    }


WRAPPINGS = {
    "bare": lambda tensors: tensors,
    "parallel": prefixed,
    "wrapped": lambda tensors: {"state_dict": tensors},
    "training": lambda tensors: training_state(prefixed(tensors)),
    "before torch counted batches": lambda tensors: {
        name: value for name, value in tensors.items() if "num_batches" not in name
    },
    "doubles": lambda tensors: {
        name: value.double() if value.is_floating_point() else value for name, value in tensors.items()
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_same_logits_as_the_official_way(tmp_path: Path, wrapping: str) -> None:
    model = taught_model()
    source = checkpoint(tmp_path / "model.pth", WRAPPINGS[wrapping](model.state_dict()))
    convert_official(source, tmp_path / "new" / "w.safetensors")
    loaded = sinet.load(tmp_path / "new" / "w.safetensors")

    # By hand, as the official code does it: BGR, mean and std in 0..255, and then by 255 once more.
    image = portrait(1, 224, 224)[0]
    bgr = image[:, :, ::-1].astype(np.float32)
    for channel, (mean, std) in enumerate(
        [(107.304565, 63.97182), (115.69884, 65.1337), (132.35703, 68.29726)]
    ):
        bgr[:, :, channel] = (bgr[:, :, channel] - mean) / std
    x = torch.from_numpy((bgr / 255).transpose(2, 0, 1)[None].copy())
    with torch.inference_mode():
        wanted = model(x)
        got = loaded.model(loaded.preprocessing.tensor(torch.from_numpy(image)[None]))
    assert wanted.std() > 0.01
    assert torch.allclose(got, wanted, atol=1e-5)
    assert np.array_equal(loaded.mask(image), wanted[0].argmax(0).numpy())


def test_the_card_says_where_they_come_from(tmp_path: Path) -> None:
    card = convert_official(checkpoint(tmp_path / "m.pth", SINet().state_dict()), tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors")[1] == card
    assert card.preprocessing == OFFICIAL
    assert card.dataset.startswith("unknown; converted from the official code's checkpoint with sha256 ")
    assert not card.metrics


class Call:
    """Pickled, it makes a file when it is unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_no_code_is_executed(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    for number, content in enumerate(
        [Call(trap), {"state_dict": SINet().state_dict(), "arch": Call(trap)}, SINet()]
    ):
        source = checkpoint(tmp_path / f"{number}.pth", content)
        with pytest.raises(WeightsError, match="reading it would execute code that it brings along"):
            convert_official(source, tmp_path / "w.safetensors")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Call(trap)))
    with pytest.raises(WeightsError, match=r"old\.pth"):
        convert_official(tmp_path / "old.pth", tmp_path / "w.safetensors")
    assert not trap.exists()
    assert not (tmp_path / "w.safetensors").exists()


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in SINet().state_dict().items() if key != name}


REFUSED = {
    "one class": (
        lambda: SINet(classes=1).state_dict(),
        r"expected a network of 2 classes .* has 1\. A one-class network .* Lovasz",
    ),
    "one class, parallel": (lambda: prefixed(SINet(classes=1).state_dict()), "of 2 classes .* has 1"),
    "twenty classes": (lambda: SINet(classes=20).state_dict(), "of 2 classes .* has 20"),
    "the encoder": (lambda: SINet().encoder.state_dict(), "the whole network, .* holds its encoder alone"),
    "a key less": (
        lambda: without("encoder.level1.conv.weight"),
        r"not those of SINet: encoder\.level1\.conv\.weight is missing$",
    ),
    "a key more": (lambda: {**SINet().state_dict(), "x": torch.zeros(1)}, "SINet: x is unknown"),
    "another shape": (
        lambda: {**SINet().state_dict(), "encoder.level1.conv.weight": torch.zeros(8, 3, 3, 3)},
        r"encoder\.level1\.conv\.weight is 8x3x3x3 and not 12x3x3x3",
    ),
    "no numbers": (
        lambda: {**SINet().state_dict(), "bn_2.bias": torch.tensor([0.0, float("nan")])},
        r"bn_2\.bias holds values that are no numbers",
    ),
    "another network": (
        lambda: torch.nn.Linear(2, 2).state_dict(),
        r"not those of SINet: .*; .*; .*, and \d+ more",
    ),
    "a list": (lambda: [torch.zeros(2)], "expected a state dict, bare or under 'state_dict', .* a list"),
    "nothing": (dict, "an empty dict"),
    "no tensors": (lambda: {"epoch": 3, "lr": 0.1}, "expected tensors by name .* 'epoch' with a int"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_such_checkpoint_says_why(tmp_path: Path, kind: str) -> None:
    content, message = REFUSED[kind]
    source = checkpoint(tmp_path / "m.pth", content())
    with pytest.raises(WeightsError, match=message):
        convert_official(source, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 no zip", b"\x80\x02", bytes(300)])
def test_another_kind_of_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"m\.pth (is none|cannot be read as plain tensors)"):
        convert_official(tmp_path / "m.pth", tmp_path / "w.safetensors")


def test_half_a_checkpoint_is_told(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "m.pth", SINet().state_dict())
    source.write_bytes(source.read_bytes()[:50_000])
    with pytest.raises(WeightsError, match=r"expected a checkpoint that torch\.save wrote"):
        convert_official(source, tmp_path / "w.safetensors")


def test_the_checkpoint_itself_is_not_overwritten(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "m.pth", SINet().state_dict())
    before = source.read_bytes()
    with pytest.raises(WeightsError, match="is the checkpoint itself"):
        convert_official(source, tmp_path / "." / "m.pth")
    assert source.read_bytes() == before


def test_command(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "m.pth", SINet().state_dict())
    done = CliRunner().invoke(app, ["convert", str(source), str(tmp_path / "w.safetensors")])
    assert done.exit_code == 0, done.output
    assert "2 classes, 224x224 BGR" in done.stdout
    assert read_weights(tmp_path / "w.safetensors")[1].preprocessing == OFFICIAL


def test_command_says_what_is_wrong(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "none.pth"), str(tmp_path / "w.safetensors")])
    assert done.exit_code == 1
    assert done.stderr.startswith("sinet convert: ")
    assert "none.pth cannot be read: No such file" in done.stderr
    assert "Traceback" not in done.output
