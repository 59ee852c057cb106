"""Pseudo labels: each portrait has the teacher's mask and its doubt, and the cache only saves time."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from pipeline import pseudo_label as stage
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import CACHE, CROP, PSEUDO, TEACHER
from pipeline.core.records import COLUMNS, make_records, read_records, teacher_name, write_records
from pipeline.deeplab import network as deeplab
from pipeline.drawing.picture import generator, portrait, wide
from pipeline.faces.portrait import cut
from pipeline.pseudo_label import LabelSettings, label_portrait, main, pseudo_label, summarise
from sinet.images.decode import Array, encode_png, pixel_id, read_image, read_mask
from tests.pipeline.outcomes import Outcome, entries

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
CARD = deeplab.TeacherCard("tu-mobilenetv3_small_100", 16, (2, 4, 6), 1, deeplab.imagenet_input(64))
NEW_TEACHER = TEACHER.with_name("new.safetensors")
CRAWL = CROP / "crawl"
NEW = (
    "label",
    "image",
    "mask",
    "probability",
    "teacher",
    "uncertainty",
    "flags",
)  # columns that a label changes

Map = NDArray[np.float32]


def write_teacher(path: Path, seed: int) -> None:
    """Random weights, the last layer stretched so that answers reach over 0..1 (else all are about a half)."""
    torch.manual_seed(seed)
    model = deeplab.build(CARD).eval()
    picture = portrait(generator(5, "pseudo", 0)).image
    x = CARD.preprocessing.tensor(torch.from_numpy(deeplab.teacher_input(picture, 64)[None]))
    state = model.state_dict()
    with torch.inference_mode():
        logits = model(x)
    stretch = 3 / logits.std()
    state["segmentation_head.0.weight"] *= stretch
    state["segmentation_head.0.bias"].sub_(logits.mean()).mul_(stretch)
    deeplab.save_teacher(path, state, CARD)


def portraits(folder: Path) -> pd.DataFrame:
    """Sixteen records and files of the crawl as stage crop leaves them, enough for two workers: whole and cut ones."""
    rows = []
    (folder / "images").mkdir(parents=True)
    for index in range(16):
        whole = index < 8
        drawn = (portrait if whole else wide)(generator(5, "pseudo", index))
        height, width = drawn.image.shape[:2]
        box = (
            Box(0, 0, width, height) if whole else Box(width // 4, -7, width // 4 + height // 2, height // 2)
        )
        data = drawn.jpeg() if whole else encode_png(cut(drawn.image, box, 128))
        path = folder / "images" / f"new{'.jpg' if whole else '.png'}"
        path.write_bytes(data)
        id_ = pixel_id(read_image(path))
        path = path.rename(path.with_stem(id_))
        sha = sha256(f"original {index}".encode()).hexdigest()
        x, y = box.width // 3, box.height // 4
        rows.append(
            {
                "id": id_,
                "source": "crawl",
                "source_key": f"images/{index}.jpg",
                "parent_id": id_ if whole else f"{index:016x}",
                "parent_sha256": sha,
                "crop_box": str(box),
                "face": str(Box(x, y, 2 * x, 2 * y)),
                "face_probability": 0.9 + index / 300,
                "image": path.as_posix(),
                "width": box.width,
                "height": box.height,
                "sha256": sha,
                "url": f"https://example.org/{index}",
                "author": None if index % 2 else "somebody",
                "licence": "CC BY 4.0",
                "retrieved_at": "2025-01-30",
            }
        )
    return make_records(rows)


@dataclass(frozen=True)
class World:
    """A project folder in which the stage ran once, and what it made there."""

    portraits: pd.DataFrame
    records: pd.DataFrame
    settings: LabelSettings
    outcome: Outcome


def outcome(folder: Path, records: pd.DataFrame, parts: pd.DataFrame) -> Outcome:
    return Outcome.of(folder, records, parts.to_csv(float_format="%.6f"))


def again(records: pd.DataFrame, settings: LabelSettings) -> Outcome:
    """The outcome of one more run, in another folder, which holds what a kill left behind."""
    folder = Path("again")
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    (folder / "masks" / "half.png").write_bytes(b"half")
    return outcome(folder, *pseudo_label(records, settings, folder))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(tmp_path_factory.mktemp("pseudo")):
        patch.setenv("PIPELINE_WORKERS", "1")
        Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
        write_teacher(TEACHER, 1)
        write_teacher(NEW_TEACHER, 2)
        given = portraits(CRAWL)
        write_records(CRAWL, given)
        main()
        records = read_records(PSEUDO)
        parts = pd.read_csv(PSEUDO / "uncertainty.csv", dtype={"id": str}, index_col="id")
        settings = LabelSettings(PARAMS.pseudo_label, TEACHER, teacher_name(TEACHER), CACHE)
        yield World(given, records, settings, outcome(PSEUDO, records, parts))


# one run of the stage


def test_every_portrait_has_its_label(world: World) -> None:
    metrics = json.loads(Path("metrics/pseudo_label.json").read_text())
    assert (metrics["in"], metrics["out"], metrics["rejected"], metrics["reasons"]) == (16, 16, 0, {})
    assert set(world.records["label"]) == {"pseudo"}
    assert set(world.records["teacher"]) == {teacher_name(TEACHER)}
    assert {path.name for path in PSEUDO.iterdir()} == {
        "images", "masks", "probability", "records.parquet", "uncertainty.csv",
    }  # fmt: skip
    for kind in ("images", "masks", "probability"):
        assert {path.stem for path in (PSEUDO / kind).iterdir()} == set(world.records["id"])


def test_records_take_over_all_that_is_known_of_the_portrait(world: World) -> None:
    same = [name for name in COLUMNS if name not in NEW]
    assert world.records[same].equals(world.portraits[same])


def test_a_label_has_a_copy_of_the_portraits_file(world: World) -> None:
    """Alone, data/pseudo is all that a review needs."""
    for row, given in zip(world.records.itertuples(), world.portraits.itertuples(), strict=True):
        path, source = Path(str(row.image)), Path(str(given.image))
        assert path == PSEUDO / "images" / source.name
        assert path.read_bytes() == source.read_bytes()
        assert not path.is_symlink() and path.stat().st_ino != source.stat().st_ino
        assert (row.mask, row.probability) == (
            f"data/pseudo/masks/{row.id}.png",
            f"data/pseudo/probability/{row.id}.png",
        )
    assert {Path(image).suffix for image in world.records["image"]} == {".jpg", ".png"}


def one_opinion(model: torch.nn.Module, image: Array) -> Map:
    """Probability (64, 64) of one picture, by the network alone."""
    x = CARD.preprocessing.tensor(torch.from_numpy(deeplab.teacher_input(image, 64)[None]))
    with torch.inference_mode():
        return np.asarray(torch.sigmoid(model(x))[0, 0].numpy(), np.float32)


def test_probability_is_the_mean_of_picture_and_mirror_image_and_mask_where_it_is_above_127(
    world: World,
) -> None:
    model, _ = deeplab.load_teacher(TEACHER)
    apart: list[float] = []
    person: list[float] = []
    for row in world.records.to_dict("records"):
        image = read_image(Path(row["image"]))
        found = grey(Path(row["probability"]).read_bytes())
        assert found.shape == image.shape[:2]
        assert np.array_equal(read_mask(Path(row["mask"])), found > 127)
        straight = one_opinion(model, image)
        mirrored = one_opinion(model, np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
        mean = cv2.resize((straight + mirrored) / 2, (row["width"], row["height"]))
        assert np.abs(found - mean * 255).max() < 0.51  # rounded, never cut off
        apart.append(float(np.abs(straight - mirrored).max()))
        person.append(float((found > 127).mean()))
    # A teacher that sees the same in a picture and its mirror image, or nobody at all, would prove nothing.
    assert max(apart) > 0.2
    assert min(person) < 0.9
    assert max(person) > 0.1


def test_uncertainty_csv_holds_the_parts_of_each_record(world: World) -> None:
    text = (PSEUDO / "uncertainty.csv").read_text()
    assert text.startswith("id,flip,stability,entropy\n")
    assert "\r" not in text
    assert re.fullmatch(r"[0-9a-f]{16}(,[01]\.\d{6}){3}", text.splitlines()[1])
    parts = pd.read_csv(PSEUDO / "uncertainty.csv", dtype={"id": str}).set_index("id")
    assert list(parts.index) == sorted(world.records["id"])
    assert ((parts >= 0) & (parts <= 1)).all(axis=None)
    # params.yaml gives the three parts the same weight.
    expected = parts.mean(axis=1)[world.records["id"]]
    assert world.records["uncertainty"].to_numpy() == pytest.approx(expected.to_numpy(), abs=2e-6)
    assert world.records["uncertainty"].nunique() > 5
    assert [path.name for path in PSEUDO.glob("*.tmp")] == []


# the cache, the order and the workers


def test_a_second_run_computes_nothing(world: World) -> None:
    before = entries(CACHE)
    assert len(before["pseudo_label"]) == 2 * 16  # what the teacher said, and what that makes
    blind = replace(world.settings, teacher=Path("gone.safetensors"))  # nobody can ask this teacher
    assert again(world.portraits, blind) == world.outcome
    assert entries(CACHE) == before
    assert not Path("again/masks/half.png").exists()


def test_other_flags_and_weights_ask_the_teacher_nothing(world: World) -> None:
    label = deeper(world.settings.label, "flags", min_person=1.0)
    weights = label.uncertainty.weights.model_copy(update={"flip": 0})
    blind = replace(
        world.settings,
        label=deeper(label, "uncertainty", weights=weights),
        teacher=Path("gone.safetensors"),
    )
    records, parts = pseudo_label(world.portraits, blind, Path("other"))
    assert all("no_person" in flags for flags in records["flags"])
    mean = parts[["stability", "entropy"]].mean(axis=1)
    assert np.allclose(records.set_index("id")["uncertainty"], mean)


def test_a_new_teacher_labels_the_same_portraits_anew(world: World) -> None:
    labels = entries(CACHE)["pseudo_label"]
    settings = replace(world.settings, teacher=NEW_TEACHER, teacher_hash=teacher_name(NEW_TEACHER))
    records, parts = pseudo_label(world.portraits, settings, Path("again"))
    after = entries(CACHE)["pseudo_label"]
    assert len(set(after) - set(labels)) == 2 * 16
    assert set(labels) <= set(after)
    same = [name for name in COLUMNS if name not in NEW]
    assert records[same].equals(world.records[same])
    assert set(records["teacher"]) == {settings.teacher_hash} != set(world.records["teacher"])
    for row, old in zip(records.itertuples(), world.records.itertuples(), strict=True):
        assert Path(str(row.probability)).read_bytes() != Path(str(old.probability)).read_bytes()
    assert len(parts) == 16


def test_neither_the_cache_nor_order_nor_workers_change_a_byte(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    settings = replace(world.settings, cache=Path("empty-cache"))
    assert again(world.portraits.iloc[::-1], settings) == world.outcome
    made = set(entries(settings.cache)["pseudo_label"])
    assert made <= set(entries(CACHE)["pseudo_label"]) and len(made) == 2 * 16


@pytest.mark.parametrize(
    ("change", "label_again"),
    [
        (lambda s: replace(s, teacher_hash="0" * 16), True),
        (lambda s: replace(s, label=deeper(s.label, "flags", piece=0.5)), True),
        (lambda s: replace(s, label=deeper(s.label, "uncertainty", delta=0.1)), True),
        (lambda s: replace(s, teacher=Path("elsewhere"), cache=Path("other")), False),
    ],
)
def test_what_a_stored_label_depends_on(
    change: Callable[[LabelSettings], LabelSettings], label_again: bool
) -> None:
    one = LabelSettings(PARAMS.pseudo_label, TEACHER, "f" * 16, CACHE)
    other, id_ = change(one), "a" * 16
    known = one.label_key(id_, "1,2,3,4")
    assert (known != other.label_key(id_, "1,2,3,4")) == label_again
    assert known != one.label_key("b" * 16, "1,2,3,4")
    assert known != one.label_key(id_, "1,2,3,5")


def deeper(section: Any, part: str, **update: Any) -> Any:
    """A section of the parameters with a part of it changed."""
    return section.model_copy(update={part: getattr(section, part).model_copy(update=update)})


def test_a_cache_that_is_emptied_meanwhile_is_an_error(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(world.settings, cache=tmp_path)
    monkeypatch.setattr(stage, "map_images", lambda _, tasks, **__: [None for _ in tasks])
    with pytest.raises(PipelineError, match=r"pseudo_label lost a result while the stage ran; run it again"):
        pseudo_label(world.portraits.head(1), settings, tmp_path / "out")


# one portrait, its opinions made by hand

IMAGE = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
TALL = np.random.default_rng(2).integers(0, 256, (40, 20, 3), np.uint8)
FACE = Box(8, 8, 12, 12)


def labelled(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    straight: Map,
    mirrored: Map | None = None,
    image: Array = IMAGE,
    face: Box = FACE,
) -> tuple[dict[str, Any], Array, Array]:
    """What the record says, mask {0, 1} and probability, for a teacher with these opinions."""
    asked: list[Array] = []

    def opinions(_: object, preprocessing: object, shown: Array) -> tuple[Map, Map]:
        assert preprocessing == CARD.preprocessing
        asked.append(shown)
        return straight, straight if mirrored is None else mirrored

    monkeypatch.setattr(deeplab, "two_opinions", opinions)
    meta, blobs = label_portrait(image, face, world.settings)
    assert len(asked) == 1
    assert np.array_equal(asked[0], image)
    assert meta.keys() == {"uncertainty", "flags", *stage.PARTS}
    assert blobs.keys() == {"mask", "probability"}
    mask, probability = grey(blobs["mask"]), grey(blobs["probability"])
    assert set(np.unique(mask)) <= {0, 255}
    return meta, mask // np.uint8(255), probability


def grey(png: bytes) -> Array:
    """The grey levels of a PNG file as they are stored."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.dtype == np.uint8
    return np.asarray(pixels, np.uint8)


