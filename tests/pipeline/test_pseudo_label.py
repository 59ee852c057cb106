"""Pseudo labels: the portrait's mask and doubt are the teacher's, gates have reasons, the cache only saves time."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
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
from pipeline.core.paths import CACHE, INGEST, PSEUDO, TEACHER
from pipeline.core.records import Rejected, make_records, read_records, read_rejected
from pipeline.deeplab import network as deeplab
from pipeline.drawing.picture import body, generator, nobody, portrait, wide
from pipeline.faces.detector import Face, FaceFinder
from pipeline.faces.portrait import choose_portrait, cut
from pipeline.pseudo_label import LabelSettings, label_portrait, main, pseudo_label, summarise
from sinet.images.decode import Array, encode_png, pixel_id, read_image, read_mask
from tests.pipeline.dataset_inputs import write_source

ROOT = Path(__file__).parents[2]
PHOTOGRAPHS = INGEST / "crawl" / "crawl"
PARAMS = load_params(ROOT / "params.yaml")
CARD = deeplab.TeacherCard("tu-mobilenetv3_small_100", 16, (2, 4, 6), 1, deeplab.imagenet_input(64))
NEW_TEACHER = TEACHER.with_name("new.safetensors")
PICTURES = ("image", "mask", "probability")

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


def ingest(folder: Path, files: dict[str, bytes]) -> pd.DataFrame:
    """Records of a crawl's picture files as ingest leaves them."""
    rows = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / "images" / name
        path.write_bytes(data)
        image = read_image(path)
        rows.append(
            {
                "id": pixel_id(image),
                "source": "crawl",
                "source_key": f"images/{name}",
                "image": path.as_posix(),
                "width": image.shape[1],
                "height": image.shape[0],
                "sha256": sha256(data).hexdigest(),
                "url": f"https://example.org/{name}",
                "author": None if name.startswith("body") else "somebody",
                "licence": "CC BY 4.0",
                "retrieved_at": "2025-01-30",
            }
        )
    return make_records(rows)


