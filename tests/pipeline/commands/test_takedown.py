"""`python -m pipeline takedown` on small made folders: what a request names, and what leaves at once."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from annotations.ledger.judgements import JudgedTask, Opinion, read_judgements, write_judgements
from annotations.ledger.lock import pack_mask, read_lock, write_lock
from annotations.ledger.takedowns import Takedowns, TakenDown, url_hash
from annotations.server.client import TaskHead
from annotations.server.exports import read_export_file, write_export_file
from pipeline.commands.relatives import Made, named_by, read_made
from pipeline.commands.takedown import (
    clear_export,
    clear_lock,
    clear_stores,
    tell,
    with_requests,
    with_stored_crops,
    with_tasks,
)
from pipeline.commands.traces import find_traces, purge, what_is_left
from pipeline.core.errors import PipelineError
from pipeline.core.folder import PictureFolder
from pipeline.core.params import ClusterParams, load_params
from pipeline.core.paths import CLUSTER, CROP, DATASET, INGEST, LABEL_ERRORS
from pipeline.core.records import make_records
from pipeline.core.store import Result, Store
from pipeline.dataset.cluster_table import write_beside, write_clusters
from pipeline.drawing import picture as drawn
from pipeline.fetching.journal import PICTURES
from pipeline.review.reviewed import check_orphans, cut_reviewed
from sinet.core import atomic
from sinet.images.decode import encode_png
from tests.pipeline import dataset_inputs as inputs

BOX = "10,5,70,85"
LOCK = Path("reviews")
CLUSTERING = ClusterParams(min_matches=25, max_hash_distance=56)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Crawled pictures, one of them mirrored from another; one has a crop, and a look-alike among the labelled ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "pipeline.look_alikes.perceptual_hash.map_images", lambda function, items, **_: map(function, items)
    )
    rows = inputs.crawl(INGEST / "crawl/web", 3)
    mirrored = np.ascontiguousarray(inputs.portrait(5000)[0][:, ::-1])
    rows.append(inputs.record(INGEST / "crawl/web", mirrored, None, source="crawl", source_key="mirror.jpg"))
    rows[2]["url"], rows[0]["twins"] = "https://example.org/2.jpg", "7" * 64
    labelled = inputs.eg1800(INGEST / "labelled/eg1800", 2, test=1)
    crop = inputs.cut_from(CROP / "crawl", rows[0], 5000, BOX)
    inputs.write_source(INGEST / "crawl/web", make_records(rows))
    inputs.write_source(INGEST / "labelled/eg1800", make_records(labelled))
    inputs.write(CROP / "crawl", [crop])
    reviewed = inputs.cut_from(
        DATASET, rows[0], 5000, "12,5,70,85", label="reviewed"
    )  # the box is the review's own
    inputs.write(DATASET, [reviewed, *labelled])
    write_clusters(CLUSTER / "labelled.csv", {one["id"]: one["id"] for one in labelled})
    write_clusters(
        CLUSTER / "crawl.csv", {one["id"]: one["id"] for one in (*rows, crop)} | {crop["id"]: rows[0]["id"]}
    )
    write_beside(CLUSTER / "beside.csv", {rows[0]["id"]: [labelled[1]["id"]]})
    mask = inputs.portrait(5000)[1][5:85, 10:70]
    entries = [inputs.review(one, BOX, "accept", mask) for one in rows]
    write_lock(LOCK, entries)
    write_judgements(LOCK, [judged(entry.key, mask) for entry in entries])
    return {"rows": rows, "labelled": labelled, "crop": crop, "reviewed": reviewed, "entries": entries}


def judged(key: str, mask: Any) -> JudgedTask:
    opinion = Opinion(
        reviewer="curator-1",
        at="2025-01-31T12:00:00+00:00",
        said="accept",
        reasons=(),
        seconds=1.0,
        edit=None,
    )
    return JudgedTask(
        key=key, version="v", purpose="review", round=1, width=mask.shape[1], height=mask.shape[0], uncertainty=0.1,
        teacher=None, proposed=pack_mask(mask), truth=None, opinions=(opinion,),
    )  # fmt: skip


def made() -> Made:
    return read_made(read_lock(LOCK), [])


def requested(*names: str, of: Made | None = None) -> Takedowns:
    return with_requests(Takedowns(), names, of or made(), CLUSTERING, "asked")


def test_a_crop_names_its_photograph_its_look_alikes_and_their_reviews(world: dict[str, Any]) -> None:
    rows, crop, entries = (world[name] for name in ("rows", "crop", "entries"))
    (request,) = requested(crop["id"]).requests
    assert set(request.pixels) == {
        crop["id"],
        world["reviewed"]["id"],
        rows[0]["id"],
        rows[3]["id"],
    }
    assert set(request.files) == {rows[0]["sha256"], rows[3]["sha256"], "7" * 64}
    assert set(request.reviews) == {entries[0].key, entries[3].key}
    assert (request.key, request.reason, len(request.looks)) == (crop["id"], "asked", 3)


def test_of_a_cluster_only_what_looks_like_the_picture_itself_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A collage lies between two people: whoever shares it goes with neither."""
    monkeypatch.chdir(tmp_path)
    person, stranger = (drawn.portrait(drawn.generator(5, "portrait", one)).image for one in (0, 1))
    size = (300, 300)
    parts = [cv2.resize(one, size) for one in (person, stranger)]
    pictures = (person, np.hstack(parts), stranger)
    shard, gone = (
        {"source": "shards", "source_key": "00000/000000012.jpg"},
        {"source": "no_more", "source_key": "a"},
    )
    first, collage, last = (
        inputs.record(Path("p"), one, None, **of)
        for one, of in zip(pictures, (shard, gone, gone), strict=True)
    )
    ids = [one["id"] for one in (first, collage, last)]
    none = make_records([])
    world = Made(make_records([first, collage, last]), none, {}, dict.fromkeys(ids, ids[0]), {}, {})
    (request,) = with_requests(Takedowns(), [first["id"]], world, CLUSTERING, "").requests
    assert set(request.pixels) == set(ids[:2]) and len(request.looks) == 2
    (both,) = with_requests(Takedowns(), [collage["id"]], world, CLUSTERING, "").requests
    assert set(both.pixels) == set(ids)

    (tmp_path / "00000.tar").touch()
    params = load_params(root / "params.yaml")
    source = params.sources.root["crawl"].model_copy(update={"path": str(tmp_path), "layout": "img2dataset"})
    sources = params.sources.model_copy(update={"root": {"shards": source}})
    tell(request, world, params.model_copy(update={"sources": sources}))
    told = capsys.readouterr().out
    assert f"delete 000000012.jpg from {tmp_path / '00000.tar'} too" in told
    assert f"{collage['id']} no_more a\n" in told
    assert f"{last['id']} no_more a: in the same cluster, not taken out" in told


