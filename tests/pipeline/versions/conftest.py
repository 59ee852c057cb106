"""Two versions of a small drawn dataset in real git and DVC, with every kind of change between them."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annotations.ledger.lock import LockEntry, write_lock
from pipeline.core.paths import DATASET, KEPT_SIDES, PICTURE_FACTS, PLOTS
from pipeline.core.records import make_records, write_records
from pipeline.dataset.facts_table import FACTS, write_facts
from pipeline.dataset.kept_sides import write_sides
from sinet.images.decode import Array, pixel_id
from tests.pipeline.dataset_inputs import portrait, record
from tests.project import ROOT, commit, run

LOCK = Path("annotations/reviews/drawn")
TEST = 64  # test pictures of v1
DVC_YAML = """
stages:
  merge:
    cmd: echo merge
    deps: [stamp.txt]
    outs: [{data/dataset: {persist: true}}, {data/facts: {persist: true}}]
  evaluate:
    cmd: echo evaluate
    deps: [stamp.txt]
    params: [evaluate]
    outs: [{plots/evaluate.csv: {persist: true}}]
"""


@dataclass(frozen=True)
class Made:
    """The project, and the ids of what changes from v1 to v2, by kind of change."""

    folder: Path
    ids: dict[str, list[str]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Tags v1 and v2, both pushed to a remote beside the project; v2 lies in the working tree. Not to be changed."""
    folder = tmp_path_factory.mktemp("versions") / "project"
    folder.mkdir()
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / ".gitignore").write_text("/data/\n/plots/\n")
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "remote", "add", "--quiet", "--default", "store", str(folder.with_name("store")))
    first = [picture(number) for number in range(TEST + 8)] + [reviewed(number) for number in range(4)]
    kinds: dict[str, list[dict[str, Any]]] = {
        "moved": first[TEST : TEST + 1],
        "removed": first[TEST + 1 : TEST + 3],
        "mask": [*first[:2], first[-1]],
        "label": first[-2:-1],
    }
    keep(folder, first, "v1", shift=0.0)
    second = [one for one in first if one not in kinds["removed"]] + [picture(1000 + one) for one in range(3)]
    kinds["added"] = second[-3:]
    changed = [{**one} for one in second]
    for one in changed:
        known = {kind for kind, rows in kinds.items() if any(row["number"] == one["number"] for row in rows)}
        if "moved" in known:
            one["side"] = "dev"
        if "mask" in known:
            one["eaten"] = 12
        if "label" in known:
            one.update(label="human", review=None)
    keep(folder, changed, "v2", shift=0.02)
    ids = {kind: sorted(pixel_id(portrait(row["number"])[0]) for row in rows) for kind, rows in kinds.items()}
    return Made(folder, ids)


@pytest.fixture
def versions(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A copy of the project to change; the current folder."""
    copy = tmp_path / "project"
    shutil.copytree(made.folder, copy, symlinks=True)
    monkeypatch.chdir(copy)
    return Made(copy, made.ids)


def picture(number: int) -> dict[str, Any]:
    """A labelled picture; those of even number are of one source, and two and two are of one photograph."""
    side = "test" if number < TEST else "train"
    source, licence = ("eg1800", "CC-BY-4.0") if number % 2 == 0 else ("baidu", "CC0-1.0")
    common = {
        "number": number,
        "side": side,
        "label": "human",
        "source": source,
        "licence": licence,
        "eaten": 0,
    }
    return {**common, "cluster": f"{number // 2:016x}", "review": None}


def reviewed(number: int) -> dict[str, Any]:
    """A crawled picture that somebody accepted."""
    common = {
        "number": 500 + number,
        "side": "train",
        "label": "reviewed",
        "source": "crawl",
        "licence": "CC-BY-4.0",
    }
    return {**common, "cluster": f"{500 + number:016x}", "review": "accept", "eaten": 0}


def written(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Write the picture's files and return its record."""
    image, mask = portrait(row["number"])
    mask[: row["eaten"] and int(np.flatnonzero(mask.any(axis=1))[0]) + row["eaten"]] = 0
    parent = (
        {"parent_sha256": sha(row["number"]), "crop_box": "0,0,96,120"} if row["label"] == "reviewed" else {}
    )
    more = {name: row[name] for name in ("side", "label", "source", "licence", "cluster", "review")}
    return record(folder / DATASET, image, mask, source_key=str(row["number"]), **parent, **more)


def keep(folder: Path, rows: Sequence[dict[str, Any]], tag: str, shift: float) -> None:
    """Make the project hold these pictures, with scores `shift` higher, and commit, tag and push it."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    records = [written(folder, row) for row in rows]
    write_records(folder / DATASET, make_records(records))
    write_sides(folder / KEPT_SIDES, {row["id"]: row["side"] for row in records})
    write_lock(folder / LOCK, [entry(row, folder) for row in records if row["label"] == "reviewed"])
    scores = table_of_scores(records, shift)
    write_facts(folder / PICTURE_FACTS, facts(records))
    for path, text in (
        (PLOTS / "evaluate.csv", scores.to_csv(index=False)),
        (
            Path("headline.json"),
            json.dumps({"iou": 0.9 + shift, "f1": 0.8 + shift, "leaks": 0, "test": TEST}),
        ),
        (Path("stamp.txt"), tag),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    run(folder, "dvc", "repro")
    commit(folder, tag)
    run(folder, "git", "tag", tag)
    run(folder, "dvc", "push")


def table_of_scores(records: Sequence[dict[str, Any]], shift: float) -> pd.DataFrame:
    """Scores of the test pictures: the same chance in both versions, `shift` higher on grey ones alone."""
    rows = []
    for row in records:
        if row["side"] == "test":
            generator = np.random.default_rng(int(row["id"], 16))
            base, noise = generator.uniform(0.8, 0.95), generator.normal(0, 0.004) if shift else 0.0
            score = base + noise + (shift if is_grey(row["id"]) else 0.0)
            rows.append({**{name: row[name] for name in ("id", "source", "label")}, "foreground_iou": score})
    return pd.DataFrame(rows).assign(boundary_f1=lambda table: table["foreground_iou"] - 0.1)


def is_grey(one: str) -> bool:
    return int(one, 16) % 4 != 0


def facts(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame({"id": [row["id"] for row in records]})
    table[list(FACTS)] = 0.5
    table["grey"] = table["id"].map(is_grey)
    return table.astype({"faces": "int64"}).assign(faces=1, sharpness=1000.0)


def entry(row: dict[str, Any], folder: Path) -> LockEntry:
    mask: Array = portrait(int(row["source_key"]))[1]
    return LockEntry.of(
        parent_sha256=row["parent_sha256"],
        crop_box=row["crop_box"],
        shape=(120, 96),
        verdict="accept",
        mask=mask,
        reasons=(),
        reviewer=f"curator-{int(row['source_key']) % 2}",
        reviewed_at="2025-01-31T12:00:00+00:00",
        teacher=None,
    )


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()
