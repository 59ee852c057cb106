"""The protocol against scikit-learn; files paired by stem, and nothing left out in silence."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sinet
from sinet.__main__ import app
from sinet.core.recipe import EvaluateRecipe
from sinet.evaluation.protocol import EvaluateError, evaluate, evaluate_masks, pair, read_pair
from sinet.images.decode import encode_png, read_image, read_mask
from sinet.images.sample import Sample
from sinet.inference.predictor import Predictor
from tests.sinet.films import full_disk
from tests.sinet.portraits import SMALL, portrait, write_portraits, write_weights

FOUR = ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native")
PROTOCOL = EvaluateRecipe(size=224, boundary_kernel=15, gallery=0)
AT_64 = EvaluateRecipe(size=64, boundary_kernel=5, gallery=0)


def test_the_protocol_step_by_step(tmp_path: Path, predictor: Predictor) -> None:
    from sklearn.metrics import f1_score, jaccard_score

    samples = write_portraits(tmp_path, 4)
    figures = evaluate(predictor, samples, AT_64).figures()
    ious, natives, f1s, all_true, all_found = [], [], [], [], []
    for sample in samples:
        image, mask = read_image(sample.image), read_mask(sample.mask)
        square = cv2.resize(image, (64, 64), interpolation=cv2.INTER_LINEAR)
        true = cv2.resize(mask, (64, 64), interpolation=cv2.INTER_NEAREST)
        with torch.inference_mode():
            logits = predictor.model(SMALL.tensor(torch.from_numpy(square)[None]))
            person = logits.softmax(1)[:, 1:]
            native = torch.nn.functional.interpolate(person, mask.shape, mode="bilinear", align_corners=False)
        found = logits[0].argmax(0).numpy()
        square_kernel = np.ones((5, 5), np.uint8)
        band = (cv2.dilate(true, square_kernel) - cv2.erode(true, square_kernel)) == 1
        ious.append(jaccard_score(true.ravel(), found.ravel()))
        f1s.append(f1_score(true[band], found[band]))
        natives.append(jaccard_score(mask.ravel(), (native[0, 0] > 0.5).numpy().ravel()))
        all_true.append(true.ravel())
        all_found.append(found.ravel())
    both = jaccard_score(np.concatenate(all_true), np.concatenate(all_found), average="macro")
    assert figures["foreground_iou"] == pytest.approx(np.mean(ious))
    assert figures["boundary_f1"] == pytest.approx(np.mean(f1s))
    assert figures["mean_iou"] == pytest.approx(both)
    assert figures["foreground_iou_native"] == pytest.approx(np.mean(natives), abs=1e-3)
    assert figures["count"] == 4
    assert 0.4 < figures["foreground_iou"] < 1  # a case where the figures could differ


def test_rows_add_up_to_the_figures(tmp_path: Path, predictor: Predictor) -> None:
    evaluation = evaluate(predictor, write_portraits(tmp_path, 5), PROTOCOL)
    rows, figures = evaluation.rows(), evaluation.figures()
    assert [row["id"] for row in rows] == ["00001", "00002", "00003", "00004", "00005"]
    for name in ("foreground_iou", "boundary_f1", "foreground_iou_native"):
        assert np.mean([row[name] for row in rows]) == pytest.approx(figures[name]), name
    for row in rows:
        assert row["tp"] + row["fp"] + row["fn"] + row["tn"] == 224 * 224


def test_worst_and_select(tmp_path: Path, predictor: Predictor) -> None:
    evaluation = evaluate(predictor, write_portraits(tmp_path, 4), PROTOCOL)
    scores = [row["foreground_iou"] for row in evaluation.rows()]
    assert evaluation.worst(2) == list(np.argsort(scores)[:2])
    assert len(evaluation.worst(9)) == 4
    half = evaluation.select([True, False, False, True])
    assert half.ids == ("00001", "00004")
    assert half.figures()["foreground_iou"] == pytest.approx((scores[0] + scores[3]) / 2)


def test_no_pictures_is_an_error(predictor: Predictor) -> None:
    with pytest.raises(EvaluateError, match="at least one picture"):
        evaluate(predictor, [], PROTOCOL)


@pytest.mark.parametrize("kind", ["0/255 png", "0/1 png", "grey jpeg"])
def test_masks_as_they_are_published(tmp_path: Path, kind: str) -> None:
    image, mask = portrait(1)
    (tmp_path / "a.png").write_bytes(encode_png(image))
    path = tmp_path / ("m.jpg" if kind == "grey jpeg" else "m.png")
    cv2.imwrite(str(path), mask if kind == "0/1 png" else mask * 255)
    found = read_pair(Sample("a", tmp_path / "a.png", path))[1]
    assert set(np.unique(found)) == {0, 1}
    assert (found != mask).mean() < (0.005 if kind == "grey jpeg" else 1e-9)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(portrait(1)[0]))
    (tmp_path / "m.png").write_bytes(encode_png(portrait(1, 50, 60)[1]))
    with pytest.raises(
        EvaluateError, match=r"a: expected a mask of the size of \S+a\.png, 90x120, found 50x60 in \S+m\.png"
    ):
        read_pair(Sample("a", tmp_path / "a.png", tmp_path / "m.png"))


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(EvaluateError, match=r"a\.png cannot be used"):
        read_pair(Sample("a", tmp_path / "a.png", tmp_path / "a.png"))


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def test_pairing_by_stem(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "00001.jpg", "0002.JPG", "x.png", "lonely.png", "notes.txt", ".hidden.png")
    masks = touch(
        tmp_path / "m", "00001_mask.png", "0002-profile.jpg", "x.png", "stray_mask.png", "Thumbs.db"
    )
    samples, unmatched = pair(images, masks)
    assert [(one.id, one.mask.name) for one in samples] == [
        ("00001", "00001_mask.png"),
        ("0002", "0002-profile.jpg"),
        ("x", "x.png"),
    ]
    assert unmatched == ["lonely.png has no mask", "stray_mask.png has no picture"]


def test_a_list_of_stems_and_numbers(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "00001.jpg", "00002.jpg", "00010.jpg", "anna.jpg", "unlisted.jpg")
    masks = touch(tmp_path / "m", "00001_mask.png", "00002_mask.png", "anna_mask.png")
    samples, unmatched = pair(images, masks, ["1", "00002", "", "anna", "10", "77", "berta "])
    assert [one.id for one in samples] == ["00001", "00002", "anna"]
    assert unmatched == [
        "77 is listed, but has neither picture nor mask",
        "berta is listed, but has neither picture nor mask",
        "00010.jpg has no mask",
    ]


@pytest.mark.parametrize("ending", ["_mask", "-profile", "_profile", "_Mask"])
def test_masks_of_the_same_names_meet_in_both_folders(tmp_path: Path, ending: str) -> None:
    predicted = touch(
        tmp_path / "p", f"00001{ending}.png", f"00002{ending}.png", "00003.png", "d-profile.png"
    )
    masks = touch(
        tmp_path / "m", f"00001{ending}.png", "00002.png", f"00003{ending}.mat", "d-profile.png", "d.png"
    )
    samples, unmatched = pair(predicted, masks)
    assert [one.mask.name for one in samples] == [
        f"00001{ending}.png",
        "00002.png",
        f"00003{ending}.mat",
        "d-profile.png",
    ]
    assert unmatched == ["d.png has no picture"]
    samples, unmatched = pair(predicted, masks, ["1", f"00003{ending}.png"])
    assert [one.image.name for one in samples] == [f"00001{ending}.png", "00003.png"] and not unmatched


def test_where_nothing_meets_the_names_of_both_folders_are_said(tmp_path: Path) -> None:
    predicted = touch(tmp_path / "p", *(f"{number}_seg.png" for number in range(5)))
    masks = touch(tmp_path / "m", *(f"{number}.png" for number in range(5)))
    with pytest.raises(
        EvaluateError, match=r"0_seg.png, 1_seg.png, 2_seg.png and 2 more there, 0.png, 1.png, 2.png"
    ):
        pair(predicted, masks)


def test_names_meet_whatever_their_unicode_form(tmp_path: Path) -> None:
    composed, apart = "Zo\u00e9", "Zoe\u0301"
    images = touch(tmp_path / "i", f"{composed}.jpg", "a.jpg")
    masks = touch(tmp_path / "m", f"{apart}_mask.png", "a.png")
    for word in (composed, apart):
        samples, unmatched = pair(images, masks, [word])
        assert [one.id for one in samples] == [composed] and not unmatched
    with pytest.raises(EvaluateError, match="both belong to 'Zo\u00e9'"):
        pair(touch(tmp_path / "twice", f"{apart}.png", f"{composed}.png"), masks)


def test_dangling_links_and_locked_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, masks = touch(tmp_path / "i", "a.png"), touch(tmp_path / "m", "b.png")
    (masks / "a.png").symlink_to("nowhere.png")
    samples, unmatched = pair(images, masks)
    assert unmatched == ["b.png has no picture"]
    (images / "a.png").write_bytes(encode_png(portrait(1)[0]))
    with pytest.raises(
        EvaluateError, match=r"m/a\.png cannot be used: the file cannot be read: No such file"
    ):
        read_pair(samples[0])
    monkeypatch.setattr(
        Path, "iterdir", lambda folder: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with pytest.raises(EvaluateError, match="i cannot be read: Permission denied"):
        pair(images, masks)


@pytest.mark.parametrize("line", ["1-3", "2.55e+01", "1, 2", "-1", "1 2 3"])
def test_lines_of_a_list_that_mean_nothing_certain_are_refused(tmp_path: Path, line: str) -> None:
    images = touch(tmp_path / "i", "00001.jpg", "00002.jpg")
    with pytest.raises(EvaluateError, match="the list is not understood: line 2"):
        pair(images, images, ["1", line])


def test_label_images_are_measured_where_their_person_is_named(tmp_path: Path) -> None:
    true = np.zeros((224, 224), np.uint8)
    true[40:, 60:160], true[100:, 60:160], true[:30] = 1, 13, 255
    (tmp_path / "true").mkdir()
    (tmp_path / "found").mkdir()
    (tmp_path / "true/a_mask.png").write_bytes(encode_png(true))
    (tmp_path / "found/a_mask.png").write_bytes(encode_png(np.isin(true, [1, 13]).astype(np.uint8)))
    options = [
        "--predicted",
        str(tmp_path / "found"),
        "--masks",
        str(tmp_path / "true"),
        "--out",
        str(tmp_path / "o"),
    ]
    refused = CliRunner().invoke(app, ["evaluate", *options])
    assert (
        refused.exit_code == 1
        and "its levels are 0 (" in refused.stderr
        and "--person and --background" in refused.stderr
    )
    done = CliRunner().invoke(app, ["evaluate", *options, "--person", "1,2-13", "--background", "0,255"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "o").read_text())["foreground_iou"] == 1
    for person, background in (("1", "0,1"), ("red", "0"), ("1", "")):
        done = CliRunner().invoke(app, ["evaluate", *options, "--person", person, "--background", background])
        assert done.exit_code == 1 and f"--person {person} --background {background}: " in done.stderr


def test_what_is_not_clear_is_an_error(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "01.jpg", "001.jpg")
    twice = touch(tmp_path / "m", "01_mask.png", "01.png")
    with pytest.raises(EvaluateError, match="both belong to '01'"):
        pair(images, twice)
    with pytest.raises(EvaluateError, match="1 matches 001 and 01"):
        pair(images, images, ["1"])
    with pytest.raises(EvaluateError, match="expected a folder, found none"):
        pair(tmp_path / "nothing", twice)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, predictor: Predictor) -> Path:
    """w.safetensors, images/ and masks/ of five portraits, the last one without a mask."""
    folder = tmp_path_factory.mktemp("pairs")
    write_weights(folder / "w.safetensors", predictor.model)
    write_portraits(folder, 5)[-1].mask.unlink()
    return folder


def command(pairs: Path, out: Path, *more: str) -> list[str]:
    inputs = ["--weights", pairs / "w.safetensors", "--images", pairs / "images", "--masks", pairs / "masks"]
    return ["evaluate", *map(str, inputs), "--out", str(out), *more]


def test_command_refuses_a_missing_mask(pairs: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, command(pairs, tmp_path / "o.json"))
    assert done.exit_code == 1
    assert "unmatched: 00005.png has no mask" in done.stderr
    assert "add --allow-missing" in done.stderr
    assert not (tmp_path / "o.json").exists()


def test_command_writes_four_metrics_and_a_row_each(pairs: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, command(pairs, tmp_path / "new" / "o.json", "--allow-missing"))
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "new" / "o.json").read_text())
    assert content["count"] == len(content["images"]) == 4
    assert content["unmatched"] == ["00005.png has no mask"]
    for name in FOUR:
        assert 0 < content[name] <= 1
        assert name in content["images"][0]
    assert "foreground_iou" in done.stdout


def test_command_on_a_full_disk_leaves_the_earlier_result_and_names_the_file(
    pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.json"
    with full_disk(tmp_path):
        out.write_text("of an earlier run")
        (tmp_path / "filler").write_bytes(bytes(8192))
        done = CliRunner().invoke(app, command(pairs, out, "--allow-missing"))
        assert done.exit_code == 1
        assert done.stderr.splitlines()[-1] == f"sinet evaluate: {out}: the disk is full"
        assert out.read_text() == "of an earlier run"


def test_command_refuses_pipes_at_once(pairs: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for more in (("--out", pipe), ("--list", pipe), ("--weights", pipe)):
        arguments = [*command(pairs, tmp_path / "o.json", "--allow-missing"), *map(str, more)]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 1 and f"{pipe}" in done.stderr
        assert "a pipe or device stands there, expected a file" in done.stderr
    assert pipe.is_fifo() and not (tmp_path / "o.json").exists()


def test_command_follows_a_link_to_its_result(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "o.json").symlink_to("real.json")
    assert CliRunner().invoke(app, command(pairs, tmp_path / "o.json", "--allow-missing")).exit_code == 0
    assert (tmp_path / "o.json").is_symlink() and json.loads((tmp_path / "real.json").read_text())


def test_command_without_weights_takes_those_of_the_package(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = ["--images", str(pairs / "images"), "--masks", str(pairs / "masks"), "--allow-missing"]
    for shipped, code in ((pairs / "w.safetensors", 0), (pairs / "none", 1)):
        monkeypatch.setattr(sinet, "SHIPPED", shipped)
        done = CliRunner().invoke(app, ["evaluate", *inputs, "--out", str(tmp_path / "o.json")])
        assert done.exit_code == code, done.output
    assert "the installation is incomplete" in done.stderr


@pytest.mark.parametrize("out", ["file/x.json", "folder"])
def test_command_finds_out_before_measuring_that_it_cannot_write(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("sinet.evaluation.protocol.evaluate", lambda *_: pytest.fail("measured"))
    done = CliRunner().invoke(app, command(pairs, tmp_path / out, "--allow-missing"))
    assert done.exit_code == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("unmatched")]
    assert len(lines) == 1
    assert lines[0].startswith(f"sinet evaluate: expected a file that can be written, {tmp_path / out}: ")


def test_masks_of_another_tool_are_measured_like_the_predictors_own(
    tmp_path: Path, predictor: Predictor
) -> None:
    """At the network's own size, where nothing is enlarged in between, the figures are the same."""
    samples = write_portraits(tmp_path, 4)
    written = []
    for sample in samples:
        square = cv2.resize(read_image(sample.image), (64, 64), interpolation=cv2.INTER_LINEAR)
        true = cv2.resize(read_mask(sample.mask), (64, 64), interpolation=cv2.INTER_NEAREST)
        small = Sample(sample.id, tmp_path / f"{sample.id}.png", tmp_path / f"{sample.id}_mask.png")
        small.image.write_bytes(encode_png(square))
        small.mask.write_bytes(encode_png(true * np.uint8(255)))
        other = Sample(sample.id, tmp_path / f"{sample.id}_other.png", small.mask)
        other.image.write_bytes(encode_png(predictor.mask(square) * np.uint8(255)))
        written.append((small, other))
    own = evaluate(predictor, [small for small, _ in written], AT_64)
    assert evaluate_masks([other for _, other in written], AT_64).figures() == own.figures()
    assert 0.4 < own.figures()["foreground_iou"] < 1


