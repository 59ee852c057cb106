"""`python -m sinet export`: ONNX and OpenVINO, each compared with torch on pictures, removed where they differ."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from sinet.__main__ import app
from sinet.exporting import to_int8 as export_int8
from sinet.exporting import to_onnx as export
from sinet.exporting import to_openvino as export_openvino
from sinet.exporting.comparison import comparison_pictures
from sinet.exporting.onnx_file import OnnxPredictor
from sinet.exporting.to_onnx import ExportError
from sinet.images.decode import encode_png, read_image
from sinet.inference.files import InputError
from sinet.inference.predictor import Predictor
from sinet.network.preprocess import squash_image
from sinet.network.weights import WeightsError
from tests.sinet.films import film, full_disk
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


def not_a_number(*_: object) -> float:
    raise ExportError("m.onnx gives logits that are no numbers")


@pytest.mark.parametrize("before", [None, b"of an earlier run"])
@pytest.mark.parametrize(
    ("difference", "message"),
    [
        (lambda *_: 0.01, "to agree to 0.001 on each logit of 2 pictures, found a difference of 0.01"),
        (not_a_number, "gives logits that are no numbers"),
    ],
)
def test_a_file_that_differs_takes_no_place(
    before: bytes | None,
    difference: Callable[..., float],
    message: str,
    ready: None,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if before:
        (tmp_path / "m.onnx").write_bytes(before)
    monkeypatch.setattr(export, "difference", difference)
    done = command(weights, tmp_path / "m.onnx")
    assert done.exit_code == 1
    assert message in done.stderr
    assert [one.read_bytes() for one in tmp_path.iterdir()] == ([before] if before else [])


@pytest.mark.parametrize(
    ("arguments", "over"),
    [
        (("w.bin",), "the weights file"),
        (("link.onnx",), "the weights file"),
        (("m.onnx", "--openvino", "w.xml"), "the weights file"),
        (("m.bin", "--openvino", "m.xml"), "another file that is written"),
        (("m.xml", "--openvino", "m.xml"), "another file that is written"),
        (("m.onnx", "--int8", "images/../m.onnx", "--pictures", "images"), "another file that is written"),
        (("m.onnx", "--int8", "w.bin", "--pictures", "images"), "the weights file"),
        (("images/0.png", "--pictures", "images"), "a picture to compare on"),
        (("images/0.png", "--pictures", "images/0.png"), "a picture to compare on"),
    ],
)
def test_no_file_is_written_over_one_that_is_read_or_another_one(
    arguments: tuple[str, ...], over: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.bin").write_bytes(weights.read_bytes())
    Path("link.onnx").symlink_to("w.bin")
    write_portraits(tmp_path, 1)
    Path("images/0.png").write_bytes(encode_png(portrait(1)[0]))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = command("w.bin", *arguments)
    assert done.exit_code == 1
    assert f"would be written over {over}; give it another name" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_link_stays_one(ready: None, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "m.onnx").symlink_to(tmp_path / "deep" / "m1.onnx")
    assert command(weights, tmp_path / "m.onnx").exit_code == 0
    assert (tmp_path / "m.onnx").is_symlink()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["m1.onnx"]


def test_a_folder_in_the_place_of_a_file_is_one_line(ready: None, weights: Path, tmp_path: Path) -> None:
    done = command(weights, tmp_path)
    assert done.exit_code == 1
    assert f"expected a file to write, {tmp_path} is a folder" in done.stderr


def test_a_folder_that_cannot_be_made_is_one_line(ready: None, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command(weights, tmp_path / "file" / "deep" / "m.onnx")
    assert done.exit_code == 1
    assert done.stderr.strip().endswith(f"sinet export: {tmp_path / 'file' / 'deep'}: Not a directory")


def test_a_full_disk_is_one_line_that_names_the_file(
    exported: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "export_onnx", lambda path, *more: path.write_bytes(exported.read_bytes()))
    with full_disk(tmp_path):
        (tmp_path / "m.onnx").write_text("of an earlier run")
        done = command(weights, tmp_path / "m.onnx")
        assert done.exit_code == 1
        assert done.stderr.splitlines()[-1] == f"sinet export: {tmp_path / 'm.onnx'}: the disk is full"
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
        assert (tmp_path / "m.onnx").read_text() == "of an earlier run"


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
    assert export_openvino.openvino_difference(tmp_path / "ov" / "m.xml", predictor, [portrait(1)[0]]) < 1e-4


def test_8_bit_integers_are_calibrated_on_pictures(
    ready: None, weights: Path, tmp_path: Path, predictor: Predictor
) -> None:
    write_portraits(tmp_path, 3)
    small = tmp_path / "new" / "m8.onnx"
    done = command(weights, tmp_path / "m.onnx", "--int8", small, "--pictures", tmp_path / "images")
    assert done.exit_code == 0, done.output
    assert f"{small}: {small.stat().st_size:,} bytes, IoU of its masks with torch's 0.9" in done.stdout
    assert small.stat().st_size < (tmp_path / "m.onnx").stat().st_size
    assert [path.name for path in small.parent.iterdir()] == ["m8.onnx"]
    image = portrait(1)[0]
    exact = OnnxPredictor(tmp_path / "m.onnx").square_probability(image)
    assert np.abs(exact - predictor.square_probability(image)).max() < 1e-4
    off = np.abs(OnnxPredictor(small).square_probability(image) - exact)
    assert off.max() > 1e-3, "nothing was rounded"
    assert off.mean() < 0.05
    again = tmp_path / "again.onnx"
    export_int8.export_int8(
        tmp_path / "m.onnx",
        again,
        predictor,
        comparison_pictures(tmp_path / "images", CARD.preprocessing.size),
    )
    assert again.read_bytes() == small.read_bytes()


@pytest.mark.parametrize("more", [(), ("--with-preprocessing", "--pictures", "images")])
def test_8_bit_integers_need_pictures_and_no_preprocessing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_portraits(tmp_path, 1)
    done = command(weights, "m.onnx", "--int8", "m8.onnx", *more)
    assert done.exit_code == 1
    assert "--int8 needs --pictures to calibrate on" in done.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_evaluate_measures_an_exported_file(
    exported: Path, weights: Path, tmp_path: Path, predictor: Predictor
) -> None:
    write_portraits(tmp_path, 3)
    figures = []
    for name in (weights, exported):
        options = (
            "--images",
            tmp_path / "images",
            "--masks",
            tmp_path / "masks",
            "--out",
            tmp_path / "o.json",
        )
        done = CliRunner().invoke(app, ["evaluate", "--weights", str(name), *map(str, options)])
        assert done.exit_code == 0, done.output
        figures.append(json.loads((tmp_path / "o.json").read_text()))
    for metric in ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native"):
        assert figures[1][metric] == pytest.approx(figures[0][metric], abs=1e-3)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "No such file"), (b"no network", "expected an ONNX file of `python -m")]
)
def test_what_is_no_exported_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        OnnxPredictor(tmp_path / "m.onnx")


def test_an_exported_file_without_its_card_is_refused(exported: Path, tmp_path: Path) -> None:
    proto = onnx.load(exported)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(WeightsError, match="with its card inside, found none"):
        OnnxPredictor(tmp_path / "m.onnx")


def test_an_openvino_file_ends_in_xml(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"ends in \.xml"):
        export_openvino.export_openvino(exported, tmp_path / "m.onnx", CARD)


def test_pictures_to_compare_on(tmp_path: Path) -> None:
    portraits = comparison_pictures(None, 96)
    assert len(portraits) == 2 and portraits[0].shape == (96, 96, 3) and portraits[0].std() > 20
    assert np.array_equal(portraits[0], portraits[1][:, ::-1])
    write_portraits(tmp_path, 3)
    assert len(comparison_pictures(tmp_path / "images", 64, most=2)) == 2
    (alone,) = comparison_pictures(tmp_path / "images" / "00001.png", 64)
    assert np.array_equal(alone, squash_image(read_image(tmp_path / "images" / "00001.png"), 64))


def test_nothing_to_compare_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="found none"):
        comparison_pictures(tmp_path, 64)
    film(tmp_path / "film.mp4")
    with pytest.raises(InputError, match="found only videos"):
        comparison_pictures(tmp_path, 64)
    (tmp_path / "a.png").write_bytes(encode_png(portrait(1)[0])[:60])
    with pytest.raises(InputError, match=r"a\.png cannot be used"):
        comparison_pictures(tmp_path, 64)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="name pictures with --pictures"):
        comparison_pictures(None, 64)


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
