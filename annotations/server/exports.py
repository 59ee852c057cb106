"""Exports of a server, all tasks with their masks: those that `pull` keeps here, and the copies that a server keeps."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sinet.core.atomic import write_atomic


def clear_copies(database: Path) -> None:
    """Remove from the folder of a Label Studio's data the copies that it writes there of whatever it exports."""
    for path in (database / "export").glob("project-*-at-*.json"):
        path.unlink()


def read_export_file(path: Path) -> list[dict[str, Any]]:
    """The tasks of an export, as `python -m annotations pull` saved it."""
    return list(json.loads(gzip.decompress(path.read_bytes())))


def write_export_file(path: Path, tasks: Sequence[Mapping[str, Any]]) -> None:
    """Write tasks as an export."""
    pack_export(path, json.dumps(tasks, ensure_ascii=False).encode())


def pack_export(path: Path, content: bytes) -> None:
    """Write an export's JSON, whole or not at all."""
    write_atomic(path, gzip.compress(content, compresslevel=3, mtime=0))