def test_a_grey_mask_is_person_above_127(tmp_path: Path) -> None:
    true = np.zeros((224, 224), np.uint8)
    true[:, 100:] = 255
    (tmp_path / "true.png").write_bytes(encode_png(true))
    for name, low, high, iou in (("right", 127, 128, 1.0), ("all", 128, 255, 124 / 224)):
        (tmp_path / f"{name}.png").write_bytes(encode_png(np.where(true > 0, high, low).astype(np.uint8)))
        figures = evaluate_masks([Sample(name, tmp_path / f"{name}.png", tmp_path / "true.png")], PROTOCOL)
        assert figures.figures()["foreground_iou"] == pytest.approx(iou)


def test_command_measures_masks_of_another_tool(pairs: Path, tmp_path: Path) -> None:
    common = ["evaluate", "--masks", str(pairs / "masks"), "--out", str(tmp_path / "o.json")]
    done = CliRunner().invoke(app, [*common, "--predicted", str(pairs / "masks"), "--list", str(pairs / "l")])
    assert done.exit_code == 1 and "expected a text file" in done.stderr
    peer = tmp_path / "peer"
    peer.mkdir()
    for path in (pairs / "masks").iterdir():
        (peer / f"{path.stem.removesuffix('_mask')}.png").write_bytes(path.read_bytes())
    done = CliRunner().invoke(app, [*common, "--predicted", str(peer)])
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "o.json").read_text())
    assert content["foreground_iou_native"] == 1
    assert content["foreground_iou"] > 0.95  # these are enlarged to 224, true masks by nearest neighbour


