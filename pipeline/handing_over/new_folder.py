"""A folder that is there whole or not at all: filled under another name beside it, which it takes at the end."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.versions.git_commands import taken_by_git
from sinet.core import atomic


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `out` at the end, and goes where anything is raised.

    PipelineError where something stands at `out` already, but for an empty folder, and where git would take its
    pictures in.
    """
    # `.` and `x/..` have no name; `resolve` would follow a link, which is refused below.
    place = Path(os.path.abspath(out))  # noqa: PTH100
    if place == Path.cwd():
        raise PipelineError("expected a folder of its own, found the current one; name one in it")
    if out.is_file() or out.is_symlink() or (out.is_dir() and any(out.iterdir())):
        raise PipelineError(
            f"expected a new or an empty folder, found that {out} holds something; name another"
        )
    if taken_by_git(out / "x"):
        raise PipelineError(
            f"expected a folder outside this repository, or one that git ignores, found {out}: pictures do not belong "
            f"into git. Name another, or write /{place.name}/ into .gitignore"
        )
    filling = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    filling.mkdir(parents=True)
    try:
        yield filling
        filling.rename(place)
    except OSError as error:
        # A copy that does not fit names the file that it reads.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise atomic.with_name(error, out) from error
        raise
    finally:
        shutil.rmtree(filling, ignore_errors=True)  # there is none where it has taken its place
