"""A stage's folder of pictures is brought up to date: a file that has what it should have stays as it is.

Then a stage that is given one more picture writes one more picture, and DVC looks at one.
"""

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.paths import CACHE
from pipeline.core.records import write_records
from pipeline.core.store import Result, Store, key_of
from sinet.images.decode import read_bytes

_PATHS = ("image", "mask", "probability")  # columns of the records
_WRITABLE = 0o222


class FileNotes:
    """A text known of each of many files, for as long as nobody changes the file.

    Whether one did is told as git and DVC tell it: by its size, its time of change and its inode. Between two saves
    there are no notes, so that a run which fails on a wrong one does not find it again.
    """

    def __init__(self, name: str, cache: Path = CACHE) -> None:
        """The notes that were saved under this name."""
        self._store, self._key = Store("files", cache), key_of("file notes", name)
        saved = self._store.get(self._key)
        self._saved: dict[str, list[Any]] = {} if saved is None else json.loads(saved.blobs["notes"])
        self._asked: dict[str, list[Any]] = {}
        self._store.remove(self._key)

    def of(self, path: str, part: str = "") -> str | None:
        """The text noted of a file, or of a `part` of it; None where it is another file now, or none."""
        text, *then = self._saved.get(path + part, [None])
        now = _state(path)
        known = text if now and then == now else None
        self._asked[path + part] = [known, *now]
        return known

    def hash_of(self, path: str) -> str:
        """The sha256 of a file, which is read where it is not noted. ImageError where it is no regular file."""
        known = self.of(path)
        if known is None:
            known = hashlib.sha256(read_bytes(Path(path))).hexdigest()
            self.note(path, known)
        return known

    def note(self, path: str, text: str, part: str = "") -> None:
        """Note a text of the file as it was when `of` was asked: what has been read since may be of a later one."""
        self._asked[path + part][0] = text

    def wrote(self, path: str, text: str) -> None:
        """Note a text of a file as it is now."""
        self._asked[path] = [text, *_state(path)]

    def save(self) -> None:
        """Keep the notes of the files that were asked for."""
        kept = {name: note for name, note in self._asked.items() if note[0] is not None}
        self._store.put(self._key, Result({}, {"notes": json.dumps(kept).encode()}))


class PictureFolder:
    """The pictures that a stage writes, in an output that DVC lets stand before the stage runs (`persist`).

    The files beside the folders of pictures, records or a receipt, say that it is whole: they go first and come last,
    so that what a kill leaves tells of nothing and is brought up to date too.
    """

    def __init__(self, path: Path, cache: Path = CACHE) -> None:
        """Begin to bring the folder at `path` up to date."""
        self.path = path
        for inside in path.glob("*"):
            if inside.is_symlink() or not inside.is_dir():  # what a link leads to is not this folder's
                inside.unlink()
        self._notes = FileNotes(f"folder {path.absolute()}", cache)

    def put(self, name: str, of: str, content: Callable[[], bytes]) -> Path:
        """The file NAME in the folder, whose bytes are `content()`; `of` names these, as a key of the store does."""
        path = self.path / name
        if self._notes.of(str(path)) != of:
            wanted = content()
            # After `dvc pull` there are no notes, and what is right stays.
            if not path.is_file() or path.read_bytes() != wanted:
                _make_way(path)
                path.write_bytes(wanted)
            self._notes.wrote(str(path), of)
        return path

    def link(self, name: str, source: Path) -> Path:
        """The file NAME in the folder, which holds what `source` does (`link_or_copy`), or is it."""
        path = self.path / name
        if path == source:
            return path
        of = f"{source} {_state(str(source))}"
        if self._notes.of(str(path)) != of:
            if not path.is_file() or not filecmp.cmp(source, path, shallow=False):
                _make_way(path)
                link_or_copy(source, path)
            self._notes.wrote(str(path), of)
        return path

    def keep(self, files: Iterable[Path]) -> None:
        """Remove everything but these files."""
        kept = {os.fspath(file) for file in files}
        for folder, below, names in os.walk(self.path, topdown=False):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118  # a Path of each costs more than all the rest
                if path not in kept:
                    Path(path).unlink()
            for name in below:
                inside = Path(folder, name)
                if inside.is_symlink():
                    inside.unlink()
                elif not any(inside.iterdir()):
                    inside.rmdir()
        (self.path / "images").mkdir(parents=True, exist_ok=True)
        self._notes.save()

    def finish(self, records: pd.DataFrame) -> None:
        """Remove what these records do not name, and write them."""
        named = records[list(_PATHS)].to_numpy().ravel()
        self.keep(Path(path) for path in named if isinstance(path, str))
        write_records(self.path, records)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a read-only file a second name, as a hard link; copy what may be written to, or cannot be linked here.

    Read-only is what DVC has linked to its cache (`dvc config cache.type hardlink` or `symlink`): nobody writes there.
    Of a file that somebody may edit in place a link would change with it.
    """
    file = source.resolve()  # of a symbolic link the file in the cache
    if not file.stat().st_mode & _WRITABLE:
        try:
            target.hardlink_to(file)
        except OSError:  # another disk, or a file system without links
            pass
        else:
            return
    shutil.copyfile(file, target)


def _state(path: str) -> list[int]:
    """What changes with a file; nothing where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _make_way(path: Path) -> None:
    """Take away what stands there, which may be a link that shares its bytes with DVC's cache, and make the folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
