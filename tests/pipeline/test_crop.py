"""Portraits from full bodies: the right face, image and mask cut alike, gates with reasons, nothing lost."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import CropParams, load_params
from pipeline.core.paths import CROP, INGEST
from pipeline.core.records import make_records, read_records, read_rejected
from pipeline.crop import (
    NoPortraitError,
    crop,
    crop_key,
    find_portrait,
    main,
    masked_portrait,
    on_mask,
    summarise,
    upper_body,
)
from pipeline.drawing.picture import body, generator
from pipeline.faces.detector import Face
from pipeline.faces.portrait import cut
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id, read_image, read_mask
from tests.pipeline.dataset_inputs import write_source

ROOT = Path(__file__).parents[2]
BODIES = INGEST / "bodies" / "baidu"
PARAMS = load_params(ROOT / "params.yaml").crop
BODY = Box(100, 50, 300, 750)  # the masked person of the gate tests, in 550 x 830
MASK = np.zeros((830, 550), np.uint8)
MASK[BODY.y0 : BODY.y1, BODY.x0 : BODY.x1] = 1


def face(x0: int, y0: int, x1: int, y1: int, probability: float = 0.99) -> Face:
    return Face(Box(x0, y0, x1, y1), probability)


GOOD = face(110, 80, 170, 160)


@pytest.mark.parametrize(
    ("faces", "reason", "words"),
    [
        ([], "no_face", "no face was found"),
        ([face(400, 80, 460, 160)], "face_not_on_mask", "of 1 faces none lies on the person's mask"),
        ([face(110, 80, 170, 160, 0.8)], "face_probability", "0.800, below 0.9"),
        ([face(110, 80, 130, 110)], "face_too_small", "30 pixels high, below 40"),
        ([GOOD, face(60, 90, 98, 150)], "several_people", "holds 1 more faces"),
        ([face(180, 200, 240, 280)], "mask_coverage", "100.0% of the crop is person; 20% to 95%"),
    ],
)
def test_each_gate_has_its_reason(faces: list[Face], reason: str, words: str) -> None:
    with pytest.raises(NoPortraitError, match=words) as caught:
        masked_portrait(faces, MASK, PARAMS)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("x0", "lies"), [(260, True), (261, False), (290, False), (220, True)])
def test_a_face_lies_on_the_mask_from_the_stated_share_on(x0: int, lies: bool) -> None:
    """80 pixels wide, and the person ends at 300: of the first the half is on the mask."""
    assert on_mask(face(x0, 80, x0 + 80, 160), MASK, PARAMS) == lies


def test_a_person_of_whom_the_crop_shows_too_little_is_refused() -> None:
    """A mask of most of the face and nothing below it, as of a head behind a hedge."""
    mask = np.zeros_like(MASK)
    mask[90:150, 112:168] = 1
    with pytest.raises(NoPortraitError, match=r"15\.3% of the crop is person; 20% to 95%") as caught:
        masked_portrait([GOOD], mask, PARAMS)
    assert caught.value.reason == "mask_coverage"


@pytest.mark.parametrize(
    "others",
    [
        [],
        [face(400, 80, 520, 240)],  # a larger face of somebody else, outside the crop
        [face(76, 100, 98, 130)],  # in the crop, but far smaller
        [face(60, 90, 98, 150, 0.7)],  # in the crop, but unsure
        [face(150, 300, 180, 340)],  # a smaller one on the mask: a print on a shirt
        [face(160, 100, 200, 165)],  # such a print in the crop
        [face(60, 400, 98, 460)],  # of another person, right below the crop
        [face(120, 300, 250, 500, 0.8)],  # a larger one on the mask, unsure
    ],
)
def test_the_face_on_the_mask_is_chosen(others: list[Face]) -> None:
    portrait = masked_portrait([*others, GOOD], MASK, PARAMS)
    assert portrait.face == GOOD
    assert portrait.coverage == pytest.approx(cut(MASK, portrait.box, 0).mean())


class Eyes:
    """A finder that knows where the faces are, and what parts it was asked to look at."""

    def __init__(self, image: Array, faces: Sequence[Face]) -> None:
        self.image, self.faces, self.asked = image, faces, []

    def find(self, image: Array) -> list[Face]:
        self.asked.append(image.shape[:2])
        x, y = int(image[0, 0, 0]) * 10, int(image[0, 0, 1]) * 10
        part = Box(x, y, x + image.shape[1], y + image.shape[0])
        seen = [f for f in self.faces if f.box.x0 >= part.x0 and f.box.x1 <= part.x1 and f.box.y1 <= part.y1]
        return [Face(f.box.moved(-x, -y), f.probability) for f in seen]


def test_the_upper_body_is_searched_first_and_the_rest_only_without_a_portrait_there() -> None:
    image = np.zeros((830, 550, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(550) // 10, (np.arange(830) // 10)[:, None]
    part = upper_body(MASK)
    assert part == Box(30, 0, 370, 284)  # a third of 700, and a tenth around
    for faces, searched in (
        ([GOOD], 1),
        ([face(110, 500, 170, 580)], 2),
        ([face(110, 210, 170, 280)], 2),  # its portrait reaches out of the part at the bottom
        ([face(262, 60, 336, 170)], 2),  # on the right
        ([face(64, 60, 138, 170)], 2),  # on the left
    ):
        eyes = Eyes(image, faces)
        assert find_portrait(image, MASK, eyes, PARAMS).face == faces[0]
        assert eyes.asked == [(284, 340), (830, 550)][:searched]


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
    parents = ingest(BODIES / "files", pictures)
    records, rejected = crop(parents, PARAMS)
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
    before, made = contents(CROP), sorted(Path(".cache/crop").rglob("*"))
    (CROP / "images" / "half.png").write_bytes(b"half")
    monkeypatch.setenv("PIPELINE_WORKERS", "2")
    again, rejected_again = crop(parents.iloc[::-1], PARAMS)
    assert again.equals(records)
    assert rejected_again == rejected
    assert contents(CROP) == before
    assert sorted(Path(".cache/crop").rglob("*")) == made
    # A new mask file, or another parameter that matters, is another result.
    Path(parents["mask"].iloc[0]).write_bytes(encode_mask(read_mask(Path(parents["mask"].iloc[0])) * 0 + 1))
    crop(parents, PARAMS)
    assert len([path for path in Path(".cache/crop").rglob("*") if path.is_file()]) == 6
    crop(parents, PARAMS.model_copy(update={"max_reject_rate": 1.0}))
    assert len([path for path in Path(".cache/crop").rglob("*") if path.is_file()]) == 6


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
    assert crop_key("a" * 16, b"mask", params) != crop_key("a" * 16, b"mask", PARAMS)


def test_the_cache_knows_picture_mask_and_detector_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    known = crop_key("a" * 16, b"mask", PARAMS)
    assert known == crop_key("a" * 16, b"mask", PARAMS.model_copy(update={"max_reject_rate": 1.0}))
    others = {crop_key("b" * 16, b"mask", PARAMS), crop_key("a" * 16, b"other", PARAMS)}
    monkeypatch.setattr("pipeline.faces.detector.weights_hash", lambda: "of other networks")
    assert len({known, *others, crop_key("a" * 16, b"mask", PARAMS)}) == 4


def test_the_stage_writes_records_rejects_and_metrics_and_stops_above_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, tuple[Array, Array]]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    text = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(text)
    two = {name: pictures[name] for name in ("0000", "0009")}
    write_source(BODIES, ingest(BODIES / "files", two))
    main()
    assert len(read_records(CROP)) == 1
    assert list(read_rejected("crop")["source_key"]) == ["clean_images/images/0009.jpg"]
    metrics = json.loads(Path("metrics/crop.json").read_text())
    assert (metrics["in"], metrics["out"], metrics["rejected"]) == (2, 1, 1)
    assert metrics["face_probability"]["p50"] >= 0.9
    write_source(BODIES, ingest(BODIES / "files", {"0009": pictures["0009"]}))
    with pytest.raises(PipelineError, match=r"1 of 1 items were rejected .* raise crop.max_reject_rate"):
        main()
    assert list(read_rejected("crop")["source_key"]) == ["clean_images/images/0009.jpg"]
    assert len(read_records(CROP)) == 0


def test_a_photograph_that_vanishes_stops_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: dict[str, tuple[Array, Array]]
) -> None:
    """As a mistake in crop itself would make it vanish."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    write_source(BODIES, ingest(BODIES / "files", {"0000": pictures["0000"]}))
    monkeypatch.setattr("pipeline.crop.crop", lambda *_: (make_records([]), []))
    with pytest.raises(PipelineError, match="crop: 1 items went in, but 0 records and 0 rejected came out"):
        main()


def test_no_photographs_give_no_crops(tmp_path: Path) -> None:
    records, rejected = crop(make_records([]), PARAMS, tmp_path / "crop", tmp_path / "cache")
    assert (len(records), rejected, summarise(records)) == (0, [], {})
    assert (tmp_path / "crop" / "images").is_dir()


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
