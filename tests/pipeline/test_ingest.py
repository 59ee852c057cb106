"""Ingest: nothing vanishes, each broken file says why, the bytes depend on no order, worker or kill."""

import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from annotations.ledger.takedowns import Takedowns, TakenDown, url_hash
from pipeline import ingest as stage
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.params import IngestParams, Source
from pipeline.core.paths import REJECTED
from pipeline.core.records import account, read_records, read_rejected, write_records, write_rejected
from pipeline.core.store import Store
from pipeline.ingest import ingest, summarise
from pipeline.look_alikes.perceptual_hash import perceptual_hash
from pipeline.sources.inspection import inspect
from pipeline.sources.layouts.listing import ListedPicture
from pipeline.sources.pixel_duplicates import SameFile, settle_duplicates
from sinet.images.decode import (
    ImageError,
    ReadError,
    encode_mask,
    encode_png,
    pixel_id,
    read_image,
    read_mask,
)
from sinet.images.mask_file import decode_mask

PARAMS = IngestParams(
    max_pixels=1_000_000,
    min_side=32,
    mask_threshold=127,
    min_foreground=0.01,
    max_foreground=0.97,
    max_undecided=0.15,
    mask_levels={"eg1800": "two", "baidu": "two", "pairs": "two"},
    duplicate_masks="keep_first",
    max_reject_rate=0.5,
)
SIZE = 48, 64  # width, height


