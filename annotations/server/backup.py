"""A half-done review in one file: the database, the pictures, the log-in; to keep, or to go on elsewhere.

The file holds the log-in and the API key, so that only its owner may read it.
"""

import gzip
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path

from annotations.errors import ReviewError
from annotations.server.installation import Installation
from sinet.core.atomic import PRIVATE, replacing

_DATABASE = "label_studio.sqlite3"
_LEFT_OUT = ("server.json", "server*.log", "push.lock", "review.lock", "*.tmp")


def backup(installation: Installation, file: Path) -> None:
    """Write FILE (.tar.gz, mode 0600), whether the server runs or not."""
    database = installation.database / _DATABASE
    if not database.is_file():
        raise ReviewError(
            f"expected a review in {installation.folder}, found no database; `make review` makes one "
            "(a review on a team's server is kept by who runs that)"
        )
    with (
        tempfile.TemporaryDirectory() as scratch,
        replacing(file, PRIVATE) as unfinished,
        unfinished.open("wb") as raw,
        gzip.GzipFile("", "wb", 3, raw) as packed,  # with no name of a file in its header
        tarfile.open(fileobj=packed, mode="w", dereference=True) as archive,
    ):
        copy = Path(scratch) / _DATABASE
        try:
            with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)  # whole, also while the server writes
        except sqlite3.Error as error:
            raise ReviewError(f"{database} cannot be copied ({error}); nothing was backed up") from error
        archive.add(copy, f"database/{_DATABASE}")
        for path in _files(installation.folder):
            name = path.relative_to(installation.folder).as_posix()
            left_out = any(fnmatch(name, pattern) for pattern in (*_LEFT_OUT, f"database/{_DATABASE}*"))
            if not left_out:
                archive.add(path, name)


def _files(folder: Path, *above: Path) -> Iterator[Path]:
    """All files in a folder, by way of links too; ReviewError for a link that shows nothing or leads in a circle."""
    inside = (*above, folder.resolve())
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and (not path.exists() or path.resolve() in inside):
            raise ReviewError(f"{path} is a link that leads nowhere or to itself; mend it, and back up again")
        if path.is_dir():
            yield from _files(path, *inside)
        elif path.is_file():
            yield path


def restore(installation: Installation, file: Path) -> None:
    """Make the installation's folder from FILE; ReviewError where it is not empty."""
    folder = installation.folder
    if folder.exists() and any(folder.iterdir()):
        raise ReviewError(
            f"{folder} holds a review already; stop it (make review-stop) and move the folder away, then restore again"
        )
    if not file.is_file():
        raise ReviewError(f"expected a backup at {file}, found none")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        with gzip.open(file) as whole, tarfile.open(fileobj=whole, mode="r:") as archive:
            # Python before 3.11.4 has no filter for this: only plain files and folders, inside the folder.
            for member in archive:
                inside = not member.name.startswith("/") and ".." not in Path(member.name).parts
                if not inside or not (member.isfile() or member.isdir()):
                    raise ReviewError(f"{file} is no whole backup of a review; nothing was changed")
                archive.extract(member, partial)
            while whole.read(2**20):  # to the checksum at its end
                pass
        if not _whole(partial):
            raise ReviewError(f"{file} is no whole backup of a review; nothing was changed")
        partial.chmod(0o700)
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    except ReviewError:
        raise
    except Exception as error:  # of damage tarfile raises whatever its parts do: ValueError, zlib.error ...
        found = str(error) or type(error).__name__
        raise ReviewError(f"{file} cannot be restored ({found}); nothing was changed") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _whole(folder: Path) -> bool:
    """Whether a database that nothing has damaged and a log-in are there."""
    database = folder / "database" / _DATABASE
    if not database.is_file() or not (folder / "secrets.json").is_file():
        return False
    with closing(sqlite3.connect(database)) as rows:
        return bool(rows.execute("pragma integrity_check").fetchone() == ("ok",))
