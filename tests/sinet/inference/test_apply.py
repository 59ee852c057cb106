"""`python -m sinet predict` as a user meets it: files, names, colours, messages, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import sinet
from sinet.__main__ import app
from sinet.images.decode import encode_png, read_image
from sinet.inference import footage
from sinet.inference.predictor import Predictor
from tests.sinet.films import film, full_disk, watch
from tests.sinet.portraits import portrait, write_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, predictor: Predictor) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", predictor.model)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """hopper.jpg, hopper.png, ada.png and notes.txt."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(portrait(1)[0]).save(folder / "hopper.jpg", quality=95)
    (folder / "hopper.png").write_bytes(encode_png(portrait(2)[0]))
    (folder / "ada.png").write_bytes(encode_png(portrait(3, 130, 70)[0]))
    (folder / "notes.txt").write_text("no picture")
    return folder


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder(photos: Path, weights: Path, tmp_path: Path, predictor: Predictor) -> None:
    done = predict(photos, "--out", tmp_path / "new" / "out", "--weights", weights)
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "new" / "out") == ["ada.png", "hopper.jpg.png", "hopper.png.png"]
    assert f"3 of 3 done, in {tmp_path / 'new' / 'out'}" in done.stdout
    assert "neither picture nor video" in done.stderr and "notes.txt" in done.stderr
    assert "predict: 100%" in done.stderr
    for source, mask in (("hopper.jpg", "hopper.jpg.png"), ("ada.png", "ada.png")):
        image = read_image(photos / source)
        with Image.open(tmp_path / "new" / "out" / mask) as written:
            assert written.mode == "L"
            assert np.array_equal(np.asarray(written), predictor.mask(image) * 255)


def picture_kinds(image: np.ndarray) -> dict[str, tuple[str, bytes]]:
    import io

    def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return buffer.getvalue()

    plain = Image.fromarray(image)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "cmyk": ("x.jpg", saved(plain.convert("CMYK"), "JPEG", quality=95)),
        "grey": ("x.png", saved(plain.convert("L"), "PNG")),
        "16 bit": ("x.png", saved(Image.fromarray(image[..., 0].astype(np.uint16) * 257), "PNG")),
        "palette": ("x.png", saved(plain.quantize(64), "PNG")),
        "alpha": ("x.webp", saved(plain.convert("RGBA"), "WEBP")),
        "turned": ("x.jpg", saved(plain, "JPEG", quality=95, exif=turned)),
        "animation": ("x.gif", saved(plain, "GIF", save_all=True, append_images=[plain.rotate(180)])),
        "no suffix": ("x", saved(plain, "PNG")),
    }


@pytest.mark.parametrize("kind", picture_kinds(portrait(3)[0]))
def test_pictures_of_every_kind(kind: str, weights: Path, tmp_path: Path, predictor: Predictor) -> None:
    name, content = picture_kinds(portrait(3)[0])[kind]
    (tmp_path / name).write_bytes(content)
    done = predict(
        tmp_path / name, "--out", tmp_path / "out", "--weights", weights, "--background", "transparent"
    )
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "out") == ["x.background.png", "x.png"]
    upright = read_image(tmp_path / name)
    assert upright.shape[:2] == ((90, 120) if kind == "turned" else (120, 90))
    mask = np.asarray(Image.open(tmp_path / "out" / "x.png"))
    assert np.array_equal(mask, predictor.mask(upright) * 255)
    rgba = np.asarray(Image.open(tmp_path / "out" / "x.background.png"))
    assert rgba.shape == (*upright.shape[:2], 4)
    assert (rgba[..., 3] == 255).any()
    assert np.array_equal(rgba[rgba[..., 3] == 255][:, :3], upright[rgba[..., 3] == 255])


def test_backgrounds(photos: Path, weights: Path, tmp_path: Path, predictor: Predictor) -> None:
    wall = portrait(9, 50, 40)[0]
    (tmp_path / "wall.png").write_bytes(encode_png(wall))
    image = read_image(photos / "ada.png")
    behind = predictor.probability(image) < 0.1
    common = (photos / "ada.png", "--out", tmp_path / "out", "--weights", weights, "--existing", "replace")
    for background in ("blur", "#c83c14", tmp_path / "wall.png"):
        done = predict(*common, "--background", background)
        assert done.exit_code == 0, done.output
        assert names(tmp_path / "out") == ["ada.background.png", "ada.png"]  # replaced each time
        composed = read_image(tmp_path / "out" / "ada.background.png")
        assert composed.shape == image.shape
        if background == "#c83c14":
            assert (composed[behind] == (0xC8, 0x3C, 0x14)).all()


