"""Results of single pictures on disk, so that a run after adding 100 pictures does 100 pictures.

The key is a hash of everything the result depends on. Removing the store changes nothing but time.
"""

import errno
import functools
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline.core.errors import PipelineError
from pipeline.core.paths import CACHE, of_project
from sinet.core import atomic

_Item = TypeVar("_Item")

TABLE = "results.sqlite"
_SMALL = 4096  # bytes of blobs that lie in the table; more are a file, which would take as much of a disk
_PATIENCE = 60.0  # seconds to wait for another process that writes
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ASKED = 500  # names in one question to the table
# Its journal survives kills; after a power cut the table may be damaged, which is found and costs only time.
# `names` lists the blobs as [name, bytes], `blobs` holds them one after the other, NULL where they are a file;
# `used` is the last day that asked for it, in days since 1970.
_SCHEMA = """
PRAGMA secure_delete = ON;
PRAGMA journal_mode = TRUNCATE;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS results (
    key TEXT PRIMARY KEY, of TEXT NOT NULL, meta TEXT NOT NULL, names TEXT NOT NULL, blobs BLOB,
    checksum BLOB NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS by_picture ON results (of);
"""
_ENTRY = "SELECT of, meta, names, blobs, checksum, used FROM results WHERE key = ?"

# The open tables by process (a fork must not share one) and the file's inode: one that was removed and made is another.
_tables: dict[tuple[int, int, int], sqlite3.Connection] = {}


@dataclass(frozen=True)
class Result:
    """What a stage knows of one picture: a small JSON `meta` and named `blobs` of bytes (PNG files, mostly)."""

    meta: dict[str, Any]
    blobs: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """A result without its blobs: its `meta`, and the names of the blobs."""

    meta: dict[str, Any]
    blobs: tuple[str, ...]


@dataclass(frozen=True)
class StoreSize:
    """How much a store holds; `used` is the last day on which a stage asked for any of it."""

    entries: int
    bytes: int
    used: date | None


class _Row(NamedTuple):
    of: str
    meta: str
    names: str
    blobs: bytes | None
    checksum: bytes
    used: int


class Use(NamedTuple):
    """An entry, how large it is, and on which day (since 1970) it was last asked for."""

    day: int
    bytes: int
    key: str