def field(*parts: tuple[slice, slice], shape: tuple[int, int] = (20, 20)) -> Map:
    """Probability 0.8 in these rows and columns, 0.2 elsewhere."""
    made = np.full(shape, 0.2, np.float32)
    for rows, columns in parts:
        made[rows, columns] = 0.8
    return made


ALL = slice(None)
TORSO = (slice(8, None), slice(6, 14))
HALF_SURE = -(0.8 * np.log2(0.8) + 0.2 * np.log2(0.2)) / 3  # entropy 0.722 bits; flip and stability 0


@pytest.mark.parametrize(
    ("opinion", "flags", "uncertainty"),
    [
        (field(TORSO), "", HALF_SURE),
        (field(TORSO, (slice(0, 4), slice(0, 4))), "several_pieces", HALF_SURE),
        (field(TORSO, (slice(0, 1), slice(0, 1))), "", HALF_SURE),  # a piece of 1 pixel among 97
        (field((ALL, ALL)), "touches_every_border", HALF_SURE),
        (field((ALL, slice(14, None))), "face_not_covered", HALF_SURE),
        (field((slice(9, 11), slice(9, 11))), "face_not_covered no_person", HALF_SURE),
        (field(), "face_not_covered no_person", 1.0),
    ],
    ids=["torso", "two pieces", "a speck", "all", "beside the face", "too little", "nobody"],
)
def test_flags_and_uncertainty_of_a_portrait(
    world: World, monkeypatch: pytest.MonkeyPatch, opinion: Map, flags: str, uncertainty: float
) -> None:
    meta, mask, probability = labelled(world, monkeypatch, opinion)
    assert meta["flags"] == flags
    assert meta["uncertainty"] == pytest.approx(uncertainty, abs=1e-6)
    assert np.array_equal(mask, opinion > 0.5)
    assert np.array_equal(probability, np.where(opinion > 0.5, 204, 51))