def test_a_broken_picture_is_one_line_and_the_rest_is_done(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    (photos / "broken.jpg").write_bytes((photos / "hopper.jpg").read_bytes()[:900])
    (photos / "fake.mp4").write_text("no video")
    arguments = [photos, tmp_path / "gone.png", "--out", tmp_path / "out", "--weights", weights]
    done = subprocess.run(  # so that lines which OpenCV's C++ prints count as well
        [sys.executable, "-m", "sinet", "predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert names(tmp_path / "out") == ["ada.png", "hopper.jpg.png", "hopper.png.png"]
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("predict: ", "left out"))]
    assert len(lines) == 3, lines
    assert lines[0].startswith(f"{photos / 'broken.jpg'}: ") and "end" in lines[0]
    assert lines[1] == f"{photos / 'fake.mp4'}: the file is no video that FFmpeg can read, or it is damaged"
    assert lines[2] == f"{tmp_path / 'gone.png'}: the file cannot be read: No such file or directory"
    assert "3 of 6 done" in done.stdout


def test_a_run_that_was_stopped_goes_on(photos: Path, weights: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out", "--weights", weights)
    assert predict(photos / "ada.png", *out).exit_code == 0
    before = (tmp_path / "out" / "ada.png").stat().st_mtime_ns
    refused = predict(photos, *out)
    assert refused.exit_code == 1
    assert "ada.png is there already; choose another --out, or add --existing skip" in refused.stderr
    assert names(tmp_path / "out") == ["ada.png"]
    done = predict(photos, *out, "--existing", "skip")
    assert done.exit_code == 0, done.output
    assert "2 of 2 done" in done.stdout and ", 1 there before" in done.stdout
    assert names(tmp_path / "out") == ["ada.png", "hopper.jpg.png", "hopper.png.png"]
    assert (tmp_path / "out" / "ada.png").stat().st_mtime_ns == before


def test_names_beside_the_results_are_nobodys(photos: Path, weights: Path, tmp_path: Path) -> None:
    """What is written gets its name when it is whole; no file of a name in between is anybody's to lose."""
    film(photos / "film.mov")
    (tmp_path / "out").mkdir()
    precious = ("ada.png.tmp", "film.tmp.mp4", "tmp.mp4", ".sinet-a")
    for name in precious:
        (tmp_path / "out" / name).write_text("precious")
    done = predict(photos, "--out", tmp_path / "out", "--weights", weights, "--background", "blur")
    assert done.exit_code == 0, done.output
    assert {(tmp_path / "out" / name).read_text() for name in precious} == {"precious"}
    assert len(names(tmp_path / "out")) == 8 + len(precious)


def test_a_run_that_is_stopped_says_how_to_go_on(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sinet.inference.apply.encode_png", stop)
    done = predict(photos / "ada.png", "--out", tmp_path / "out", "--weights", weights)
    assert done.exit_code == 130
    assert "stopped; the same command with --existing skip does what is not yet in" in done.stderr
    assert names(tmp_path / "out") == []


def test_a_device_that_is_not_there_is_one_line(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device in ("gpu", "cuda:97", "meta", "mps"):
        monkeypatch.setenv("SINET_DEVICE", device)
        done = predict(photos / "ada.png", "--out", tmp_path / "out", "--weights", weights)
        assert done.exit_code == 1
        assert f"sinet predict: SINET_DEVICE: '{device}' cannot be used here: " in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_result_that_cannot_be_written_is_one_line(photos: Path, weights: Path, tmp_path: Path) -> None:
    long = photos / f"{'x' * 250}.png"
    long.write_bytes(encode_png(portrait(1)[0]))
    more = ("--out", tmp_path / "out", "--weights", weights, "--background", "blur")
    done = predict(long, photos / "ada.png", *more)
    assert done.exit_code == 1
    assert "the result cannot be written: File name too long" in done.stderr
    assert names(tmp_path / "out") == ["ada.background.png", "ada.png"]


def test_a_full_disk_is_told_and_what_was_there_stays(
    photos: Path, weights: Path, tmp_path: Path, predictor: Predictor
) -> None:
    film(photos / "film.mov", count=40)
    out = tmp_path / "out"
    out.mkdir()
    with full_disk(out):
        (out / "film.mp4").write_text("of an earlier run")
        more = ("--weights", weights, "--background", "blur", "--existing")
        done = predict(photos / "film.mov", photos / "ada.png", "--out", out, *more, "replace")
        assert done.exit_code == 1
        assert f"{photos / 'film.mov'}: the result cannot be written: the disk is full" in done.stderr
        assert f"{photos / 'ada.png'}: the result cannot be written: the disk is full" in done.stderr
        assert "0 of 2 done" in done.stdout
        assert (out / "film.mp4").read_text() == "of an earlier run"
        again = predict(photos / "film.mov", "--out", out, *more, "skip")
        assert again.exit_code == 1, "the composed video is missing, so that it is not done"
        assert names(out) == ["film.mp4"]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_stdout_cannot_write(photos: Path, weights: Path, tmp_path: Path, encoding: str) -> None:
    """After the work is done its last sentence must not end in a traceback."""
    out = tmp_path / os.fsdecode("Ergebnisse für Zoë".encode() + b"\xe9")
    arguments = [photos / "ada.png", "--out", out, "--weights", weights]
    done = subprocess.run(
        [sys.executable, "-m", "sinet", "predict", *map(str, arguments)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"1 of 1 done, in " in done.stdout and b"\\udce9" in done.stdout
    assert names(out) == ["ada.png"]


def test_a_video_among_pictures(photos: Path, weights: Path, tmp_path: Path) -> None:
    film(photos / "film.mov")
    done = predict(photos, "--out", tmp_path / "out", "--weights", weights, "--background", "blur")
    assert done.exit_code == 0, done.output
    assert {"film.mp4", "film.background.mp4", "ada.background.png"} <= set(names(tmp_path / "out"))
    assert len(names(tmp_path / "out")) == 8
    for name in ("film.mp4", "film.background.mp4"):
        assert len(watch(tmp_path / "out" / name)[0]) == 6


def test_a_camera(photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "film.mp4")
    monkeypatch.setattr(footage, "camera_address", lambda number: (str(tmp_path / "film.mp4"), None))
    for _ in range(2):
        done = predict("--camera", 0, "--out", tmp_path / "out", "--weights", weights, "--background", "blur")
        assert done.exit_code == 0, done.output
        assert "opening camera 0; Ctrl-C ends the recording" in done.stderr
    assert f"frames in {tmp_path / 'out' / 'camera0-2.mp4'} and " in done.stdout
    assert names(tmp_path / "out") == [
        "camera0-2.background.mp4",
        "camera0-2.mp4",
        "camera0.background.mp4",
        "camera0.mp4",
    ]


def test_without_weights_those_of_the_package(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinet, "SHIPPED", weights)
    assert predict(photos / "ada.png", "--out", tmp_path / "out").exit_code == 0
    monkeypatch.setattr(sinet, "SHIPPED", tmp_path / "none")
    done = predict(photos / "ada.png", "--out", tmp_path / "none")
    assert done.exit_code == 1
    assert "the installation is incomplete" in done.stderr
    assert not (tmp_path / "none").exists()


MISTAKES = {
    "colour": (
        ["ada.png", "--background", "#20a04"],
        "six hexadecimal digits, such as '#20a040', found '#20a04'",
    ),
    "no picture": (["ada.png", "--background", "notes.txt"], "'notes.txt', which is no usable picture"),
    "weights": (["ada.png", "--weights", "none.safetensors"], "none.safetensors, found no such file"),
    "no weights": (["ada.png", "--weights", "ada.png"], "expected a safetensors file, ada.png is none"),
    "empty folder": (["empty"], "expected pictures or videos in the folder empty, found none"),
    "nothing": ([], "expected either pictures, videos and folders, or --camera N"),
    "both": (["ada.png", "--camera", "0"], "expected either pictures, videos and folders, or --camera N"),
    "seconds": (["ada.png", "--seconds", "3"], "--seconds ends a recording and needs --camera N"),
    "clear video": (["film.mp4", "--background", "transparent"], "a video cannot be transparent"),
    "no folder": (
        ["ada.png", "--out", "notes.txt"],
        "expected a folder to write to, notes.txt cannot be one",
    ),
    "own picture": (["ada.png", "--out", "."], "ada.png would be replaced, and it is one of the pictures to"),
    "own background": (
        ["hopper.jpg", "--out", ".", "--background", "hopper.png", "--existing", "replace"],
        "hopper.png would be replaced, and it is one of the pictures to read",
    ),
    "somebody's picture": (["film.mp4", "--out", "films"], "films/film.mp4 is there already; choose another"),
    "own folder": ([".", "--out", "films/.."], "films/.. is a folder that pictures come from, whose masks"),
    "recording again": (["--camera", "0", "--existing", "skip"], "--existing is for pictures and videos"),
    "no camera": (["--camera", "97"], "camera 97 cannot be opened"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line(
    mistake: str, photos: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more, message = MISTAKES[mistake]
    (photos / "empty").mkdir()
    film(photos / "film.mp4")
    (photos / "films").mkdir()
    film(photos / "films" / "film.mp4")
    monkeypatch.chdir(photos)
    before = (photos / "ada.png").read_bytes()
    done = predict("--out", "out", "--weights", weights, *more)
    assert done.exit_code == 1
    assert message in done.stderr
    line = [one for one in done.stderr.splitlines() if not one.startswith("opening")]
    assert len(line) == 1 and line[0].startswith("sinet predict: ")
    assert (photos / "ada.png").read_bytes() == before
    assert not list((photos / "out").glob("*"))
