"""`python -m pipeline check` says what is wrong with a folder before a run, and what to type where nothing is."""

import errno
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.commands import check as checking
from pipeline.commands.check import check, print_report
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.faces.face import Face
from pipeline.sources.layouts import read_layout
from sinet.core.recipe import MaskClasses
from sinet.images.decode import encode_mask, encode_png
from tests.pipeline.test_ingest import jpeg, person, portrait, put, saved


@pytest.fixture(scope="module")
def params(root):
    loaded = load_params(root / "params.yaml")
    small = loaded.ingest.model_copy(update={"min_side": 32, "max_reject_rate": 0.2})
    return loaded.model_copy(update={"ingest": small})


def portraits(folder, count=10, **options):
    for number in range(1, count + 1):
        portrait(folder, number, **options)
    put(folder / "train.txt", "".join(f"{number}\n" for number in range(1, count)).encode())
    put(folder / "val.txt", f"{count}\n".encode())
    return folder


def bodies(folder, images=range(10), masks=range(10)):
    for number in images:
        put(folder / f"clean_images/images/{number}.jpg", jpeg(number))
    for number in masks:
        put(folder / f"clean_images/profiles/{number}-profile.jpg", saved(person() * 255, "JPEG", quality=90))
    return folder


def head(image):
    """The head of `person`, wherever the picture's face may be."""
    height, width = image.shape[:2]
    return [Face(Box(int(width * 0.25), height // 5, int(width * 0.55), height // 2), 1.0)]


def one(folder, params, faces=head):
    (report,) = check([folder], params, faces).folders
    return report


def shown(report):
    buffer = io.StringIO()
    print_report(report, Console(file=buffer, highlight=False, soft_wrap=True))
    return buffer.getvalue()


def test_a_good_folder(tmp_path, params):
    report = one(portraits(tmp_path / "eg"), params)
    assert (report.layout, report.pictures, report.sides) == ("eg1800", 10, {"train": 9, "test": 1})
    assert (report.rejected, report.mistakes, report.notes, report.problem) == ({}, [], [], "")
    assert (report.twins, report.decoded, report.faces) == (0, 10, (10, 10))


def test_everything_is_printed_and_the_line_can_be_typed(tmp_path, params):
    folders = [portraits(tmp_path / "eg $1800's"), bodies(tmp_path / "bodies"), tmp_path / "crawl"]
    put(folders[2] / "a.jpg", jpeg(1))
    put(folders[2] / "b.jpg", b"404")
    report = check(folders, params)
    text = shown(report)
    for part in (
        "eg1800, portraits with masks and lists",
        "10 (9 train, 1 test)",
        "1 not_an_image, as b.jpg: the file is no JPEG",
        "No CSV that tells origin",
        "About 50% would be rejected; ingest stops above 20%",
        "each one was decoded",
    ):
        assert part in text
    line = text.strip().splitlines()[-1].strip()
    assert line == report.command()
    words = shlex.split(line)
    assert words[:3] == ["make", "repro", "PROFILE=real"]
    settings = dict(word.split("=", 1) for word in words[3:])
    # make halves the dollar signs
    assert [settings[name].replace("$$", "$") for name in ("EG1800", "BAIDU", "CRAWL")] == [
        str(f) for f in folders
    ]


def test_make_understands_the_line(tmp_path, params):
    folder = portraits(tmp_path / "a $b c#d")
    (tmp_path / "Makefile").write_text("repro:\n\t@printf '%s' \"$$EG1800\"\nexport EG1800\n")
    # Under `make test` this make would take itself for a part of that one, and say so on standard output.
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        check([folder], params).command(),
        shell=True,
        cwd=tmp_path,
        env=outside,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == str(folder)


def test_swapped_folders(tmp_path, params):
    folder = portraits(tmp_path)
    (folder / "images_data_crop").rename(folder / "x")
    (folder / "GT_png").rename(folder / "images_data_crop")
    (folder / "x").rename(folder / "GT_png")
    assert any("are pictures and masks swapped?" in text for text in one(folder, params).mistakes)


def test_masks_that_look_black_are_no_mistake(tmp_path, params):
    report = one(portraits(tmp_path, mask=encode_png(person())), params)
    assert report.mistakes == [] and "10 of 10 masks hold 0 and 1" in report.notes[0]
    assert "of those decoded, 10 with 0 and 1" in shown(check([tmp_path], params))


def test_inverted_masks(tmp_path, params):
    assert (
        "are they inverted?" in one(portraits(tmp_path, mask=encode_mask(1 - person())), params).mistakes[0]
    )


def test_ids_that_do_not_match(tmp_path, params):
    report = one(bodies(tmp_path, range(10), range(7, 20)), params)
    assert report.mistakes[0].startswith(
        "The names do not match: 7 pictures have no mask and 10 masks no picture; for example "
        "clean_images/images/0.jpg and clean_images/profiles/10-profile.jpg"
    )


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (range(10), [], "There is no mask at all"),
        ([], range(10), "There are masks, but no picture at all"),
        (range(10), range(6), "4 pictures have no mask"),
    ],
)
def test_a_folder_that_is_empty_or_short(tmp_path, params, images, masks, words):
    assert words in one(bodies(tmp_path, images, masks), params).mistakes[0]


def test_lists_of_other_pictures(tmp_path, params):
    put(portraits(tmp_path) / "train.txt", b"".join(b"%d\n" % number for number in range(500, 510)))
    mistakes = one(tmp_path, params).mistakes
    assert "The lists seem to be of other pictures: 10 entries have no file, 9 files no entry." in mistakes


def test_a_portrait_set_without_a_test_list(tmp_path, params):
    (portraits(tmp_path) / "val.txt").unlink()
    put(tmp_path / "train.txt", b"".join(b"%d\n" % number for number in range(1, 11)))
    assert "No list of a test side" in one(tmp_path, params).notes[0]


def test_pictures_without_faces(tmp_path, params):
    report = one(portraits(tmp_path), params, lambda image: [])
    assert "A face was found in only 0 of 10 pictures" in report.mistakes[0]


def test_masks_of_other_pictures(tmp_path, params):
    """The names fit, but each mask is of the picture after it: its people stand elsewhere."""
    elsewhere = encode_mask(np.ascontiguousarray(np.roll(person(), 24, axis=1)))
    folder = portraits(tmp_path, mask=elsewhere)
    (said,) = one(folder, params).mistakes
    assert said.startswith("The face lies on the mask in only 0 of 10 pictures")
    assert not any("face lies" in line for line in one(portraits(tmp_path / "right"), params).mistakes)


def test_twins_by_their_bytes(tmp_path, params):
    assert one(portraits(tmp_path, image=jpeg(1)), params).twins == 9


def test_a_large_folder_is_sampled_and_says_so(tmp_path, params, monkeypatch):
    monkeypatch.setattr(checking, "ALL_OF", 20)
    monkeypatch.setattr(checking, "SAMPLE", 10)
    portraits(tmp_path, 30)
    for number in range(1, 31):  # too large in the header: seen in every file
        if number % 3 == 0:
            put(tmp_path / f"GT_png/{number:05d}_mask.png", encode_mask(person((40, 40))))
    report = check([tmp_path], params)
    assert report.folders[0].decoded == 10 and len(report.folders[0].rejected["mask_size"]) == 10
    assert "10 were decoded, chosen by a hash of their names; of the rest the header was read" in shown(
        report
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "there is no such folder"),
        (lambda folder: folder.write_text("x"), "this is a file, not a folder"),
        (lambda folder: folder.mkdir(), "no picture in any layout that is known; expected one of"),
        (lambda folder: put(folder / "a.txt", b"x"), "no picture in any layout that is known"),
        (
            lambda folder: put(portraits(folder) / "testlist.mat", b"x"),
            "testlist.mat is a list of pictures, but cannot",
        ),
    ],
)
def test_a_folder_that_cannot_be_used(tmp_path, params, make, words):
    make(tmp_path / "data")
    report = check([tmp_path / "data"], params)
    assert words in report.folders[0].problem and words in shown(report)
    assert not report.usable and report.command() == ""