@pytest.mark.parametrize("given", [(), ("--images", "--predicted"), ("--predicted", "--weights")])
def test_command_wants_either_pictures_or_masks_of_another_tool(
    pairs: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    paths = {
        "--images": pairs / "images",
        "--predicted": pairs / "masks",
        "--weights": pairs / "w.safetensors",
    }
    options = [text for name in given for text in (name, str(paths[name]))]
    common = ["evaluate", "--masks", str(pairs / "masks"), "--out", str(tmp_path / "o.json")]
    done = CliRunner().invoke(app, [*common, *options])
    assert done.exit_code == 1
    assert "expected --images (with --weights, or without), or --predicted" in done.stderr


def test_command_with_a_list(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("1\n3\n")
    done = CliRunner().invoke(app, command(pairs, tmp_path / "o.json", "--list", str(tmp_path / "val.txt")))
    assert done.exit_code == 0, done.output
    assert [row["id"] for row in json.loads((tmp_path / "o.json").read_text())["images"]] == [
        "00001",
        "00003",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--weights", "nothing.safetensors", "--allow-missing"], "found no such file"),
        (["--list", "nothing.txt"], "expected a text file with a stem or a number a line"),
        (["--masks", "nowhere"], "expected a folder, found none"),
    ],
)
def test_command_says_what_is_wrong(pairs: Path, tmp_path: Path, more: list[str], message: str) -> None:
    done = CliRunner().invoke(app, command(pairs, tmp_path / "o.json", *more))
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output
