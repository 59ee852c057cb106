"""Read the import files that stage push wrote, and make them fit this machine's Label Studio.

A task's pictures are copied beside the server under the task's version: the next `dvc repro` replaces data/push,
and a half-done review must go on showing the masks that it asks about.
"""

import hashlib
import html
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from annotations.brush import Array, regions_to_mask
from annotations.errors import ReviewError
from annotations.tasks import CUTOUT, IMAGE, OUTLINE

Task = dict[str, Any]  # as Label Studio imports it: data and predictions

SERVED_ROOT = "/data/local-files/?d=pictures"  # of the server that `make review` starts
_PICTURES = (IMAGE, OUTLINE, CUTOUT)


def read_tasks(folder: Path) -> list[Task]:
    """The tasks of FOLDER/tasks-*.json in order; ReviewError where a file is not what its receipt says."""
    receipt = folder / "receipt.json"
    if not receipt.is_file():
        raise ReviewError(f"expected {receipt}, found none; run `dvc repro push` to make the import files")
    tasks: list[Task] = []
    for name, expected in sorted(json.loads(receipt.read_text())["files"].items()):
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if hashlib.sha256(content).hexdigest() != expected:
            raise ReviewError(
                f"{folder / name} is not what the receipt beside it says; run `dvc repro --force push`"
            )
        if name.startswith("tasks-"):
            tasks += json.loads(content)
    return tasks


def fingerprint(mask: Array) -> str:
    """16 hex digits of a mask (H, W) uint8 in {0, 1}."""
    digest = hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes())
    return digest.hexdigest()[:16]


def with_proposal(task: Mapping[str, Any]) -> Task:
    """The task with the fingerprint of its predicted mask in `data`: an export names predictions by number only."""
    data = dict(task["data"])
    regions = [region for prediction in task["predictions"] for region in prediction["result"]]
    data["proposed"] = fingerprint(regions_to_mask(regions, int(data["height"]), int(data["width"])))
    return {**task, "data": data}


def files_of(task: Mapping[str, Any]) -> dict[str, str]:
    """The names of the files in data/push/images that a task shows, by what they are: pictures and guidelines."""
    return {kind: _name(task["data"][kind]) for kind in (*_PICTURES, "guidelines")}


def picture_name(version: str, kind: str) -> str:
    """What a picture of a task is named where a server shows it: a name of its own for every version of the task."""
    return f"{version}-{kind}.jpg"


def with_addresses(task: Mapping[str, Any], addresses: Mapping[str, str]) -> Task:
    """The task with other addresses of what it shows, by the keys of `files_of`; the link in `about` goes with them."""
    before, data = task["data"]["guidelines"], {**task["data"], **addresses}
    data["about"] = data["about"].replace(html.escape(before), html.escape(data["guidelines"]))
    return {**task, "data": data}


def publish(tasks: Iterable[Mapping[str, Any]], source: Path, target: Path) -> list[Task]:
    """Copy what the tasks show from SOURCE (data/push/images) to TARGET, once; return them with these addresses."""
    target.mkdir(parents=True, exist_ok=True)
    published = []
    for task in tasks:
        files = files_of(task)
        served = {kind: picture_name(task["data"]["version"], kind) for kind in _PICTURES}
        for kind, name in served.items():
            _copy(source / files[kind], target / name)
        served["guidelines"] = files["guidelines"]
        _copy(source / files["guidelines"], target / files["guidelines"], again=True)
        addresses = {kind: f"{SERVED_ROOT}/{name}" for kind, name in served.items()}
        published.append(with_addresses(task, addresses))
    return published


def _name(address: str) -> str:
    return address.rpartition("/")[2]


def _copy(source: Path, target: Path, again: bool = False) -> None:
    if target.exists() and not again:
        return
    if not source.is_file():
        raise ReviewError(f"expected the picture {source}, found none; run `dvc repro --force push`")
    if again and target.exists() and target.read_bytes() == source.read_bytes():
        return
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
