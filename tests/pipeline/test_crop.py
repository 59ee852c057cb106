"""Portraits from full bodies and from the crawl: cut where the face is, nothing lost, the cache only saves time."""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline import crop as stage
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import CropParams, load_params
from pipeline.core.paths import CACHE, CROP, INGEST
from pipeline.core.records import Rejected, make_records, read_records, read_rejected
from pipeline.core.store import Head, Result, Store
from pipeline.crop import count_whole, crop, crop_key, main, summarise
from pipeline.drawing.picture import body, generator, nobody, portrait, wide
from pipeline.faces import known_faces
from pipeline.faces.detector import FaceFinder
from pipeline.faces.known_faces import face_key
from pipeline.faces.portrait import choose_portrait, cut
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id, read_image, read_mask
from tests.pipeline.dataset_inputs import write_source
from tests.pipeline.outcomes import Outcome, entries

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml").crop
BODIES, CRAWL = CROP / "bodies", CROP / "crawl"
FULL_BODIES, PHOTOGRAPHS = INGEST / "bodies" / "baidu", INGEST / "crawl" / "crawl"


# full bodies with masks

ORIGIN = {
    "url": "https://example.org/1",
    "author": "somebody",
    "licence": "drawn",
    "retrieved_at": "2025-01-30",
    "published_side": "test",
}


def ingest(folder: Path, pictures: dict[str, tuple[Array, Array]]) -> pd.DataFrame:
    """Records and files of pictures as ingest leaves them."""
    rows = []
    for name, (image, mask) in pictures.items():
        paths = {"image": folder / f"{name}.image.png", "mask": folder / f"{name}.mask.png"}
        folder.mkdir(parents=True, exist_ok=True)
        paths["image"].write_bytes(encode_png(image))
        paths["mask"].write_bytes(encode_mask(mask))
        rows.append(
            {
                "id": pixel_id(image),
                "source": "baidu",
                "source_key": f"clean_images/images/{name}.jpg",
                "label": "human",
                "width": image.shape[1],
                "height": image.shape[0],
                "sha256": sha256(name.encode()).hexdigest(),
                **ORIGIN,
                **{kind: str(path) for kind, path in paths.items()},
            }
        )
    return make_records(rows)


