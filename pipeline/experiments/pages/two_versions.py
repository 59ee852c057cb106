"""A project in git and DVC of many drawn pictures in two versions, between which as many change, in every way."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from annotations.ledger.lock import LockEntry, write_lock
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET, PARAMS, PROFILES
from pipeline.core.records import make_records, write_records
from pipeline.drawing.picture import Drawn, generator, portrait
from sinet.core.progress import bar_interval
from sinet.images.decode import Array, encode_mask

FIRST = "v1"  # the tag of the first version; the second one lies in the working tree
WIDTH, HEIGHT = 300, 400  # pixels
_PEOPLE = 60  # different drawn portraits, which the pictures share
# What becomes of a picture, by the last octal digit of its number: seven of eight are in each version, seven change.
_CHANGES: tuple[tuple[str, ...], ...] = (
    ("mask",), ("label",), ("moved",), ("removed",), ("mask",), ("added",), ("mask", "moved"), (),
)  # fmt: skip
_BOX = f"0,0,{WIDTH},{HEIGHT}"
_DVC_YAML = f"stages:\n  merge:\n    cmd: 'true'\n    outs: [{{{DATASET}: {{persist: true}}}}]\n"


def write_two_versions(project: Path, pictures: int) -> None:
    """Make PROJECT a repository whose tag FIRST and whose working tree have so many pictures each.

    Between them as many are added, removed, moved to another side, or given another mask or another kind of mask.
    Ids are hashes of a picture's number, not of its pixels.
    """
    project.mkdir()
    shutil.copyfile(PROFILES / "sample.yaml", project / PARAMS)
    (project / "dvc.yaml").write_text(_DVC_YAML)
    (project / ".gitignore").write_text("/data/\n")
    _run(project, "git", "init", "--quiet")
    _dvc(project, "init", "--quiet")
    _dvc(project, "config", "core.analytics", "false")
    _dvc(project, "config", "cache.type", "hardlink,symlink,copy")  # once on the disk is enough
    people = [portrait(generator(0, "benchmark pages", one), WIDTH, HEIGHT) for one in range(_PEOPLE)]
    numbers = range(round(pictures * 8 / 7))
    _write_dataset(project, people, [one for one in numbers if "added" not in _changes(one)], later=False)
    _dvc(project, "commit", "--force", "--quiet")
    _run(project, "git", "add", "--all")
    _run(
        project, "git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org", "-c",
        "commit.gpgsign=false", "commit", "--quiet", "--message", FIRST,
    )  # fmt: skip
    _run(project, "git", "tag", FIRST)
    _write_dataset(project, people, [one for one in numbers if "removed" not in _changes(one)], later=True)


def _changes(number: int) -> tuple[str, ...]:
    return _CHANGES[number % 8]


def _write_dataset(project: Path, people: Sequence[Drawn], numbers: Sequence[int], later: bool) -> None:
    """Write pictures, masks and table of a version; of the later one only the files that the first one lacks."""
    for kind in ("images", "masks"):
        (project / DATASET / kind).mkdir(parents=True, exist_ok=True)
    rows, reviews = [], []
    for number in tqdm(
        numbers, "second version" if later else "first version", mininterval=bar_interval(), unit="img"
    ):
        changes = _changes(number) if later else ()
        row = _row(project, number, changes)
        if not later or "added" in changes:
            Path(row["image"]).write_bytes(_jpeg(_image(people, number), number))
        if not later or "added" in changes or "mask" in changes:
            mask = _mask(people, number)
            if "mask" in changes:
                mask[: int(np.flatnonzero(mask.any(axis=1))[0]) + 4 + number % 40] = 0
            Path(row["mask"]).unlink(missing_ok=True)  # a link into the cache
            Path(row["mask"]).write_bytes(encode_mask(mask))
        if row["label"] == "reviewed":
            reviews.append(_review(row, _mask(people, number), number))
        rows.append(row)
    kept = {Path(row[kind]) for row in rows for kind in ("image", "mask")}
    for path in [one for kind in ("images", "masks") for one in (project / DATASET / kind).iterdir()]:
        if path not in kept:
            path.unlink()
    write_records(project / DATASET, make_records(rows))
    write_lock(project / load_params(project / PARAMS).reviews.path, reviews)


def _row(project: Path, number: int, changes: Sequence[str]) -> dict[str, Any]:
    """The record of a picture after these changes; sources, sides, authors and doubts turn with its number."""
    content = hashlib.sha256(f"picture {number}".encode()).hexdigest()
    one = content[:16]
    side = ("train", "train", "train", "dev", "test")[number // 8 % 5]
    if "moved" in changes:
        side = "train" if side == "dev" else "dev"
    return {
        "id": one,
        "source": ("eg1800", "baidu", "web", "web", "street")[number % 5],
        "source_key": f"{number:06d}.jpg",
        "parent_id": one,
        "parent_sha256": content,
        "crop_box": _BOX,
        "label": "reviewed" if "label" in changes else "pseudo",
        "image": str(project / DATASET / "images" / f"{one}.jpg"),
        "mask": str(project / DATASET / "masks" / f"{one}.png"),
        "width": WIDTH,
        "height": HEIGHT,
        "sha256": content,
        "url": f"https://example.org/pictures/{number:06d}.jpg",
        "author": f"author {number % 997}",
        "licence": ("CC BY 4.0", "CC0-1.0", None)[number % 3],
        "retrieved_at": "2025-01-31T12:00:00+00:00",
        "teacher": "be7c4" + "0" * 11,
        "uncertainty": (number % 1000) / 1000,
        "flags": "several_pieces" if number % 11 == 0 else "",
        "review": "accept" if "label" in changes else None,
        "cluster": one,
        "side": side,
    }


def _image(people: Sequence[Drawn], number: int) -> Array:
    """Picture `number`, RGB: a drawn person, shifted and in other colours than in its others."""
    image = cv2.warpAffine(
        people[number % _PEOPLE].image, _shift(number), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE
    )
    bright = np.random.default_rng([1, number]).uniform(0.5, 1.3, 3)
    levels = np.clip(np.arange(256)[:, None] * bright, 0, 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(image, levels), np.uint8)


def _mask(people: Sequence[Drawn], number: int) -> Array:
    """Its mask in {0, 1}."""
    mask = cv2.warpAffine(
        people[number % _PEOPLE].mask, _shift(number), (WIDTH, HEIGHT),
        flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(mask, np.uint8)


def _shift(number: int) -> NDArray[np.float64]:
    right, down = np.random.default_rng([0, number]).uniform((-30, 0), (30, 40))
    return np.array([[1, 0, right], [0, 1, down]], np.float64)


def _jpeg(image: Array, number: int) -> bytes:
    data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 70 + number % 25]
    )[1]
    return data.tobytes()


def _review(row: dict[str, Any], mask: Array, number: int) -> LockEntry:
    return LockEntry.of(
        parent_sha256=row["parent_sha256"], crop_box=_BOX, shape=(HEIGHT, WIDTH), verdict="accept", mask=mask,
        reasons=(), reviewer=f"curator-{number % 3}", reviewed_at="2025-02-01T12:00:00+00:00", teacher=None,
    )  # fmt: skip


def _dvc(project: Path, *words: str) -> None:
    _run(project, sys.executable, "-m", "dvc", *words)


def _run(project: Path, *command: str) -> None:
    """Run a command; what it says is shown where it fails."""
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
