"""Put what tasks show on a server that reads no folder of ours, each file once.

A file's name holds the task's version, so that no file is ever replaced, and the list of the files that are there says
which are missing: whatever breaks off an upload, the next one goes on from it. The place is a bucket, or Label Studio
itself, which takes files only into a project whose interface shows a single picture, so that they lie in a project of
their own, which has no tasks.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from annotations.errors import ReviewError
from annotations.server.client import Client, Project
from annotations.server.import_files import TaskContent, files_of, picture_name

log = logging.getLogger("annotations")

SHELF_CONFIG = '<View><Image name="picture" value="$picture"/></View>'  # of the project that holds the files


class Place(Protocol):
    """Where uploaded files lie."""

    @property
    def where(self) -> str:
        """Its address, for a message."""

    def files(self) -> dict[str, str]:
        """What is there: the address that tasks name it by, by file name."""

    def put(self, name: str, content: bytes) -> None:
        """Add a file."""

    def remove(self, names: Collection[str]) -> None:
        """Remove the files of these names that are there."""


@dataclass(frozen=True)
class Shelf:
    """A project of Label Studio that holds files, with SHELF_CONFIG as its interface."""

    client: Client
    project: Project

    @property
    def where(self) -> str:
        """The server."""
        return self.client.url

    def files(self) -> dict[str, str]:
        """What this key's user uploaded: address by name."""
        return self.client.uploads(self.project)

    def put(self, name: str, content: bytes) -> None:
        """Upload a file."""
        self.client.upload(self.project, name, content)

    def remove(self, names: Collection[str]) -> None:
        """Delete uploaded files, and say which ones the server leaves on its disk."""
        left = self.client.delete_uploads(self.project, names)
        if left:
            log.warning(
                "%s shows the uploaded pictures to nobody any more, but leaves their files on its disk; delete them "
                "there, in the folder `media` of its data: %s",
                self.where,
                ", ".join(left),
            )


def upload_pictures(place: Place, tasks: Iterable[TaskContent], source: Path) -> dict[str, dict[str, str]]:
    """Upload what the tasks show from SOURCE (data/push/images); the addresses of it there, by version and kind.

    ReviewError where a file is missing here or did not arrive there.
    """
    wanted: dict[str, Path] = {}
    named: dict[str, dict[str, str]] = {}  # of each version, the uploaded name by kind
    for task in tasks:
        files = {kind: source / file for kind, file in files_of(task).items()}
        names = {kind: _uploaded_name(task, kind, file) for kind, file in files.items()}
        named[task["data"]["version"]] = names
        wanted |= {names[kind]: file for kind, file in files.items()}
    absent = sorted(wanted.keys() - place.files().keys())
    for name in tqdm(absent, desc="upload", unit="file", disable=not absent):
        place.put(name, wanted[name].read_bytes())
    there = place.files()
    lost = sorted(wanted.keys() - there.keys())
    if lost:
        raise ReviewError(
            f"{len(lost)} of {len(wanted)} pictures did not arrive at {place.where} ({lost[0]} ...); run push again: "
            "it sends only what is missing"
        )
    return {version: {kind: there[name] for kind, name in names.items()} for version, names in named.items()}


def _uploaded_name(task: TaskContent, kind: str, file: Path) -> str:
    if not file.is_file():
        raise ReviewError(f"expected the picture {file}, found none; run `dvc repro --force push`")
    if kind == "guidelines":  # one for all tasks, until its text changes
        return f"guidelines-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}{file.suffix}"
    return picture_name(task["data"]["version"], kind)