def locked(monkeypatch, path):
    """`path` as if it were chmod 000, for root too."""

    def guarded(function):
        def call(one, *arguments):
            if Path(one) == path:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(one, *arguments)

        return call

    for owner, name in ((os, "scandir"), (os, "listdir"), (Path, "read_bytes")):
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))


@pytest.mark.parametrize("below", [".", "GT_png", "images_data_crop"])
def test_a_folder_that_cannot_be_read(tmp_path, params, monkeypatch, below):
    folder = portraits(tmp_path / "eg")
    locked(monkeypatch, folder / below)
    report = check([folder], params)
    assert "cannot be read: Permission denied" in shown(report) and not report.usable
    with pytest.raises(PipelineError, match="cannot be read: Permission denied; make it readable"):
        read_layout("eg1800", folder)


def test_a_folder_beside_good_ones_that_cannot_be_read(tmp_path, params, monkeypatch):
    put(tmp_path / "a.jpg", jpeg())
    put(tmp_path / "below/b.jpg", jpeg())
    locked(monkeypatch, tmp_path / "below")
    assert "below cannot be read: Permission denied" in one(tmp_path, params).problem
    with pytest.raises(PipelineError, match="below cannot be read: Permission denied"):
        read_layout("crawl", tmp_path)


@pytest.mark.parametrize("most", [400, 0])  # decoded, or its header read
def test_a_file_that_the_machine_does_not_read_is_no_reject(tmp_path, params, monkeypatch, most):
    """`ingest` stops at it, and so does the look before: nothing is known of what it holds."""
    monkeypatch.setattr(checking, "ALL_OF", most)
    monkeypatch.setattr(checking, "SAMPLE", most)
    folder = portraits(tmp_path, image=jpeg(1))
    for number in (3, 5):
        path = folder / f"images_data_crop/{number:05d}.jpg"
        path.unlink()
        path.symlink_to("/mnt/share that is gone/1.jpg")
    report = check([folder], params)
    assert "2 files were not read" in report.folders[0].problem and not report.usable
    assert f"{path}: No such file or directory" in shown(report) and "unreadable" not in shown(report)


