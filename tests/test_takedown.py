"""A person asks to be taken out, in the finished tiny world: no pixel of the picture is left, wherever one looks."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import pytest

from annotations.ledger.lock import read_lock
from pipeline.core.records import read_records, read_rejected
from sinet.images.decode import read_image
from tests.pixels import places_of
from tests.project import commit, run, set_params
from tests.test_recipe import project, world  # noqa: F401  # fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LOCK = "annotations/reviews/tiny"


def outputs(folder: Path) -> list[Path]:
    """Where stages and the store of results write, but for the drawn originals."""
    data = [one for one in (folder / "data").iterdir() if one.name != "sample"]
    return [*data, *(folder / name for name in ("reports", "plots", "metrics", "models", ".cache"))]


def test_the_pixels_of_a_picture_taken_out_are_nowhere(project: Path, tmp_path: Path) -> None:  # noqa: F811
    """A labelled picture by its id; one of the test side by its file, and mirrored; a reviewed one by its address."""
    mine = tmp_path / "mine"
    shutil.copytree(project / "data/sample/crawl", mine)
    dataset, photographs = (
        read_records(project / "data/dataset"),
        read_records(project / "data/ingest/crawl/crawl"),
    )
    chosen = {
        name: dataset[(dataset["label"] == label) & (dataset["side"] == side)].sort_values("height").iloc[-1]
        for name, label, side in (
            ("labelled", "human", "train"), ("test", "human", "test"), ("reviewed", "reviewed", "train"),
        )
    }  # fmt: skip
    pictures = {name: read_image(project / row["image"]) for name, row in chosen.items()}
    photograph = photographs.set_index("id").loc[chosen["reviewed"]["parent_id"]]
    before = places_of(pictures, outputs(project))
    folders = {name: {str(one.relative_to(project).parent) for one in before[name]} for name in pictures}
    assert {"data/dataset/images", "data/ingest/labelled/eg1800/images"} <= folders["labelled"]
    assert {"data/gallery", "data/report", "data/dataset/images"} <= folders["test"]
    assert {"data/pseudo/images", "data/second_look/images", "data/crop/crawl/images"} <= folders["reviewed"]
    assert {"merge", "push"} <= {
        Path(one).parent.name for one in folders["reviewed"] if one.startswith(".cache")
    }

    original = project / "data/sample/eg1800" / chosen["test"]["source_key"]
    locked = {path: path.read_bytes() for path in (project / LOCK).glob("*.jsonl")}
    told = run(
        project, sys.executable, "-m", "pipeline", "takedown", "--reason", "asked by mail",
        chosen["labelled"]["id"], str(original), photograph["url"].replace("https", "http"),
    ).stdout  # fmt: skip
    assert f"delete {original.relative_to(project)} too" in told and "no server was asked" in told
    assert "the outputs here hold it until the next `dvc repro`" in told
    assert all(entry.parent_sha256 != photograph["sha256"] for entry in read_lock(project / LOCK))

    # A copy comes by another way: the crawl brings the test picture mirrored, another branch the review.
    cv2.imwrite(str(mine / "images/copy.jpg"), cv2.imread(str(original))[:, ::-1])
    with (mine / "sources.csv").open("a") as table:
        csv.writer(table).writerow(["images/copy.jpg", "https://example.org/copy.jpg", "", "", ""])
    for path, content in locked.items():
        path.write_bytes(content)
    set_params(project, {"sources": {"crawl": {"path": str(mine)}}})
    run(project, "dvc", "repro")
    assert places_of(pictures, outputs(project)) == {name: set() for name in pictures}

    rejected = read_rejected("ingest/crawl", project / "data/rejected")
    assert set(rejected.loc[rejected["reason"] == "taken_down", "source_key"]) == {
        "images/copy.jpg",
        photograph["source_key"],
    }
    counts = {
        name: json.loads((project / f"metrics/{name}.json").read_text())["reasons"].get("taken_down")
        for name in ("ingest/eg1800", "ingest/baidu", "ingest/crawl", "merge")
    }
    assert counts == {"ingest/eg1800": 2, "ingest/baidu": None, "ingest/crawl": 2, "merge": 1}
    assert "taken_down 2" in (project / "data/report/report.md").read_text()

    commit(project, "taken out")
    told = run(project, sys.executable, "-m", "pipeline", "takedown", "--purge").stdout
    assert "1 reviews and" in told and "commits' versions of the data hold it" in told
    removed = re.search(r"(\d+) files were removed from DVC's cache", told)
    assert removed is not None and int(removed[1]) > 10
    assert places_of(pictures, [project / ".dvc/cache/files"]) == {name: set() for name in pictures}
