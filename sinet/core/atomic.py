"""Write a file whole or not at all: under a temporary name beside it, which takes its place at the end."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o600  # for its owner alone


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a name beside `path` to write to; what stands there takes its place, or goes where anything is raised.

    Makes the folder. No two writers share a name. An OSError says which file could not be written: a full disk alone
    does not. A pipe or device is never replaced. With a `mode` the file has it from its first byte, less the umask.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        check_no_pipe(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode is not None:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary), temporary):
            raise
        raise with_name(error, path) from error
    finally:
        with suppress(OSError):  # there is none where it has taken its place, or where it could not be made
            temporary.unlink()


def with_name(error: OSError, path: Path) -> OSError:
    """What the system said, of this file."""
    return OSError(error.errno, os.strerror(error.errno or 0), str(path))


def check_no_pipe(path: Path) -> None:
    """OSError where a pipe or device stands: opening it may wait for ever, and it is not ours to replace."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EEXIST, "a pipe or device stands there, expected a file", str(path))


def write_atomic(path: Path, content: bytes, mode: int | None = None) -> None:
    """Make `path` hold this content, as `replacing` does."""
    with replacing(path, mode) as temporary:
        temporary.write_bytes(content)


def link_or_copy(source: Path, target: Path) -> None:
    """Make the new file `target` hold what `source` holds: as a link where the source is one, else as a copy.

    DVC's cache may lend a file to the workspace as a link (`cache.type`), and then protects it; where it makes copies,
    it would replace a link of ours by one.
    """
    status = source.lstat()
    if status.st_nlink > 1 or stat.S_ISLNK(status.st_mode):
        with suppress(OSError):  # on another disk, or one without links
            os.link(source.resolve(), target)
            return
    shutil.copyfile(source, target)
