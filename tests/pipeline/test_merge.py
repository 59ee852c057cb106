"""Merge: every gate by breaking it, nothing vanishes, a dataset that stands alone, the same bytes twice."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annotations.ledger.judgements import JudgedTask, write_judgements
from annotations.ledger.lock import LockEntry, pack_mask, review_key, write_lock
from pipeline import cluster, split
from pipeline import merge as stage
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.folder import PictureFolder
from pipeline.core.params import MergeParams, load_params
from pipeline.core.paths import CROP, DATASET, INGEST, PSEUDO, SPLIT
from pipeline.core.records import (
    Rejected,
    dataset_hash,
    make_records,
    read_records,
    read_rejected,
    reject_rows,
)
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


def merge(
    labelled: list[dict[str, Any]],
    pseudo: list[dict[str, Any]] | None = None,
    entries: list[LockEntry] | None = None,
    sides: dict[str, str] | None = None,
    **more: Any,
) -> tuple[pd.DataFrame, list[Rejected]]:
    """merge() on rows whose files exist. `sides` are those of photographs by name; train where it names none."""
    crawl = [
        inputs.row_of(one["parent_id"], source="crawl", source_key=one["source_key"], cluster=one["parent_id"],
                      side=(sides or {}).get(one["source_key"], "train"))
        for one in pseudo or []
    ]  # fmt: skip
    reviews: dict[str, list[LockEntry]] = {}
    for entry in entries or []:
        reviews.setdefault(entry.parent_sha256, []).append(entry)
    return stage.merge(
        make_records(inputs.on_sides(labelled)),
        make_records(crawl),
        make_records([]),
        make_records(pseudo or []),
        reviews,
        params(**more),
        {},
        {},
        {},
    )


def reasons(rejected: list[Rejected]) -> dict[str, str]:
    return {one.source_key: one.reason for one in rejected}


# The pure function, gate by gate.


@pytest.mark.parametrize(("side", "out"), [("train", {}), ("dev", "not_on_train"), ("test", "not_on_train")])
def test_an_unreviewed_mask_only_trains(tmp_path: Path, side: str, out: str | dict[str, str]) -> None:
    labelled, (good, *_) = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    records, rejected = merge(labelled, [good], sides={"good": side}, unreviewed="include")
    assert reasons(rejected) == (out and {"good": out})
    if out:
        assert f"its photograph is on the {side} side" in rejected[0].detail
    assert set(records.loc[records["label"] == "pseudo", "side"]) == (set() if out else {"train"})


@pytest.mark.parametrize("name", ["human", "eg1800"])
def test_what_is_left_out_does_not_train_and_stays_on_the_other_sides(tmp_path: Path, name: str) -> None:
    labelled, (good, *_) = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    everything, _ = merge(labelled, [good], unreviewed="include")
    records, rejected = merge(labelled, [good], unreviewed="include", leave_out=[name])
    assert set(records.loc[records["side"] == "train", "label"]) == {"pseudo"}
    for side in ("dev", "test"):
        assert len(records[records["side"] == side])
        pd.testing.assert_frame_equal(
            records[records["side"] == side].reset_index(drop=True),
            everything[everything["side"] == side].reset_index(drop=True),
        )
    assert set(reasons(rejected).values()) == {"left_out"}
    assert f"{name} does not train (merge.leave_out)" in rejected[0].detail
    assert len(records) + len(rejected) == 31


def test_a_review_that_is_left_out_leaves_the_pseudo_label_as_if_nobody_had_looked(tmp_path: Path) -> None:
    labelled, rows = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    records, rejected = merge(
        labelled, rows, reviews_of(rows), unreviewed="include", leave_out=["reviewed"], max_uncertainty=1.0
    )
    assert {"accepted", "rejected", "unsure"} <= set(records["source_key"]), "judged, but nobody asked"
    assert reasons(rejected) == {"flagged": "flagged", "unknown": "too_uncertain"}
    photograph = [{**rows[4], "label": "reviewed", "mask": rows[4]["mask"], "review": "accept"}]
    crawl = [
        inputs.row_of(
            rows[4]["parent_id"], source="crawl", source_key="accepted", cluster="f" * 16, side="train"
        )
    ]
    tables = [make_records(one) for one in (inputs.on_sides(labelled), crawl, photograph, [rows[4]])]
    records, rejected = stage.merge(
        *tables, {}, params(unreviewed="include", leave_out=["reviewed"]), {}, {}, {}
    )
    assert records.set_index("id").at[rows[4]["id"], "label"] == "pseudo"
    assert reasons(rejected) == {"accepted": "left_out"}


def test_what_was_cut_from_a_photograph_without_a_side_is_out_for_the_same_reason(tmp_path: Path) -> None:
    labelled, (pseudo, other, *_) = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    reviewed = {**other, "label": "reviewed", "review": "accept"}
    why = {
        ("crawl", one["source_key"]): ("leak_with_test", f"like {one['id']}") for one in (pseudo, reviewed)
    }
    tables = [make_records(rows) for rows in (inputs.on_sides(labelled), [], [reviewed], [pseudo])]
    records, rejected = stage.merge(*tables, {}, params(unreviewed="include"), why, {}, {})
    assert {one.source_key: (one.reason, one.detail) for one in rejected} == {
        name: told for (_, name), told in why.items()
    }
    assert len(records) == 30
    with pytest.raises(PipelineError, match=r"expected the photograph of crawl doubtful in data/split"):
        stage.merge(*tables, {}, params(unreviewed="include"), {("crawl", "good"): ("licence", "NC")}, {}, {})


def test_a_reviewed_mask_takes_side_and_cluster_of_its_photograph(tmp_path: Path) -> None:
    labelled, (row, *_) = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    shot = inputs.row_of(row["parent_id"], source="crawl", source_key="good", cluster="f" * 16, side="dev")
    tables = [
        make_records(rows) for rows in (inputs.on_sides(labelled), [shot], [{**row, "label": "reviewed"}], [])
    ]
    records, rejected = stage.merge(*tables, {}, params(), {}, {}, {})
    assert not rejected
    assert records.set_index("id").loc[row["id"], ["side", "cluster"]].tolist() == ["dev", "f" * 16]


def test_equal_pixels_keep_the_mask_that_people_drew(tmp_path: Path) -> None:
    labelled, (row, *_) = inputs.eg1800(tmp_path, 30, test=5), pseudo_rows(tmp_path)
    twin = {
        **labelled[9],
        "label": "reviewed",
        "source": "crawl",
        "source_key": "good",
        "parent_id": row["parent_id"],
    }
    shot = inputs.row_of(row["parent_id"], source="crawl", source_key="good", cluster="f" * 16, side="dev")
    tables = [make_records(rows) for rows in (inputs.on_sides(labelled), [shot], [twin], [])]
    records, rejected = stage.merge(*tables, {}, params(), {}, {}, {})
    assert reasons(rejected) == {"good": "duplicate_pixels"} and set(records["label"]) == {"human"}


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


def test_a_dataset_does_not_point_to_the_pseudo_labels(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path / "in", 3, test=1)
    records = make_records([{**row, "side": "train", "probability": "data/pseudo/p.png"} for row in rows])
    written = stage.write_dataset(PictureFolder(tmp_path / "out"), records)
    assert written["probability"].isna().all()
    assert read_records(tmp_path / "out")["probability"].isna().all()


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
    rows, pseudo = inputs.eg1800(tmp_path, 40, test=5), pseudo_rows(tmp_path)
    first, rejected = merge(rows, pseudo, unreviewed="include")
    second, rejected_again = merge(rows[::-1], pseudo[::-1], unreviewed="include")
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
    """A folder as the stages before cluster leave it: portraits, bodies, crops, a crawl, pseudo labels, a lock."""
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
        CROP / "bodies",
        [
            inputs.cut_from(CROP / "bodies", body, 2000 + at, BOX, label="crop")
            for at, body in enumerate(bodies)
        ],
    )
    crawl = inputs.crawl(PHOTOGRAPHS, 8)
    write_crawl(crawl, [inputs.cut_from(PSEUDO, one, 5000 + at, BOX) for at, one in enumerate(crawl)])
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


def write_crawl(photographs: list[dict[str, Any]], cut: list[dict[str, Any]]) -> None:
    """The crawl's photographs, the portraits cut from them, and their pseudo labels."""
    inputs.write_source(PHOTOGRAPHS, make_records(photographs))
    inputs.write(CROP / "crawl", [{**row, "label": "none", "mask": None} for row in cut])
    guessed = {"label": "pseudo", "uncertainty": 0.1, "teacher": "t" * 64}
    inputs.write(PSEUDO, [{**row, **guessed} for row in cut])


