"""Mapping over pictures: order, one thread a worker, a dead worker, nothing to do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images, worker_count

_started: list[str] = []


def _remember(word: str) -> None:
    _started.append(word)


def _slow_for_even(number: int) -> int:
    time.sleep(0.02 if number % 2 == 0 else 0)
    return number * number


def _threads(_: int) -> tuple[str | None, frozenset[int]]:
    np.ones((2, 2)) @ np.ones((2, 2))  # a worker has NumPy's threads too
    return os.environ.get("OMP_NUM_THREADS"), frozenset(one["num_threads"] for one in threadpool_info())


def _process(_: int) -> tuple[int, int]:
    return os.getpid(), cv2.getNumThreads()


def _initialised(_: int) -> list[str]:
    return list(_started)


def _die(number: int) -> int:
    if number == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(map_images(_slow_for_even, range(40), desc="square", workers=workers)) == [
        n * n for n in range(40)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_has_one_thread_and_is_initialised_once(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr("tests.pipeline.core.test_execute._started", [])
    with threadpool_limits(3):
        before = _threads(0)
        assert set(map_images(_threads, range(16), desc="threads", workers=workers)) == {
            ("1", frozenset({1}))
        }
        assert _threads(0) == before != ("1", frozenset({1}))
    words = map_images(
        _initialised, range(16), desc="start", workers=workers, initializer=_remember, initargs=("up",)
    )
    assert all(found == ["up"] for found in words)


def test_one_worker_is_this_process_and_leaves_opencv_its_threads() -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        found = map_images(_process, range(9), desc="here", initializer=cv2.setNumThreads, initargs=(1,))
        assert set(found) == {(os.getpid(), 1)}
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(threads)


def test_nothing_to_do() -> None:
    assert list(map_images(_slow_for_even, [], desc="none")) == []


def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(PipelineError, match=r"worker process died.*PIPELINE_WORKERS=1"):
        list(map_images(_die, range(64), desc="die", workers=2))


KILLED_STAGE = """
import os, sys, time
from tests.pipeline.core.test_execute import report_and_sleep
from pipeline.core.execute import map_images
if __name__ == "__main__":
    list(map_images(report_and_sleep, [sys.argv[1]] * 16, desc="sleep", workers=2))
"""


def report_and_sleep(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def test_workers_end_with_a_stage_that_is_killed_alone(tmp_path: Path, root: Path) -> None:
    """Not the whole process group, as a terminal or a test would: what the kernel does when memory runs out."""
    (tmp_path / "stage.py").write_text(KILLED_STAGE)
    (tmp_path / "pids").mkdir()
    stage = subprocess.Popen(
        [sys.executable, tmp_path / "stage.py", tmp_path / "pids"],
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(list((tmp_path / "pids").iterdir())) == 2)
    workers = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert all(map(psutil.pid_exists, workers))
    stage.kill()
    stage.wait()
    wait_until(lambda: not any(map(runs, workers)))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_number_of_workers_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_WORKERS", "3")
    assert worker_count(1) == 3
    for bad in ("0", "-1", "two", ""):
        monkeypatch.setenv("PIPELINE_WORKERS", bad)
        with pytest.raises(PipelineError, match="PIPELINE_WORKERS must be a whole number"):
            worker_count(1)
    monkeypatch.delenv("PIPELINE_WORKERS")
    assert worker_count(100_000) == len(os.sched_getaffinity(0))
    assert worker_count(127) == 1
