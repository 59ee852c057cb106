"""Draw a small world of people with exact masks, in the three layouts in which real sources are published.

In: the section `sample` of params.yaml. Out: data/sample/{eg1800,baidu,crawl}, a few broken files among them.
"""

import functools
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2

from pipeline.drawing.broken import Extras, write_broken
from pipeline.drawing.layouts import Task, eg1800_id, make_folders, source_row, sources_csv, write
from pipeline.execute import map_images
from pipeline.params import SampleParams, load_params
from pipeline.paths import SAMPLE
from pipeline.stage import run

log = logging.getLogger("pipeline")


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
    """Write the drawn world below `root`, whose old content goes; same params, same bytes."""
    shutil.rmtree(root, ignore_errors=True)
    make_folders(root)
    todo = tasks(params)
    for _ in map_images(
        functools.partial(write, root), todo, desc="sample", workers=workers, initializer=_one_thread
    ):
        pass
    extras = write_broken(root, params.seed)
    _write_lists(root, params, extras)


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
