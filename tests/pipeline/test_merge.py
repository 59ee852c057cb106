"""Merge: every gate by breaking it, nothing vanishes, a dataset that stands alone, the same bytes twice."""

import hashlib
import json
import re
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annotations.ledger.judgements import JudgedTask, write_judgements
from annotations.ledger.lock import LockEntry, pack_mask, review_key, write_lock
from pipeline import merge as stage
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import MergeParams, SidesParams, load_params, parse_params
from pipeline.core.paths import CROP, DATASET, INGEST, PSEUDO
from pipeline.core.records import (
    Rejected,
    dataset_hash,
    make_records,
    read_records,
    read_rejected,
    reject_rows,
)
from pipeline.dataset.labelled import licence_fault, one_of_each, pictures_to_hash, with_sides
from pipeline.dataset.near_duplicates import perceptual_hash
from pipeline.dataset.sides import share_of
from pipeline.teacher import read_labelled
from sinet.images.decode import read_image, read_mask
from tests.pipeline import dataset_inputs as inputs

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = INGEST / "labelled" / "eg1800"
BODIES = INGEST / "bodies" / "baidu"
PHOTOGRAPHS = INGEST / "crawl" / "crawl"
BOX = "10,5,70,85"


def params(**more: Any) -> MergeParams:
    plain = load_params(ROOT / "params.yaml").merge.model_dump()
    return MergeParams.model_validate({**plain, **more})


SIDES = SidesParams(dev_share=0.3, test_share=0.1, max_hash_distance=56)


def merge(
    labelled: list[dict[str, Any]],
    pseudo: list[dict[str, Any]] | None = None,
    entries: list[LockEntry] | None = None,
    **more: Any,
) -> tuple[pd.DataFrame, list[Rejected]]:
    """merge() on rows whose files exist; hashes are made here. `labelled` may hold an id twice."""
    tables = [make_records([row]) for row in labelled]
    table = pd.concat(tables, ignore_index=True)
    hashes = {
        row["id"]: perceptual_hash(read_image(Path(row["image"]))) for row in [*labelled, *(pseudo or [])]
    }
    reviews: dict[str, list[LockEntry]] = {}
    for entry in entries or []:
        reviews.setdefault(entry.parent_sha256, []).append(entry)
    return stage.merge(
        table, make_records([]), make_records(pseudo or []), reviews, hashes, params(**more), SIDES
    )


def reasons(rejected: list[Rejected]) -> dict[str, str]:
    return {one.source_key: one.reason for one in rejected}


# The pure function, gate by gate.


