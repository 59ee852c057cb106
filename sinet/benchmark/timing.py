"""CPU times of several ways to do the same thing, taken by turns on one thread, and the table that shows them."""

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

LEAST_ROUNDS = 5

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A line of the table: `milliseconds` of CPU time; None where it could not be measured, `note` says why."""

    name: str
    milliseconds: float | None
    note: str = ""


@contextmanager
def one_thread() -> Iterator[None]:
    """torch and OpenCV on one thread."""
    threads, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(of_opencv)


def cpu_times(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Median CPU time of this process in ms, a name each.

    Each is run twice before the clock starts. Then all are run by turns, so that a machine that slows down slows
    them alike. ValueError for fewer than 5 rounds.
    """
    if rounds < LEAST_ROUNDS:
        raise ValueError(f"a median needs at least {LEAST_ROUNDS} rounds, found {rounds}")
    for work in works.values():
        work()
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            times[name].append((time.process_time() - start) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def table(title: str, rows: Sequence[Row], baseline: float, rounds: int) -> str:
    """Lines of name, ms, ratio to `baseline` (ms) and note, under a title that names the processor."""
    width = max(len(row.name) for row in rows)
    lines = [
        f"{title}\n{processor()}, one thread, CPU time, median of {rounds}",
        f"{'':{width}}  {'ms':>9}  {'ratio':>6}",
    ]
    for row in rows:
        if row.milliseconds is None:
            lines.append(f"{row.name:{width}}  {row.note}")
        else:
            ratio = row.milliseconds / baseline
            lines.append(f"{row.name:{width}}  {row.milliseconds:9.3f}  {ratio:6.3f}  {row.note}".rstrip())
    return "\n".join(lines)


def processor() -> str:
    """The processor's name as Linux gives it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