def test_a_file_an_address_a_hash_and_a_review_name_the_same_picture(
    world: dict[str, Any], tmp_path: Path
) -> None:
    row, entry = world["rows"][2], world["entries"][2]
    stages = made()
    names = (row["id"], row["image"], row["sha256"], entry.key, "http://example.org/2.jpg")
    for name in names:
        (request,) = requested(name, of=stages).requests
        assert (request.pixels, request.key) == ((row["id"],), row["id"]), name
        assert (request.files, request.reviews) == ((row["sha256"],), (entry.key,)), name
        assert request.urls == (url_hash(row["url"]),), name
    assert len(requested(*names, of=stages).requests) == 1
    (elsewhere := tmp_path / "unseen.png").write_bytes(encode_png(inputs.portrait(77)[0]))
    (unseen,) = requested(str(elsewhere), of=stages).requests
    assert (len(unseen.pixels), len(unseen.files), len(unseen.looks)) == (1, 1, 1)
    (blind,) = requested("https://example.org/unknown.jpg", of=stages).requests
    assert blind.urls == (url_hash("https://example.org/unknown.jpg"),) and not blind.pixels
    for text in ("Somebody", "0" * 15, "https://"):
        with pytest.raises(PipelineError, match="expected"):
            named_by(text, stages)


def test_reviews_and_results_leave_at_once_and_a_lock_that_comes_back_is_no_orphan(
    world: dict[str, Any],
) -> None:
    rows, entries = world["rows"], world["entries"]
    for number, (stage, of) in enumerate(
        [
            ("crop", rows[0]["id"]),
            ("pseudo_label", "c" * 16),
            ("push", rows[1]["id"]),
            ("label_errors", rows[0]["id"]),
        ]
    ):
        Store(stage).put(f"{number:02d}aa", Result({"id": "c" * 16}), of)
    takedowns = requested(rows[0]["id"])
    gold = TaskHead(1, "5" * 16, "v", True, 1, (), rows[0]["sha256"])
    takedowns = with_tasks(takedowns, [gold, TaskHead(2, "6" * 16, "v", True, 1, (), rows[1]["sha256"])])
    assert "5" * 16 in takedowns.reviews and "6" * 16 not in takedowns.reviews
    Store("merge").put("03aa", Result({"id": "d" * 16}), rows[0]["sha256"])
    Store("crop").put("04aa", Result({"id": "e" * 16}))  # of older code: whose it is, nobody knows
    takedowns = with_stored_crops(takedowns)
    assert {"c" * 16, "d" * 16} <= takedowns.pixels.keys() and "e" * 16 not in takedowns.pixels
    assert clear_lock(LOCK, takedowns) == (2, 2) and clear_lock(LOCK, takedowns) == (0, 0)
    stay = sorted([entries[1].key, entries[2].key])
    assert [one.key for one in read_lock(LOCK)] == [one.key for one in read_judgements(LOCK)] == stay
    atomic.write_atomic(LABEL_ERRORS / "index.html", b"a page with pictures")
    assert clear_stores(takedowns) > 5  # a crop of another box names the pseudo label of it
    assert not LABEL_ERRORS.exists()
    names = ("crop", "pseudo_label", "push", "label_errors")
    assert [use.key for name in names for use in Store(name).uses()] == ["02aa"]

    crawl = make_records(rows[1:3])  # as ingest leaves it
    rejected = cut_reviewed(
        entries, crawl, PictureFolder(Path("cut")), 128, Store("merge"), 1, takedowns.files
    ).rejected
    assert {one.source_key: one.reason for one in rejected} == {
        entries[0].key: "taken_down",
        entries[3].key: "taken_down",
    }
    check_orphans(rejected, 0)


