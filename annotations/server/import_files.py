"""Read the import files that stage push wrote, and make them fit this machine's Label Studio.

A task's pictures are copied beside the server under the task's version: the next `dvc repro` replaces data/push,
and a half-done review must go on showing the masks that it asks about.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from annotations.errors import ReviewError
from annotations.tasks.task import CUTOUT, IMAGE, OUTLINE
from sinet.core.atomic import replacing

TaskContent = dict[str, Any]  # as Label Studio imports it: data and predictions

SERVED_ROOT = "/data/local-files/?d=pictures"  # of the server that `make review` starts
RECEIPT = "receipt.json"  # beside the files, with their hashes
SHOWN_PICTURES = (IMAGE, OUTLINE, CUTOUT)


def written(folder: Path) -> bool:
    """Whether a stage has written import files there."""
    return (folder / RECEIPT).is_file()


def read_tasks(folder: Path) -> Iterator[TaskContent]:
    """The tasks of FOLDER/tasks-*.json in order, one file in memory at a time.

    ReviewError where a file is not what its receipt says; the tasks of the files before it have come by then.
    """
    receipt = folder / RECEIPT
    if not receipt.is_file():
        raise ReviewError(f"expected {receipt}, found none; run `dvc repro push` to make the import files")
    for name, expected in sorted(_listed(receipt).items()):
        content = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if hashlib.sha256(content).hexdigest() != expected:
            raise ReviewError(
                f"{folder / name} is not what the receipt beside it says; run `dvc repro --force push`"
            )
        if name.startswith("tasks-"):
            yield from json.loads(content)


def _listed(receipt: Path) -> dict[str, Any]:
    try:
        files = json.loads(receipt.read_text())["files"]
        return dict(files.items())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ReviewError(f"{receipt} is damaged; run `dvc repro --force push`") from error


def parse_task(content: bytes) -> TaskContent:
    """One task from JSON; ValueError where it is none."""
    task = json.loads(content)
    if not (
        isinstance(task, dict)
        and isinstance(task.get("data"), dict)
        and isinstance(task.get("predictions"), list)
    ):
        raise ValueError("expected a task with data and predictions")
    return task


def files_of(task: Mapping[str, Any]) -> dict[str, str]:
    """The names of the files in data/push/images that a task shows, by what they are: pictures and guidelines."""
    return {kind: _name(task["data"][kind]) for kind in (*SHOWN_PICTURES, "guidelines")}


def picture_name(version: str, kind: str) -> str:
    """What a picture of a task is named where a server shows it: a name of its own for every version of the task."""
    return f"{version}-{kind}.jpg"


def with_addresses(task: Mapping[str, Any], addresses: Mapping[str, str]) -> TaskContent:
    """The task with other addresses of what it shows, by the keys of `files_of`."""
    return {**task, "data": {**task["data"], **addresses}}


def publish_tasks(tasks: Iterable[Mapping[str, Any]], source: Path, target: Path) -> None:
    """Copy what the tasks show from SOURCE (data/push/images) to TARGET, once; `served` says where it is then."""
    target.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        for kind, name in _served_names(task).items():
            _copy(source / files_of(task)[kind], target / name, again=kind == "guidelines")


def served(task: Mapping[str, Any]) -> dict[str, str]:
    """The addresses of what a published task shows, by the keys of `files_of`."""
    return {kind: f"{SERVED_ROOT}/{name}" for kind, name in _served_names(task).items()}


def unserved(addresses: Iterable[str], folder: Path) -> list[str]:
    """Of the addresses that `served` gives, the files that are not in FOLDER."""
    ours = [address for address in addresses if address.startswith(f"{SERVED_ROOT}/")]
    return [_name(address) for address in ours if not (folder / _name(address)).is_file()]


def _served_names(task: Mapping[str, Any]) -> dict[str, str]:
    names = {kind: picture_name(task["data"]["version"], kind) for kind in SHOWN_PICTURES}
    return {**names, "guidelines": files_of(task)["guidelines"]}


def _name(address: str) -> str:
    return address.rpartition("/")[2]


def _copy(source: Path, target: Path, again: bool = False) -> None:
    if target.exists() and not again:
        return
    if not source.is_file():
        raise ReviewError(f"expected the picture {source}, found none; run `dvc repro --force push`")
    if again and target.exists() and target.read_bytes() == source.read_bytes():
        return
    with replacing(target) as unfinished:
        shutil.copyfile(source, unfinished)