@pytest.fixture(scope="module")
def pictures() -> dict[str, tuple[Array, Array]]:
    """Three drawn bodies, the first twice with another pixel far from the face, and one without a head."""
    drawn = [body(generator(3, "crop", index)) for index in range(3)]
    found = {f"{index:04d}": (one.image, one.mask) for index, one in enumerate(drawn)}
    twin = drawn[0].image.copy()
    twin[-1, -1] ^= 1
    beheaded = drawn[1].mask.copy()
    beheaded[: int(np.nonzero(beheaded)[0].min()) + len(beheaded) // 4] = 0
    return {**found, "0008": (twin, drawn[0].mask), "0009": (255 - drawn[1].image, beheaded)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_bodies_become_portraits_and_nothing_vanishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, tuple[Array, Array]]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    parents = ingest(FULL_BODIES / "files", pictures)
    records, rejected = crop(parents, PARAMS, BODIES)
    assert len(records) == 3
    assert {row.source_key[-8:]: row.reason for row in rejected}.keys() == {"0008.jpg", "0009.jpg"}
    twin = next(row for row in rejected if row.source_key.endswith("0008.jpg"))
    assert twin.reason == "duplicate_pixels"
    assert "0000.jpg" in twin.detail
    by_id = parents.set_index("id")
    for row in records.to_dict("records"):
        parent, box = by_id.loc[row["parent_id"]], Box.parse(row["crop_box"])
        image, mask = read_image(Path(row["image"])), read_mask(Path(row["mask"]))
        assert (row["width"], row["height"]) == (image.shape[1], image.shape[0]) == (box.width, box.height)
        assert row["id"] == pixel_id(image)
        assert np.array_equal(image, cut(read_image(Path(parent["image"])), box, PARAMS.fill))
        assert np.array_equal(mask, cut(read_mask(Path(parent["mask"])), box, 0))
        assert (row["parent_sha256"], row["sha256"], row["label"]) == (*[parent["sha256"]] * 2, "crop")
        assert {name: row[name] for name in ORIGIN} == ORIGIN
        inside = Box.parse(row["face"])
        assert inside == inside.clipped(box.width, box.height)
        assert row["face_probability"] >= PARAMS.faces.min_probability
    quantiles = summarise(records)
    assert quantiles["face_height"]["p05"] >= PARAMS.faces.min_height
    assert quantiles["crop_height"]["p50"] > quantiles["face_height"]["p50"]

    # Again with other workers, another order and what a kill left behind: the same, and from the cache.
    before, made = contents(BODIES), entries(CACHE)
    (BODIES / "images" / "half.png").write_bytes(b"half")
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    again, rejected_again = crop(parents.iloc[::-1], PARAMS, BODIES)
    assert again.equals(records)
    assert rejected_again == rejected
    assert contents(BODIES) == before
    assert entries(CACHE) == made
    # A new mask file, or another parameter that matters, is another result.
    Path(parents["mask"].iloc[0]).write_bytes(encode_mask(read_mask(Path(parents["mask"].iloc[0])) * 0 + 1))
    crop(parents, PARAMS, BODIES)
    assert len(entries(CACHE)["crop"]) == len(made["crop"]) + 1  # that it has no portrait any more
    after = entries(CACHE)
    crop(parents, PARAMS.model_copy(update={"max_reject_rate": 1.0}), BODIES)
    assert entries(CACHE) == after


def test_another_gate_asks_the_detector_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, tuple[Array, Array]]
) -> None:
    """Nor does one that opens again; and a stricter gate behind the choice of the face leaves the whole unsearched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    parents = ingest(FULL_BODIES / "files", pictures)
    made, rejected = crop(parents, PARAMS, BODIES)
    pixels = contents(BODIES)

    def unasked(_: CropParams) -> FaceFinder:
        raise AssertionError("the detector was asked")

    monkeypatch.setattr(known_faces, "face_finder", unasked)
    for change, reason in (
        ({"min_coverage": 0.9}, "mask_coverage"),
        ({"max_coverage": 0.21}, "mask_coverage"),
        ({"other_face": 0.1}, None),
        ({"min_on_mask": 0.4}, None),
    ):
        records, others = crop(parents, PARAMS.model_copy(update=change), BODIES)
        reasons = {row.reason for row in others}
        assert reason is None or (len(records) == 0 and reason in reasons)
    again, rejected_again = crop(parents, PARAMS, BODIES)
    assert again.equals(made) and rejected_again == rejected and contents(BODIES) == pixels


def deeper(section: str, **changes: object) -> CropParams:
    inner = getattr(PARAMS, section).model_copy(update=changes)
    return PARAMS.model_copy(update={section: inner})


@pytest.mark.parametrize(
    "params",
    [
        *(
            PARAMS.model_copy(update=change)
            for change in (
                {"fill": 0},
                {"min_on_mask": 0.9},
                {"min_coverage": 0.0},
                {"max_coverage": 1.0},
                {"other_face": 2.0},
            )
        ),
        *(deeper("geometry", **change) for change in ({"above": 2.0}, {"below": 2.0}, {"aspect": 1.0})),
        deeper("geometry", border="pad"),
        *(deeper("faces", **change) for change in ({"min_size": 13}, {"max_side": 99}, {"min_height": 9})),
        deeper("faces", min_probability=0.1),
    ],
)
def test_another_value_of_a_param_is_not_answered_from_the_cache(params: CropParams) -> None:
    assert crop_key("a" * 16, "mask", params) != crop_key("a" * 16, "mask", PARAMS)


def test_the_cache_knows_picture_mask_and_detector_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    known = crop_key("a" * 16, "mask", PARAMS)
    for change in ({"max_reject_rate": 1.0}, {"max_reject_rate_crawl": 1.0}, {"whole_from": 0.9}):
        assert known == crop_key("a" * 16, "mask", PARAMS.model_copy(update=change))
    others = {
        crop_key("b" * 16, "mask", PARAMS),
        crop_key("a" * 16, "other", PARAMS),
        crop_key("a" * 16, None, PARAMS),
    }
    monkeypatch.setattr("pipeline.faces.known_faces.weights_hash", lambda: "of other networks")
    assert len({known, *others, crop_key("a" * 16, "mask", PARAMS)}) == 5


def test_with_padding_the_crop_is_filled_and_its_mask_is_background(
    tmp_path: Path, pictures: dict[str, tuple[Array, Array]]
) -> None:
    image, mask = pictures["0000"]
    top = int(np.nonzero(mask)[0].min()) + 4
    geometry = PARAMS.geometry.model_copy(update={"border": "pad", "above": 1.5})
    params = PARAMS.model_copy(update={"geometry": geometry, "fill": 77})
    parents = ingest(
        tmp_path, {"0000": (np.ascontiguousarray(image[top:]), np.ascontiguousarray(mask[top:]))}
    )
    records, rejected = crop(parents, params, tmp_path / "crop", tmp_path / "cache")
    assert rejected == []
    [row] = records.to_dict("records")
    box = Box.parse(row["crop_box"])
    assert box.y0 < 0
    assert (read_image(Path(row["image"]))[: -box.y0] == 77).all()
    assert not read_mask(Path(row["mask"]))[: -box.y0].any()


# the crawl's pictures, without masks


def ingest_crawl(folder: Path, files: dict[str, bytes]) -> pd.DataFrame:
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


def crawled() -> dict[str, bytes]:
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
class World:
    """A project folder in which the stage ran once, on a crawl and a full body, and what it made of the crawl."""

    parents: pd.DataFrame
    records: pd.DataFrame
    rejected: list[Rejected]

    @property
    def outcome(self) -> Outcome:
        return outcome(CRAWL, self.records, self.rejected)


def outcome(folder: Path, records: pd.DataFrame, rejected: list[Rejected]) -> Outcome:
    return Outcome.of(folder, records, *sorted(map(str, rejected)))


def again(parents: pd.DataFrame, params: CropParams = PARAMS, cache: Path = CACHE) -> Outcome:
    """The outcome of one more run, in another folder, which holds what a kill left behind."""
    folder = Path("again")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "images" / "half.png").write_bytes(b"half")
    return outcome(folder, *crop(parents, params, folder, cache))


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, tuple[Array, Array]]
) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(tmp_path_factory.mktemp("crop")):
        patch.setenv("PIPELINE_WORKERS", "1")
        Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
        two = {name: pictures[name] for name in ("0000", "0009")}
        write_source(FULL_BODIES, ingest(FULL_BODIES / "files", two))
        parents = ingest_crawl(PHOTOGRAPHS, crawled())
        write_source(PHOTOGRAPHS, parents)
        main()
        rejected = [Rejected(*row) for row in read_rejected("crop").itertuples(index=False)]
        yield World(parents, read_records(CRAWL), [row for row in rejected if row.source == "crawl"])


def test_both_sources_are_cut_and_counted_apart(world: World) -> None:
    bodies = read_records(BODIES)
    assert list(bodies["source_key"]) == ["clean_images/images/0000.jpg"]
    assert set(bodies["label"]) == {"crop"}
    assert {path.name for path in BODIES.iterdir()} == {"images", "masks", "records.parquet"}
    assert {path.name for path in CRAWL.iterdir()} == {"images", "records.parquet"}
    rejected = read_rejected("crop")
    assert list(rejected[rejected["source"] == "baidu"]["source_key"]) == ["clean_images/images/0009.jpg"]
    assert len(rejected) == 1 + 5
    metrics = json.loads(Path("metrics/crop.json").read_text())
    of_bodies, of_crawl = metrics["bodies"], metrics["crawl"]
    assert (of_bodies["in"], of_bodies["out"], of_bodies["rejected"]) == (2, 1, 1)
    assert of_bodies["face_probability"]["p50"] >= 0.9
    assert (of_crawl["in"], of_crawl["out"], of_crawl["rejected"]) == (16, 11, 5)
    assert of_crawl["reasons"] == {
        "duplicate_pixels": 1,
        "face_probability": 1,
        "face_too_small": 1,
        "no_face": 2,
    }
    assert of_crawl["whole"] + of_crawl["cropped"] == 11
    assert of_crawl["whole_share"] == pytest.approx(of_crawl["whole"] / 11, abs=1e-6)


def test_nothing_vanishes_and_each_reject_has_its_sentence(world: World) -> None:
    rejected = {row.source_key: row for row in world.rejected}
    assert len(world.records) + len(rejected) == len(world.parents) == 16
    assert set(world.records["source_key"]) | set(rejected) == set(world.parents["source_key"])
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
            r"its portrait has the same pixels as that of crawl images/body2\.png",
        ),
    }
    assert {key: row.reason for key, row in rejected.items()} == {
        key: reason for key, (reason, _) in expected.items()
    }
    for key, (_, sentence) in expected.items():
        assert re.fullmatch(sentence, rejected[key].detail)


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
            assert np.array_equal(read_image(path), cut(pixels, box, PARAMS.fill))
    assert 0 < whole < len(world.records)
    assert any(Path(image).suffix == ".jpg" for image in world.records["image"])
    counted = {"whole": whole, "cropped": 11 - whole, "whole_share": pytest.approx(whole / 11)}
    assert count_whole(world.records) == counted


def test_the_portrait_is_around_the_face_that_the_detector_finds(world: World) -> None:
    finder = FaceFinder(PARAMS)
    parents = world.parents.set_index("source_key")
    rows = world.records.set_index("source_key")
    for key in ("images/portrait1.jpg", "images/body1.png", "images/wide0.jpg"):
        image = read_image(Path(str(parents.loc[key, "image"])))
        chosen = choose_portrait(image.shape[1], image.shape[0], finder.find(image), PARAMS)
        box, face = chosen.box, chosen.face
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
        assert row["label"] == "none"
        assert pd.isna(row["mask"]) and pd.isna(row["published_side"])


def test_a_second_run_finds_and_cuts_nothing(world: World) -> None:
    before = entries(CACHE)
    # Of 18 pictures 13 have portraits, one of them a twin; of the two full bodies one is searched as a whole too.
    assert {name: len(keys) for name, keys in before.items()} == {"crop": 18 + 13, "faces": 18 + 1}
    assert again(world.parents) == world.outcome
    assert entries(CACHE) == before
    assert not Path("again/images/half.png").exists()


@pytest.mark.parametrize("change", [{"whole_from": 1.0}, {"geometry": {"above": 0.6}}, {"fill": 0}])
def test_another_frame_finds_no_faces_again(world: World, change: dict[str, object], tmp_path: Path) -> None:
    """A threshold or the geometry decides anew of the faces that are known."""
    cache = tmp_path / "cache"
    shutil.copytree(CACHE, cache)
    before = entries(cache)
    params = PARAMS
    for name, value in change.items():
        params = deeper(name, **value) if isinstance(value, dict) else params.model_copy(update={name: value})
    records, _ = crop(world.parents, params, tmp_path / "out", cache)
    after = entries(cache)
    assert after["faces"] == before["faces"]
    assert len(set(after["crop"]) - set(before["crop"])) >= 16
    assert set(before["crop"]) <= set(after["crop"])
    assert len(records) == 11
    if change != {"fill": 0}:
        assert list(records["id"]) != list(world.records["id"])


def test_neither_the_cache_nor_order_nor_workers_change_a_byte(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    cache = Path("empty-cache")
    assert again(world.parents.iloc[::-1], cache=cache) == world.outcome
    for name, keys in entries(cache).items():
        assert set(keys) <= set(entries(CACHE)[name])
    assert len(entries(cache)["faces"]) == 16


@pytest.mark.parametrize(
    ("params", "faces_again", "portrait_again"),
    [
        (PARAMS.model_copy(update={"fill": 0}), False, True),
        (PARAMS.model_copy(update={"whole_from": 0.9}), False, True),
        (deeper("geometry", above=0.5), False, True),
        (deeper("faces", min_height=30), False, True),
        (deeper("faces", min_probability=0.1), False, True),
        (deeper("faces", min_size=24), True, True),
        (deeper("faces", max_side=640), True, True),
        (PARAMS.model_copy(update={"max_reject_rate_crawl": 1.0}), False, False),
        (PARAMS.model_copy(update={"min_coverage": 0.0, "other_face": 2.0}), False, False),
    ],
)
def test_what_a_stored_portrait_of_the_crawl_depends_on(
    params: CropParams, faces_again: bool, portrait_again: bool
) -> None:
    id_ = "a" * 16
    assert (face_key(id_, params) != face_key(id_, PARAMS)) == faces_again
    assert (crop_key(id_, None, params) != crop_key(id_, None, PARAMS)) == portrait_again
    assert face_key(id_, params) != face_key("b" * 16, params)
    assert crop_key(id_, None, params) != crop_key("b" * 16, None, params)


def test_another_face_detector_finds_faces_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = face_key("a" * 16, PARAMS), crop_key("a" * 16, None, PARAMS)
    monkeypatch.setattr("pipeline.faces.known_faces.weights_hash", lambda: "of other networks")
    assert face_key("a" * 16, PARAMS) != known[0] and crop_key("a" * 16, None, PARAMS) != known[1]


@pytest.mark.parametrize(
    ("face", "geometry", "box", "inside"),
    [
        # 42 x 60 pixels in a portrait of 30 x 60: the face is cut at both sides with it.
        (Box(100, 80, 142, 140), {"above": 0.0, "below": 0.0, "aspect": 0.5}, "106,80,136,140", "0,0,30,60"),
        # In the corner, where the portrait reaches out by 60 at the top and 50 on the left: the face keeps its place.
        (Box(0, 0, 50, 60), {"above": 1.0, "below": 0.5, "aspect": 1.0}, "-50,-60,100,90", "50,60,100,120"),
    ],
)
def test_a_portrait_past_the_edge_is_filled_and_the_face_stays_inside(
    tmp_path: Path, face: Box, geometry: dict[str, float], box: str, inside: str
) -> None:
    """The faces are known from the store: the detector, which finds none in this noise, is not asked."""
    image = np.random.default_rng(1).integers(0, 256, (400, 300, 3), np.uint8)
    params = deeper("geometry", border="pad", **geometry)
    parents = ingest_crawl(tmp_path, {"noise.png": encode_png(image)})
    key = face_key(str(parents["id"].iloc[0]), params)
    Store("faces", tmp_path / "cache").put(key, Result({"faces": [[str(face), 0.97]]}))
    records, rejected = crop(parents, params, tmp_path / "crop", tmp_path / "cache")
    assert rejected == []
    [row] = records.to_dict("records")
    assert (row["crop_box"], row["face"], row["face_probability"]) == (box, inside, 0.97)
    assert np.array_equal(read_image(Path(row["image"])), cut(image, Box.parse(box), PARAMS.fill))


# the edges of the stage


def test_a_cache_that_is_emptied_meanwhile_is_an_error(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "map_images", lambda _, tasks, **__: [None for _ in tasks])
    with pytest.raises(PipelineError, match=r"crop lost a result while the stage ran; run it again"):
        crop(world.parents.head(1), PARAMS, tmp_path / "out", tmp_path)


def project(folder: Path, bodies: pd.DataFrame, crawl: pd.DataFrame) -> None:
    """A folder with params.yaml and these records of the two sources."""
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    write_source(folder / FULL_BODIES, bodies)
    write_source(folder / PHOTOGRAPHS, crawl)


def test_too_many_rejected_bodies_stop_the_stage_and_leave_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, tuple[Array, Array]]
) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, ingest(FULL_BODIES / "files", {"0009": pictures["0009"]}), make_records([]))
    with pytest.raises(
        PipelineError, match=r"crop of bodies: 1 of 1 items were rejected .* raise crop\.max_reject_rate$"
    ):
        main()
    assert list(read_rejected("crop")["source_key"]) == ["clean_images/images/0009.jpg"]
    assert len(read_records(BODIES)) == 0


def test_too_many_rejects_of_the_crawl_stop_the_stage_and_leave_the_list(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CACHE / "faces", tmp_path / CACHE / "faces")  # it is known that nobody is there
    monkeypatch.chdir(tmp_path)
    files = {"nobody.png": encode_png(nobody(generator(5, "pseudo", 0)).image)}
    project(tmp_path, make_records([]), ingest_crawl(PHOTOGRAPHS, files))
    sentence = r"crop of the crawl: 1 of 1 items .*no_face 1.* raise crop\.max_reject_rate_crawl$"
    with pytest.raises(PipelineError, match=sentence):
        main()
    assert list(read_rejected("crop")["reason"]) == ["no_face"]
    assert len(read_records(CRAWL)) == 0


@pytest.mark.parametrize("source", ["bodies", "the crawl"])
def test_a_photograph_that_vanishes_stops_the_stage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pictures: dict[str, tuple[Array, Array]],
    source: str,
) -> None:
    """As a mistake in crop itself would make it vanish."""
    monkeypatch.chdir(tmp_path)
    one = ingest(FULL_BODIES / "files", {"0000": pictures["0000"]})
    none = make_records([])
    project(tmp_path, *((one, none) if source == "bodies" else (none, one)))
    monkeypatch.setattr(stage, "crop", lambda *_: (none, []))
    with pytest.raises(
        PipelineError, match=f"crop of {source}: 1 items went in, but 0 records and 0 rejected came out"
    ):
        main()


def test_a_picture_of_two_crawls_is_cut_once_and_listed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CACHE, tmp_path / CACHE)
    one = world.parents[world.parents["source_key"] == world.records["source_key"].iloc[0]]
    one = one.assign(image=str(Path(one["image"].iloc[0]).absolute()))
    monkeypatch.chdir(tmp_path)
    project(tmp_path, make_records([]), one)
    other = one.assign(source="a_crawl", source_key="other.jpg")
    write_source(INGEST / "crawl" / "a_crawl", other)
    main()
    assert read_records(CRAWL)["source"].tolist() == ["a_crawl"]
    rejected = read_rejected("crop")
    assert rejected[["source", "reason"]].values.tolist() == [["crawl", "duplicate_pixels"]]
    counts = json.loads(Path("metrics/crop.json").read_text())["crawl"]
    assert (counts["in"], counts["out"], counts["rejected"]) == (2, 1, 1)


def test_of_portraits_with_equal_pixels_that_of_a_published_test_side_stays(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then the first by source and name, whatever else is there."""
    same = {
        "id": "0" * 16,
        "crop_box": "0,0,9,9",
        "face": "0,0,1,1",
        "face_probability": 1.0,
        "width": 9,
        "height": 9,
    }
    monkeypatch.setattr(stage, "_known", lambda *_: Head(same, ()))
    rows = world.parents.head(3).assign(source=["b", "a", "c"], source_key=["1", "1", "1"])
    for sides, kept, told in (([None, None, None], "a", "a 1"), (["train", None, "test"], "c", "c 1")):
        records, rejected = crop(rows.assign(published_side=sides), PARAMS, tmp_path / "out", tmp_path)
        assert records["source"].tolist() == [kept]
        assert {one.detail for one in rejected} == {f"its portrait has the same pixels as that of {told}"}


def test_no_photographs_give_no_crops(tmp_path: Path) -> None:
    records, rejected = crop(make_records([]), PARAMS, tmp_path / "crop", tmp_path / "cache")
    assert (len(records), rejected, summarise(records)) == (0, [], {})
    assert count_whole(records) == {"whole": 0, "cropped": 0, "whole_share": 0.0}
    assert (tmp_path / "crop" / "images").is_dir()