def photograph(seed=0, size=SIZE):
    width, height = size
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def person(size=SIZE, wide=0.3):
    """(H, W) {0, 1}: a head on shoulders, off the middle so that a turn shows."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (int(width * 0.4), height // 3), int(width * 0.2), 1, -1)
    cv2.ellipse(mask, (int(width * 0.4), height), (int(width * wide), height // 2), 0, 180, 360, 1, -1)
    return mask


def saved(pixels, format="PNG", mode=None, orientation=None, **options):
    image = Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(seed=0, size=SIZE, **options):
    return saved(photograph(seed, size), "JPEG", quality=90, **options)


def matlab(**arrays):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays, do_compression=True)
    return buffer.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def portrait(folder, number, image=None, mask=None, suffix="_mask.png"):
    put(folder / f"images_data_crop/{number:05d}.jpg", jpeg(number) if image is None else image)
    place = "images_mask" if suffix.endswith(".mat") else "GT_png"
    put(folder / f"{place}/{number:05d}{suffix}", encode_mask(person()) if mask is None else mask)
    return folder


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def map_here(function, items, *, desc, workers):
    """map_images, but without starting a process where a test does not ask for workers."""
    return map_images(function, items, desc=desc, workers=workers) if workers else map(function, items)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project; the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.ingest.map_images", map_here)
    return tmp_path


def run(layout="eg1800", params=PARAMS, workers=None, folder="source"):
    """Ingest the folder and hold the books: rejected reasons by key, and the outcome."""
    role = {"crawl": "crawl", "baidu": "bodies"}.get(layout, "labelled")
    source = Source(role=role, layout=layout, path=folder)
    done = ingest(layout, source, params, Path("data/ingest") / layout, workers)
    account("ingest", done.items, len(done.records), done.rejected, 1.0)
    return done


def reasons(done):
    return {one.source_key: one.reason for one in done.rejected}


def test_portraits_become_records(project):
    source = project / "source"
    for number in (1, 2, 3):
        portrait(source, number)
    put(source / "train.txt", b"1\n2\n")
    put(source / "val.txt", b"3\n")
    done = run()
    assert done.rejected == [] and len(done.records) == 3
    for row in done.records.itertuples():
        original = (source / row.source_key).read_bytes()
        assert row.sha256 == hashlib.sha256(original).hexdigest()
        assert Path(row.image) == Path(f"data/ingest/eg1800/images/{row.id}.jpg")
        assert Path(row.image).read_bytes() == original
        assert pixel_id(read_image(Path(row.image))) == row.id
        assert np.array_equal(read_mask(Path(row.mask)), person())
        assert (row.width, row.height, row.label, row.source) == (*SIZE, "human", "eg1800")
    assert sorted(done.records["published_side"]) == ["test", "train", "train"]
    assert not (project / "data/ingest/eg1800/staging").exists()


def test_a_crawl_keeps_what_is_known_of_it(project):
    put(project / "source/a.jpg", jpeg(1))
    put(project / "source/b.png", saved(photograph(2)))
    put(
        project / "source/s.csv",
        b"file,url,author,licence,date\na.jpg,http://x,Ann,CC BY 4.0,2025-01-30\nb.png,,,,\n",
    )
    records = run("crawl").records.set_index("source_key")
    known = {"url": "http://x", "author": "Ann", "licence": "CC BY 4.0", "retrieved_at": "2025-01-30"}
    assert dict(records.loc["a.jpg", list(known)]) == known and records.at["a.jpg", "label"] == "none"
    assert records.loc["b.png", list(known)].isna().all()
    assert records[["mask", "published_side"]].isna().all().all()
    assert records.loc["b.png", "image"].endswith(".png")


CONVERTED = {
    "grey": saved(photograph(5)[..., 0], "JPEG"),
    "cmyk": saved(photograph(5), "JPEG", mode="CMYK"),
    "turned": saved(photograph(5), "JPEG", orientation=3),
    "alpha": saved(photograph(5), mode="RGBA"),
    "palette": saved(photograph(5), mode="P"),
    "16 bit": saved(photograph(5)[..., 0].astype(np.uint16) * 257),
    "gif": saved(photograph(5), "GIF"),
    "webp": saved(photograph(5), "WEBP"),
    "bmp": saved(photograph(5), "BMP"),
    "tiff": saved(photograph(5), "TIFF"),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_what_is_no_plain_file_becomes_a_png_of_its_upright_pixels(project, kind):
    put(project / "source/a.jpg", CONVERTED[kind])
    for _ in range(2):  # the second time from the store
        done = run("crawl")
        (row,) = done.records.itertuples()
        assert (
            row.image.endswith(f"{row.id}.png") and row.sha256 == hashlib.sha256(CONVERTED[kind]).hexdigest()
        )
        assert np.array_equal(read_image(Path(row.image)), read_image(project / "source/a.jpg"))
        assert summarise(done)["converted_to_png"] == 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a", "a.GIF"])
def test_the_content_counts_and_not_the_suffix(project, name):
    put(project / "source" / name, saved(photograph()))
    (row,) = run("crawl").records.itertuples()
    assert row.image.endswith(".png")


BROKEN_IMAGES = {
    "zero bytes": (b"", "empty_file"),
    "text": (b"not found", "not_an_image"),
    "truncated": (jpeg()[:-60], "truncated"),
    "cut in its header": (jpeg()[:600], "truncated"),
    "bomb": (saved(np.zeros((1200, 1200), np.uint8)), "too_large"),
    "too small": (jpeg(size=(31, 64)), "too_small"),
    "of another size": (jpeg(size=(64, 64)), "mask_size"),
}


@pytest.mark.parametrize("kind", BROKEN_IMAGES)
def test_a_broken_image_is_rejected(project, kind):
    data, reason = BROKEN_IMAGES[kind]
    portrait(portrait(project / "source", 1), 2, image=data)
    for _ in range(2):
        done = run()
        assert reasons(done) == {"images_data_crop/00002.jpg": reason}
        assert done.rejected[0].detail and len(done.records) == 1


BROKEN_MASKS = {
    "zero bytes": (b"", "_mask.png", "mask_empty_file"),
    "text": (b"not found", "_mask.png", "mask_not_an_image"),
    "truncated": (encode_mask(person())[:50], "_mask.png", "mask_truncated"),
    "bomb": (saved(np.zeros((1200, 1200), np.uint8)), "_mask.png", "mask_too_large"),
    "empty": (encode_mask(person() * 0), "_mask.png", "empty_mask"),
    "nearly empty": (
        encode_mask((np.arange(64 * 48).reshape(64, 48) < 20).astype(np.uint8)),
        "_mask.png",
        "empty_mask",
    ),
    "nearly full": (
        encode_mask((np.arange(64 * 48).reshape(64, 48) > 20).astype(np.uint8)),
        "_mask.png",
        "full_mask",
    ),
    "a photograph": (jpeg(9), "_mask.png", "not_a_mask"),
    "another size": (encode_mask(person((40, 64))), "_mask.png", "mask_size"),
    "classes that are no 0/1": (encode_png(person() * np.uint8(3)), "_mask.png", "not_a_mask"),
    "mat: text": (b"not found", "_mask.mat", "mask_not_an_image"),
    "mat: truncated": (matlab(mask=person())[:200], "_mask.mat", "mask_not_an_image"),
    "mat: 7.3": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400), "_mask.mat", "mask_unsupported"),
    "mat: no mask": (matlab(a=person(), b=person()), "_mask.mat", "mask_not_an_image"),
    "mat: three dimensions": (matlab(mask=photograph()), "_mask.mat", "mask_not_an_image"),
    "mat: bomb": (matlab(mask=np.zeros((1200, 1200), np.uint8)), "_mask.mat", "mask_too_large"),
    "mat: words": (matlab(mask="person"), "_mask.mat", "mask_not_an_image"),
    "mat: complex": (matlab(mask=person() * 1j), "_mask.mat", "mask_unsupported_pixels"),
}


@pytest.mark.parametrize("kind", BROKEN_MASKS)
def test_a_broken_mask_is_rejected(project, kind):
    data, suffix, reason = BROKEN_MASKS[kind]
    portrait(portrait(project / "source", 1), 2, mask=data, suffix=suffix)
    done = run()
    assert reasons(done) == {"images_data_crop/00002.jpg": reason}
    assert list((project / "data/ingest/eg1800/images").iterdir()) == [
        Path(done.records["image"][0]).absolute()
    ]


def test_a_matlab_bomb_behind_a_small_variable_of_its_name_is_not_unpacked(monkeypatch):
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("was unpacked"))
    bomb, small = np.zeros((2000, 1000), np.uint8), person()
    for data, reason in (
        (matlab(mask=bomb) + matlab(mask=small)[128:], "mask_not_an_image"),
        (matlab(mask=small, other=bomb), "mask_too_large"),
        (matlab(other=bomb, mask=small), "mask_too_large"),
    ):
        with pytest.raises(ImageError) as caught:
            inspect(jpeg(), data, PARAMS, matlab=True)
        assert caught.value.reason == reason


def test_the_sentence_of_a_mask_of_classes_names_its_levels(project):
    portrait(portrait(project / "source", 1), 2, mask=encode_png(person() * np.uint8(3)))
    share = person().mean()
    assert run().rejected[0].detail == (
        f"its levels are 0 ({1 - share:.1%}), 3 ({share:.1%}); a mask has 0 for background and 255 for person: save it "
        "so, or say which levels are which"
    )


def labels():
    """A person of the classes 1 and 13, and a part of the background that is to be ignored, 255."""
    levels = person()
    levels[:32] *= 13
    levels[:, 40:] = 255
    return levels


CLASSES = {"person": [1, 13], "background": [0, 255]}


def test_classes_of_a_label_image_are_person_where_the_params_say_so(project):
    portrait(project / "source", 1, mask=encode_png(labels()))
    portrait(project / "source", 2)  # 255 is background there too: an empty mask
    assert reasons(run()) == {FIRST: "not_a_mask"}
    for _ in range(2):  # the second time from the store
        done = run(params=PARAMS.model_validate({**PARAMS.model_dump(), "mask_levels": both(CLASSES)}))
        assert reasons(done) == {SECOND: "empty_mask"}
        (row,) = done.records.itertuples()
        assert np.array_equal(read_mask(Path(row.mask)), np.isin(labels(), [1, 13]))
        assert summarise(done)["mask_levels"] == {"classes": 1}
    fewer = {"person": [13], "background": [0]}
    done = run(params=PARAMS.model_validate({**PARAMS.model_dump(), "mask_levels": both(fewer)}))
    assert (
        "named as neither person nor background"
        in {one.source_key: one.detail for one in done.rejected}[FIRST]
    )


def both(levels):
    return {"eg1800": levels, "baidu": levels, "pairs": levels}


def test_the_metrics_say_how_many_masks_have_which_levels(project):
    for number, mask in enumerate([encode_mask(person()), encode_mask(A), encode_png(person())], 1):
        portrait(project / "source", number, mask=mask)
    put(project / "source/GT_png/00004_mask.jpg", saved(person() * 255, "JPEG", quality=60))
    put(project / "source/images_data_crop/00004.jpg", jpeg(4))
    assert summarise(run())["mask_levels"] == {"0 and 1": 1, "0 and 255": 2, "soft edges": 1}


def test_another_threshold_cuts_a_soft_edge_elsewhere_and_not_as_the_store_has_it(project):
    soft = cv2.GaussianBlur(person() * 255, (7, 7), 0)
    portrait(project / "source", 1, mask=encode_png(soft))
    for threshold in (127, 220, 127):
        done = run(params=PARAMS.model_copy(update={"mask_threshold": threshold}))
        assert np.array_equal(read_mask(Path(done.records["mask"][0])), soft > threshold)


GOOD_MASKS = {
    "0/1 that looks black": (encode_png(person()), "_mask.png"),
    "jpeg": (saved(person() * 255, "JPEG", quality=60), "_mask.jpg"),
    "mat 0/1": (matlab(mask=person()), "_mask.mat"),
    "mat doubles": (matlab(mask=person().astype(float)), "_mask.mat"),
    "mat logical": (matlab(mask=person().astype(bool)), "_mask.mat"),
    "mat 0/255 under another name": (matlab(portrait=person() * 255), "_mask.mat"),
}


@pytest.mark.parametrize("kind", GOOD_MASKS)
def test_masks_of_every_kind_come_out_alike(project, kind):
    data, suffix = GOOD_MASKS[kind]
    portrait(project / "source", 1, mask=data, suffix=suffix)
    done = run()
    assert done.rejected == []
    assert (read_mask(Path(done.records["mask"][0])) == person()).mean() > 0.99


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_laid_on_the_upright_picture(orientation):
    """A mask of the stored size is turned with the picture, an upright one stays."""
    upright_image = photograph()
    stored = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]}
    stored |= {
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    }
    stored |= {8: lambda a: np.rot90(a, -1)}
    image = saved(np.ascontiguousarray(stored[orientation](upright_image)), orientation=orientation)
    picture = inspect(image, encode_mask(person()), PARAMS)
    assert picture.id == pixel_id(upright_image)
    assert picture.mask == encode_mask(person())
    if orientation >= 5:  # elsewhere the sizes are equal, and the mask counts as upright
        turned = np.ascontiguousarray(stored[orientation](person()))
        assert inspect(image, encode_mask(turned), PARAMS).mask == encode_mask(person())


@settings(deadline=None, max_examples=40)
@given(st.integers(35, 100), st.integers(60, 400), st.floats(0.15, 0.3))
def test_jpeg_edges_and_ringing_do_not_move_a_mask(quality, width, wide):
    mask = person((width, width * 4 // 3), wide)
    data = saved(cv2.GaussianBlur(mask * 255, (3, 3), 0), "JPEG", quality=quality)
    found = decode_mask(data).person
    band = cv2.dilate(mask, np.ones((3, 3), np.uint8)) != cv2.erode(mask, np.ones((3, 3), np.uint8))
    assert (found == mask)[~band].all()


def test_paths_that_cannot_be_read(project):
    source = portrait(project / "source", 1)
    for number in (2, 3, 4):
        portrait(source, number)
    images, masks = source / "images_data_crop", source / "GT_png"
    (images / "00002.jpg").unlink()
    (images / "00002.jpg").symlink_to("00002.jpg")
    (images / "00003.jpg").unlink()
    os.mkfifo(images / "00003.jpg")
    assert reasons(run()) == {
        "images_data_crop/00002.jpg": "unreadable",
        "images_data_crop/00003.jpg": "unreadable",
    }
    (masks / "00004_mask.png").unlink()
    (masks / "00004_mask.png").symlink_to("nowhere")
    with pytest.raises(
        ReadError, match="No such file or directory"
    ):  # what it leads to may be back the next time
        run()


def test_layout_rejects_are_counted_too(project):
    source = portrait(project / "source", 1)
    put(source / "images_data_crop/00007.jpg", jpeg(7))
    done = run()
    assert (done.items, reasons(done)) == (2, {"images_data_crop/00007.jpg": "no_mask"})


def twins(source, *masks, test=()):
    """Pictures 1, 2, ... with the same pixels and these masks; the second is a PNG of other bytes."""
    for number, mask in enumerate(masks, 1):
        data = saved(np.asarray(Image.open(io.BytesIO(jpeg(1))))) if number == 2 else jpeg(1)
        portrait(source, number, data, encode_mask(mask))
    if test:
        put(source / "val.txt", "".join(f"{number}\n" for number in test).encode())
        rest = set(range(1, len(masks) + 1)) - set(test)
        put(source / "train.txt", "".join(f"{number}\n" for number in rest).encode())


A, B, C = person(wide=0.3), person(wide=0.35), person(wide=0.4)
FIRST, SECOND, THIRD = (f"images_data_crop/{number:05d}.jpg" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("rule", "masks", "test", "kept", "mask"),
    [
        ("keep_first", (A, A), (), [FIRST], A),
        ("keep_first", (A, B), (), [FIRST], A),
        ("keep_first", (A, B), (2,), [SECOND], B),
        ("reject_both", (A, A), (), [FIRST], A),
        ("reject_both", (A, B), (), [], None),
        ("reject_both", (A, B), (2,), [SECOND], B),
        ("reject_both", (A, B, C), (1, 2), [], None),
        ("majority", (A, B), (), [FIRST], A),
        ("majority", (A, C, C), (), [FIRST], C),
        ("majority", (A, B, C), (), [FIRST], B),
        ("majority", (A, C, C), (1,), [FIRST], A),
    ],
)
def test_twins(project, rule, masks, test, kept, mask):
    twins(project / "source", *masks, test=test)
    done = run(params=PARAMS.model_copy(update={"duplicate_masks": rule}))
    assert done.records["source_key"].tolist() == kept
    assert set(reasons(done).values()) <= {"duplicate_pixels"}
    assert set(done.records["twins"]) <= {""}  # nobody reviews these: one more copy changes no record
    files = sorted(path.name for path in Path("data/ingest/eg1800").glob("images/*"))
    assert files == [Path(image).name for image in done.records["image"]]
    assert len(list(Path("data/ingest/eg1800").glob("masks/*"))) == len(kept)
    if kept:
        assert np.array_equal(read_mask(Path(done.records["mask"][0])), mask)
        assert Path(done.records["image"][0]).suffix == (".png" if kept == [SECOND] else ".jpg")


def test_twins_are_named_with_the_iou_of_their_masks(project):
    twins(project / "source", A, B, A, test=(2,))
    done = run()
    iou = (A & B).sum() / (A | B).sum()
    sentence = f"same pixels as {SECOND}, another mask (IoU {iou:.3f}), which is on the published test side"
    assert {one.source_key: one.detail for one in done.rejected} == {FIRST: sentence, THIRD: sentence}
    assert summarise(done)["twins"] == {"pictures": 1, "with_other_masks": 1, "train_same_as_test": 2}


def test_the_summary_tells_of_the_pictures_that_stay(project):
    """A twin that gives way, here a bitmap with another mask, is counted as a twin and nowhere else."""
    pixels = np.asarray(Image.open(io.BytesIO(jpeg(1))))
    portrait(project / "source", 1, jpeg(1), encode_mask(A))
    portrait(project / "source", 2, saved(pixels, "BMP"), encode_mask(person(wide=0.5)))
    for number, mask in ((3, B), (4, C)):
        portrait(project / "source", number, mask=encode_mask(mask))
    found = summarise(run())
    expected = np.quantile([one.mean() for one in (A, B, C)], (0.05, 0.5, 0.95))
    assert found["foreground_share"] == pytest.approx(dict(zip(("p05", "p50", "p95"), expected, strict=True)))
    assert found["converted_to_png"] == 0
    assert found["published"] == {"train": 0, "test": 0, "none": 3}


def test_twins_of_a_crawl_have_no_masks_to_compare(project):
    for name in ("b.jpg", "a.jpg"):
        put(project / "source" / name, jpeg(1))
    done = run("crawl")
    assert done.records["twins"].tolist() == [
        hashlib.sha256((project / "source/b.jpg").read_bytes()).hexdigest()
    ]
    assert [(one.source_key, one.detail) for one in done.rejected] == [("b.jpg", "same pixels as a.jpg")]


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["train", "test", None])), max_size=12),
    st.randoms(),
)
def test_settling_loses_nobody_and_does_not_mind_the_order(pictures, random):
    candidates = [
        SameFile(number, name, ListedPicture(f"{number:02d}.jpg", "", "mask", side))
        for number, (name, side) in enumerate(pictures)
    ]
    masks = {one.number: np.array([[one.number % 2, 1]], np.uint8) for one in candidates}
    outcomes = []
    for rule in ("keep_first", "reject_both", "majority"):
        settled = settle_duplicates(candidates, lambda one: masks[one.number], rule)
        random.shuffle(candidates)
        again = settle_duplicates(candidates, lambda one: masks[one.number], rule)
        assert (again.kept, again.rejected) == (settled.kept, settled.rejected)
        everybody = [*settled.kept, *(one for one, _ in settled.rejected)]
        assert sorted(one.number for one in everybody) == list(range(len(pictures)))
        for one in settled.kept:
            sides = {other.item.published_side for other in candidates if other.id == one.id}
            assert "test" not in sides or one.item.published_side == "test"
        outcomes.append(settled)
    assert len({one.id for one in outcomes[0].kept}) == len(outcomes[0].kept)


def world(source, count=24):
    """Portraits with a few of every trouble, twins included."""
    for number in range(1, count + 1):
        portrait(source, number, jpeg(number % (count - 4)), encode_mask(B if number > count - 4 else A))
    portrait(source, 90, b"")
    portrait(source, 91, CONVERTED["cmyk"])
    portrait(source, 92, mask=b"text")


def write(done, folder=Path("data/ingest/eg1800")):
    write_records(folder, done.records)
    write_rejected("ingest_eg1800", done.rejected)
    return digest(folder) | digest(REJECTED)


def test_workers_order_and_store_make_no_difference(project, monkeypatch):
    world(project / "source")
    expected = write(run())
    assert write(run(workers=2)) == expected  # from the store
    assert write(run(workers=2, params=PARAMS.model_copy(update={"max_pixels": 999_999}))) == expected
    forwards = os.scandir

    class Backwards:
        def __init__(self, path):
            self.entries = iter(list(forwards(path))[::-1])

        def __enter__(self):
            return self.entries

        def __exit__(self, *_):
            pass

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

    monkeypatch.setattr("pipeline.sources.layouts.listing.os.scandir", Backwards)
    assert write(run(workers=1)) == expected


def test_a_second_run_decodes_nothing_nor_does_another_gate(project, monkeypatch):
    world(project / "source", 6)
    done = run()
    broken, first = set(reasons(done).values()), write(done)
    monkeypatch.setattr(
        "pipeline.sources.inspection._decoded", lambda *_, **__: pytest.fail("was decoded again")
    )
    assert write(run()) == first
    for gate, value, reason in (
        ("min_side", 1000, "too_small"),
        ("min_foreground", 0.9, "empty_mask"),
        ("max_foreground", 0.1, "full_mask"),
    ):
        done = run(params=PARAMS.model_copy(update={gate: value}))
        assert reason in set(reasons(done).values()) <= {reason, *broken}
    portrait(project / "source", 50, jpeg(50))
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        run()


def test_what_another_version_found_or_under_another_suffix_is_looked_at_anew(project, monkeypatch):
    portrait(portrait(project / "source", 1), 2, mask=matlab(mask=person()))
    second = "images_data_crop/00002.jpg"
    assert reasons(run()) == {second: "mask_not_an_image"}
    mask = project / "source/GT_png/00002_mask.png"
    put(project / "source/images_mask/00002_mask.mat", mask.read_bytes())
    mask.unlink()
    assert reasons(run()) == {}
    monkeypatch.setattr("pipeline.sources.inspection.LIBRARIES", "of another decoder")
    monkeypatch.setattr(
        "pipeline.sources.inspection._decoded", lambda *_, **__: pytest.fail("was decoded again")
    )
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        run()


def test_params_that_matter_are_part_of_what_is_remembered(project):
    portrait(project / "source", 1)
    assert len(run().records) == 1
    assert reasons(run(params=PARAMS.model_copy(update={"min_side": 60}))) == {FIRST: "too_small"}
    assert len(run().records) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_pixels", 3000),
        ("min_side", 60),
        ("mask_threshold", 200),
        ("min_foreground", 0.5),
        ("max_foreground", 0.3),
        ("max_undecided", 0.0),
    ],
)
def test_another_value_of_a_param_is_not_answered_from_the_cache(project, name, value):
    """Each of them can change a picture's mask or keep it out; a run that remembers says what a first run says."""
    soft = cv2.GaussianBlur(person() * 255, (9, 9), 0)
    portrait(project / "source", 1, mask=encode_png(soft))
    before, changed = write(run()), PARAMS.model_copy(update={name: value})
    remembered = write(run(params=changed))
    shutil.rmtree(".cache")
    assert remembered == write(run(params=changed)) != before