def run_stages() -> None:
    """Cluster, split, merge."""
    for one in (cluster, split, stage):
        one.main()


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
    run_stages()
    records, rejected = read_records(DATASET), read_rejected("merge")
    for kind in ("ingest", "crop", "cluster", "split", "pseudo"):
        shutil.rmtree(Path("data") / kind)
    named = (DATASET / "ATTRIBUTION.md").read_text()
    assert all(f"| {one} |" in named for one in records["id"])
    for row in records.itertuples():
        image, mask = read_image(Path(row.image)), read_mask(Path(row.mask))
        assert image.shape[:2] == mask.shape == (row.height, row.width)
        assert Path(row.image).parent == DATASET / "images" and Path(row.image).stem == row.id
        assert Path(row.mask) == DATASET / "masks" / f"{row.id}.png"
    assert {path.stem for path in (DATASET / "images").iterdir()} == set(records["id"])
    assert sorted(path.name for path in DATASET.iterdir()) == [
        "ATTRIBUTION.md",
        "README.md",
        "images",
        "masks",
        "records.csv",
        "records.parquet",
        "schema.json",
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
    run_stages()
    first = snapshot(DATASET) | snapshot(Path("metrics"))
    for path in [*DATASET.glob("images/*")][::2]:
        path.write_bytes(b"half")
    (DATASET / "reviewed").mkdir()
    (DATASET / "images" / "left_over.png").write_bytes(b"")
    run_stages()
    assert snapshot(DATASET) | snapshot(Path("metrics")) == first
    shutil.rmtree(".cache")
    run_stages()
    assert snapshot(DATASET) | snapshot(Path("metrics")) == first


def test_like_photographs_share_a_cluster_and_a_side_though_their_crops_differ(world: Path) -> None:
    """Two bodies of one scene, cut at different places: the photographs behind the crops give them away."""
    bodies = read_records(BODIES)
    image, mask = inputs.portrait(2000)
    shot = np.clip(image.astype(np.int16) + 6, 0, 255).astype(np.uint8)  # the next shot of the scene
    again = inputs.record(BODIES, shot, mask, source="baidu", source_key="again.jpg", label="human")
    inputs.write(BODIES, [*bodies.to_dict("records"), again])
    other = inputs.cut_from(CROP / "bodies", again, 2000, "30,40,90,118", label="crop")
    inputs.write(CROP / "bodies", [*read_records(CROP / "bodies").to_dict("records"), other])
    run_stages()
    records = read_records(DATASET).set_index("id")
    cluster = records.at[other["id"], "cluster"]
    assert (records["cluster"] == cluster).sum() == 2
    assert json.loads(Path("metrics/merge.json").read_text())["clusters"]["shared"] == 1
    # The teacher, which trains before, sees them as the dataset does.
    taught, _ = read_labelled()
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
    run_stages()
    records = read_records(DATASET).query("label == 'reviewed'").set_index("crop_box")
    assert len(records) == 2 and records["cluster"].nunique() == records["side"].nunique() == 1
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
    run_stages()
    records = read_records(DATASET).set_index("id")
    assert [records.at[row["id"], "source"] for row in copies] == ["eg1800", "a_copy", "a_copy"]
    left = read_rejected("split").query("reason == 'duplicate_pixels'")
    assert list(zip(left["source"], left["source_key"], strict=True)) == [
        ("a_copy", "copy-0"),
        ("eg1800", "00029"),
    ]
    assert left["detail"].str.contains("IoU of the masks 0.").all()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["inputs"]["human"] == metrics["labels"]["human"] == 31
    taught, items = read_labelled()
    assert items == 31 + 8
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
    run_stages()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["orphaned_reviews"] == 0 and metrics["labels"]["reviewed"] == 2
    assert metrics["reasons"]["reviewed"] == 2 and metrics["reasons"]["review_rejected"] == 1
    reviewed = read_records(DATASET).query("label == 'reviewed'")
    assert sorted(reviewed["source"]) == ["another", "crawl"]


def test_a_review_of_a_box_that_nobody_chooses_today_leaks_no_test_picture(world: Path) -> None:
    """Stage cluster has not seen that crop: the photograph as a whole looks like nothing."""
    crawl = sorted(read_records(PHOTOGRAPHS).to_dict("records"), key=lambda row: str(row["source_key"]))
    box = "5,20,50,110"
    shown = read_image(Path(crawl[5]["image"]))[20:110, 5:50]
    copy = np.clip(shown.astype(np.int16) + 6, 0, 255).astype(np.uint8)
    mask = np.ones(copy.shape[:2], np.uint8)
    more = {"source": "eg1800", "label": "human"}
    for side, key, out in (("test", "t", "leak_with_test"), ("train", "d", None)):
        row = inputs.record(PORTRAITS, copy, mask, source_key=key, published_side=side, **more)
        inputs.write(PORTRAITS, [*inputs.eg1800(PORTRAITS, 30, test=6), row])
        write_lock(Path("lock"), [inputs.review(one, box, "accept", mask) for one in crawl[4:7]])
        run_stages()
        sides = read_records(SPLIT / "crawl").set_index("source_key")["side"]
        labelled = read_records(SPLIT / "labelled").set_index("source_key")["side"]
        out = out or (f"leak_with_{labelled[key]}" if labelled[key] != sides["5.jpg"] else None)
        found = read_rejected("merge").query("reason.str.startswith('leak')")
        assert list(zip(found["source_key"], found["reason"], strict=True)) == (
            [("5.jpg", out)] if out else []
        )
        assert not out or row["id"] in found["detail"].iloc[0]
        kept = set(read_records(DATASET).query("label == 'reviewed'")["source_key"])
        assert kept == {"4.jpg", "5.jpg", "6.jpg"} - ({"5.jpg"} if out else set())


@pytest.mark.parametrize(("at", "number", "of_today"), [(5, 3, True), (6, 2, False), (6, 3, False)])
def test_a_review_of_a_box_that_nobody_chooses_today_copies_no_crawled_picture_of_another_side(
    world: Path, at: int, number: int, of_today: bool
) -> None:
    """Of two such reviews one stays; a review of today's box stays whatever its side."""
    other, box = inputs.crawl(PHOTOGRAPHS, 8)[at], BOX if of_today else "12,9,72,89"
    x0, y0, x1, y1 = map(int, box.split(","))
    part = read_image(Path(other["image"]))[y0:y1, x0:x1].astype(np.int16) + 6
    image, _ = inputs.portrait(9000 + number)
    image[35:115, 30:90] = np.clip(part, 0, 255)
    copy = inputs.record(PHOTOGRAPHS, image, None, source="crawl", source_key="copy.jpg")
    crawl, pseudo = (read_records(folder).to_dict("records") for folder in (PHOTOGRAPHS, PSEUDO))
    today = inputs.cut_from(PSEUDO, copy, 9000 + number, BOX)
    write_crawl([*crawl, copy], [*pseudo, today])
    mask = np.ones((80, 60), np.uint8)
    reviews = [inputs.review(copy, "30,35,90,115", "accept", mask), inputs.review(other, box, "accept", mask)]
    write_lock(Path("lock"), reviews)
    run_stages()
    sides = read_records(SPLIT / "crawl").set_index("source_key")["side"]
    of_copy, of_other = sides["copy.jpg"], sides[f"{at}.jpg"]
    assert {of_copy, of_other} == {"train", "dev"}
    copy_leaves = of_today or of_copy == "train"
    left = read_rejected("merge").query("reason.str.startswith('leak')")
    expected = ("copy.jpg", f"leak_with_{of_other}") if copy_leaves else (f"{at}.jpg", f"leak_with_{of_copy}")
    assert list(zip(left["source_key"], left["reason"], strict=True)) == [expected]
    kept = read_records(DATASET).query("label == 'reviewed'")["source_key"].tolist()
    assert kept == [f"{at}.jpg" if copy_leaves else "copy.jpg"]


@pytest.mark.parametrize("side", ["test", "dev", "train"])
@pytest.mark.parametrize("other", ["test", "dev", "train"])
def test_of_two_pictures_that_look_alike_one_stays(side: str, other: str) -> None:
    odd, second = (inputs.row_of(one * 16, source="crawl", source_key=one, side=on) for one, on in
                   (("a", side), ("b", other)))  # fmt: skip
    none, both = make_records([]), make_records([odd, second])
    near = {"a" * 16: {"b" * 16}}

    def out(*given: Any) -> dict[str, str]:
        return reasons(stage.apart(*given)[1])

    expected = {} if side == other else {"a": f"leak_with_{other}"}
    assert out(both, none, near) == expected, "b is of today's box"
    assert out(make_records([odd]), make_records([second]), near) == expected, "b is labelled"
    later = max((side, "a"), (other, "b"), key=lambda one: ("test", "dev", "train").index(one[0]))
    named = {} if side == other else {later[1]: f"leak_with_{other if later[1] == 'a' else side}"}
    assert out(both, none, {**near, "b" * 16: {"a" * 16}}) == named, "both are of other boxes"


def test_a_review_of_a_photograph_that_split_left_out_is_out_for_the_same_reason(world: Path) -> None:
    """Whatever stands in its name."""
    portrait = read_records(PORTRAITS).set_index("source_key").at["00000", "image"]
    alike = np.clip(read_image(Path(str(portrait))).astype(np.int16) + 6, 0, 255).astype(np.uint8)
    name = 'a,"b"\n;é.jpg'
    shot = inputs.record(PHOTOGRAPHS, alike, None, source="crawl", source_key=name)
    inputs.write(PHOTOGRAPHS, [*read_records(PHOTOGRAPHS).to_dict("records"), shot])
    write_lock(Path("lock"), [inputs.review(shot, BOX, "accept", np.ones((80, 60), np.uint8))])
    run_stages()
    told = {
        stage: read_rejected(stage).set_index("source_key")[["reason", "detail"]].loc[name].tolist()
        for stage in ("split", "merge")
    }
    assert told["merge"] == told["split"] and told["merge"][0] == "leak_with_test"


def test_a_review_moves_no_picture(world: Path) -> None:
    """Nor does its absence, nor an unreviewed mask that trains: the sides are those of the photographs."""
    configure("unreviewed: exclude", "unreviewed: include")
    mask = np.ones((80, 60), np.uint8)
    crawl = read_records(PHOTOGRAPHS).to_dict("records")
    seen: dict[str, set[str]] = {}
    for count in (0, 3, 8):
        write_lock(Path("lock"), [inputs.review(one, BOX, "accept", mask) for one in crawl[:count]])
        run_stages()
        for row in read_records(DATASET).itertuples():
            seen.setdefault(str(row.id), set()).add(str(row.side))
    assert all(len(sides) == 1 for sides in seen.values())
    assert {row["parent_id"] for row in read_records(PSEUDO).to_dict("records")} == {
        row["id"] for row in crawl
    }
    assert len(seen) == 30 + 8 + 8 and read_records(SPLIT / "crawl")["side"].nunique() == 2


def test_masks_of_test_pictures_and_of_rejected_twins_stay_out(world: Path) -> None:
    configure("unreviewed: exclude", "unreviewed: include")
    portraits = read_records(PORTRAITS).set_index("source_key")
    crawl, pseudo = (read_records(folder).to_dict("records") for folder in (PHOTOGRAPHS, PSEUDO))
    alike = np.clip(read_image(Path(str(portraits.at["00000", "image"]))).astype(np.int16) + 6, 0, 255)
    of = next(row for row in pseudo if row["source_key"] == "6.jpg")
    shown = inputs.record(PSEUDO, alike.astype(np.uint8), np.ones((120, 96), np.uint8))
    for row in crawl:
        if row["source_key"] == "7.jpg":
            row["twins"] = "e" * 64
    write_crawl(crawl, [{**row, **shown, "sha256": of["sha256"]} if row is of else row for row in pseudo])
    write_lock(Path("lock"), [inputs.review({"sha256": "e" * 64}, BOX, "reject", None)])
    run_stages()
    assert read_rejected("split").set_index("source_key")["reason"].to_dict() == {"6.jpg": "leak_with_test"}
    found = read_rejected("merge").set_index("source_key")["reason"]
    assert found[["6.jpg", "7.jpg"]].tolist() == [
        "leak_with_test",
        "review_rejected",
    ]
    trained = set(read_records(DATASET).query("label == 'pseudo'")["source_key"])
    on_train = set(read_records(SPLIT / "crawl").query("side == 'train'")["source_key"])
    assert trained == on_train - {"7.jpg"} and len(trained) > 2


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
    run_stages()
    found = read_rejected("merge").query("reason == 'review_undecided'").set_index("source_key")["detail"]
    assert set(found.index) == {"4.jpg", "5.jpg", "7.jpg"} and "accept, reject" in found["4.jpg"]
    trained = set(read_records(DATASET).query("label == 'pseudo'")["source_key"])
    assert trained == ({"6.jpg"} if unreviewed == "include" else set())
    (shard, *_) = sorted(Path("lock/judgements").iterdir())
    shard.write_text("{}\n")
    with pytest.raises(PipelineError, match="the judgements cannot be read"):
        run_stages()


def test_reviews_whose_picture_is_gone_stop_the_stage_unless_allowed(world: Path) -> None:
    crawl = read_records(PHOTOGRAPHS)
    inputs.write(PHOTOGRAPHS, [row for row in crawl.to_dict("records") if row["source_key"] != "0.jpg"])
    with pytest.raises(PipelineError, match=r"at most 0 reviews without their picture .* found 1"):
        run_stages()
    configure("max_orphaned_reviews: 0", "max_orphaned_reviews: 1")
    run_stages()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["orphaned_reviews"] == metrics["reasons"]["orphaned"] == 1
    assert metrics["labels"]["reviewed"] == 1


def test_a_record_that_vanishes_stops_the_stage(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mistake in merge itself would make it vanish."""
    whole = stage.merge

    def one_too_few(*inputs: Any) -> tuple[pd.DataFrame, list[Rejected]]:
        records, rejected = whole(*inputs)
        return records.drop(records.index[0]), rejected

    run_stages()
    monkeypatch.setattr(stage, "merge", one_too_few)
    with pytest.raises(PipelineError, match="merge: 50 items went in, but"):
        run_stages()
    assert not (DATASET / "records.parquet").exists() and not (DATASET / "records.csv").exists()


def test_a_missing_input_says_how_to_make_it(world: Path) -> None:
    (PSEUDO / "records.parquet").unlink()
    with pytest.raises(PipelineError, match=r"expected data/pseudo/records.parquet.*dvc repro"):
        run_stages()


def test_labelled_pictures_alone_make_a_dataset(world: Path) -> None:
    """Someone with full bodies only: empty sources, no reviews, and a test side cut by hash."""
    for folder in (PORTRAITS, PHOTOGRAPHS, CROP / "crawl", PSEUDO):
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
        crops.append(inputs.cut_from(CROP / "bodies", body, 3000 + one, BOX, label="crop"))
    inputs.write(BODIES, bodies)
    inputs.write(CROP / "bodies", crops)
    run_stages()
    metrics = json.loads(Path("metrics/merge.json").read_text())
    assert metrics["out"] == 60 and not metrics["published_test"]
    assert min(metrics["sides"].values()) > 0
    taught, _ = read_labelled()  # the teacher agrees with the dataset here too
    both = read_records(DATASET).set_index("id")["side"]
    assert set(taught["id"]) == set(both[both != "test"].index)
    pd.testing.assert_series_equal(taught.set_index("id")["side"], both[taught["id"]])
    assert Box.parse(read_records(DATASET).at[0, "crop_box"]) == Box.parse(BOX)
