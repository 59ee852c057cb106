"""Cluster: labelled and crawled pictures apart, and which of them show the same photograph."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import cluster as stage
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import CLUSTER, CROP, INGEST
from pipeline.core.records import make_records
from pipeline.dataset.cluster_table import (
    Clusters,
    read_beside,
    read_clusters,
    write_beside,
    write_clusters,
)
from sinet.images.decode import read_image
from tests.pipeline import dataset_inputs as inputs

PORTRAITS = INGEST / "labelled" / "eg1800"
BODIES = INGEST / "bodies" / "baidu"
PHOTOGRAPHS = INGEST / "crawl" / "crawl"
BOX = "10,5,70,85"
AT_MOST = 56


def row(number: int, **more: Any) -> dict[str, Any]:
    common = {"source": "s", "source_key": f"{number}", "image": f"{number}.png", "width": 9, "height": 9}
    return {"id": name(number), "sha256": f"{number:064x}", **common, **more}


def name(number: int) -> str:
    return f"{number:016x}"


def clustered(labelled: list[dict[str, Any]], crawl: list[dict[str, Any]], **at: int) -> Clusters:
    """`at` says where pictures lie on a line: those at most AT_MOST apart are a pair."""
    pairs = [
        (name(int(one[1:])), name(int(other[1:])))
        for (one, here), (other, there) in combinations(sorted(at.items()), 2)
        if abs(here - there) <= AT_MOST
    ]
    return stage.cluster(make_records(labelled), make_records(crawl), pairs)


def test_likeness_goes_from_one_crawled_picture_to_the_next_but_not_through_a_labelled_one() -> None:
    found = clustered([row(1)], [row(n) for n in (2, 3, 4, 5)], _2=0, _3=40, _1=80, _4=120, _5=200)
    assert found.crawl == {name(2): name(2), name(3): name(2), name(4): name(4), name(5): name(5)}
    assert found.labelled == {name(1): name(1)}
    assert found.beside == {name(2): [name(1)], name(4): [name(1)]}


def test_a_crawled_picture_between_two_labelled_ones_joins_them_not() -> None:
    found = clustered([row(1), row(2)], [row(3)], _1=0, _3=40, _2=80)
    assert found.labelled == {name(1): name(1), name(2): name(2)}
    assert found.beside == {name(3): [name(1), name(2)]}


@pytest.mark.parametrize(
    "same",
    [
        {"sha256": f"{1:064x}"},  # the labelled picture's file
        {"parent_id": name(1)},  # cut from it
        {"parent_sha256": f"{1:064x}"},
        {"parent_id": name(70)},  # cut from what it was cut from
        {"parent_sha256": f"{70:064x}"},
        {"id": name(70)},  # the photograph it was cut from, as pixels or as a file
        {"sha256": f"{70:064x}"},
        {"id": name(1)},
    ],
)
def test_equal_pixels_files_and_parents_are_the_same_photograph(same: dict[str, str]) -> None:
    labelled = row(1, parent_id=name(70), parent_sha256=f"{70:064x}")
    crawled = {**row(9), **same}
    found = clustered([labelled, row(2)], [crawled, row(8)])
    assert found.beside == {crawled["id"]: [name(1)]}


@pytest.mark.parametrize(
    ("photographs", "beside"), [({"_70": 0, "_80": 56}, True), ({"_70": 0, "_80": 57}, False)]
)
def test_photographs_behind_two_crops_tell_that_they_are_of_one_scene(
    photographs: dict[str, int], beside: bool
) -> None:
    found = clustered([row(1, parent_id=name(70))], [row(9, parent_id=name(80))], **photographs)
    assert found.beside == ({name(9): [name(1)]} if beside else {})


def test_only_the_photographs_that_something_was_cut_from_are_compared(tmp_path: Path) -> None:
    """Another one might stand between two pictures that do not look alike, and join them."""
    bodies = [
        inputs.record(tmp_path, inputs.portrait(one)[0], None, source="b", source_key=f"{one}")
        for one in (1, 2)
    ]
    crop = inputs.cut_from(tmp_path, bodies[0], 1, BOX, label="crop")
    found = stage.pictures_of(make_records([crop]), make_records(bodies))
    assert found == {one["id"]: one["image"] for one in (bodies[0], crop)}


@pytest.mark.parametrize(("apart", "same"), [(AT_MOST, True), (AT_MOST + 1, False)])
def test_labelled_pictures_look_alike_up_to_the_stated_distance(apart: int, same: bool) -> None:
    found = clustered([row(1), row(2)], [], _1=0, _2=apart)
    assert len(set(found.labelled.values())) == (1 if same else 2)


def test_an_id_may_stand_twice_and_nothing_makes_no_clusters() -> None:
    table = make_records([row(1)])
    twice = stage.cluster(pd.concat([table, table], ignore_index=True), make_records([]), [])
    assert twice == Clusters({name(1): name(1)}, {}, {})
    assert stage.summarise(twice)["crawl"] == {
        "pictures": 0, "clusters": 0, "shared": 0, "pictures_in_shared": 0, "largest": 0,
    }  # fmt: skip


def test_the_summary_by_hand() -> None:
    found = Clusters(dict(zip("abcdef", "aaabbf", strict=True)), {"x": "x"}, {"x": ["a", "b"]})
    counts = {"pictures": 6, "clusters": 3, "shared": 2, "pictures_in_shared": 5, "largest": 3}
    alone = {"pictures": 1, "clusters": 1, "shared": 0, "pictures_in_shared": 0, "largest": 1}
    assert stage.summarise(found) == {"labelled": counts, "crawl": alone, "crawl_like_labelled": 1}


def test_the_tables_come_back_as_they_were_written(tmp_path: Path) -> None:
    ids = {"0000000000000010": "0000000000000010", "00000000000001e5": "0000000000000010"}  # no numbers
    write_clusters(tmp_path / "c.csv", ids)
    write_beside(tmp_path / "b.csv", {"00000000000001e5": ["0000000000000002", "0000000000000001"]})
    assert read_clusters(tmp_path / "c.csv") == ids
    assert read_beside(tmp_path / "b.csv") == {"00000000000001e5": ["0000000000000001", "0000000000000002"]}
    write_beside(tmp_path / "b.csv", {})
    assert read_beside(tmp_path / "b.csv") == {}
    with pytest.raises(PipelineError, match="dvc repro"):
        read_clusters(tmp_path / "none.csv")


def test_the_stage_finds_the_scene_behind_two_crops_and_a_crawled_copy_of_a_portrait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    Path("params.yaml").write_bytes((root / "params.yaml").read_bytes())
    assert load_params().cluster.max_hash_distance == AT_MOST
    portraits = make_records(inputs.eg1800(PORTRAITS, 6, test=2))
    inputs.write_source(PORTRAITS, portraits)
    bodies = [
        inputs.record(BODIES, brighter(2000, one * 6), inputs.portrait(2000)[1], source="baidu",
                      source_key=f"{one}.jpg", label="human")
        for one in (0, 1)
    ]  # fmt: skip
    inputs.write_source(BODIES, make_records(bodies))
    boxes = (BOX, "30,40,90,118")
    crops = [
        inputs.cut_from(CROP / "bodies", body, 2000, box, label="crop")
        for body, box in zip(bodies, boxes, strict=True)
    ]
    inputs.write(CROP / "bodies", crops)
    copy = read_image(Path(portraits.at[0, "image"]))[:, ::-1]
    shots = [
        inputs.record(PHOTOGRAPHS, image, None, source="crawl", source_key=key)
        for key, image in (("copy.jpg", copy), ("other.jpg", inputs.portrait(77)[0]))
    ]
    inputs.write_source(PHOTOGRAPHS, make_records(shots))
    cut = inputs.cut_from(CROP / "crawl", shots[1], 77, BOX)
    cut.pop("mask")
    inputs.write(CROP / "crawl", [cut])
    stage.main()
    labelled, crawl = (read_clusters(CLUSTER / f"{one}.csv") for one in ("labelled", "crawl"))
    assert labelled[crops[0]["id"]] == labelled[crops[1]["id"]] == min(crop["id"] for crop in crops)
    assert len(set(labelled.values())) == 7
    assert crawl[cut["id"]] == crawl[shots[1]["id"]] != crawl[shots[0]["id"]]
    assert read_beside(CLUSTER / "beside.csv") == {crawl[shots[0]["id"]]: [portraits.at[0, "id"]]}
    found = json.loads(Path("metrics/cluster.json").read_text())
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("max_hash_distance: 56", "max_hash_distance: 0"))
    stage.main()
    assert len(set(read_clusters(CLUSTER / "labelled.csv").values())) == 8
    assert found["labelled"] == {
        "pictures": 8,
        "clusters": 7,
        "shared": 1,
        "pictures_in_shared": 2,
        "largest": 2,
    }
    assert found["crawl"]["pictures"] == 3 and found["crawl_like_labelled"] == 1


def brighter(seed: int, by: int) -> "np.ndarray[Any, Any]":
    return np.clip(inputs.portrait(seed)[0].astype(np.int16) + by, 0, 255).astype(np.uint8)
