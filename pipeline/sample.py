"""Draw a small world of people with exact masks, in the three layouts in which real sources are published.

Writes data/sample/{eg1800,baidu,crawl}, a few broken files among them, and data/sample/drawn.sha256, the list of all
that was drawn: what is not on it is somebody's, and stops the stage.
"""

import functools
import hashlib
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import cv2

from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.params import SampleParams, load_params
from pipeline.core.paths import SAMPLE, SAMPLE_SOURCES
from pipeline.core.stage import run, write_text
from pipeline.drawing.broken import Extras, write_broken
from pipeline.drawing.layouts import (
    DrawnSource,
    eg1800_id,
    make_folders,
    source_row,
    sources_csv,
    write_picture,
)

log = logging.getLogger("pipeline")

_DRAWING = Path("data/.sample.tmp")  # until it is whole


def tasks(params: SampleParams) -> list[DrawnSource]:
    """Every sound picture of the drawn world; raising a count only adds to the list."""
    counts = {
        "eg1800_train": params.portraits,
        "eg1800_test": params.portraits_test,
        "baidu": params.bodies,
        "crawl": params.crawl,
    }
    return [DrawnSource(params.seed, kind, index) for kind, count in counts.items() for index in range(count)]


def draw_world(params: SampleParams, root: Path, workers: int | None = None) -> None:
    """Write the drawn world below `root`, whose old content goes; same params, same bytes."""
    shutil.rmtree(root, ignore_errors=True)
    make_folders(root)
    todo = tasks(params)
    for _ in map_images(
        functools.partial(write_picture, root), todo, desc="sample", workers=workers, initializer=_one_thread
    ):
        pass
    extras = write_broken(root, params.seed)
    _write_lists(root, params, extras)


def _one_thread() -> None:
    cv2.setNumThreads(1)  # the pool is parallel already


def _write_lists(root: Path, params: SampleParams, extras: Extras) -> None:
    train = [eg1800_id(params.seed, "train", index) for index in range(params.portraits)]
    test = [eg1800_id(params.seed, "test", index) for index in range(params.portraits_test)]
    write_text(root / "eg1800/train.txt", _lines([*train, *extras.train]))
    write_text(root / "eg1800/val.txt", _lines(test))
    rows = [source_row(params.seed, index) for index in range(params.crawl)]
    write_text(root / "crawl/sources.csv", sources_csv([*rows, *extras.rows]))


def _lines(numbers: Iterable[int]) -> str:
    return "".join(f"{number}\n" for number in sorted(numbers))


def refuse_strangers(root: Path, known: Collection[tuple[str, str]]) -> None:
    """PipelineError where the sources in `root` hold a file that is not among the `known` names and sha256."""
    others = [name for name, digest in _hashes(root).items() if (name, digest) not in known]
    if others:
        named = ", ".join(str(root / name) for name in others[:3]) + (", ..." if len(others) > 3 else "")
        files = "1 file" if len(others) == 1 else f"{len(others)} files"
        raise PipelineError(
            f"expected only drawn pictures in {root}, which are drawn anew, found {files} that this stage did not "
            f"write ({named}). Nothing was touched: move that to a folder of your own, then `make repro PROFILE=real` "
            "with the folder as EG1800=, PAIRS=, BAIDU= or CRAWL= (`python -m pipeline check DIR` tells which)"
        )


def publish(drawn: Path, root: Path, listed: Path) -> None:
    """Move the sources in `drawn` to `root`, in place of those that were drawn before, and write the list of them.

    PipelineError, with everything left as it is, where `root` holds a file that is neither on the list nor among those
    that were drawn now.
    """
    new = _hashes(drawn)
    refuse_strangers(root, {*new.items(), *_drawn_before(listed)})
    for source in SAMPLE_SOURCES:
        if (root / source).exists():
            shutil.rmtree(root / source)
    # The list before what it lists: a kill in between leaves nothing that looks like somebody's.
    write_text(listed, "".join(f"{digest}  {name}\n" for name, digest in new.items()))
    for source in SAMPLE_SOURCES:
        (drawn / source).rename(root / source)
    drawn.rmdir()


def _hashes(root: Path) -> dict[str, str]:
    """sha256 of each file of the sources below `root`, by its path there; "" of what cannot be read as a file."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for source in SAMPLE_SOURCES
        for path in _files(root / source)
    }


def _files(folder: Path) -> Iterator[Path]:
    """All that is no folder, links to folders too."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in sorted([*names, *links]))


def _drawn_before(listed: Path) -> set[tuple[str, str]]:
    """Name and sha256 of each file that was drawn; none where there is no list."""
    if not listed.is_file():
        return set()
    lines = (line.partition("  ") for line in listed.read_text(encoding="utf-8").splitlines())
    return {(name, digest) for digest, _, name in lines}


def main() -> None:
    params = load_params().sample
    listed = SAMPLE / "drawn.sha256"
    if listed.is_file():  # before the work; without a list, what is drawn now tells what was drawn before
        refuse_strangers(SAMPLE, _drawn_before(listed))
    draw_world(params, _DRAWING)
    publish(_DRAWING, SAMPLE, listed)
    log.info("sample: %d pictures drawn, and a few broken files", len(tasks(params)))


if __name__ == "__main__":
    run("sample", main)