def test_two_opinions_that_differ(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, mirrored = np.zeros((2, 20, 20), np.float32)
    straight[:, :8], mirrored[:, :8] = 1, 1
    straight[:, 8:10], mirrored[:, 8:10] = 0.4, 0.8  # 0.6 in the mean
    meta, mask, probability = labelled(world, monkeypatch, straight, mirrored)
    assert probability[3].tolist() == [255] * 8 + [153] * 2 + [0] * 10
    assert mask[3].tolist() == [1] * 10 + [0] * 10
    assert meta["flip"] == pytest.approx(0.2)  # 8 columns against 10
    assert meta["stability"] == pytest.approx(0.2)  # above 0.7: 8 columns; above 0.3: 10
    # The band of 7 pixels are the columns 7 to 12, of which two have 0.6: 0.970951 bits.
    assert meta["entropy"] == pytest.approx(2 * 0.970951 / 6, abs=1e-5)
    assert meta["uncertainty"] == pytest.approx((0.2 + 0.2 + 2 * 0.970951 / 6) / 3, abs=1e-5)


def test_a_small_answer_is_stretched_to_the_portrait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.zeros((10, 10), np.float32)
    left[:, :5] = 1
    _, mask, probability = labelled(world, monkeypatch, left, image=TALL)
    assert probability.shape == mask.shape == TALL.shape[:2] == (40, 20)
    assert (probability == [255] * 9 + [191, 64] + [0] * 9).all()
    assert (mask == [1] * 10 + [0] * 10).all()


def test_the_face_of_the_record_decides_its_flag(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Low in a tall portrait, where the person is, and at its top, where nobody is."""
    for face, flags in ((Box(7, 25, 13, 37), ""), (Box(7, 2, 13, 14), "face_not_covered")):
        meta, *_ = labelled(world, monkeypatch, field(TORSO), image=TALL, face=face)
        assert meta["flags"] == flags


# the edges of the stage


def row(index: int, uncertainty: float, flags: str) -> dict[str, Any]:
    files = {"image": f"{index}.png", "sha256": "0" * 64}
    base = {"id": f"{index:016x}", "source": "crawl", "source_key": f"{index}.jpg", "label": "pseudo"}
    return {**base, **files, "width": 30, "height": 40, "uncertainty": uncertainty, "flags": flags}


def test_the_summary_by_hand() -> None:
    flags = ["", "no_person", "no_person several_pieces", "", "touches_every_border"]
    doubts = [0.4, 0.0, 0.2, 0.1, 0.3]
    records = make_records([row(i, *pair) for i, pair in enumerate(zip(doubts, flags, strict=True))])
    parts = pd.DataFrame({"flip": [0.0] * 5, "stability": doubts, "entropy": [1.0] * 5}, index=records["id"])
    spread = {"p05": 0.02, "p25": 0.1, "p50": 0.2, "p75": 0.3, "p95": 0.38}
    found = summarise(records, parts)
    quantiles = found.pop("uncertainty")
    assert quantiles.keys() == {"uncertainty", "flip", "stability", "entropy"}
    assert quantiles["uncertainty"] == pytest.approx(spread)
    assert quantiles["stability"] == pytest.approx(spread)
    assert set(quantiles["flip"].values()) == {0.0}
    assert set(quantiles["entropy"].values()) == {1.0}
    assert found == {
        "flags": {"no_person": 2, "several_pieces": 1, "touches_every_border": 1},
        "flagged": 3,
    }


def test_no_portraits_give_no_labels(tmp_path: Path) -> None:
    settings = LabelSettings(PARAMS.pseudo_label, TEACHER, "f" * 16, tmp_path / "cache")
    records, parts = pseudo_label(make_records([]), settings, tmp_path / "pseudo")
    assert (len(records), len(parts)) == (0, 0)
    assert summarise(records, parts) == {"uncertainty": {}, "flags": {}, "flagged": 0}
    stage.write_uncertainty(tmp_path / "uncertainty.csv", parts)
    assert (tmp_path / "uncertainty.csv").read_text() == "id,flip,stability,entropy\n"
    assert {path.name for path in (tmp_path / "pseudo").iterdir()} == {"images", "records.parquet"}


def project(folder: Path) -> None:
    """A folder with params.yaml and the record of one portrait of the crawl."""
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    write_records(CRAWL, make_records([{**row(1, 0.0, ""), "label": "none"}]))


def test_without_a_teacher_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path)
    with pytest.raises(
        PipelineError, match=r"a teacher at models/teacher.safetensors, found none; run `dvc repro teacher`"
    ):
        main()


def test_a_portrait_that_vanishes_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mistake in pseudo_label itself would make it vanish."""
    monkeypatch.chdir(tmp_path)
    project(tmp_path)
    TEACHER.parent.mkdir()
    TEACHER.write_bytes(b"never loaded")
    nothing = make_records([]), pd.DataFrame(columns=["flip", "stability", "entropy"])
    monkeypatch.setattr(stage, "pseudo_label", lambda *_: nothing)
    with pytest.raises(PipelineError, match="pseudo_label: 1 items went in, but 0 records and 0 rejected"):
        main()
