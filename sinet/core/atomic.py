"""Write a file whole or not at all: under a temporary name beside it, which takes its place at the end."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; what stands there takes its place, or goes where anything is raised.

    Makes the folder. No two writers share a name. An OSError says which file could not be written: a full disk alone
    does not. A pipe or device is never replaced.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        check_no_pipe(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary), temporary):
            raise
        raise named(error, path) from error
    finally:
        with suppress(OSError):  # there is none where it has taken its place, or where it could not be made
            temporary.unlink()


def named(error: OSError, path: Path) -> OSError:
    """What the system said, of this file."""
    return OSError(error.errno, os.strerror(error.errno or 0), str(path))


def check_no_pipe(path: Path) -> None:
    """OSError where a pipe or device stands: opening it may wait for ever, and it is not ours to replace."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EEXIST, "a pipe or device stands there, expected a file", str(path))


def write(path: Path, content: bytes) -> None:
    """Make `path` hold this content, as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
