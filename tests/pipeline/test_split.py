"""Split: every gate by breaking it, nothing vanishes, and nothing but look-alikes decides where a picture stands."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import split as stage
from pipeline.cluster import cluster, pictures_of
from pipeline.core.errors import PipelineError
from pipeline.core.params import SplitParams, load_params, parse_params
from pipeline.core.paths import CLUSTER, CROP, INGEST, KEPT_SIDES, SPLIT
from pipeline.core.records import Rejected, make_records, read_records, read_rejected, write_records
from pipeline.dataset.cluster_table import Clusters, write_beside, write_clusters
from pipeline.dataset.kept_sides import read_sides, write_sides
from pipeline.look_alikes.perceptual_hash import near_pairs, perceptual_hash
from sinet.images.decode import read_image, read_mask
from tests.pipeline import dataset_inputs as inputs

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = INGEST / "labelled" / "eg1800"
PHOTOGRAPHS = INGEST / "crawl" / "crawl"
BOX = "10,5,70,85"


def params(**more: Any) -> SplitParams:
    plain = {"dev_share": 0.3, "test_share": 0.1, "max_reject_rate": 0.2}
    return SplitParams.model_validate({**plain, **more})


def split(
    labelled: list[dict[str, Any]],
    crawl: list[dict[str, Any]] | None = None,
    allow: str | list[str] = "any",
    **more: Any,
) -> tuple[pd.DataFrame, pd.DataFrame, list[Rejected]]:
    """split() on rows whose files exist; clusters are made here. `labelled` may hold an id twice."""
    tables = [
        pd.concat([make_records([row]) for row in rows] or [make_records([])])
        for rows in (labelled, crawl or [])
    ]
    pictures = {**pictures_of(tables[0], make_records([])), **pictures_of(tables[1], make_records([]))}
    ids = sorted(pictures)
    hashes = np.array([perceptual_hash(read_image(Path(pictures[one]))) for one in ids]).reshape(-1, 2, 4)
    pairs = [(ids[i], ids[j]) for i, j in near_pairs(hashes, 56, np.ones(len(ids), bool))]
    labelled_ones, crawled = stage.split(*tables, cluster(*tables, pairs), params(**more), allow)
    return labelled_ones.records, crawled.records, [*labelled_ones.rejected, *crawled.rejected]


def reasons(rejected: list[Rejected]) -> dict[str, str]:
    return {one.source_key: one.reason for one in rejected}


def test_a_copy_of_a_test_picture_leaves_train_even_mirrored_and_recompressed(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    image, mask = inputs.portrait(2)
    copy = inputs.record(
        tmp_path, image[:, ::-1] // 2 + 60, mask[:, ::-1], source="eg1800", source_key="copy", label="human"
    )
    records, _, rejected = split([*rows, copy])
    assert reasons(rejected) == {"copy": "leak_with_test"}
    test_id = next(row["id"] for row in rows if row["source_key"] == "00002")
    assert test_id in rejected[0].detail
    assert len(records) == 30
    assert (records["cluster"] == records["id"]).all()


def test_a_crop_of_the_photograph_behind_a_test_picture_leaves_train(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    body = {"id": "b" * 16, "sha256": rows[0]["sha256"], "source": "baidu", "source_key": "body.jpg"}
    crop = inputs.cut_from(tmp_path, body, 700, BOX, label="crop")
    assert reasons(split([*rows, crop])[2]) == {"body.jpg": "leak_with_test"}


def test_equal_pixels_are_one_record_and_the_test_side_wins(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    twin_of_test = {**rows[1], "published_side": "train", "source": "aaa", "source_key": "twin"}
    other_mask = tmp_path / "half.png"
    mask = read_mask(Path(rows[20]["mask"]))
    mask[: len(mask) // 2] = 0
    other_mask.write_bytes(inputs.encode_mask(mask))
    crop = {**rows[20], "source": "aaa", "source_key": "crop", "label": "crop", "mask": str(other_mask)}
    records, _, rejected = split([twin_of_test, crop, *rows])
    assert reasons(rejected) == {"twin": "duplicate_pixels", "crop": "duplicate_pixels"}
    assert len(records) == 30
    assert set(records["source"]) == {"eg1800"}
    details = {one.source_key: one.detail for one in rejected}
    assert details["twin"].endswith(f"eg1800 00001 ({rows[1]['id']}), IoU of the masks 1.0000")
    iou = mask.sum() / read_mask(Path(rows[20]["mask"])).sum()
    assert details["crop"].endswith(f"IoU of the masks {iou:.4f}")


def test_a_photograph_that_copies_a_labelled_picture_stands_where_it_stands(tmp_path: Path) -> None:
    rows = inputs.eg1800(tmp_path, 30, test=5)
    labelled = split(rows)[0].set_index("source_key")
    dev = labelled.query("side == 'dev'").index[0]
    copies = [
        inputs.record(
            tmp_path / "crawl",
            255 - (255 - inputs.portrait(int(key))[0]) // 2,
            None,
            source="crawl",
            source_key=key,
        )
        for key in ("00000", dev)
    ]
    again, crawl, rejected = split(rows, copies)
    assert reasons(rejected) == {"00000": "leak_with_test"}
    assert labelled.at["00000", "id"] in rejected[0].detail
    assert crawl[["source_key", "side", "cluster"]].values.tolist() == [
        [dev, "dev", labelled.at[dev, "cluster"]]
    ]
    pd.testing.assert_frame_equal(
        again.set_index("source_key"), labelled
    )  # no photograph moves a labelled picture


def test_photographs_that_look_like_what_has_left_stand_alone() -> None:
    """A labelled picture whose licence is excluded holds no side; nor does a cluster of which all has left."""
    rows = [row(n, published_side="train", licence="CC0") for n in range(20)]
    rows[3]["licence"] = "CC BY-NC"
    found = Clusters({one["id"]: one["id"] for one in rows}, {name(90): name(90)}, {name(90): [name(3)]})
    shot = row(90, label="none", mask=None, source="crawl", source_key="x.jpg", licence="CC0")
    labelled, crawl = stage.split(make_records(rows), make_records([shot]), found, params(), ["CC0-1.0"])
    assert reasons(labelled.rejected) == {"3": "licence"} and not crawl.rejected
    assert crawl.records["cluster"].tolist() == [name(90)]


def name(number: int) -> str:
    return f"{number:016x}"


def row(number: int, **more: Any) -> dict[str, Any]:
    one = {"id": name(number), "source": "eg1800", "source_key": str(number), "label": "human"}
    return {**one, "width": 60, "height": 80, "sha256": f"{number:064x}", "image": "i", "mask": "m", **more}


def test_the_shares_of_dev_and_test_are_not_mixed_up() -> None:
    rows = [row(n) for n in range(600)]
    found = Clusters({one["id"]: one["id"] for one in rows}, {}, {})
    shares = params(dev_share=0.4, test_share=0.05)
    sides = stage.split(make_records(rows), make_records([]), found, shares)[0].records["side"]
    counts = sides.value_counts(normalize=True)
    assert counts["dev"] == pytest.approx(0.4 * 0.95, abs=0.06) and counts["test"] == pytest.approx(
        0.05, abs=0.03
    )


@pytest.mark.parametrize(
    ("allow", "out"),
    [
        ("any", set()),
        (["CC-BY", "CC0-1.0"], {"nc", "research", "none", "page"}),
        (["CC-BY-4.0", "unknown"], {"nc", "free", "old"}),
        (["unknown"], {"nc", "free", "by", "old"}),
    ],
)
def test_only_pictures_of_allowed_licences_stay_and_an_unknown_one_never_silently(
    allow: str | list[str], out: set[str]
) -> None:
    licences = {
        "by": "https://creativecommons.org/licenses/by/4.0/", "old": "CC BY 2.0", "nc": "CC BY-NC 4.0", "free": "CC0",
        "research": "research only", "none": None, "page": "unknown",
    }  # fmt: skip
    for label, more in (("human", {}), ("none", {"mask": None})):
        rows = [
            row(n, source_key=key, licence=text, label=label, **more)
            for n, (key, text) in enumerate(licences.items())
        ]
        table, other = make_records(rows), make_records([])
        labelled, crawl = (other, table) if label == "none" else (table, other)
        alone = {one: one for one in table["id"]}
        both = stage.split(labelled, crawl, Clusters(alone, alone, {}), params(), allow)
        rejected = [one for role in both for one in role.rejected]
        assert reasons(rejected) == dict.fromkeys(out, "licence")
        assert all("licences.allow has " in one.detail for one in rejected)
        counted = both[label == "none"].licences
        assert sum(one["in"] for one in counted.values()) == len(licences)
        assert sum(one["left_out"] for one in counted.values()) == len(out)
        assert counted["CC-BY-4.0"] == {"in": 1, "left_out": int("by" in out), "out": int("by" not in out)}
        assert counted["unknown"]["in"] == 2 and counted["research only"]["in"] == 1


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        ([], "a list of none leaves no picture"),
        (["CC BY 4.0"], r"licences\.allow.*found 'CC BY 4.0'; write CC-BY-4.0"),
        (["commercial"], "SPDX ids as CC-BY-4.0, families of them as CC-BY, and unknown, found 'commercial'"),
    ],
)
def test_an_allowed_licence_that_is_no_id_is_refused_by_name(allow: list[str], said: str) -> None:
    content = load_params(ROOT / "params.yaml").model_dump(mode="json")
    content["licences"]["allow"] = allow
    with pytest.raises(PipelineError, match=said):
        parse_params(content)


def test_order_of_the_inputs_changes_nothing(tmp_path: Path) -> None:
    rows, shots = inputs.eg1800(tmp_path, 40, test=5), inputs.crawl(tmp_path / "crawl", 6)
    rows.append({**rows[1], "published_side": "train", "source_key": "twin"})
    *first, rejected = split(rows, shots)
    *second, rejected_again = split(rows[::-1], shots[::-1])
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(*(table.sort_values("id", ignore_index=True) for table in (one, other)))
    assert set(rejected) == set(rejected_again)


def test_the_summary_counts_sides_and_leaks_by_hand() -> None:
    sides, clusters = ("test", "test", "test", "train", "train", "dev"), "aaabbc"
    records = make_records(
        [row(n, side=side, cluster=one, published_side="test" if n == 0 else None)
         for n, (side, one) in enumerate(zip(sides, clusters, strict=True))]
    )  # fmt: skip
    rejected = [Rejected("crawl", key, f"leak_with_{key}", "why") for key in ("dev", "test", "test")]
    kept = {
        name(n): side for n, side in enumerate(("train", *sides[1:]))
    }  # the first is published as test since
    found = stage.summarise(stage.Split(records, [*rejected, Rejected("crawl", "x", "licence", "why")]), kept)
    assert found == {
        "sides": {"train": 2, "dev": 1, "test": 3},
        "published_test": True,
        "leaks": 3,
        "test_duplicates": 2,
        "moved": 1,
        "licences": {},
    }


@pytest.mark.parametrize("lacks", ["labelled", "crawl"])
def test_a_picture_that_stage_cluster_has_not_seen_is_an_error(lacks: str) -> None:
    rows, shot = [row(n) for n in range(9)], row(90, label="none", mask=None, source="crawl")
    found = Clusters({one["id"]: one["id"] for one in rows}, {name(90): name(90)}, {})
    getattr(found, lacks).popitem()
    with pytest.raises(PipelineError, match="found 1 that are not there; run `dvc repro cluster`"):
        stage.split(make_records(rows), make_records([shot]), found, params())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the stages before split leave it, every picture in a cluster of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    portraits = make_records(inputs.eg1800(PORTRAITS, 30, test=6))
    inputs.write_source(PORTRAITS, portraits)
    body = inputs.record(tmp_path, *inputs.portrait(2000), source="baidu", source_key="b.jpg")
    inputs.write_source(INGEST / "bodies" / "baidu", make_records([body]))
    inputs.write(CROP / "crawl", [])
    crops = inputs.write(CROP / "bodies", [inputs.cut_from(CROP / "bodies", body, 2000, BOX, label="crop")])
    crawl = make_records(inputs.crawl(PHOTOGRAPHS, 8))
    inputs.write_source(PHOTOGRAPHS, crawl)
    labelled = {one: one for one in [*portraits["id"], *crops["id"]]}
    write_clusters(CLUSTER / "labelled.csv", labelled)
    write_clusters(CLUSTER / "crawl.csv", {one: one for one in crawl["id"]})
    write_beside(
        CLUSTER / "beside.csv",
        {crawl.at[0, "id"]: [portraits.query("published_side == 'test'")["id"].iloc[0]]},
    )
    return tmp_path


def test_the_stage_writes_both_tables_and_counts_what_left(world: Path) -> None:
    stage.main()
    labelled, crawl = read_records(SPLIT / "labelled"), read_records(SPLIT / "crawl")
    assert (len(labelled), len(crawl)) == (31, 7)
    assert labelled["side"].notna().all() and crawl["side"].notna().all()
    assert read_rejected("split")["reason"].tolist() == ["leak_with_test"]
    near = pd.read_csv(SPLIT / "near_test.csv", dtype=str)
    assert near[["source", "leak_source"]].to_numpy().tolist() == [["eg1800", "crawl"]]
    assert near["id"].isin(labelled[labelled["side"] == "test"]["id"]).all()
    assert not near["leak_id"].isin([*labelled["id"], *crawl["id"]]).any()
    found = json.loads(Path("metrics/split.json").read_text())
    counts = {role: [one[key] for key in ("in", "out", "rejected", "leaks")] for role, one in found.items()}
    assert counts == {"labelled": [31, 31, 0, 0], "crawl": [8, 7, 1, 1]}
    assert found["labelled"]["sides"]["test"] == 6 and found["labelled"]["published_test"]


def test_the_stage_keeps_the_sides_and_a_run_again_changes_nothing(world: Path) -> None:
    stage.main()
    outputs = [
        *Path("annotations/sides").iterdir(),
        *Path("data/split").rglob("*.*"),
        Path("metrics/split.json"),
    ]
    before = {path: path.read_bytes() for path in outputs}
    stage.main()
    assert {path: path.read_bytes() for path in outputs} == before
    kept, crop = read_sides(KEPT_SIDES), read_records(CROP / "bodies").iloc[0]
    given = pd.concat([read_records(SPLIT / "labelled"), read_records(SPLIT / "crawl")])
    assert len(kept) == len(given) + 1 == 39 and kept[crop["parent_id"]] == kept[crop["id"]]
    one = next(one for one, side in kept.items() if side == "train" and one != crop["id"])
    shard = Path(f"annotations/sides/{one[:2]}.txt")
    shard.write_text(
        shard.read_text().replace(f"{one} train", f"{one} dev")
    )  # as if it had been drawn otherwise
    stage.main()
    again = pd.concat([read_records(SPLIT / "labelled"), read_records(SPLIT / "crawl")])
    placed = again.assign(photograph=again["parent_id"].fillna(again["id"])).set_index("photograph")["side"]
    assert {**placed.to_dict(), crop["id"]: kept[crop["id"]]} == {**kept, one: "dev"}


def test_old_pictures_that_only_a_new_one_joins_stay_and_real_look_alikes_do_not(world: Path) -> None:
    """The stage looks at the pictures themselves, at those that a crop was cut from too."""
    image, mask = inputs.portrait(2000)
    body = inputs.record(world, image // 2 + 90, mask, source="baidu", source_key="again.jpg")
    inputs.write_source(
        INGEST / "bodies/baidu",
        pd.concat([read_records(INGEST / "bodies/baidu"), make_records([body])], ignore_index=True),
    )
    crops = read_records(CROP / "bodies")
    other = inputs.cut_from(
        CROP / "bodies", body, 2001, "0,0,50,60", label="crop"
    )  # of a picture unlike the crop
    write_records(CROP / "bodies", pd.concat([crops, make_records([other])], ignore_index=True))
    portraits = read_records(PORTRAITS)
    one, two, new = portraits.query("published_side == 'train'")["id"].iloc[:3]
    first, second = crops.at[0, "parent_id"], body["id"]
    write_sides(KEPT_SIDES, {one: "train", two: "dev", first: "train", second: "dev"})
    labelled = {name: name for name in portraits["id"]} | dict.fromkeys([one, two, new], min(one, two, new))
    write_clusters(
        CLUSTER / "labelled.csv", labelled | dict.fromkeys([crops.at[0, "id"], other["id"]], "c" * 16)
    )
    stage.main()
    left = read_rejected("split").query("source != 'crawl'")
    assert dict(zip(left["source_key"], left["reason"], strict=True)) == {
        portraits.set_index("id").at[new, "source_key"]: "leak_with_dev",
        "b.jpg": "kept_sides_meet",
    }


def test_too_many_rejected_labelled_pictures_stop_the_stage_and_crawled_ones_do_not(world: Path) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("allow: any", "allow: [CC0-1.0]"))
    with pytest.raises(PipelineError) as error:
        stage.main()
    said = str(error.value)
    assert "split@labelled: 31 items" not in said
    assert "split@labelled: 31 of 31 items were rejected (licence 31); at most 20% may be" in said
    assert said.endswith("raise split.max_reject_rate")
    assert (read_rejected("split")["reason"] == "licence").all()
    assert not (SPLIT / "labelled/records.parquet").exists() and not KEPT_SIDES.exists()
    for folder in (PORTRAITS, CROP / "bodies"):
        write_records(folder, read_records(folder).assign(licence="CC0"))
    stage.main()  # a crawl that states no licence is out as a whole
    assert read_records(SPLIT / "crawl").empty and len(read_records(SPLIT / "labelled")) == 31


@pytest.mark.parametrize("lost", [0, 1])
def test_a_record_that_vanishes_stops_the_stage(
    world: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    whole = stage.split

    def one_too_few(*inputs: Any) -> list[stage.Split]:
        both = list(whole(*inputs))
        both[lost] = replace(both[lost], records=both[lost].records.iloc[1:])
        return both

    monkeypatch.setattr(stage, "split", one_too_few)
    with pytest.raises(PipelineError, match="items went in, but"):
        stage.main()
    assert not (SPLIT / "labelled/records.parquet").exists()
