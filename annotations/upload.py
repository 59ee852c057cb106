"""Put what tasks show on a server that reads no folder of ours: by upload, each file once.

Label Studio takes files only into a project whose interface shows a single picture, so that they lie in a project of
their own, which has no tasks. A file's name holds the task's version, so that no file is ever replaced, and the list
of that project's files on the server says which are there: whatever breaks off an upload, the next one goes on from it.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from annotations.client import Client, Project
from annotations.errors import ReviewError
from annotations.import_files import Task, files_of, picture_name

UPLOAD = "upload"  # label_studio.picture_root of a server that gets the pictures from us
SHELF_CONFIG = '<View><Image name="picture" value="$picture"/></View>'  # of the project that holds the files


def upload(client: Client, shelf: Project, tasks: Iterable[Task], source: Path) -> dict[str, dict[str, str]]:
    """Upload what the tasks show from SOURCE (data/push/images); the server's addresses of it, by version and kind.

    `tasks` are those that the server lacks; the files go into the project `shelf`, whose interface is SHELF_CONFIG.
    ReviewError where a file is missing here or did not arrive there.
    """
    wanted: dict[str, Path] = {}
    named: dict[str, dict[str, str]] = {}  # of each version, the uploaded name by kind
    for task in tasks:
        files = {kind: source / file for kind, file in files_of(task).items()}
        names = {kind: _uploaded_name(task, kind, file) for kind, file in files.items()}
        named[task["data"]["version"]] = names
        wanted |= {names[kind]: file for kind, file in files.items()}
    absent = sorted(wanted.keys() - client.uploads(shelf).keys())
    for name in tqdm(absent, desc="upload", unit="file", disable=not absent):
        client.upload(shelf, name, wanted[name].read_bytes())
    there = client.uploads(shelf)
    lost = sorted(wanted.keys() - there.keys())
    if lost:
        raise ReviewError(
            f"{len(lost)} of {len(wanted)} pictures did not arrive at {client.url} ({lost[0]} ...); run push again: it "
            "sends only what is missing"
        )
    return {version: {kind: there[name] for kind, name in names.items()} for version, names in named.items()}


def _uploaded_name(task: Task, kind: str, file: Path) -> str:
    if not file.is_file():
        raise ReviewError(f"expected the picture {file}, found none; run `dvc repro --force push`")
    if kind == "guidelines":  # one for all tasks, until its text changes
        return f"guidelines-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}.txt"
    return picture_name(task["data"]["version"], kind)
