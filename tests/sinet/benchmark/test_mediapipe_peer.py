"""The script that makes a peer's masks, without the peer: a stand-in that knows people by their brightness."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sinet.core.recipe import EvaluateRecipe
from sinet.evaluation.protocol import evaluate_masks
from sinet.images.decode import encode_png, read_mask
from sinet.images.sample import Sample

Run = Callable[..., None]


class StandIn:
    """As `mediapipe.solutions.selfie_segmentation.SelfieSegmentation`: the red channel is the probability."""

    def __init__(self, model_selection: int) -> None:
        pass

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def process(self, rgb: np.ndarray) -> Any:
        return SimpleNamespace(segmentation_mask=rgb[..., 0].astype(np.float32) / 255)


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script with these arguments."""
    solutions = SimpleNamespace(selfie_segmentation=SimpleNamespace(SelfieSegmentation=StandIn))
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(solutions=solutions))
    spec = importlib.util.spec_from_file_location("peer", root / "sinet/benchmark/mediapipe_peer.py")
    assert spec is not None and spec.loader is not None
    peer: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)

    def with_arguments(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["mediapipe_peer.py", *map(str, arguments)])
        peer.main()

    return with_arguments


def write(folder: Path, name: str, red: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    image = np.stack([red, np.full_like(red, 9), np.full_like(red, 200)], axis=2)
    (folder / f"{name}.png").write_bytes(encode_png(image))


def test_masks_are_grey_at_the_pictures_own_size(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    red = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
    write(tmp_path / "in", "a", red)
    run(tmp_path / "in", tmp_path / "out")
    assert np.array_equal(read_mask(tmp_path / "out" / "a.png"), red > 127)
    assert capsys.readouterr().out.startswith("1 pictures, ")


def test_a_trace_of_a_person_is_no_person(run: Run, tmp_path: Path) -> None:
    """Levels of 0 and 1 alone would be read as black and white."""
    write(tmp_path / "in", "a", np.eye(8, dtype=np.uint8))
    (tmp_path / "true.png").write_bytes(encode_png(np.zeros((8, 8), np.uint8)))
    run(tmp_path / "in", tmp_path / "out")
    sample = Sample("a", tmp_path / "out" / "a.png", tmp_path / "true.png")
    recipe = EvaluateRecipe(size=224, boundary_kernel=15, gallery=0)
    assert evaluate_masks([sample], recipe).figures()["foreground_iou"] == 1


def test_a_list_names_stems_and_numbers(run: Run, tmp_path: Path) -> None:
    for name in ("00001", "00002", "anna b", "0x"):
        write(tmp_path / "in", name, np.zeros((4, 4), np.uint8))
    (tmp_path / "val.txt").write_text("\ufeff1\nanna b\nx\n", encoding="utf-8")
    run(tmp_path / "in", tmp_path / "out", "--list", tmp_path / "val.txt")
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["00001", "anna b"]


def test_what_cannot_be_measured_is_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "in", "a", np.zeros((4, 4), np.uint8))
    before = (tmp_path / "in" / "a.png").read_bytes()
    for arguments, message in (
        ((tmp_path / "empty", tmp_path / "out"), "expected pictures (jpg, jpeg, png) in"),
        ((tmp_path / "in", tmp_path / "in"), "expected another folder to write to"),
    ):
        with pytest.raises(SystemExit):
            run(*arguments)
        assert message in capsys.readouterr().err
    assert (tmp_path / "in" / "a.png").read_bytes() == before
