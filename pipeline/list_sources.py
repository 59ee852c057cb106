"""List the sources of each role for the stages after ingest, and clear away what ingest made of sources that are gone.

In goes the section `sources` of params.yaml; out comes data/ingest/ROLE/sources.csv with names and layouts. The later
stages depend on data/ingest/ROLE as a folder, and the report on those of rejects and metrics: what lay on there of a
source that is gone would count as a change, and make them run again.
"""

import logging
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.ingested import SOURCE_LIST, source_list
from pipeline.core.params import Role, Sources, load_params
from pipeline.core.paths import INGEST, METRICS, REJECTED
from pipeline.core.stage import run, write_text

log = logging.getLogger("pipeline")

LISTS: dict[Role, Path] = {
    "labelled": INGEST / "labelled" / "sources.csv",
    "bodies": INGEST / "bodies" / "sources.csv",
    "crawl": INGEST / "crawl" / "sources.csv",
}
# Below data/ingest/ROLE: what ingest writes, killed in the middle too, and where a version before this stage wrote it.
_MADE = re.compile(
    r"([a-z][a-z0-9_]*/)?((images|masks)/[0-9a-f]{16}\.\w+|staging/\d+(\.mask)?\.\w+|records\.parquet)"
    r"|(.*/)?(\.[^/]+\.tmp|\.DS_Store|Thumbs\.db|desktop\.ini)"
)
_OF_SOURCES = "ingest"  # the folder of metrics and of rejects with a file a source


def clear_away(sources: Sources) -> list[Path]:
    """Remove what ingest made of sources that `sources` does not have, or has in another role; return what went.

    PipelineError, with nothing removed, where a file lies between that no ingest made.
    """
    gone = [path for role, file in LISTS.items() for path in _left(file.parent, sources.of_role(role))]
    strange = [file for path in gone for file in _strangers(path, path.parent)]
    if strange:
        named = ", ".join(map(str, strange[:3])) + (", ..." if len(strange) > 3 else "")
        raise PipelineError(
            f"expected only what stage ingest made beside the sources of params.yaml, found {len(strange)} files of "
            f"somebody ({named}). Nothing was removed: move them to a folder of your own, or delete them"
        )
    names = sources.names()
    gone += _files_of_others(METRICS / _OF_SOURCES, ".json", names)
    gone += _files_of_others(REJECTED / _OF_SOURCES, ".csv", names)
    for path in gone:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return gone


def _left(folder: Path, names: Collection[str]) -> list[Path]:
    """What lies in data/ingest/ROLE beside the list and the folders of its sources."""
    return [path for path in _entries(folder) if path.name not in {SOURCE_LIST, *names}]


def _files_of_others(folder: Path, suffix: str, names: Collection[str]) -> list[Path]:
    return [path for path in _entries(folder) if path.suffix == suffix and path.stem not in names]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _strangers(path: Path, folder: Path) -> Iterator[Path]:
    """The files at or below `path` that no ingest makes in data/ingest/ROLE, `folder`.

    Links are left out: what they lead to stays. (DVC makes some, where its cache is set up so.)
    """
    below = (Path(place) / name for place, _, names in os.walk(path) for name in names)
    for one in sorted(below) if path.is_dir() and not path.is_symlink() else [path]:
        if not one.is_symlink() and not _MADE.fullmatch(one.relative_to(folder).as_posix()):
            yield one


def main() -> None:
    """Clear away, then list."""
    sources = load_params().sources
    for path in clear_away(sources):
        log.info("list_sources: removed %s, which belongs to no source of params.yaml", path)
    for role, file in LISTS.items():
        write_text(file, source_list(sources, role))


if __name__ == "__main__":
    run("list_sources", main)
