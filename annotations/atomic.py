"""Write a file whole or not at all: under a temporary name beside it, which takes its place at the end."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600  # for its owner alone


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file to write to; it takes the place of PATH, or goes where anything is raised.

    No two writers share a name, which ends in .tmp. The umask holds for `mode`, as for any new file.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Make PATH hold this content, as `replacing` does."""
    with replacing(path, mode) as file:
        file.write(content)
