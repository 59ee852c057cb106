"""`python -m sinet export`: ONNX and OpenVINO, each compared with torch on pictures, removed where they differ."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from sinet import comparison, export, export_openvino
from sinet.__main__ import app
from sinet.comparison import comparison_pictures
from sinet.export import ExportError
from sinet.files import InputError
from sinet.images import encode_png
from sinet.predict import Predictor
from tests.sinet.films import film
from tests.sinet.portraits import CARD, portrait, write_portraits, write_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, predictor: Predictor) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", predictor.model)


@pytest.fixture
def ready(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds its ONNX file made, since making one takes torch ten seconds and more."""
    monkeypatch.setattr(export, "export_onnx", lambda path, *more: shutil.copy(exported, path))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_compared_on_a_real_portrait_or_own_pictures(ready: None, weights: Path, tmp_path: Path) -> None:
    write_portraits(tmp_path, 3)
    for more, count in (([], 2), (["--pictures", tmp_path / "images"], 3)):
        done = command(weights, tmp_path / "m.onnx", *more)
        assert done.exit_code == 0, done.output
        assert f"of a logit from torch ({count} pictures)" in done.stdout


def test_a_file_that_differs_is_removed(
    ready: None, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "difference", lambda *arguments: 0.01)
    done = command(weights, tmp_path / "m.onnx")
    assert done.exit_code == 1
    assert "to agree to 0.001 on each logit, found a difference of 0.01; the file was removed" in done.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_without_openvino_the_onnx_file_is_there_and_it_says_what_to_install(
    ready: None, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = command(weights, tmp_path / "m.onnx", "--openvino", tmp_path / "m.xml")
    assert done.exit_code == 1
    assert "OpenVINO is not installed; install it with: pip install" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_openvino_where_it_is_installed(
    ready: None, weights: Path, tmp_path: Path, predictor: Predictor
) -> None:
    done = command(weights, tmp_path / "m.onnx", "--openvino", tmp_path / "ov" / "m.xml")
    if find_spec("openvino") is None:
        assert "OpenVINO is not installed" in done.stderr
        return
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "ov").iterdir()) == ["m.bin", "m.xml"]
    assert export_openvino.difference(tmp_path / "ov" / "m.xml", predictor, [portrait(1)[0]]) < 1e-4


def test_an_openvino_file_ends_in_xml(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"ends in \.xml"):
        export_openvino.export_openvino(exported, tmp_path / "m.onnx", CARD)


def test_pictures_to_compare_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    portraits = comparison_pictures(None)
    assert len(portraits) == 2 and min(portraits[0].shape[:2]) > 400
    assert np.array_equal(portraits[0], portraits[1][:, ::-1])
    monkeypatch.setattr(comparison, "MOST", 2)
    write_portraits(tmp_path, 3)
    assert len(comparison_pictures(tmp_path / "images")) == 2
    assert len(comparison_pictures(tmp_path / "images" / "00001.png")) == 1


def test_nothing_to_compare_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="found none"):
        comparison_pictures(tmp_path)
    film(tmp_path / "film.mp4")
    with pytest.raises(InputError, match="found only videos"):
        comparison_pictures(tmp_path)
    (tmp_path / "a.png").write_bytes(encode_png(portrait(1)[0])[:60])
    with pytest.raises(InputError, match=r"a\.png cannot be used"):
        comparison_pictures(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="name pictures with --pictures"):
        comparison_pictures(None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.safetensors", "m.onnx"], "none.safetensors, found no such file"),
        (["WEIGHTS", "m.onnx", "--pictures", "nowhere.png"], "nowhere.png cannot be used"),
        (["WEIGHTS", "file/m.onnx"], "file"),
    ],
)
def test_mistakes_are_told(
    ready: None,
    weights: Path,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = command(*[str(weights) if one == "WEIGHTS" else one for one in arguments])
    assert done.exit_code == 1
    assert done.stderr.startswith("sinet export: ") and message in done.stderr
    assert "Traceback" not in done.output
