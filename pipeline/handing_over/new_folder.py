"""A folder that is there whole or not at all: filled under another name beside it, which it takes at the end."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import PipelineError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `out` at the end, and goes where anything is raised.

    PipelineError where something stands at `out` already, but for an empty folder.
    """
    if out.is_file() or out.is_symlink() or (out.is_dir() and any(out.iterdir())):
        raise PipelineError(
            f"expected a new or an empty folder, found that {out} holds something; name another"
        )
    filling = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    filling.mkdir(parents=True)
    try:
        yield filling
        filling.rename(out)
    finally:
        shutil.rmtree(filling, ignore_errors=True)  # there is none where it has taken its place
