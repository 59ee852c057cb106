"""Map over pictures by actors of Ray, on every node of a cluster; what was lost with an actor is done again elsewhere.

An actor is what a spawned worker is to the local engine: it imports the stage as multiprocessing would, calls the
initializer once, has one thread, and gets and gives pickles. So a stage need not know which of the two it is.
"""

import atexit
import logging
import os
import pickle
import secrets
import shutil
import socket
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import spawn
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core.errors import PipelineError

log = logging.getLogger("pipeline")

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")

_A_CALL = 4  # pictures; a call takes about a millisecond of the cores that do the work
_CALLS = 2  # at an actor: one that runs, and one that need not be waited for
MOST_AHEAD = 2 * _CALLS * _A_CALL  # pictures a worker that may be begun before an earlier one has ended
_DEATHS = 3  # of actors that held a picture, after which it is not tried again
_PATIENCE = 30.0  # seconds without a worker, after which that is said
_REACHED = 10.0  # seconds in which the head of a cluster must answer
_STORE = 100_000_000  # bytes of shared memory of a Ray of our own; results are small
_LONGEST = 30  # characters of a folder in which Ray still finds room for the names of its sockets

_joined: dict[str, Path | None] = {}  # the address of the one cluster, and the folder of a Ray of our own


@dataclass
class _Call:
    """Pictures that an actor was asked for, by their numbers."""

    reference: Any
    numbers: list[int]
    alone: bool  # nothing else is at its actor, so that it is known what the actor died of


@dataclass
class _Worker:
    """An actor that has started, and what it still owes, in the order in which it works."""

    handle: Any
    calls: deque[_Call] = field(default_factory=deque)


def results_of_actors(
    function: Callable[[_Given], _Result],
    items: Sequence[_Given],
    initializer: Callable[..., None] | None,
    initargs: tuple[object, ...],
    address: str,
    workers: Callable[[int], int],
    environment: Mapping[str, str],
) -> Iterator[_Result]:
    """Yield function(item) in the order of `items`.

    `workers` says how many there shall be for so many cores of the cluster at `address`, "" for a Ray of our own, and
    `environment` what each of them has in its environment. PipelineError where no cluster answers, where an actor
    cannot start, or where a picture was the end of three.
    """
    cores = _join(address)
    pool = _Pool(items, pickle.dumps((function, initializer, initargs)), dict(environment))
    try:
        yield from pool.results(workers(cores))
    finally:
        pool.stop()