def test_an_export_loses_the_tasks_taken_out_and_keeps_all_others(
    world: dict[str, Any], tmp_path: Path
) -> None:
    tasks = [
        {"id": at, "data": {"key": f"{at:016d}", "parent_sha256": row["sha256"]}, "annotations": ["\u00fc"]}
        for at, row in enumerate(world["rows"])
    ]
    write_export_file(path := tmp_path / "export.json.gz", tasks)
    clear_export(path, requested(world["rows"][1]["id"]))
    assert read_export_file(path) == [tasks[0], *tasks[2:]]


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], check=True)


def version(**folders: dict[str, str]) -> list[Path]:
    """dvc.lock of a version with these files (content by path) in folders below data/, all in DVC's cache."""
    cache, outs, objects = Path(".dvc/cache/files/md5"), [], []
    for name, files in folders.items():
        listed = [{"relpath": path, "md5": content.ljust(32, "0")} for path, content in files.items()]
        md5 = f"{len(list(cache.rglob('*.dir'))):032d}.dir"
        for one, content in [(md5, json.dumps(listed)), *((row["md5"], "x") for row in listed)]:
            (path := cache / one[:2] / one[2:]).parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            objects.append(path)
        outs.append({"path": f"data/{name}", "md5": md5})
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"one": {"cmd": "x", "outs": outs}}}))
    return objects


def test_earlier_versions_that_hold_it_are_named_and_purged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)  # without the environment's own dvc
    git("init", "--quiet", "--initial-branch", "main")
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews/aa.jsonl").write_text(f'{{"key":"{"b" * 16}"}}\n')
    shared, name = "5" * 32, "a" * 16
    request = TakenDown(
        key=name, date="2026-11-29", pixels=(name,), files=("f" * 64,), urls=(url_hash("http://e.org/u"),)
    )
    named = Takedowns([request])
    also_reviews = Takedowns([request.joined(TakenDown(key=name, date=request.date, reviews=("b" * 16,)))])
    fetched = {"images/by_file.webp": "7", "images/by_address.webp": "8", "images/others.webp": "9"}
    _, table, *_ = version(
        **{"crawl/web": {PICTURES: "a" * 31, **fetched}},
        dataset={f"images/{name}.png": "1", "images/other.png": "2", f"masks/{name}.png": shared},
        report={"index.html": "3"},
        gallery={f"01-{name}.png": "4"},
    )
    rows = (f"{'f' * 64},http://e.org/1,", f"{'0' * 64},https://e.org/u,", f"{'1' * 64},http://e.org/2,")
    lines = (f"{file},{row}" for file, row in zip(fetched, rows, strict=True))
    table.write_text("\n".join(["file,sha256,url,final_url", *lines]))
    git("add", "dvc.lock", "reviews")
    git("commit", "--quiet", "-m", "with it")
    git("tag", "v1")
    with pytest.raises(PipelineError, match=r"found a dvc\.lock that does; run `dvc repro`"):
        purge(find_traces(named, Path("reviews")))
    version(dataset={"images/other.png": "2", "masks/other.png": shared}, report={"index.html": "6"})
    (tmp_path / "reviews/aa.jsonl").unlink()
    git("add", "--all", "dvc.lock", "reviews")
    git("commit", "--quiet", "-m", "without")

    traces = find_traces(also_reviews, Path("reviews"))
    assert (len(traces.commits), traces.refs, traces.unknown, len(traces.reviews)) == (1, ["v1"], [], 2)
    assert sorted(path.parent.name[0] for path in traces.objects) == [
        "1",
        "3",
        "4",
        "7",
        "8",
    ]  # not what others use too
    text = "\n".join(what_is_left(traces, []))
    assert "1 commits' versions of the data hold it" in text and "branches and tags: v1" in text
    assert "5 files of it: `python -m pipeline takedown --purge`" in text and "git filter-repo" in text
    assert purge(traces) == 5
    assert not find_traces(named, Path("reviews")).objects
    Path(".dvc/config").write_text("[core")
    with pytest.raises(PipelineError, match="`dvc cache dir` failed"):
        find_traces(named, Path("reviews"))
    Path(".dvc/config").write_text("['remote \"shared\"']\n    url = /shared\n")
    for path in Path(".dvc/cache").rglob("*.dir"):
        path.unlink()
    traces = find_traces(named, Path("reviews"))
    assert (len(traces.unknown), traces.remotes) == (2, ["shared"])