def test_a_copy_of_a_test_picture_leaves_train_even_mirrored_and_recompressed(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    image, mask = inputs.portrait(2)
    copy = inputs.record(
        tmp_path, image[:, ::-1] // 2 + 60, mask[:, ::-1], source="eg1800", source_key="copy", label="human"
    )
    records, rejected = merge([*rows, copy])
    assert reasons(rejected) == {"copy": "leak_with_test"}
    test_id = next(row["id"] for row in rows if row["source_key"] == "00002")
    assert test_id in rejected[0].detail
    assert len(records) == 30
    assert (records["cluster"] == records["id"]).all()


def test_a_crop_of_the_photograph_behind_a_test_picture_leaves_train(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    body = {"id": "b" * 16, "sha256": rows[0]["sha256"], "source": "baidu", "source_key": "body.jpg"}
    crop = inputs.cut_from(tmp_path, body, 700, BOX, label="crop")
    _, rejected = merge([*rows, crop])
    assert reasons(rejected) == {"body.jpg": "leak_with_test"}


def test_equal_pixels_are_one_record_and_the_test_side_wins(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    twin_of_test = {**rows[1], "published_side": "train", "source": "aaa", "source_key": "twin"}
    other_mask = tmp_path / "half.png"
    mask = read_mask(Path(rows[20]["mask"]))
    mask[: len(mask) // 2] = 0
    other_mask.write_bytes(inputs.encode_mask(mask))
    crop = {**rows[20], "source": "aaa", "source_key": "crop", "label": "crop", "mask": str(other_mask)}
    records, rejected = merge([twin_of_test, crop, *rows])
    assert reasons(rejected) == {"twin": "duplicate_pixels", "crop": "duplicate_pixels"}
    assert len(records) == 30
    assert set(records["source"]) == {"eg1800"}
    details = {one.source_key: one.detail for one in rejected}
    assert details["twin"].endswith(f"eg1800 00001 ({rows[1]['id']}), IoU of the masks 1.0000")
    iou = mask.sum() / read_mask(Path(rows[20]["mask"])).sum()
    assert details["crop"].endswith(f"IoU of the masks {iou:.4f}")


def test_a_picture_that_leaves_no_longer_joins_what_stood_at_its_two_sides(tmp_path: Path) -> None:
    """A pseudo label that looks like a test and like a train picture, which do not look like one another."""
    rows = inputs.eg1800(tmp_path, 30, test=5)
    between = inputs.record(
        tmp_path, inputs.portrait(900)[0], None, source="crawl", source_key="between", label="pseudo",
        parent_id="c" * 16, parent_sha256="c" * 64, crop_box=BOX, uncertainty=0.0,
    )  # fmt: skip
    hashes = {row["id"]: np.full((2, 4), 0, np.uint64) for row in (rows[0], rows[20], between)}
    hashes[rows[0]["id"]][:, 0] = (1 << 40) - 1  # 40 bits from the one between, 80 from the train picture
    hashes[rows[20]["id"]][:, 1] = (1 << 40) - 1
    records, rejected = stage.merge(
        make_records(rows),
        make_records([]),
        make_records([between]),
        {},
        hashes,
        params(unreviewed="include"),
        SIDES,
    )
    assert reasons(rejected) == {"between": "leak_with_test"}
    assert (records["cluster"] == records["id"]).all()
    assert stage.summarise(records, rejected)["test_duplicates"] == 0


class Alike:
    """Two hundred labelled pictures, twenty of them published test, and others whose likeness is stated: merged."""

    def __init__(self) -> None:
        self.human = [self.row(n, published_side="test" if n < 20 else "train") for n in range(200)]
        self.hashes: dict[str, np.ndarray] = {}

    @staticmethod
    def row(number: int, **more: Any) -> dict[str, Any]:
        one = {"id": f"{number:016x}", "source": "eg1800", "source_key": str(number), "label": "human"}
        size = {"width": 60, "height": 80, "sha256": f"{number:064x}"}
        return {**one, **size, "image": "i", "mask": "m", **more}

    def at(self, bits: int, number: int) -> str:
        """Put a picture so many bits from the zero; further ones of a row differ by the difference of their bits."""
        value = sum(1 << bit for bit in range(bits)).to_bytes(32, "little")
        far = np.random.default_rng(number).integers(0, 2**63, 4, np.uint64)
        self.hashes[f"{number:016x}"] = np.stack([np.frombuffer(value, np.uint64), far])
        return f"{number:016x}"

    def merged(self, reviewed: list[int], pseudo: list[int]) -> tuple[dict[str, str], dict[str, str]]:
        """Sides by id and reasons by name, without the labelled pictures that were never near."""
        told = {"source": "crawl", "uncertainty": 0.0, "crop_box": BOX}
        tables = [
            make_records([self.row(n, label=label, parent_sha256=f"{n:064x}", **told) for n in numbers])
            for label, numbers in (("reviewed", reviewed), ("pseudo", pseudo))
        ]
        records, rejected = stage.merge(
            make_records(self.human), *tables, {}, self.hashes, params(unreviewed="include"), SIDES
        )
        assert len(records) + len(rejected) == 200 + len(reviewed) + len(pseudo)
        assert (records.groupby("cluster")["side"].nunique() == 1).all()
        return dict(zip(records["id"], records["side"], strict=True)), reasons(rejected)


def drawn(side: str, start: int = 1000) -> int:
    """The first number from here on of a picture that stands alone on this side."""
    return next(n for n in range(start, 9000) if (share_of(f"{n:016x}") < SIDES.dev_share) == (side == "dev"))


def test_an_unreviewed_mask_moves_no_reviewed_one_and_throws_none_out() -> None:
    """80 bits lie between the two that people judged (or a test picture), and the pseudo label halfway."""
    train, dev, test, between = drawn("train"), drawn("dev"), 3, 500
    for number, other in ((dev, "leak_with_dev"), (test, "leak_with_test")):
        world = Alike()
        one = world.at(0, train)
        two = world.at(80, number)
        world.at(40, between)
        reviewed = [train, number] if number == dev else [train]
        without, _ = world.merged(reviewed, [])
        sides, out = world.merged(reviewed, [between])
        assert sides == without and sides[one] == "train" and sides[two] == other.removeprefix("leak_with_")
        assert out == {str(between): other}


def test_a_chain_of_unreviewed_masks_to_a_measured_picture_leaves_and_a_train_picture_ends_it() -> None:
    world, train = Alike(), drawn("train", 20)
    for bits, number in ((0, 3), (40, 500), (80, 501), (120, train), (160, 502), (200, 503)):
        world.at(bits, number)
    sides, out = world.merged([], [500, 501, 502, 503])
    assert out == {"500": "leak_with_test", "501": "leak_with_test"}
    assert {sides[f"{n:016x}"] for n in (train, 502, 503)} == {"train"}


@pytest.mark.parametrize("start", [300, 5000])  # smaller or larger ids than those of the reviewed ones
def test_an_unreviewed_mask_alone_or_beside_a_judged_one_only_trains(start: int) -> None:
    world, dev, train = Alike(), drawn("dev"), drawn("train")
    alone, beside_dev, beside_train = drawn("dev", start), start + 100, start + 200
    for bits, numbers in ((0, (dev, beside_dev)), (128, (train, beside_train)), (256, (alone,))):
        for number in numbers:
            world.at(bits, number)
    sides, out = world.merged([dev, train], [alone, beside_dev, beside_train])
    assert out == {str(beside_dev): "leak_with_dev"}
    assert {sides[f"{n:016x}"] for n in (alone, train, beside_train)} == {"train"}


@pytest.mark.parametrize(
    ("excluded", "out"),
    [
        ([], set()),
        (["research"], {f"{one:05d}" for one in range(30)}),
        (["ONLY|only"], {f"{one:05d}" for one in range(30)}),  # found anywhere in it
        (["(?i)^CC-BY-NC", "^all rights"], {"nc", "arr"}),
        (["^$"], {"unknown"}),
    ],
)
def test_licences_are_excluded_by_regular_expressions(
    tmp_path: Path, excluded: list[str], out: set[str]
) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    odd = {"nc": "cc-by-nc-4.0", "arr": "all rights reserved", "unknown": None, "free": "CC0"}
    for number, (name, licence) in enumerate(odd.items()):
        image, mask = inputs.portrait(800 + number)
        common = {"source": "eg1800", "source_key": name, "label": "human", "licence": licence}
        rows.append(
            inputs.record(tmp_path, image, mask, published_side="test" if name == "free" else None, **common)
        )
    rows += inputs.eg1800(tmp_path, 12, test=0, start=900)
    for row in rows[-12:]:
        row.update(source="other", licence="CC0")
    records, rejected = merge(rows, licences_excluded=excluded)
    assert reasons(rejected) == dict.fromkeys(out, "licence")
    assert len(records) + len(out) == len(rows)
    if out:
        assert all("merge.licences_excluded" in one.detail for one in rejected)


def test_a_licence_keeps_reviewed_and_pseudo_labels_out_too(tmp_path: Path) -> None:
    labelled, more = inputs.eg1800(tmp_path, 30, test=5), []
    for number, label in enumerate(("reviewed", "pseudo")):
        of = {
            "parent_sha256": f"{number}" * 64,
            "crop_box": BOX,
            "uncertainty": 0.0,
            "licence": "CC BY-NC 4.0",
        }
        image, mask = inputs.portrait(700 + number)
        more.append(inputs.record(tmp_path, image, mask, source="crawl", source_key=label, label=label, **of))
    reviewed, pseudo = (make_records([row]) for row in more)
    included = params(unreviewed="include", licences_excluded=["-NC"])
    records, rejected = stage.merge(make_records(labelled), reviewed, pseudo, {}, {}, included, SIDES)
    assert reasons(rejected) == {"reviewed": "licence", "pseudo": "licence"}
    assert len(records) == 30


LABELS = ("human", "crop", "reviewed", "pseudo")  # the first of them stays


@pytest.mark.parametrize(("better", "worse"), [*combinations(LABELS, 2)])
def test_of_equal_pixels_the_mask_that_people_drew_stays(tmp_path: Path, better: str, worse: str) -> None:
    image, mask = inputs.portrait(1)
    rows = []
    for source, label, shown in (("b", better, mask), ("a", worse, np.roll(mask, 20, axis=0))):
        folder = tmp_path / label
        rows.append(
            make_records([inputs.record(folder, image, shown, source=source, source_key=label, label=label)])
        )
    for table in (rows, rows[::-1]):
        kept, rejected = one_of_each(pd.concat(table, ignore_index=True))
        assert (kept["label"].tolist(), reasons(rejected)) == ([better], {worse: "duplicate_pixels"})
        both, either = mask & np.roll(mask, 20, axis=0), mask | np.roll(mask, 20, axis=0)
        assert rejected[0].detail.endswith(f"IoU of the masks {both.sum() / either.sum():.4f}")


def test_of_equals_the_first_by_source_and_name_stays(tmp_path: Path) -> None:
    image, mask = inputs.portrait(1)
    rows = [
        inputs.record(tmp_path, image, mask, source=source, source_key=key, label="human")
        for source, key in (("a", "2"), ("a", "1"), ("b", "0"))
    ]
    for order in (rows, rows[::-1]):
        kept, _ = one_of_each(pd.concat([make_records([row]) for row in order], ignore_index=True))
        assert kept[["source", "source_key"]].values.tolist() == [["a", "1"]]


@pytest.mark.parametrize(("bits", "leaks"), [(40, 1), (60, 0)])
def test_labelled_pictures_look_alike_up_to_the_stated_distance(
    tmp_path: Path, bits: int, leaks: int
) -> None:
    """Also before the crawl is there: the teacher must not train on what the dataset tests."""
    rows = inputs.eg1800(tmp_path, 30, test=1)
    hashes = {row["id"]: np.zeros((2, 4), np.uint64) for row in (rows[0], rows[20])}
    hashes[rows[20]["id"]][:, 0] = (1 << bits) - 1
    records, rejected = with_sides(make_records(rows), hashes, SIDES, [])
    assert (len(records), len(rejected)) == (30 - leaks, leaks)


def test_the_shares_of_dev_and_test_are_not_mixed_up(tmp_path: Path) -> None:
    rows = [
        {**row, "id": f"{at:016x}", "sha256": f"{at:064x}", "published_side": None}
        for at, row in enumerate(inputs.eg1800(tmp_path, 1, test=0) * 600)
    ]
    shares = SidesParams(dev_share=0.4, test_share=0.05, max_hash_distance=0)
    found = with_sides(make_records(rows), {}, shares, [])[0]["side"].value_counts(normalize=True)
    assert found["dev"] == pytest.approx(0.4 * 0.95, abs=0.06) and found["test"] == pytest.approx(
        0.05, abs=0.03
    )


def test_a_dataset_without_a_side_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PipelineError, match="expected pictures on all three sides, found train 0, dev 0, test 9"
    ):
        merge(inputs.eg1800(tmp_path, 9, test=9))


def test_the_summary_counts_clusters_and_leaks_by_hand(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 6, test=0)
    sides, clusters = ("test", "test", "test", "train", "train", "dev"), "aaabbc"
    records = make_records(
        [{**row, "side": side, "cluster": one} for row, side, one in zip(rows, sides, clusters, strict=True)]
    )
    rejected = [Rejected("crawl", key, f"leak_with_{key}", "why") for key in ("dev", "test", "test")]
    found = stage.summarise(records, [*rejected, Rejected("crawl", "x", "licence", "why")])
    assert found["clusters"] == {"count": 3, "shared": 2, "records_in_shared": 5, "largest": 3}
    assert (found["test_duplicates"], found["leaks"], found["orphaned_reviews"]) == (2, 3, 0)


def test_only_the_photographs_that_something_was_cut_from_are_hashed(tmp_path: Path) -> None:
    """Another one might stand between two pictures that do not look alike, and join them."""
    bodies = [
        inputs.record(tmp_path, inputs.portrait(one)[0], None, source="b", source_key=f"{one}")
        for one in (1, 2)
    ]
    crop = inputs.cut_from(tmp_path, bodies[0], 1, BOX, label="crop")
    found = pictures_to_hash([make_records([crop])], [make_records(bodies)])
    assert found == {row["id"]: row["image"] for row in (bodies[0], crop)}


def test_a_dataset_does_not_point_to_the_pseudo_labels(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path / "in", 3, test=1)
    records = make_records([{**row, "side": "train", "probability": "data/pseudo/p.png"} for row in rows])
    assert stage.write_dataset(tmp_path / "out", records)["probability"].isna().all()
    assert read_records(tmp_path / "out")["probability"].isna().all()


@pytest.mark.parametrize("licence", [None, "", "unknown", " N/A ", "none"])
@pytest.mark.parametrize("excluded", [[], ["NC"]])
def test_a_crawled_picture_that_states_no_licence_is_out_where_licences_are_excluded(
    licence: str | None, excluded: list[str]
) -> None:
    patterns = [re.compile(text) for text in excluded]
    fault = licence_fault(pd.Series({"licence": licence, "label": "reviewed"}), patterns)
    assert (fault is not None) == bool(excluded)
    if fault is not None:
        assert fault[0] == "licence" and "merge.licences_excluded" in fault[1]
    for row in ({"licence": licence, "label": "human"}, {"licence": "CC0", "label": "pseudo"}):
        assert licence_fault(pd.Series(row), patterns) is None
    url = "CC; https://creativecommons.org/licenses/by-nc/4.0/"
    assert (licence_fault(pd.Series({"licence": url, "label": "pseudo"}), patterns) is not None) == bool(
        excluded
    )


def test_a_licence_pattern_that_is_no_regular_expression_is_refused_by_name() -> None:
    content = load_params(ROOT / "params.yaml").model_dump(mode="json")
    content["merge"]["licences_excluded"] = ["(unclosed"]
    with pytest.raises(PipelineError, match=r"merge\.licences_excluded\.0: found '\(unclosed'"):
        parse_params(content)


def pseudo_rows(tmp_path: Path) -> list[dict[str, Any]]:
    good = {"uncertainty": 0.05}
    kinds = {
        "good": good,
        "doubtful": {"uncertainty": 0.6},
        "flagged": {**good, "flags": "several_pieces"},
        "unknown": {},
        "accepted": good,
        "rejected": good,
        "unsure": good,
        "moved": good,
        "elsewhere": good,
    }
    rows = []
    for number, (name, more) in enumerate(kinds.items()):
        parent = inputs.record(
            tmp_path, inputs.portrait(300 + number)[0], None, source="crawl", source_key=name
        )
        rows.append(inputs.cut_from(tmp_path, parent, 300 + number, BOX, label="pseudo", **more))
    return rows


def reviews_of(rows: list[dict[str, Any]]) -> list[LockEntry]:
    of = {row["source_key"]: {"sha256": row["parent_sha256"]} for row in rows}
    mask = np.ones((80, 60), np.uint8)
    return [
        inputs.review(of["accepted"], BOX, "accept", mask),
        inputs.review(of["rejected"], BOX, "reject", None),
        inputs.review(of["unsure"], BOX, "unsure", None),
        inputs.review(of["moved"], "11,5,71,84", "reject", None),  # the same crop, one pixel beside
        inputs.review(of["elsewhere"], "40,40,96,120", "reject", None),  # another crop of the picture
    ]


JUDGED = {
    "accepted": "reviewed",
    "rejected": "review_rejected",
    "unsure": "review_unsure",
    "moved": "review_rejected",
}


def test_unreviewed_pseudo_labels_stay_out_by_default(tmp_path: Path) -> None:
    labelled, pseudo = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    records, rejected = merge(labelled, pseudo, reviews_of(pseudo))
    others = ("good", "doubtful", "flagged", "unknown", "elsewhere")
    assert reasons(rejected) == {**JUDGED, **dict.fromkeys(others, "not_reviewed")}
    assert set(records["label"]) == {"human"}
    assert stage.summarise(records, rejected)["unreviewed"] == 0


@pytest.mark.parametrize("at_most", [0.2, 0.05])  # 0.05 is what the good ones have
def test_included_pseudo_labels_are_the_good_ones_on_the_train_side(tmp_path: Path, at_most: float) -> None:
    labelled, pseudo = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    more = {"unreviewed": "include", "max_uncertainty": at_most}
    records, rejected = merge(labelled, pseudo, reviews_of(pseudo), **more)
    doubtful = {"doubtful": "too_uncertain", "unknown": "too_uncertain", "flagged": "flagged"}
    assert reasons(rejected) == {**JUDGED, **doubtful}
    kept = records[records["label"] == "pseudo"]
    assert set(kept["source_key"]) == {"good", "elsewhere"}
    assert set(kept["side"]) == {"train"}
    assert stage.summarise(records, rejected)["unreviewed"] == 2


def test_order_of_the_inputs_changes_nothing(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 40, test=5)
    rows.append({**rows[1], "published_side": "train", "source_key": "twin"})
    first, rejected = merge(rows)
    second, rejected_again = merge(rows[::-1])
    pd.testing.assert_frame_equal(first, second)
    assert set(rejected) == set(rejected_again)


@pytest.mark.parametrize("rows", [[], ["a"], ["a", "b", "c"]])
def test_reject_rows_keeps_the_columns_and_the_rest(rows: list[str]) -> None:
    records = make_records(
        [
            {
                "id": f"{at:016x}",
                "source": "s",
                "source_key": key,
                "image": "i",
                "width": 1,
                "height": 1,
                "sha256": "x",
            }
            for at, key in enumerate(rows)
        ]
    )
    kept, rejected = reject_rows(
        records, lambda row: ("odd", "it is b") if row["source_key"] == "b" else None
    )
    assert kept["source_key"].tolist() == [key for key in rows if key != "b"]
    assert [one.source_key for one in rejected] == [key for key in rows if key == "b"]
    assert list(kept.columns) == list(records.columns)


def test_the_dataset_hash_changes_with_mask_side_and_label_only(tmp_path: Path) -> None:
    records, _ = merge(inputs.eg1800(tmp_path, 20, test=5))
    first = dataset_hash(records)
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert dataset_hash(records.sample(frac=1, random_state=1)) == first
    assert dataset_hash(records.assign(licence="another")) == first
    assert dataset_hash(records.assign(side="train")) != first
    assert dataset_hash(records.assign(label="crop")) != first
    assert dataset_hash(records.iloc[1:]) != first
    mask = Path(records.at[0, "mask"])
    mask.write_bytes(inputs.encode_mask(1 - read_mask(mask)))
    assert dataset_hash(records) != first


# The stage, from folder to folder.


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the stages before merge leave it: portraits, bodies, crops, a crawl, pseudo labels, a lock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    configure("dev_share: 0.1", "dev_share: 0.3")
    configure("path: annotations/reviews/drawn", "path: lock")
    inputs.write_source(PORTRAITS, make_records(inputs.eg1800(PORTRAITS, 30, test=6)))
    bodies = [
        inputs.record(
            BODIES,
            *inputs.portrait(2000 + one),
            source="baidu",
            source_key=f"{one}.jpg",
            label="human",
        )
        for one in range(8)
    ]
    inputs.write_source(BODIES, make_records(bodies))
    inputs.write(
        CROP, [inputs.cut_from(CROP, body, 2000 + at, BOX, label="crop") for at, body in enumerate(bodies)]
    )
    crawl = inputs.crawl(PHOTOGRAPHS, 8)
    inputs.write_source(PHOTOGRAPHS, make_records(crawl))
    guessed = {"label": "pseudo", "uncertainty": 0.1, "teacher": "t" * 64}
    inputs.write(
        PSEUDO, [inputs.cut_from(PSEUDO, one, 5000 + at, BOX, **guessed) for at, one in enumerate(crawl)]
    )
    mask = np.zeros((80, 60), np.uint8)
    mask[20:70, 10:50] = 1
    write_lock(
        Path("lock"),
        [
            inputs.review(crawl[0], BOX, "accept", mask),
            inputs.review(crawl[1], BOX, "fix", mask),
            inputs.review(crawl[2], BOX, "reject", None),
            inputs.review(crawl[3], BOX, "unsure", None),
        ],
    )
    return tmp_path


def configure(old: str, new: str) -> None:
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new))


def snapshot(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_stage_writes_a_dataset_that_stands_alone(world: Path) -> None:
    stage.main()
    records, rejected = read_records(DATASET), read_rejected("merge")
    for kind in ("ingest", "crop", "pseudo"):
        shutil.rmtree(Path("data") / kind)
    for row in records.itertuples():
        image, mask = read_image(Path(row.image)), read_mask(Path(row.mask))
        assert image.shape[:2] == mask.shape == (row.height, row.width)
        assert Path(row.image).parent == DATASET / "images" and Path(row.image).stem == row.id
        assert Path(row.mask) == DATASET / "masks" / f"{row.id}.png"
    assert {path.stem for path in (DATASET / "images").iterdir()} == set(records["id"])
    assert sorted(path.name for path in DATASET.iterdir()) == [
        "images",
        "masks",
        "records.parquet",
    ]

    reviewed = records[records["label"] == "reviewed"]
    assert sorted(reviewed["review"]) == ["accept", "fix"]
    assert read_mask(Path(reviewed.iloc[0]["mask"])).sum() == 50 * 40

    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["in"] == metrics["out"] + metrics["rejected"] == 30 + 8 + 8 + 4
    assert metrics["inputs"] == {"human": 30, "crop": 8, "pseudo": 8, "reviews": 4}
    assert metrics["labels"] == {"crop": 8, "human": 30, "reviewed": 2}
    assert metrics["reviews"] == {"accept": 1, "fix": 1, "reject": 1, "unsure": 1}
    assert metrics["reasons"] == rejected["reason"].value_counts().to_dict()
    assert metrics["reasons"] == {
        "not_reviewed": 4,
        "review_reject": 1,
        "review_rejected": 1,
        "review_unsure": 2,
        "reviewed": 2,
    }
    assert metrics["licences"] == {"research only": 30, "unknown": 10}
    assert metrics["sides"]["test"] == 6 and metrics["published_test"]
    assert metrics["dataset_hash"] == dataset_hash(records)


def test_the_same_bytes_again_without_its_cache_and_after_half_a_run(world: Path) -> None:
    stage.main()
    first = snapshot(DATASET) | snapshot(Path("metrics"))
    for path in [*DATASET.glob("images/*")][::2]:
        path.write_bytes(b"half")
    (DATASET / "reviewed").mkdir()
    (DATASET / "images" / "left_over.png").write_bytes(b"")
    stage.main()
    assert snapshot(DATASET) | snapshot(Path("metrics")) == first
    shutil.rmtree(".cache")
    stage.main()
    assert snapshot(DATASET) | snapshot(Path("metrics")) == first


def test_like_photographs_share_a_cluster_though_their_crops_differ(world: Path) -> None:
    """Two bodies of one scene, cut at different places: the photographs behind the crops give them away."""
    bodies = read_records(BODIES)
    image, mask = inputs.portrait(2000)
    shot = np.clip(image.astype(np.int16) + 6, 0, 255).astype(np.uint8)  # the next shot of the scene
    again = inputs.record(BODIES, shot, mask, source="baidu", source_key="again.jpg", label="human")
    inputs.write(BODIES, [*bodies.to_dict("records"), again])
    other = inputs.cut_from(CROP, again, 2000, "30,40,90,118", label="crop")
    inputs.write(CROP, [*read_records(CROP).to_dict("records"), other])
    stage.main()
    records = read_records(DATASET).set_index("id")
    cluster = records.at[other["id"], "cluster"]
    assert (records["cluster"] == cluster).sum() == 2
    assert json.loads(Path("metrics/merge.json").read_text())["clusters"]["shared"] == 1
    # The teacher, which trains before, sees them as the dataset does.
    taught, _ = read_labelled(load_params().sides, [])
    assert {other["id"], cluster} <= set(taught["id"])
    both = taught.set_index("id")[["cluster", "side"]]
    pd.testing.assert_frame_equal(both, records.loc[both.index, ["cluster", "side"]])


def test_photographs_of_one_scene_share_a_cluster_though_the_reviewed_crops_differ(world: Path) -> None:
    """And what lies outside of the photograph is filled as the params say."""
    crawl = read_records(PHOTOGRAPHS).to_dict("records")
    seen = next(row for row in crawl if row["source_key"] == "0.jpg")
    shot = np.clip(read_image(Path(seen["image"])).astype(np.int16) + 6, 0, 255).astype(np.uint8)
    again = inputs.record(PHOTOGRAPHS, shot, None, source="crawl", source_key="again.jpg")
    inputs.write(PHOTOGRAPHS, [*crawl, again])
    box = "-20,40,40,118"
    lock = [inputs.review(seen, BOX, "accept", np.ones((80, 60), np.uint8))]
    write_lock(Path("lock"), [*lock, inputs.review(again, box, "accept", np.ones((78, 60), np.uint8))])
    stage.main()
    records = read_records(DATASET).query("label == 'reviewed'").set_index("crop_box")
    assert len(records) == 2 and records["cluster"].nunique() == 1
    outside = read_image(Path(str(records.at[box, "image"])))[:, :20]
    assert (outside == load_params().crop.fill).all()


def test_a_picture_of_two_labelled_sources_is_in_the_dataset_once(world: Path) -> None:
    """The published test side first, then the first by the source's name; the teacher sees the same ones."""
    mine = INGEST / "labelled" / "a_copy"
    copies = []
    for number, side in ((0, "train"), (29, None)):  # of a test and of a train picture of eg1800
        image, mask = inputs.portrait(number)
        more = {"source": "a_copy", "source_key": f"copy-{number}", "label": "human", "published_side": side}
        copies.append(inputs.record(mine, image, np.roll(mask, 3, axis=0), **more))
    copies.append(
        inputs.record(mine, *inputs.portrait(777), source="a_copy", source_key="own", label="human")
    )
    inputs.write_source(mine, make_records(copies))
    stage.main()
    records = read_records(DATASET).set_index("id")
    assert [records.at[row["id"], "source"] for row in copies] == ["eg1800", "a_copy", "a_copy"]
    left = read_rejected("merge").query("reason == 'duplicate_pixels'")
    assert list(zip(left["source"], left["source_key"], strict=True)) == [
        ("a_copy", "copy-0"),
        ("eg1800", "00029"),
    ]
    assert left["detail"].str.contains("IoU of the masks 0.").all()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["inputs"]["human"] == 33 and metrics["labels"]["human"] == 31
    taught, items = read_labelled(load_params().sides, [])
    assert items == 33 + 8
    assert set(taught["id"]) == set(records.query("side != 'test' and label in ('human', 'crop')").index)


def test_a_review_of_a_picture_that_another_crawl_has_too_still_counts(world: Path) -> None:
    """The other crawl's file is the record now, as its name comes first: reviews of this one's file go with it."""
    other = INGEST / "crawl" / "another"
    rows = []
    for number in (0, 2):
        image, _ = inputs.portrait(5000 + number)
        row = inputs.record(other, image, None, source="another", source_key=f"another-{number}.jpg")
        rows.append({**row, "sha256": f"{number:064x}"})  # the same pixels in another file
    inputs.write_source(other, make_records(rows))
    parents = {row["id"]: row for row in rows}
    pseudo = [
        {**row, **({"parent_sha256": parent["sha256"], "source": "another"} if parent else {})}
        for row in read_records(PSEUDO).to_dict("records")
        for parent in [parents.get(row["parent_id"])]
    ]
    inputs.write(PSEUDO, pseudo)
    stage.main()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["orphaned_reviews"] == 0 and metrics["labels"]["reviewed"] == 2
    assert metrics["reasons"]["reviewed"] == 2 and metrics["reasons"]["review_rejected"] == 1
    reviewed = read_records(DATASET).query("label == 'reviewed'")
    assert sorted(reviewed["source"]) == ["another", "crawl"]


def test_unreviewed_masks_of_test_pictures_and_of_rejected_twins_stay_out(world: Path) -> None:
    configure("unreviewed: exclude", "unreviewed: include")
    portraits = read_records(PORTRAITS).set_index("source_key")
    crawl, pseudo = (read_records(folder).to_dict("records") for folder in (PHOTOGRAPHS, PSEUDO))
    alike = np.clip(read_image(Path(str(portraits.at["00000", "image"]))).astype(np.int16) + 6, 0, 255)
    of = next(row for row in pseudo if row["source_key"] == "6.jpg")
    shown = inputs.record(PSEUDO, alike.astype(np.uint8), np.ones((120, 96), np.uint8))
    inputs.write(PSEUDO, [{**row, **shown, "sha256": of["sha256"]} if row is of else row for row in pseudo])
    for row in crawl:
        if row["source_key"] == "7.jpg":
            row["twins"] = "e" * 64
    inputs.write(PHOTOGRAPHS, crawl)
    write_lock(Path("lock"), [inputs.review({"sha256": "e" * 64}, BOX, "reject", None)])
    stage.main()
    found = read_rejected("merge").set_index("source_key")["reason"]
    assert found[["6.jpg", "7.jpg"]].tolist() == [
        "leak_with_test",
        "review_rejected",
    ]
    assert set(read_records(DATASET).query("label == 'pseudo'")["source_key"]) == {
        f"{one}.jpg" for one in range(6)
    }


@pytest.mark.parametrize("unreviewed", ["include", "exclude"])
def test_what_people_judged_without_deciding_does_not_train(world: Path, unreviewed: str) -> None:
    """4.jpg: one rejects it and one keeps it; 5.jpg: unclear; 6.jpg: a gold task; 7.jpg: its twin was judged."""
    configure("unreviewed: exclude", f"unreviewed: {unreviewed}")
    crawl = read_records(PHOTOGRAPHS).to_dict("records")
    sha256 = {row["source_key"]: row["sha256"] for row in crawl} | {"7.jpg": "e" * 64}
    for row in crawl:
        row["twins"] = "e" * 64 if row["source_key"] == "7.jpg" else ""
    inputs.write(PHOTOGRAPHS, crawl)
    words = {"0.jpg": ["accept"], "4.jpg": ["accept", "reject"]}
    words |= {name: ["unclear"] for name in ("5.jpg", "6.jpg", "7.jpg")}
    judged = []
    for name, said in words.items():
        opinions = [
            {
                "reviewer": f"c-{n}",
                "at": "2025-01-31T12:00:00+00:00",
                "said": one,
                "reasons": (),
                "seconds": 1.0,
                "edit": None,
            }
            for n, one in enumerate(said)
        ]
        truth = pack_mask(np.ones((80, 60), np.uint8)) if name == "6.jpg" else None
        task = {"key": review_key(sha256[name], BOX), "version": "v", "round": 1, "width": 60, "height": 80}
        task |= {"purpose": "gold" if truth else "review", "truth": truth, "proposed": None, "teacher": None}
        judged.append(JudgedTask.model_validate({**task, "uncertainty": 0.1, "opinions": opinions}))
    write_judgements(Path("lock"), judged)
    stage.main()
    found = read_rejected("merge").query("reason == 'review_undecided'").set_index("source_key")["detail"]
    assert set(found.index) == {"4.jpg", "5.jpg", "7.jpg"} and "accept, reject" in found["4.jpg"]
    trained = set(read_records(DATASET).query("label == 'pseudo'")["source_key"])
    assert trained == ({"6.jpg"} if unreviewed == "include" else set())
    (shard, *_) = sorted(Path("lock/judgements").iterdir())
    shard.write_text("{}\n")
    with pytest.raises(PipelineError, match="the judgements cannot be read"):
        stage.main()


def test_reviews_whose_picture_is_gone_stop_the_stage_unless_allowed(world: Path) -> None:
    crawl = read_records(PHOTOGRAPHS)
    inputs.write(PHOTOGRAPHS, [row for row in crawl.to_dict("records") if row["source_key"] != "0.jpg"])
    with pytest.raises(PipelineError, match=r"at most 0 reviews without their picture .* found 1"):
        stage.main()
    configure("max_orphaned_reviews: 0", "max_orphaned_reviews: 1")
    stage.main()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["orphaned_reviews"] == metrics["reasons"]["orphaned"] == 1
    assert metrics["labels"]["reviewed"] == 1


def test_too_many_rejected_labelled_pictures_stop_the_stage(world: Path) -> None:
    configure("licences_excluded: []", "licences_excluded: [research]")
    with pytest.raises(PipelineError, match=r"test 0 \(no source publishes a test side\)|labelled"):
        stage.main()
    configure("licences_excluded: [research]", "licences_excluded: ['^$']")
    with pytest.raises(PipelineError) as error:
        stage.main()
    said = str(error.value)
    assert "merge@labelled: 8 of 38 items were rejected (licence 8); at most 20% may be" in said
    assert said.endswith("raise merge.max_reject_rate")
    rejected = read_rejected("merge").query("reason == 'licence' and source != 'crawl'")
    assert len(rejected) == 8
    assert not (DATASET / "records.parquet").exists()


@pytest.mark.parametrize(
    ("lost", "said"), [("crawl", "merge: 50 items"), ("eg1800", "merge@labelled: 38 items")]
)
def test_a_record_that_vanishes_stops_the_stage(
    world: Path, monkeypatch: pytest.MonkeyPatch, lost: str, said: str
) -> None:
    """As a mistake in merge itself would make it vanish."""
    whole = stage.merge

    def one_too_few(*inputs: Any) -> tuple[pd.DataFrame, list[Rejected]]:
        records, rejected = whole(*inputs)
        return records.drop(records.index[records["source"] == lost][0]), rejected

    monkeypatch.setattr(stage, "merge", one_too_few)
    with pytest.raises(PipelineError, match=f"{said} went in, but"):
        stage.main()
    assert not (DATASET / "records.parquet").exists()


def test_a_missing_input_says_how_to_make_it(world: Path) -> None:
    shutil.rmtree(PSEUDO)
    with pytest.raises(PipelineError, match=r"expected data/pseudo/records.parquet.*dvc repro"):
        stage.main()


def test_labelled_pictures_alone_make_a_dataset(world: Path) -> None:
    """Someone with full bodies only: empty sources, no reviews, and a test side cut by hash."""
    for folder in (PORTRAITS, PHOTOGRAPHS, PSEUDO):
        inputs.write(folder, [])
    shutil.rmtree("lock")
    Path("lock").mkdir()
    bodies, crops = [], []
    for one in range(60):
        body = inputs.record(
            BODIES,
            *inputs.portrait(3000 + one),
            source="baidu",
            source_key=f"{one}.jpg",
            label="human",
        )
        bodies.append(body)
        crops.append(inputs.cut_from(CROP, body, 3000 + one, BOX, label="crop"))
    inputs.write(BODIES, bodies)
    inputs.write(CROP, crops)
    stage.main()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["out"] == 60 and not metrics["published_test"]
    assert min(metrics["sides"].values()) > 0
    assert Box.parse(read_records(DATASET).at[0, "crop_box"]) == Box.parse(BOX)
