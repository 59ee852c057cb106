"""Per-image results on disk, so that a run after adding 100 pictures does 100 pictures.

The key is a hash of everything the result depends on. Removing the store changes nothing but time.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.paths import CACHE
from sinet.core import atomic

_TAIL = 1024  # bytes: the end of a ZIP file and the comment in it
_END = b"PK\x05\x06"  # begins the end of a ZIP file, 22 bytes with the comment after them

# Bytes of the sha256 with which an entry begins; entries of older code have none, and so are missing.
_HASH = 32


@dataclass(frozen=True)
class Result:
    """What a stage knows of one picture: a small JSON `meta` and named `blobs` of bytes (PNG files, mostly)."""

    meta: dict[str, Any]
    blobs: dict[str, bytes] = field(default_factory=dict)


def key_of(*parts: object) -> str:
    """Hash of JSON-able parts (ids, weight hashes, params as dicts, the code's hash): 40 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:40]


class Store:
    """A folder of results: .cache/STAGE/ab/abcdef...; safe for several writers, a damaged entry counts as missing."""

    def __init__(self, stage: str, root: Path = CACHE) -> None:
        self.folder = root / stage

    def get(self, key: str) -> Result | None:
        """The stored result, or None where there is none or its checksum does not hold."""
        try:
            entry = self._path(key).read_bytes()
        except OSError:
            return None
        content = entry[_HASH:]
        if hashlib.sha256(content).digest() != entry[:_HASH]:
            return None
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                blobs = {name: archive.read(name) for name in archive.namelist()}
                return Result(json.loads(blobs.pop("meta.json")), blobs)
        except Exception:  # whole, but written by other code: zipfile and json raise a dozen types
            return None

    def put(self, key: str, result: Result, of: str = "") -> None:
        """Store a result, whole or not at all; a kill leaves the old state.

        `of` names the picture that it shows, by id or file hash, so that `forget` finds it.
        """
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            entries: Mapping[str, bytes] = {"meta.json": json.dumps(result.meta).encode(), **result.blobs}
            for name, content in entries.items():
                archive.writestr(zipfile.ZipInfo(name), content)
            archive.comment = of.encode()
        content = buffer.getvalue()
        atomic.write_atomic(self._path(key), hashlib.sha256(content).digest() + content)

    def remove(self, key: str) -> None:
        """Remove an entry, if it is there."""
        self._path(key).unlink(missing_ok=True)

    def results_of(self, names: Collection[str]) -> list[tuple[str, Result]]:
        """The whole results of the named pictures, each with the name that it has."""
        named = [(_name_in(path), path.name) for path in sorted(self.folder.glob("??/*"))]
        found = [(of, self.get(key)) for of, key in named if of in names]
        return [(of, result) for of, result in found if result is not None]

    def forget(self, names: Collection[str]) -> list[Result]:
        """Remove and return the entries of the named pictures, and those that do not say whose they are."""
        forgotten = []
        for path in sorted(self.folder.glob("??/*")):
            if _name_in(path) in {"", *names}:
                forgotten.append(self.get(path.name) or Result({}))
                path.unlink()
        return forgotten

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _name_in(entry: Path) -> str:
    """Whose an entry is, read from its last bytes alone; "" where it does not say so, or is damaged."""
    with entry.open("rb") as file:
        file.seek(-min(_TAIL, entry.stat().st_size), os.SEEK_END)
        _, found, end = file.read().rpartition(_END)
    return end[18:].decode(errors="replace") if found else ""