class _Pool:
    """Actors, what they were given, and what came back. An actor that is lost has a successor on any node with room."""

    def __init__(self, items: Sequence[Any], work: bytes, environment: dict[str, str]) -> None:
        self._ray = _ray()
        self._items = items
        self._class = _actor_class(self._ray)
        # As for a spawned worker, but for the key to the pipes of multiprocessing, which must not leave the machine.
        preparation = spawn.get_preparation_data("map_images")
        preparation.pop("authkey", None)
        self._start = (environment, preparation, work)
        self._starting: dict[Any, Any] = {}  # the reference to its start, and the actor
        self._workers: list[_Worker] = []
        self._begun = 0  # pictures below it were given to somebody
        self._again: deque[int] = deque()  # what was lost, first what is wanted first
        self._done: dict[int, tuple[bool, Any]] = {}
        self._deaths: Counter[int] = Counter()
        self._still_born = 0  # actors that died while they started, since the last that did not

    def results(self, size: int) -> Iterator[Any]:
        """Yield the results of `size` workers in order; an error of the function is raised in its place."""
        for _ in range(size):
            self._add()
        for number in range(len(self._items)):
            self._hand_out(number + MOST_AHEAD * size)
            while number not in self._done:
                self._wait(size)
                self._hand_out(number + MOST_AHEAD * size)
            good, value = self._done.pop(number)
            if not good:
                raise value
            yield value

    def stop(self) -> None:
        """End all actors, whatever they do."""
        for handle in [*self._starting.values(), *(worker.handle for worker in self._workers)]:
            self._end(handle)

    def _add(self) -> None:
        handle = self._class.remote()
        self._starting[handle.start.remote(*self._start)] = handle

    def _end(self, handle: Any) -> None:
        with suppress(Exception):  # it is gone already, or all of Ray is
            self._ray.kill(handle)

    def _hand_out(self, end: int) -> None:
        """Give pictures below `end` to workers that have little to do, what was lost before to one that has nothing."""
        for calls in range(_CALLS):
            for worker in self._workers:
                if len(worker.calls) != calls or (calls and worker.calls[0].alone):
                    continue
                alone = bool(self._again)
                if calls and alone:
                    return
                numbers = [self._again.popleft()] if alone else self._new(end)
                if not numbers:
                    return
                items = pickle.dumps([self._items[number] for number in numbers])
                worker.calls.append(_Call(worker.handle.do.remote(items), numbers, alone))

    def _new(self, end: int) -> list[int]:
        """The next numbers, as many as a call has or none: single ones would be given as single results are taken."""
        numbers = list(range(self._begun, min(self._begun + _A_CALL, len(self._items))))
        if not numbers or numbers[-1] >= end:
            return []
        self._begun += len(numbers)
        return numbers

    def _wait(self, size: int) -> None:
        """Wait until a worker has started, or given an answer, or was lost."""
        running = {worker.calls[0].reference: worker for worker in self._workers if worker.calls}
        ready, _ = self._ray.wait([*running, *self._starting], timeout=_PATIENCE)
        for reference in ready:
            if reference in running:
                self._take(running[reference])
            else:
                self._started(self._starting.pop(reference), reference)
        if not ready and not self._workers:
            log.warning("ray: none of %d workers has found a free core yet; waiting", size)

    def _take(self, worker: _Worker) -> None:
        """What a worker has found of its first call; where it was lost, the call goes to another one."""
        try:
            outcomes = pickle.loads(self._ray.get(worker.calls[0].reference))
        except self._ray.exceptions.RayTaskError:  # of this module, not of a picture
            raise
        except self._ray.exceptions.RayError as error:
            self._lost(worker, error)
            return
        self._done.update(zip(worker.calls.popleft().numbers, outcomes, strict=False))

    def _lost(self, worker: _Worker, error: Exception) -> None:
        """Do again what a lost worker owed, each picture alone: any of them may be what it died of."""
        owed = [number for call in worker.calls for number in call.numbers]
        for number in owed:
            self._deaths[number] += 1
            if self._deaths[number] == _DEATHS:
                raise PipelineError(
                    f"{_DEATHS} workers died at {_named(self._items[number])}: most likely it takes more memory than "
                    f"there is. Take it away, or give workers more memory each (fewer of them: PIPELINE_WORKERS); "
                    f"what was finished is kept. Ray says: {_first_line(error)}"
                )
        log.warning(
            "ray: a worker was lost; %d pictures are done again elsewhere (%s)", len(owed), _first_line(error)
        )
        self._again = deque(sorted([*self._again, *owed]))
        self._workers.remove(worker)
        self._end(worker.handle)
        self._add()

    def _started(self, handle: Any, reference: Any) -> None:
        """Count an actor among the workers; PipelineError where it cannot be one."""
        try:
            fault = pickle.loads(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._end(handle)
            self._still_born += 1
            if self._still_born == _DEATHS * (len(self._starting) + len(self._workers) + 1):
                raise PipelineError(
                    f"workers die as they start, {self._still_born} by now, most likely for lack of memory; "
                    f"Ray says: {_first_line(error)}"
                ) from error
            self._add()
            return
        if fault is not None:
            node, reason = fault
            self._end(handle)
            if isinstance(reason, ImportError | FileNotFoundError):
                raise PipelineError(
                    f"a worker on {node} cannot start: {reason}. Every node must see this folder and its .venv at the "
                    "same path, with what is installed here (docs/scale.md)"
                ) from reason
            raise reason
        self._still_born = 0
        self._workers.append(_Worker(handle))


def _actor_class(ray: Any) -> Any:
    """The class of the actors, which travels as a whole: a node may have another version of this file, or none.

    So it names nothing of this module.
    """

    class Worker:
        def start(self, environment: dict[str, str], preparation: dict[str, Any], work: bytes) -> bytes:
            """Become a worker: None as a pickle, or the node and the error."""
            import ctypes
            import os
            import pickle
            import signal
            import socket
            import sys
            from multiprocessing import spawn

            prctl = getattr(ctypes.CDLL(None), "prctl", None)
            if prctl is not None:  # Linux; a worker of a Ray that was killed would end its call first
                prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            os.environ.update(environment)
            own = [path for path in sys.path if path not in preparation["sys_path"]]
            try:
                os.chdir(preparation["dir"])  # `prepare` goes on where that is not possible
                spawn.prepare({**preparation, "sys_path": [*preparation["sys_path"], *own]})
                self._function, initializer, initargs = pickle.loads(work)
                if initializer is not None:
                    initializer(*initargs)
            except Exception as error:
                return pickle.dumps((socket.gethostname(), error))
            return pickle.dumps(None)

        def do(self, items: bytes) -> bytes:
            """(True, result) of each picture as a pickle, up to the first (False, error)."""
            import pickle
            import traceback

            outcomes: list[tuple[bool, Any]] = []
            for item in pickle.loads(items):
                try:
                    outcomes.append((True, self._function(item)))
                except Exception as error:
                    error.add_note(traceback.format_exc())
                    outcomes.append((False, error))
                    break
            return pickle.dumps(outcomes)

    # What becomes of a lost actor's pictures is decided here, by picture; Ray would only do the same call once more.
    options = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
    return ray.remote(**options)(Worker)


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody
    try:
        import ray
    except ImportError as error:
        raise PipelineError(
            "execute.engine is ray, which is not installed; run `make ray` (or `pip install -c constraints.txt ray`), "
            "or set execute.engine to local"
        ) from error
    return ray


def _join(address: str) -> int:
    """The cores of the cluster at an address, which this process is of until it ends."""
    if not address and "ray" not in sys.modules:  # which reads them as it is imported
        # Its ports are open to all who reach the machine, and whoever may speak to Ray may run code here.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    ray = _ray()
    if address not in _joined or not ray.is_initialized():
        leave_ray()
        atexit.register(leave_ray)
        _join_other(ray, address) if address else _start_own(ray)
    return int(ray.cluster_resources().get("CPU", 0))


def leave_ray() -> None:
    """Leave the cluster that this process is of; one of its own ends, and leaves no file."""
    if _joined:
        _ray().shutdown()
    for folder in _joined.values():
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    _joined.clear()


def _start_own(ray: Any) -> None:
    """Start Ray on this machine, for this process alone."""
    usual = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="ray-", dir=usual if len(usual) <= _LONGEST else "/tmp")
    _joined[""] = Path(folder)  # before the start, which may fail half-way
    cores = len(os.sched_getaffinity(0))
    asked = os.environ.get("PIPELINE_WORKERS", "")
    try:
        ray.init(
            address="local",
            num_cpus=max(cores, int(asked) if asked.isdigit() else 0),
            object_store_memory=_STORE,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise PipelineError(
            f"Ray does not start on this machine: {_first_line(error)}. Set execute.engine to local, or see "
            "docs/scale.md"
        ) from error


def _join_other(ray: Any, address: str) -> None:
    """Join a cluster; PipelineError where there is none."""
    try:
        if address != "auto":  # Ray itself asks a closed port for minutes
            host, port = address.rsplit(":", 1)
            socket.create_connection((host, int(port)), _REACHED).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise PipelineError(
            f"execute.address is {address}, where no Ray cluster can be joined: {_first_line(error)}. Start one "
            "(`ray start --head`), and on this machine too `ray start --address=HEAD:6379`; or leave it empty, for a "
            "Ray on this machine alone (docs/scale.md)"
        ) from error
    _joined[address] = None


def _named(item: object) -> str:
    """A picture in words: its path where the item has one."""
    image = getattr(item, "image", None)
    text = str(image) if image is not None else repr(item)
    return text if len(text) <= 300 else f"{text[:300]}..."


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
