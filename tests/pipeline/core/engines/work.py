"""What workers do in the tests of engines, and with `python -m tests.pipeline.core.engines.work FOLDER` a stage."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from pipeline.core.execute import map_images
from pipeline.core.stage import run
from sinet.images.decode import ReadError

_started: list[str] = []


@dataclass(frozen=True)
class Item:
    """A picture of a stage, as one knows it in the main module and in a worker alike."""

    image: str
    number: int


def remember(word: str) -> None:
    _started.append(word)


def refuse() -> None:
    raise OSError(13, "Permission denied", "models/teacher.safetensors")


def die_at_the_start() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def square(number: int) -> int:
    time.sleep(0.02 if number % 7 == 0 else 0)
    return number * number


def describe(item: Item) -> tuple[Item, str]:
    return Item(item.image, item.number + 1), type(item).__module__


def state(_: int) -> tuple[int, tuple[str, ...], str | None, str | None, frozenset[int]]:
    """Who works, what it was started with, and how many threads it has."""
    time.sleep(0.1)  # so that each worker gets some
    np.ones((2, 2)) @ np.ones((2, 2))
    threads = frozenset(one["num_threads"] for one in threadpool_info())
    asked = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    return os.getpid(), tuple(_started), asked[0], asked[1], threads


def unread(number: int) -> int:
    if number in (5, 20):
        raise ReadError(13, "Permission denied", f"{number}.jpg")
    return number


def fail(number: int) -> int:
    if number == 9:
        raise ValueError("nine is too much")
    return number


def die_once(item: Item) -> int:
    """End the worker at one picture, but only where no worker has been there before."""
    mark = Path(item.image)
    if item.number == 20 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item.number


def die(item: Item) -> int:
    if item.number == 20:
        with Path(item.image).open("a") as file:
            file.write("dead\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return item.number


def leave_a_mark(item: Item) -> int:
    (Path(item.image) / str(item.number)).touch()
    return item.number


def report_and_wait(item: Item) -> int:
    """Say who works, and wait until the file `go` lies there."""
    folder = Path(item.image)
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 120
    while not (folder / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return item.number


def main() -> None:
    items = [Item(sys.argv[1], number) for number in range(32)]
    given = list(map_images(describe, items, desc="describe", workers=2))
    assert given == [(Item(sys.argv[1], number + 1), "__mp_main__") for number in range(32)]
    print("described", flush=True)
    list(map_images(report_and_wait, items, desc="wait", workers=2))


if __name__ == "__main__":
    run("work", main)