def crawl() -> dict[str, bytes]:
    """Sixteen files, enough for two workers: eleven make portraits, five do not, each for its own reason."""
    drawn = {f"portrait{index}": portrait(generator(5, "pseudo", index)) for index in range(5)}
    drawn |= {f"wide{index}": wide(generator(5, "pseudo", index)) for index in range(3)}
    bodies = [body(generator(5, "pseudo", index)).image for index in range(3)]
    files = {f"{name}.jpg": one.jpeg() for name, one in drawn.items()}
    files |= {f"body{index}.png": encode_png(image) for index, image in enumerate(bodies)}
    twin = bodies[2].copy()
    twin[-1, -1] ^= 1  # outside the portrait
    small = cv2.resize(bodies[2], None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    faded = np.uint8(128) + np.rint((drawn["portrait0"].image.astype(float) - 128) * 0.1).astype(np.int8)
    files |= {
        "twin.png": encode_png(twin),
        "small.png": encode_png(np.asarray(small, np.uint8)),
        "faded.png": encode_png(faded.astype(np.uint8)),
        **{f"nobody{index}.png": encode_png(nobody(generator(5, "pseudo", index)).image) for index in (0, 1)},
    }
    return files


@dataclass(frozen=True)
class Outcome:
    """Everything a run gave, to be compared: the tables as text, and the bytes of each picture."""

    tables: str
    pictures: dict[str, bytes]

    @classmethod
    def of(
        cls, records: pd.DataFrame, parts: pd.DataFrame, rejected: Sequence[Rejected], folder: Path
    ) -> "Outcome":
        table = records.copy()
        for name in PICTURES:
            table[name] = table[name].str.removeprefix(f"{folder.as_posix()}/")
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
        return cls(
            "\n".join([table.to_csv(), parts.to_csv(float_format="%.6f"), *sorted(map(str, rejected))]),
            {path.relative_to(folder).as_posix(): path.read_bytes() for path in files},
        )


@dataclass(frozen=True)
class World:
    """A project folder in which the stage ran once, and what it made there."""

    parents: pd.DataFrame
    records: pd.DataFrame
    settings: LabelSettings
    outcome: Outcome


def again(parents: pd.DataFrame, settings: LabelSettings) -> Outcome:
    """The outcome of one more run, in another folder, which holds what a kill left behind."""
    folder = Path("again")
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    (folder / "masks" / "half.png").write_bytes(b"half")
    return Outcome.of(*pseudo_label(parents, settings, folder), folder)


def entries(folder: Path) -> dict[str, tuple[int, int]]:
    """The store's files, and what changes when one is written again."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(tmp_path_factory.mktemp("pseudo")):
        patch.setenv("PIPELINE_WORKERS", "1")
        Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
        write_teacher(TEACHER, 1)
        write_teacher(NEW_TEACHER, 2)
        parents = ingest(PHOTOGRAPHS, crawl())
        write_source(PHOTOGRAPHS, parents)
        main()
        records = read_records(PSEUDO)
        parts = pd.read_csv(PSEUDO / "uncertainty.csv", dtype={"id": str}, index_col="id")
        rejected = [Rejected(*row) for row in read_rejected("pseudo_label").itertuples(index=False)]
        settings = LabelSettings(PARAMS.crop, PARAMS.pseudo_label, TEACHER, deeplab.file_hash(TEACHER), CACHE)
        yield World(parents, records, settings, Outcome.of(records, parts, rejected, PSEUDO))


# one run of the stage


def test_nothing_vanishes_and_each_reject_has_its_sentence(world: World) -> None:
    rejected = read_rejected("pseudo_label").set_index("source_key")
    assert len(world.records) + len(rejected) == len(world.parents) == 16
    assert set(world.records["source_key"]) | set(rejected.index) == set(world.parents["source_key"])
    assert set(rejected["source"]) == {"crawl"}
    expected = {
        "images/faded.png": (
            "face_probability",
            r"of 1 faces the surest has probability 0\.[78]\d\d, below 0\.9",
        ),
        "images/nobody0.png": ("no_face", "no face was found"),
        "images/nobody1.png": ("no_face", "no face was found"),
        "images/small.png": ("face_too_small", r"the largest face is 2\d pixels high, below 40"),
        "images/twin.png": (
            "duplicate_pixels",
            r"its portrait has the same pixels as that of images/body2\.png",
        ),
    }
    assert rejected["reason"].to_dict() == {key: reason for key, (reason, _) in expected.items()}
    for key, (_, sentence) in expected.items():
        assert re.fullmatch(sentence, str(rejected.loc[key, "detail"]))
    metrics = json.loads(Path("metrics/pseudo_label.json").read_text())
    assert (metrics["in"], metrics["out"], metrics["rejected"]) == (16, 11, 5)
    assert metrics["reasons"] == {
        "duplicate_pixels": 1,
        "face_probability": 1,
        "face_too_small": 1,
        "no_face": 2,
    }
    assert metrics["whole"] + metrics["cropped"] == 11


def test_a_portrait_keeps_its_file_and_a_cropped_picture_becomes_one_of_its_own(world: World) -> None:
    parents = world.parents.set_index("id")
    whole = 0
    for row in world.records.to_dict("records"):
        parent, path = parents.loc[row["parent_id"]], Path(row["image"])
        box, pixels = Box.parse(row["crop_box"]), read_image(Path(parent["image"]))
        assert row["id"] == pixel_id(read_image(path)) == path.stem
        assert (row["width"], row["height"]) == (box.width, box.height)
        if box == Box(0, 0, parent["width"], parent["height"]):
            whole += 1
            assert row["id"] == row["parent_id"]
            assert path.read_bytes() == Path(parent["image"]).read_bytes()
            assert path.suffix == Path(parent["image"]).suffix
        else:
            assert row["id"] != row["parent_id"]
            assert path.suffix == ".png"
            assert np.array_equal(read_image(path), cut(pixels, box, PARAMS.crop.fill))
    assert 0 < whole < len(world.records)
    assert any(Path(image).suffix == ".jpg" for image in world.records["image"])


def test_the_portrait_is_around_the_face_that_the_detector_finds(world: World) -> None:
    finder = FaceFinder(PARAMS.crop)
    parents = world.parents.set_index("source_key")
    rows = world.records.set_index("source_key")
    for key in ("images/portrait1.jpg", "images/body1.png", "images/wide0.jpg"):
        image = read_image(Path(str(parents.loc[key, "image"])))
        chosen = choose_portrait(image.shape[1], image.shape[0], finder.find(image), PARAMS.crop)
        assert chosen is not None
        box, face = chosen
        assert rows.loc[key, "crop_box"] == str(box)
        inside = face.box.moved(-box.x0, -box.y0).clipped(box.width, box.height)
        assert rows.loc[key, "face"] == str(inside)
        assert rows.loc[key, "face_probability"] == pytest.approx(face.probability, abs=1e-6)


def test_records_take_over_where_their_picture_comes_from(world: World) -> None:
    parents = world.parents.set_index("id")
    for row in world.records.to_dict("records"):
        parent = parents.loc[row["parent_id"]]
        for name in ("source", "source_key", "sha256", "url", "licence", "retrieved_at"):
            assert row[name] == parent[name]
        assert pd.isna(row["author"]) == row["source_key"].startswith("images/body")
        assert row["parent_sha256"] == parent["sha256"]
        assert (row["label"], row["teacher"]) == ("pseudo", deeplab.file_hash(TEACHER))


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
    assert len(before) == 32  # of each picture its faces, and its label or the reason why there is none
    blind = replace(world.settings, teacher=Path("gone.safetensors"))  # nobody can ask this teacher
    assert again(world.parents, blind) == world.outcome
    assert entries(CACHE) == before
    assert not Path("again/masks/half.png").exists()


def test_a_new_teacher_finds_no_faces_again(world: World) -> None:
    faces, labels = entries(CACHE / "faces"), entries(CACHE / "pseudo_label")
    settings = replace(world.settings, teacher=NEW_TEACHER, teacher_hash=deeplab.file_hash(NEW_TEACHER))
    records, parts, rejected = pseudo_label(world.parents, settings, Path("again"))
    assert entries(CACHE / "faces") == faces
    after = entries(CACHE / "pseudo_label")
    assert len(after) == 2 * len(labels) == 32
    assert labels.items() <= after.items()
    assert list(records["id"]) == list(world.records["id"])
    same = ["crop_box", "face", "face_probability", "parent_id"]
    assert records[same].equals(world.records[same])
    assert set(records["teacher"]) == {settings.teacher_hash} != set(world.records["teacher"])
    for row, old in zip(records.itertuples(), world.records.itertuples(), strict=True):
        assert Path(str(row.probability)).read_bytes() != Path(str(old.probability)).read_bytes()
    assert len(rejected) == 5
    assert len(parts) == 11


def test_neither_the_cache_nor_order_nor_workers_change_a_byte(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    settings = replace(world.settings, cache=Path("empty-cache"))
    assert again(world.parents.iloc[::-1], settings) == world.outcome
    assert entries(settings.cache).keys() <= entries(CACHE).keys()
    assert len(entries(settings.cache)) == 32


@pytest.mark.parametrize(
    ("change", "faces_again", "label_again"),
    [
        (lambda s: replace(s, teacher_hash="0" * 16), False, True),
        (lambda s: replace(s, crop=s.crop.model_copy(update={"fill": 0})), False, True),
        (lambda s: replace(s, crop=s.crop.model_copy(update={"whole_from": 0.9})), False, True),
        (lambda s: replace(s, crop=deeper(s.crop, "geometry", above=0.5)), False, True),
        (lambda s: replace(s, crop=deeper(s.crop, "faces", min_height=30)), False, True),
        (lambda s: replace(s, crop=deeper(s.crop, "faces", min_size=24)), True, True),
        (lambda s: replace(s, crop=deeper(s.crop, "faces", max_side=640)), True, True),
        (lambda s: replace(s, label=deeper(s.label, "flags", piece=0.5)), False, True),
        (lambda s: replace(s, label=deeper(s.label, "uncertainty", delta=0.1)), False, True),
        (lambda s: replace(s, label=s.label.model_copy(update={"max_reject_rate": 1.0})), False, False),
        (lambda s: replace(s, crop=s.crop.model_copy(update={"min_coverage": 0.0})), False, False),
        (lambda s: replace(s, teacher=Path("elsewhere"), cache=Path("other")), False, False),
    ],
)
def test_what_a_stored_result_depends_on(
    change: Callable[[LabelSettings], LabelSettings], faces_again: bool, label_again: bool
) -> None:
    one = LabelSettings(PARAMS.crop, PARAMS.pseudo_label, TEACHER, "f" * 16, CACHE)
    other, id_ = change(one), "a" * 16
    assert (one.face_key(id_) != other.face_key(id_)) == faces_again
    assert (one.label_key(id_) != other.label_key(id_)) == label_again
    assert one.label_key(id_) != one.label_key("b" * 16)
    assert one.face_key(id_) != one.face_key("b" * 16)


def deeper(section: Any, part: str, **update: Any) -> Any:
    """A section of the parameters with a part of it changed."""
    return section.model_copy(update={part: getattr(section, part).model_copy(update=update)})


def test_a_cache_that_is_emptied_meanwhile_is_an_error(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(world.settings, cache=tmp_path)
    monkeypatch.setattr(stage, "map_images", lambda _, tasks, **__: ["0" * 40 for _ in tasks])
    with pytest.raises(PipelineError, match=r"pseudo_label lost a result while the stage ran; run it again"):
        pseudo_label(world.parents.head(1), settings, tmp_path / "out")


# one portrait, its opinions made by hand

IMAGE = np.random.default_rng(1).integers(0, 256, (60, 40, 3), np.uint8)
BOX, FACE = Box(10, 5, 30, 25), Face(Box(18, 13, 22, 17), 0.97)  # 20 x 20; the face is 8,8,12,12 in it


def labelled(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    straight: Map,
    mirrored: Map | None = None,
    box: Box = BOX,
    face: Face = FACE,
) -> tuple[dict[str, Any], Array, Array]:
    """What the record says, mask {0, 1} and probability, for a teacher with these opinions."""
    asked: list[Array] = []

    def opinions(_: object, preprocessing: object, image: Array) -> tuple[Map, Map]:
        assert preprocessing == CARD.preprocessing
        asked.append(image)
        return straight, straight if mirrored is None else mirrored

    monkeypatch.setattr(deeplab, "two_opinions", opinions)
    meta, blobs = label_portrait(IMAGE, box, face, world.settings)
    assert len(asked) == 1
    assert np.array_equal(asked[0], cut(IMAGE, box, PARAMS.crop.fill))
    assert meta["id"] == pixel_id(asked[0])
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
    assert (meta["crop_box"], meta["face"], meta["face_probability"]) == ("10,5,30,25", "8,8,12,12", 0.97)
    assert (meta["width"], meta["height"]) == (20, 20)


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
    meta, mask, probability = labelled(world, monkeypatch, left, box=Box(10, 5, 30, 45))
    assert probability.shape == mask.shape == (meta["height"], meta["width"]) == (40, 20)
    assert (probability == [255] * 9 + [191, 64] + [0] * 9).all()
    assert (mask == [1] * 10 + [0] * 10).all()


def test_a_box_past_the_edge_is_filled_and_the_face_stays_inside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = Face(Box(0, 0, 14, 15), 0.9)
    meta, *_ = labelled(world, monkeypatch, field(TORSO), box=Box(-8, -10, 12, 10), face=face)
    padded = np.full((20, 20, 3), PARAMS.crop.fill, np.uint8)
    padded[10:, 8:] = IMAGE[:10, :12]
    assert meta["id"] == pixel_id(padded)
    assert (meta["crop_box"], meta["face"]) == ("-8,-10,12,10", "8,10,20,20")


def test_a_face_low_in_a_tall_portrait_keeps_its_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    face = Face(Box(12, 30, 22, 42), 0.9)
    meta, *_ = labelled(world, monkeypatch, field(TORSO), box=Box(10, 5, 30, 45), face=face)
    assert (meta["width"], meta["height"], meta["face"]) == (20, 40, "2,25,12,37")


# the edges of the stage


def row(index: int, whole: bool, uncertainty: float, flags: str) -> dict[str, Any]:
    id_ = f"{index:016x}"
    parent = id_ if whole else f"{index + 100:016x}"
    files = {"image": f"{index}.png", "crop_box": "0,0,30,40", "parent_id": parent, "sha256": "0" * 64}
    base = {"id": id_, "source": "crawl", "source_key": f"{index}.jpg", "label": "pseudo"}
    return {**base, **files, "width": 30, "height": 40, "uncertainty": uncertainty, "flags": flags}


def test_the_summary_by_hand() -> None:
    flags = ["", "no_person", "no_person several_pieces", "", "touches_every_border"]
    doubts = [0.4, 0.0, 0.2, 0.1, 0.3]
    records = make_records([row(i, i == 2, *pair) for i, pair in enumerate(zip(doubts, flags, strict=True))])
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
        "whole": 1,
        "cropped": 4,
        "whole_share": 0.2,
    }


def test_no_pictures_give_no_labels(tmp_path: Path) -> None:
    settings = LabelSettings(PARAMS.crop, PARAMS.pseudo_label, TEACHER, "f" * 16, tmp_path / "cache")
    records, parts, rejected = pseudo_label(make_records([]), settings, tmp_path / "pseudo")
    assert (len(records), len(parts), rejected) == (0, 0, [])
    assert summarise(records, parts)["whole_share"] == 0
    stage.write_uncertainty(tmp_path / "uncertainty.csv", parts)
    assert (tmp_path / "uncertainty.csv").read_text() == "id,flip,stability,entropy\n"
    assert {path.name for path in (tmp_path / "pseudo").iterdir()} == {"images", "masks", "probability"}


def project(folder: Path, files: Sequence[str]) -> None:
    """A folder with params.yaml and these of the crawl's files, ingested."""
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    made = {name: encode_png(nobody(generator(5, "pseudo", 0)).image) for name in files}
    write_source(PHOTOGRAPHS, ingest(PHOTOGRAPHS, made))


def test_without_a_teacher_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, ["nobody.png"])
    with pytest.raises(
        PipelineError, match=r"a teacher at models/teacher.safetensors, found none; run `dvc repro teacher`"
    ):
        main()


