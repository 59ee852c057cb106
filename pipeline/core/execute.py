"""Map a function over pictures, in spawned workers or here: ordered results, a progress bar, bounded memory.

Where `execute.engine` of params.yaml is ray, the workers are Ray's; whoever calls `map_images` sees no difference. No
stage names that parameter, nor this file, as a dependency: what comes out is the same, and nothing runs again for it.
"""

import ctypes
import functools
import itertools
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import cv2
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from pipeline.core.errors import PipelineError
from pipeline.core.params import execute_params
from sinet.core.progress import bar_interval
from sinet.images.decode import ReadError

_Given = TypeVar("_Given")
R = TypeVar("R")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_WORTH_A_START = 64  # pictures; a worker of stage crop or pseudo_label starts in the time of about so many
_MOST_UNREAD = 100  # files; a share that is gone may take a minute for each

# One thread a worker: the result of a model must not depend on how many cores or workers there are.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def worker_count(pictures: int, cores: int | None = None) -> int:
    """How many workers so many pictures get: PIPELINE_WORKERS where it is set, else at most one a core.

    The cores are those of this process where no others are given. A worker loads its libraries and models first, so
    each gets pictures enough for it where no number was asked for.
    """
    asked = os.environ.get("PIPELINE_WORKERS")
    if asked is None:
        most = len(os.sched_getaffinity(0)) if cores is None else cores
        return max(1, min(most, pictures // _WORTH_A_START))
    if not asked.isdigit() or int(asked) < 1:
        raise PipelineError(f"PIPELINE_WORKERS must be a whole number of at least 1, found {asked!r}")
    return int(asked)


def map_images(
    function: Callable[[_Given], R],
    items: Sequence[_Given],
    *,
    desc: str,
    workers: int | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[object, ...] = (),
) -> Iterator[R]:
    """Yield function(item) in the order of `items`.

    One worker is this process: to start another one takes longer than a few pictures. More are spawned, or are actors
    of Ray where params.yaml says so.

    `function`, `initializer` and the items must be picklable; results should be small (write pictures to disk or
    to the store inside the function). A function must not raise for a bad picture: that is a result.

    PipelineError where the machine did not read some files (ReadError), after all others were done: what they hold is
    unknown, so that nothing may be left out for it.
    """
    bar = tqdm(
        total=len(items),
        desc=desc,
        unit="img",
        file=sys.stderr,
        mininterval=bar_interval(),
    )
    with bar, _environment(_ONE_THREAD):
        unread: list[ReadError] = []
        for result in _results(functools.partial(_tried, function), items, workers, initializer, initargs):
            bar.update()
            if isinstance(result, ReadError):
                unread.append(result)
                if len(unread) == _MOST_UNREAD:
                    break
            elif not unread:  # nobody can use the rest without them
                yield result
        if unread:
            least = "at least " if len(unread) == _MOST_UNREAD else ""
            raise PipelineError(f"{least}{not_read(unread)}. Then run the stage again: what was read is kept")


def _tried(function: Callable[[_Given], R], item: _Given) -> R | ReadError:
    try:
        return function(item)
    except ReadError as error:
        return error


def not_read(errors: Sequence[ReadError]) -> str:
    """How many files the machine did not read, the first few with what it said, and what to do."""
    named = "; ".join(f"{error.filename}: {error.strerror}" for error in errors[:3])
    more = "; ..." if len(errors) > 3 else ""
    files = "file was" if len(errors) == 1 else "files were"
    return (
        f"{len(errors)} {files} not read ({named}{more}), and none was rejected for it: what it holds is unknown. Mend "
        "that (permissions, a disk, a share that is gone, a link to nowhere), or take such files away"
    )


def _results(
    function: Callable[[_Given], R],
    items: Sequence[_Given],
    asked: int | None,
    initializer: Callable[..., None] | None,
    initargs: tuple[object, ...],
) -> Iterator[R]:
    def workers_for(cores: int | None) -> int:
        return min(asked or worker_count(len(items), cores), max(1, len(items) // 8))

    if not items:
        return
    execute = execute_params()
    by_ray = execute.engine == "ray"
    if workers_for(len(items) if by_ray else None) == 1:
        yield from _results_here(function, items, initializer, initargs)
    elif by_ray:
        from pipeline.core.engines.ray_actors import results_of_actors

        yield from results_of_actors(
            function, items, initializer, initargs, execute.address, workers_for, _ONE_THREAD
        )
    else:
        yield from _results_of_processes(function, items, workers_for(None), initializer, initargs)


def _results_of_processes(
    function: Callable[[_Given], R],
    items: Sequence[_Given],
    workers: int,
    initializer: Callable[..., None] | None,
    initargs: tuple[object, ...],
) -> Iterator[R]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (os.getpid(), initializer, initargs)) as pool:
        # A window of a few items a worker keeps everybody busy and the memory the same for 200 or 20,000 pictures.
        waiting: deque[Future[R]] = deque()
        rest = iter(items)
        try:
            with _interrupts_held():  # the workers start here, and keep this: what ends them is the stage
                for item in itertools.islice(rest, workers * 8):
                    waiting.append(pool.submit(function, item))
            while waiting:
                result = waiting.popleft().result()
                for item in itertools.islice(rest, 1):
                    waiting.append(pool.submit(function, item))
                yield result
        except BrokenProcessPool as error:
            raise PipelineError(
                "a worker process died, most likely for lack of memory. What was finished is kept: "
                "run the stage again, with fewer workers (PIPELINE_WORKERS=1)"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _results_here(
    function: Callable[[_Given], R],
    items: Sequence[_Given],
    initializer: Callable[..., None] | None,
    initargs: tuple[object, ...],
) -> Iterator[R]:
    threads = cv2.getNumThreads()
    try:
        with threadpool_limits(1):  # what is loaded already no longer reads _ONE_THREAD
            if initializer is not None:
                initializer(*initargs)
            yield from map(function, items)
    finally:
        cv2.setNumThreads(threads)


def _start_worker(parent: int, initializer: Callable[..., None] | None, initargs: tuple[object, ...]) -> None:
    """End with the stage, also where that is killed by a signal that it cannot handle; then the caller's own part."""
    # Linux only; elsewhere a killed stage leaves its workers to end themselves.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before this line
            os.kill(os.getpid(), signal.SIGKILL)
    if initializer is not None:
        initializer(*initargs)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends; processes that start inside it never see one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the workers that start inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