@pytest.mark.parametrize("swap", [True, False])
def test_where_everything_would_be_rejected_there_is_no_line_to_type(tmp_path, params, swap):
    if swap:
        folder = portraits(tmp_path / "x")
        (folder / "images_data_crop").rename(folder / "y")
        (folder / "GT_png").rename(folder / "images_data_crop")
        (folder / "y").rename(folder / "GT_png")
    else:
        folder = bodies(tmp_path / "x", range(10), range(20, 30))
    report = check([folder], params)
    text = shown(report)
    assert not report.usable and report.command() == "" and "To run the recipe" not in text
    assert ("are pictures and masks swapped?" if swap else "The names do not match") in text
    assert "Every picture would be rejected" in text


def test_a_parent_of_one_labelled_folder_stands_for_it(tmp_path, params):
    mine = portraits(tmp_path / "par/mine")
    report = check([tmp_path / "par"], params)
    assert [(one.folder, one.layout) for one in report.folders] == [(mine, "eg1800")]
    assert f"{tmp_path / 'par'} itself has no layout; this folder inside it has one." in shown(report)
    assert report.command() == f"make repro PROFILE=real EG1800={mine}"


def test_labelled_folders_deeper_down_are_named_and_no_crawl(tmp_path, params):
    first, second = portraits(tmp_path / "x/y/first"), bodies(tmp_path / "x/z")
    report = check([tmp_path], params)
    assert report.folders[0].problem.endswith(f"check these instead: {first} (eg1800), {second} (baidu)")
    assert not report.usable and report.command() == ""


def my_pairs(folder, images=range(10), masks=range(10)):
    for number in images:
        put(folder / f"Photos/{number}.jpg", jpeg(number))
    for number in masks:
        put(folder / f"GT/{number}.png", encode_mask(person()))
    return folder


def test_pairs_are_recognised_and_the_line_names_them(tmp_path, params):
    folder = my_pairs(tmp_path / "my pairs")
    report = check([folder], params)
    assert report.folders[0].layout == "pairs" and report.folders[0].mistakes == []
    text = shown(report)
    assert "pairs, pictures and masks of the same names" in text
    assert "No list of a test side (val.txt or testlist.mat); split cuts one where no source has one." in text
    assert report.command() == f"make repro PROFILE=real PAIRS={shlex.quote(str(folder))}"
    put(folder / "test.txt", b"3\n")
    put(folder / "train.txt", "".join(f"{n}\n" for n in range(10) if n != 3).encode())
    report = one(folder, params)
    assert report.sides == {"train": 9, "test": 1} and report.notes == []


def test_pairs_whose_names_do_not_match(tmp_path, params):
    report = check([my_pairs(tmp_path, range(10), range(5, 15))], params)
    assert "The names do not match: 5 pictures have no mask and 5 masks no picture" in shown(report)
    (tmp_path / "x/masks").mkdir(parents=True)
    report = check([my_pairs(tmp_path / "x", range(3), ())], params)
    assert "There is no mask at all: is the folder of masks empty" in shown(report)