def key_of(*parts: object) -> str:
    """Hash of JSON-able parts (ids, weight hashes, params as dicts, the code's hash): 40 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:40]


def stores(root: Path = CACHE) -> list["Store"]:
    """The stores that there are, by name."""
    return [Store(path.parent.name, root) for path in sorted(of_project(root).glob(f"*/{TABLE}"))]


class Store:
    """The results of a stage: a row each of .cache/STAGE/results.sqlite, large ones with a file ab/abcdef... beside it.

    Safe for several writers and for kills; a damaged entry counts as missing.
    """

    def __init__(self, stage: str, root: Path = CACHE) -> None:
        self.stage = stage
        self.root = root

    @property
    def folder(self) -> Path:
        """Where it lies; of a temporary experiment in the project that it is of."""
        return Path(self._where()).parent

    def get(self, key: str) -> Result | None:
        """The stored result, or None where there is none or its checksums do not hold."""
        try:
            row = self._row(key)
            return None if row is None else self._result(key, row)
        except (OSError, sqlite3.Error, TypeError, ValueError):  # damage of any kind
            return None

    def head(self, key: str) -> Head | None:
        """The same without the blobs, of which only their length is checked."""
        try:
            row = self._row(key)
            if row is None or row.checksum[:32] != _digest(row.of, row.meta, row.names):
                return None
            parts = json.loads(row.names)
            length = os.stat(self._file(key)).st_size if row.blobs is None else len(row.blobs)  # noqa: PTH116
            if length != sum(size for _, size in parts):
                return None
            return Head(json.loads(row.meta), tuple(name for name, _ in parts))
        except (OSError, sqlite3.Error, TypeError, ValueError):
            return None

    def blob(self, key: str, name: str) -> bytes:
        """A blob of a result that `head` has found. Where it is damaged all damaged results go: PipelineError."""
        result = self.get(key)
        if result is None or name not in result.blobs:
            self._remove([key, *self._damaged()])  # so that one run more is enough
            raise self._lost()
        return result.blobs[name]

    def complete(
        self,
        items: Sequence[_Item],
        known: Callable[[_Item], Head | None],
        make: Callable[[list[_Item]], Iterable[object]],
    ) -> list[Head]:
        """What is `known` of each item, once `make` has put what was missing. PipelineError where it still is."""
        found = [known(item) for item in items]
        for _ in make([item for item, head in zip(items, found, strict=True) if head is None]):
            pass
        now = [head or known(item) for item, head in zip(items, found, strict=True)]
        heads = [head for head in now if head is not None]
        if len(heads) < len(items):
            raise self._lost()
        return heads

    def _lost(self) -> PipelineError:
        return PipelineError(f"{self.folder} lost a result while the stage ran; run it again")

    def put(self, key: str, result: Result, of: str = "") -> None:
        """Store a result, whole or not at all; a kill leaves the old state.

        `of` names the picture that it shows, by id or file hash, so that `forget` finds it.
        """
        content = b"".join(result.blobs.values())
        names = json.dumps([[name, len(blob)] for name, blob in result.blobs.items()])
        meta = json.dumps(result.meta)
        small = len(content) <= _SMALL
        if not small:  # the file before the row that stands for it
            atomic.write_atomic(self._file(key), content)
        total = len(content) + len(meta) + len(names)
        blobs = content if small else None
        checksum = _checksum(of, meta, names, content)
        self._write(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (key, of, meta, names, blobs, checksum, total, _today()),
        )

    def remove(self, key: str) -> None:
        """Remove an entry, if it is there."""
        self._remove([key])

    def results_of(self, names: Collection[str]) -> list[tuple[str, Result]]:
        """The whole results of the named pictures, each with the name that it has."""
        found = [(of, self.get(key)) for key, of in self._keys_of(names)]
        return [(of, result) for of, result in found if result is not None]

    def forget(self, names: Collection[str]) -> list[Result]:
        """Remove and return the entries of the named pictures, and those that do not say whose they are."""
        keys = [key for key, _ in self._keys_of({"", *names})]
        forgotten = [self.get(key) or Result({}) for key in keys]
        self._remove(keys)
        strangers = self.strangers()
        for path in strangers:
            path.unlink(missing_ok=True)
        return forgotten + [Result({})] * len(strangers)

    def strangers(self) -> list[Path]:
        """The files that belong to no entry: of older code, or of a run that was killed between a file and its row."""
        keys = {key for (key,) in self._select("SELECT key FROM results WHERE blobs IS NULL")}
        return [path for path in sorted(self.folder.glob("??/*")) if path.name not in keys]

    def size(self) -> StoreSize:
        """How much it holds."""
        rows = self._select("SELECT count(*), coalesce(sum(bytes), 0), max(used) FROM results")
        entries, total, used = rows[0] if rows else (0, 0, None)
        return StoreSize(entries, total, None if used is None else date(1970, 1, 1) + timedelta(days=used))

    def uses(self) -> list[Use]:
        """All entries, first what was not used for the longest, of one day what was put first."""
        return [
            Use(*row) for row in self._select("SELECT used, bytes, key FROM results ORDER BY used, rowid")
        ]

    def drop(self, keys: Sequence[str]) -> None:
        """Remove entries and the files of none, and give their room back to the disk."""
        self._remove(keys)
        for path in self.strangers():
            path.unlink(missing_ok=True)
        with suppress(OSError):  # of use only; another process may be writing
            self._write("VACUUM", ())

    def _row(self, key: str) -> "_Row | None":
        """What the table holds of a result, which counts as used today."""
        table = self._opened()
        found = None if table is None else table.execute(_ENTRY, (key,)).fetchone()
        if table is None or found is None:
            return None
        row = _Row(*found)
        if row.used < _today():
            table.execute("UPDATE results SET used = ? WHERE key = ?", (_today(), key))
        return row

    def _result(self, key: str, row: _Row) -> Result | None:
        """The whole result of a row, None where its checksums do not hold."""
        content = self._file(key).read_bytes() if row.blobs is None else row.blobs
        if row.checksum != _checksum(row.of, row.meta, row.names, content):
            return None
        return Result(json.loads(row.meta), _blobs(row.names, content))

    def _damaged(self) -> list[str]:
        """The keys of all damaged results; none counts as used for it."""
        found = []
        for _, _, key in self.uses():
            try:
                whole = [self._result(key, _Row(*row)) for row in self._select(_ENTRY, (key,))] != [None]
            except (OSError, TypeError, ValueError):
                whole = False
            if not whole:
                found.append(key)
        return found

    def _keys_of(self, names: Collection[str]) -> list[tuple[str, str]]:
        """Key and picture of the entries of the named pictures, by key."""
        wanted = sorted(names)
        found: list[tuple[str, str]] = []
        for start in range(0, len(wanted), _ASKED):
            some = wanted[start : start + _ASKED]
            marks = ", ".join("?" * len(some))
            found += self._select(f"SELECT key, of FROM results WHERE of IN ({marks})", some)
        return sorted(found)

    def _remove(self, keys: Sequence[str]) -> None:
        if self._opened() is None:
            return
        for key in keys:
            self._write("DELETE FROM results WHERE key = ?", (key,))
            self._file(key).unlink(missing_ok=True)

    def _select(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows; none where there is no table, or a damaged one, of which nothing can be used."""
        try:
            table = self._opened()
            return [] if table is None else table.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise self._fault(error) from error
            self._clear()
            return []

    def _write(self, statement: str, row: Sequence[object]) -> None:
        """Carry out a statement; a damaged table is made anew first."""
        try:
            (self._opened() or self._table()).execute(statement, row)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise self._fault(error) from error
            self._clear()
            self._table().execute(statement, row)

    def _opened(self) -> sqlite3.Connection | None:
        """This process's connection to the table, None where there is no table."""
        try:
            status = os.stat(self._where())  # noqa: PTH116
        except FileNotFoundError:
            return None
        return _tables.get((os.getpid(), status.st_dev, status.st_ino)) or self._table()

    def _table(self) -> sqlite3.Connection:
        """The same, of a table that is made where there is none."""
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        table = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        table.executescript(_SCHEMA)
        status = path.stat()
        _tables[os.getpid(), status.st_dev, status.st_ino] = table
        return table

    def _clear(self) -> None:
        """Remove a damaged table: without it everything is missing."""
        for end in ("", "-journal"):
            self._path().with_name(TABLE + end).unlink(missing_ok=True)

    def _fault(self, error: sqlite3.Error) -> OSError:
        full = error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
        return OSError(errno.ENOSPC if full else errno.EIO, str(error), str(self._path()))

    def _path(self) -> Path:
        return Path(self._where())

    def _where(self) -> str:
        return _place(self.stage, self.root, os.getcwd())  # noqa: PTH109  # asked for each picture

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / key


@functools.cache
def _place(stage: str, root: Path, _folder: str) -> str:
    """The path of a stage's table, as a process that works in `_folder` finds it."""
    return str(of_project(root) / stage / TABLE)


def _today() -> int:
    return int(time.time() // 86_400)


def _checksum(of: str, meta: str, names: str, content: bytes) -> bytes:
    return _digest(of, meta, names) + hashlib.sha256(content).digest()


def _digest(of: str, meta: str, names: str) -> bytes:
    return hashlib.sha256(f"{of}\n{meta}\n{names}\n".encode()).digest()


def _blobs(names: str, content: bytes) -> dict[str, bytes]:
    """The named parts of what lies one after the other."""
    found, at = {}, 0
    for name, size in json.loads(names):
        found[name] = content[at : at + size]
        at += size
    return found


def _is_damage(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 255 in _DAMAGED  # the higher bits say where