def test_what_a_kill_left_is_swept_away(project):
    portrait(project / "source", 1)
    out = project / "data/ingest/eg1800"
    put(out / "images/0123456789abcdef.jpg", b"half")
    put(out / "staging/0.jpg", b"half")
    put(out / "records.parquet", b"half")
    write(run())
    assert sorted(path.name for path in out.iterdir()) == [
        "images",
        "masks",
        "records.parquet",
    ]
    assert len(list((out / "images").iterdir())) == 1


KILLED = """
import sys
from pathlib import Path
from tests.pipeline.test_ingest import run, write
if __name__ == "__main__":
    write(run(workers=2))
"""


def test_sigkill_in_the_middle_and_again_gives_the_same_bytes(project, root):
    world(project / "source", 40)
    expected = write(run())
    (project / "killed.py").write_text(KILLED)
    for removed in (".cache", "data"):
        subprocess.run(["rm", "-r", removed], check=True)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    for watched, wait_for in ((".cache/ingest", 1), ("data/ingest/eg1800/images", 12)):
        process = subprocess.Popen(
            [sys.executable, "killed.py"], env=environment, start_new_session=True, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with os.scandir(project / watched) as entries:
                    if len(list(itertools.islice(entries, wait_for))) == wait_for:
                        break
            except FileNotFoundError:  # not made yet
                pass
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert write(run(workers=2)) == expected


def test_main_writes_records_rejects_and_metrics(project, root, monkeypatch):
    for number in range(1, 6):
        portrait(project / "source", number)
    portrait(project / "source", 6, b"")
    write_params(project, root, eg1800="source")
    monkeypatch.setattr(sys, "argv", ["ingest", "eg1800"])
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    stage.main()
    first = digest(project / "metrics")
    assert len(read_records(Path("data/ingest/labelled/eg1800"))) == 5
    told = json.loads(Path("metrics/ingest/eg1800.json").read_text())
    assert (told["role"], told["layout"], told["in"], told["out"]) == ("labelled", "eg1800", 6, 5)
    assert read_rejected("ingest/eg1800")["reason"].tolist() == ["empty_file"]
    stage.main()
    assert digest(project / "metrics") == first
    monkeypatch.setattr(sys, "argv", ["ingest", "crawl"])
    stage.main()
    assert len(read_records(Path("data/ingest/crawl/crawl"))) == 0
    told = json.loads(Path("metrics/ingest/crawl.json").read_text())
    assert (told["role"], told["layout"], told["in"]) == ("crawl", "absent", 0)


@pytest.mark.parametrize(("role", "label"), [("labelled", "human"), ("bodies", "human")])
def test_main_reads_a_source_of_any_name_and_role(project, root, monkeypatch, role, label):
    write_params(project, root)
    for number in range(4):
        put(project / f"mine/Photos/{number}.jpg", jpeg(number))
        put(project / f"mine/GT/{number}_mask.png", encode_png(labels()))
    put(project / "mine/test.txt", b"0\n")
    put(project / "mine/train.txt", b"1\n2\n3\n")
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["sources"]["mine_2"] = {"role": role, "layout": "pairs", "path": "mine", "licence": "CC0"}
    content["ingest"]["mask_levels"]["pairs"] = CLASSES
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(sys, "argv", ["ingest", "mine_2"])
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    stage.main()
    records = read_records(Path(f"data/ingest/{role}/mine_2"))
    assert set(records["source"]) == {"mine_2"} and set(records["label"]) == {label}
    assert set(records["licence"]) == {"CC0"} and records["author"].isna().all()
    assert records["published_side"].value_counts().to_dict() == {"train": 3, "test": 1}
    for row in records.itertuples():
        assert row.image.startswith(f"data/ingest/{role}/mine_2/images/")
        assert np.array_equal(read_mask(Path(row.mask)), np.isin(labels(), [1, 13]))


def write_params(project, root, **folders):
    from ruamel.yaml import YAML

    yaml = YAML()
    content = yaml.load((root / "params.yaml").read_text())
    for name in content["sources"]:
        layout = name if name in folders else "absent"
        content["sources"][name].update(layout=layout, path=folders.get(name, "nowhere"))
    content["ingest"].update(PARAMS.model_dump(include={"min_side", "max_pixels"}), max_reject_rate=0.2)
    with (project / "params.yaml").open("w") as file:
        yaml.dump(content, file)


def test_too_many_rejects_stop_the_stage_and_leave_the_list(project, root, monkeypatch):
    portrait(portrait(project / "source", 1), 2, b"")
    write_params(project, root, eg1800="source")
    monkeypatch.setattr(sys, "argv", ["ingest", "eg1800"])
    with pytest.raises(PipelineError, match=r"1 of 2 items were rejected \(empty_file 1\).*data/rejected"):
        stage.main()
    assert len(read_rejected("ingest/eg1800")) == 1


@pytest.mark.parametrize("arguments", [[], ["flickr"], ["eg1800", "baidu"]])
def test_a_source_that_does_not_exist(arguments, project, root, monkeypatch):
    write_params(project, root)
    monkeypatch.setattr(sys, "argv", ["ingest", *arguments])
    with pytest.raises(
        PipelineError, match=r"expected one source of params.yaml, baidu, crawl, eg1800; found"
    ):
        stage.main()


SEEDS = [
    (jpeg(), encode_mask(person()), False),
    (jpeg(orientation=6), saved(person() * 255, "JPEG"), False),
    (saved(photograph(), "WEBP"), encode_png(person()), False),
    (saved(photograph()), matlab(mask=person()), True),
]
FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(SEEDS) - 1), FLIPS, FLIPS, st.floats(0.5, 1))
def test_a_damaged_item_is_a_picture_or_an_image_error(seed, in_image, in_mask, cut):
    image, mask, is_matlab = SEEDS[seed]
    try:
        picture = inspect(
            flipped(image, in_image), flipped(mask, in_mask)[: int(cut * len(mask))], PARAMS, matlab=is_matlab
        )
    except ImageError as error:
        assert error.reason and error.detail
    else:
        assert picture.mask and 0.01 <= picture.foreground <= 0.97