def test_another_face_detector_finds_faces_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LabelSettings(PARAMS.crop, PARAMS.pseudo_label, TEACHER, "f" * 16, CACHE)
    known = settings.face_key("a" * 16), settings.label_key("a" * 16)
    assert settings.face_key("b" * 16) != known[0] and settings.label_key("b" * 16) != known[1]
    monkeypatch.setattr("pipeline.faces.detector.weights_hash", lambda: "of other networks")
    assert settings.face_key("a" * 16) != known[0] and settings.label_key("a" * 16) != known[1]


def test_a_picture_that_vanishes_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mistake in pseudo_label itself would make it vanish."""
    monkeypatch.chdir(tmp_path)
    project(tmp_path, ["nobody.png"])
    TEACHER.parent.mkdir()
    TEACHER.write_bytes(b"never loaded")
    nothing = make_records([]), pd.DataFrame(columns=["flip", "stability", "entropy"]), []
    monkeypatch.setattr(stage, "pseudo_label", lambda *_: nothing)
    with pytest.raises(PipelineError, match="pseudo_label: 1 items went in, but 0 records and 0 rejected"):
        main()


def test_too_many_rejects_stop_the_stage_and_leave_the_list(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CACHE / "faces", tmp_path / CACHE / "faces")  # it is known that nobody is there
    monkeypatch.chdir(tmp_path)
    project(tmp_path, ["nobody.png"])
    TEACHER.parent.mkdir()
    TEACHER.write_bytes(b"never loaded, as there is no portrait")
    with pytest.raises(PipelineError, match=r"1 of 1 items .*no_face 1.* raise pseudo_label.max_reject_rate"):
        main()
    assert list(read_rejected("pseudo_label")["reason"]) == ["no_face"]
