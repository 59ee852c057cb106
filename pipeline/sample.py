"""Draw a small world of people with exact masks, in the three layouts in which real sources are published.

In: the section `sample` of params.yaml. Out: data/sample/{eg1800,baidu,crawl}, a few broken files among them.
A file there that this stage did not draw is somebody's own: the stage stops and touches nothing. (dvc.yaml keeps DVC
from removing the folders before that: `persist`, and no cache that they could be checked out from.)
"""

import functools
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2

from pipeline.drawing.broken import Extras, write_broken
from pipeline.drawing.layouts import Task, eg1800_id, make_folders, source_row, sources_csv, write
from pipeline.errors import PipelineError
from pipeline.execute import map_images
from pipeline.params import SampleParams, load_params
from pipeline.paths import SAMPLE
from pipeline.stage import run, write_json

log = logging.getLogger("pipeline")

FOLDERS = ("eg1800", "baidu", "crawl")
DRAWN = "drawn.json"  # beside them: what the last run drew, sha256 by path


def tasks(params: SampleParams) -> list[Task]:
    """Every sound picture of the drawn world; raising a count only adds to the list."""
    counts = {
        "eg1800_train": params.portraits,
        "eg1800_test": params.portraits_test,
        "baidu": params.bodies,
        "crawl": params.crawl,
    }
    return [Task(params.seed, kind, index) for kind, count in counts.items() for index in range(count)]


def draw_world(params: SampleParams, root: Path, workers: int | None = None) -> None:
    """Write the drawn world below `root`, in place of an earlier one; same params, same bytes.

    PipelineError, with nothing changed, where one of its folders holds a file that was not drawn, or was changed since.
    """
    fresh = root.with_name(f"{root.name}.drawing")
    shutil.rmtree(fresh, ignore_errors=True)  # which a kill has left
    _draw_into(fresh, params, workers)
    drawn = _hashes(fresh)
    _refuse_others(root, drawn)
    for name in FOLDERS:
        shutil.rmtree(root / name, ignore_errors=True)
        root.mkdir(parents=True, exist_ok=True)
        (fresh / name).rename(root / name)
    fresh.rmdir()
    write_json(root / DRAWN, drawn)


def _draw_into(root: Path, params: SampleParams, workers: int | None) -> None:
    make_folders(root)
    for _ in map_images(
        functools.partial(write, root), tasks(params), desc="sample", workers=workers, initializer=_one_thread
    ):
        pass
    extras = write_broken(root, params.seed)
    _write_lists(root, params, extras)


def _hashes(root: Path) -> dict[str, str]:
    """The sha256 of every file in the three folders, by its path below `root`; of a link, of where it leads."""
    found = {}
    for path in sorted(path for name in FOLDERS for path in (root / name).rglob("*")):
        if path.is_symlink() or not path.is_dir():
            content = bytes(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[path.relative_to(root).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def _refuse_others(root: Path, drawn: Mapping[str, str]) -> None:
    """Stop where a file is neither as the last run drew it nor as this one does."""
    try:
        before = json.loads((root / DRAWN).read_text())
    except (
        FileNotFoundError,
        ValueError,
    ):  # no list yet, or a kill: what is drawn is known by its bytes alone
        before = {}
    here = _hashes(root)
    others = [path for path, sha256 in here.items() if sha256 not in (before.get(path), drawn.get(path))]
    if others:
        named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise PipelineError(
            f"{root} is the drawn world's, and {len(others)} files in it are not drawn ({named}); nothing was changed. "
            "Move them to a folder of your own, and name that: make repro PROFILE=light CRAWL=DIR (or EG1800=, BAIDU=)"
        )


def _one_thread() -> None:
    cv2.setNumThreads(1)  # the pool is parallel already


def _write_lists(root: Path, params: SampleParams, extras: Extras) -> None:
    train = [eg1800_id(params.seed, "train", index) for index in range(params.portraits)]
    test = [eg1800_id(params.seed, "test", index) for index in range(params.portraits_test)]
    (root / "eg1800/train.txt").write_text(_lines([*train, *extras.train]))
    (root / "eg1800/val.txt").write_text(_lines(test))
    rows = [source_row(params.seed, index) for index in range(params.crawl)]
    (root / "crawl/sources.csv").write_text(sources_csv([*rows, *extras.rows]))


def _lines(numbers: Iterable[int]) -> str:
    return "".join(f"{number}\n" for number in sorted(numbers))


def main() -> None:
    params = load_params().sample
    draw_world(params, SAMPLE)
    log.info("sample: %d pictures drawn, and a few broken files", len(tasks(params)))


if __name__ == "__main__":
    run("sample", main)