def flipped(data, flips):
    changed = bytearray(data)
    for share, value in flips:
        changed[int(share * share * len(data))] = value  # rather at the start, where the headers are
    return bytes(changed)


@pytest.mark.real_data
@pytest.mark.slow
def test_the_real_photographs(project, real_data):
    done = run(folder=str(real_data / "eg1800"), params=PARAMS.model_copy(update={"min_side": 64}), workers=2)
    found = reasons(done)
    assert {key[-9:-4]: reason for key, reason in found.items()} == {
        "00496": "full_mask",
        "02040": "full_mask",
        "02188": "full_mask",
        "02238": "full_mask",
        "02051": "duplicate_pixels",
        "02359": "duplicate_pixels",
    }
    assert done.records["published_side"].value_counts().to_dict() == {"train": 1132, "test": 200}


def test_what_people_asked_to_have_taken_out_is_rejected_and_not_remembered(project, monkeypatch):
    """By file, by pixels, by address, and by looks: smaller, encoded anew and mirrored."""
    monkeypatch.setattr("pipeline.look_alikes.perceptual_hash.map_images", map_here)
    images = project / "source/images"
    names = ("file", "pixels", "url", "mirrored", "stays")
    for seed, name in enumerate(names, 1):
        put(images / f"{name}.png", saved(photograph(seed, (96, 128))))
    small = cv2.resize(photograph(4, (96, 128)), (72, 96), interpolation=cv2.INTER_AREA)[:, ::-1]
    put(images / "mirrored.png", saved(np.ascontiguousarray(small), "JPEG", quality=80))
    put(images / "pixels.png", saved(photograph(2, (96, 128)), "BMP"))  # stored again, as a PNG
    rows = "".join(f"{name}.png,https://example.org/{name}.png\n" for name in names)
    put(project / "source/list.csv", f"file,url\n{rows}".encode())
    request = TakenDown(
        key="a" * 16,
        date="2026-11-29",
        pixels=(pixel_id(photograph(2, (96, 128))),),
        files=(hashlib.sha256((images / "file.png").read_bytes()).hexdigest(),),
        looks=(perceptual_hash(photograph(4, (96, 128))).tobytes().hex(),),
        urls=(url_hash("http://EXAMPLE.org/url.png"),),
    )
    source = Source(role="crawl", layout="crawl", path="source")
    for _ in range(2):
        done = ingest("web", source, PARAMS, Path("data/web"), 1, Takedowns([request]), 56)
        assert {Path(key).stem: reason for key, reason in reasons(done).items()} == dict.fromkeys(
            ("file", "pixels", "url", "mirrored"), "taken_down"
        )
        assert [Path(key).stem for key in done.records["source_key"]] == ["stays"]
        assert all("request aaaaaaaaaaaaaaaa" in one.detail for one in done.rejected)
        assert len(list(Path("data/web/images").iterdir())) == 1 and not Path("data/web/staging").exists()
        assert Store("ingest").size().entries == 1
        assert account("ingest", done.items, 1, done.rejected, 0.0)["reasons"] == {"taken_down": 4}
    assert len(ingest("web", source, PARAMS, Path("data/web"), 1).records) == 5  # the line deleted: undone