def test_masks_of_pairs_that_are_classes_say_where_to_name_them(tmp_path, params):
    folder = my_pairs(tmp_path)
    for number in range(10):
        put(folder / f"GT/{number}.png", encode_png(person() * np.uint8(15)))
    report = one(folder, params)
    assert "ingest.mask_levels in params.yaml can say it" in report.mistakes[0] and report.hopeless
    levels = params.ingest.mask_levels.model_copy(
        update={"pairs": MaskClasses(person=(15,), background=(0,))}
    )
    ingest = params.ingest.model_copy(update={"mask_levels": levels})
    assert not one(folder, params.model_copy(update={"ingest": ingest})).hopeless


def test_a_folder_of_pairs_in_two_ways_is_told(tmp_path, params):
    folder = my_pairs(tmp_path)
    put(folder / "masks/1.png", encode_mask(person()))
    report = check([folder], params)
    assert "has GT and masks, and either could be meant; keep one of them there" in shown(report)
    assert not report.usable and report.command() == ""


def test_masks_in_a_crawl_are_a_mistake(tmp_path, params):
    for number in range(3):
        put(tmp_path / f"images/{number}.jpg", jpeg(number))
        put(tmp_path / f"outlines/{number}.png", encode_mask(person()))
    (said,) = [line for line in one(tmp_path, params).mistakes if "as masks do" in line]
    assert said.startswith("3 of 6 pictures have a few levels only")


def test_a_crawl_alone_runs_no_recipe(tmp_path, params):
    put(tmp_path / "a.jpg", jpeg())
    report = check([tmp_path], params)
    assert report.usable and report.command() == ""
    assert "A crawl alone runs no recipe" in shown(report)


def test_masks_of_a_few_grey_levels_are_no_photographs(tmp_path, params):
    folder = portraits(tmp_path, mask=encode_png(person() * np.uint8(128)))
    report = one(folder, params)
    share = person().mean()
    assert f"its levels are 0 ({1 - share:.1%}), 128 ({share:.1%})" in report.rejected["not_a_mask"][0]
    assert not any("swapped" in line for line in report.mistakes)
    assert any("10 masks have levels of which only you know" in line for line in report.mistakes)


def test_a_folder_of_sources_stands_for_them(tmp_path, params):
    portraits(tmp_path / "eg1800")
    bodies(tmp_path / "baidu")
    put(tmp_path / "crawl/a.jpg", jpeg())
    report = check([tmp_path], params)
    assert [one.layout for one in report.folders] == ["baidu", "crawl", "eg1800"]


def test_two_folders_of_one_layout(tmp_path, params):
    report = check([bodies(tmp_path / "a"), bodies(tmp_path / "b")], params)
    assert f"one folder a layout, {tmp_path / 'a'}; in params.yaml each" in report.folders[1].notes[0]
    assert report.command() == f"make repro PROFILE=real BAIDU={tmp_path / 'a'}"


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("absent", 1)])
def test_the_command_and_its_exit_code(tmp_path, root, name, code):
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 255, (120, 90, 3), np.uint8)
        put(tmp_path / f"good/{seed}.png", saved(noise))
    command = [sys.executable, "-m", "pipeline", "check", str(tmp_path / name)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    words = (
        "A face was found in only 0 of 3 pictures" if code == 0 else "cannot be used: there is no such folder"
    )
    assert words in done.stdout and "Traceback" not in done.stderr


@pytest.mark.real_data
@pytest.mark.slow
def test_the_real_folders(real_data, params):
    report = check([real_data / name for name in ("eg1800", "baidu", "crawl", "faces")], params)
    assert report.usable and all(not one.mistakes for one in report.folders)
    assert f"EG1800={Path(real_data).resolve()}/eg1800" in report.command()
    assert f"PAIRS={Path(real_data).resolve()}/faces" in report.command()


def test_a_list_of_addresses_is_looked_at_and_nothing_is_fetched(tmp_path, params):
    listed = tmp_path / "list.csv"
    put(
        listed,
        b"url,licence\nhttps://a.example/1.jpg,CC0\nhttps://a.example/2.jpg,\nftp://a.example/3.jpg,CC0\n",
    )
    report = check([portraits(tmp_path / "eg"), listed], params)
    text = shown(report)
    for part in (
        "urls, addresses of photographs",
        "3; nothing was fetched",
        "1 no_address, as list.csv:4 ftp://a.example/3.jpg",
        "2 addresses on 1 hosts, 2 of them on a.example.",
        "1 addresses state no licence.",
    ):
        assert part in text
    assert report.command().endswith(f"URLS={listed} CONTACT=YOUR_E_MAIL")
    put(listed, b"url\nhello\n")
    assert not check([listed], params).usable
    put(listed, b"hello\n")
    assert "no column that is known" in one(listed, params).problem
