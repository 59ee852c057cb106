"""Several processes that train one network, a device each: every one draws its part of a batch, and all step alike.

Gradients are averaged over the processes before each step, so the weights are the same in all of them. Batch
normalisation sees a process's own part of the batch, and its running statistics are averaged after each epoch; so the
result is about that of one device, not the same. The first process judges, writes and reports.

Where one of the others is lost, gloo says so at once. NCCL leaves the leader waiting where no exception reaches it, and
so does a process that never arrives; then the leader says what happened and ends itself (`_watch`).
"""

import ctypes
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException, spawn

from sinet.core.device import cores, use_all_cores

log = logging.getLogger("sinet")

PATIENCE = timedelta(minutes=10)  # that a process waits for the others, the judging on dev included
GRACE = 15.0  # seconds in which the leader should itself notice that another process is lost
_SET_PDEATHSIG = 1  # linux/prctl.h

T = TypeVar("T")


class TeamError(RuntimeError):
    """One of the processes is lost, and with it the work of all; the message says which."""


@dataclass(frozen=True)
class Team:
    """One process's place among `size`; 0 leads."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process judges, writes and reports."""
        return self.rank == 0

    def part(self, batch: Sequence[T]) -> list[T]:
        """This process's part of a batch: parts differ in length by one at most."""
        return list(batch[self.rank :: self.size])

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each floating tensor by its mean over the processes, in place."""
        mine = [tensor for tensor in tensors if tensor.is_floating_point()]
        if self.size == 1 or not mine:
            return
        flat = torch.cat([tensor.flatten() for tensor in mine])
        with _together():
            distributed.all_reduce(flat)
        parts = flat.div_(self.size).split([tensor.numel() for tensor in mine])
        torch._foreach_copy_(mine, [part.view_as(tensor) for tensor, part in zip(mine, parts, strict=True)])

    def average_gradients(self, network: nn.Module) -> None:
        """After a backward pass: the same gradients everywhere."""
        if self.size > 1:
            self.average(p.grad for p in network.parameters() if p.grad is not None)

    def told(
        self, ask: Callable[[], tuple[float, ...]], count: int, device: torch.device
    ) -> tuple[float, ...]:
        """The `count` numbers that the leader gets by asking, in every process."""
        if self.size == 1:
            return ask()
        numbers = torch.tensor(ask() if self.leads else (0.0,) * count, dtype=torch.float64, device=device)
        with _together():
            distributed.broadcast(numbers, 0)
        return tuple(numbers.tolist())


ALONE = Team()


@contextmanager
def team_of(devices: Sequence[torch.device], work: Callable[..., object], *arguments: Any) -> Iterator[Team]:
    """This process leads, on the first device; the others run `work(*arguments, device, team)` until the end.

    `work` is a function of a module, and its arguments can be pickled. With one device there are no others. TeamError
    where one of the others failed; the leader's own errors stay what they are.
    """
    if len(devices) == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="sinet-team-") as folder:
        meeting = f"file://{folder}/meeting"
        # No daemons: those could not have workers that draw pictures.
        others = spawn(_follow, (meeting, list(devices), work, arguments), len(devices) - 1, join=False)
        over = threading.Event()
        threading.Thread(target=_watch, args=(others, devices, over), daemon=True).start()
        try:
            _join(meeting, 0, devices)
            yield Team(0, len(devices))
            distributed.destroy_process_group()
            while not others.join():
                pass
        except _LostError as error:
            raise TeamError(_lost(devices, _reason(others) or str(error))) from error
        except (ProcessExitedException, ProcessRaisedException) as error:
            raise TeamError(_lost(devices, str(error))) from error
        finally:
            over.set()
            for process in others.processes:
                process.kill()
                process.join()
            # What NCCL still waits for would never come: only the end of this process ends it.
            if distributed.is_initialized() and distributed.get_backend() != "nccl":
                distributed.destroy_process_group()


class _LostError(RuntimeError):
    """The processes could not exchange what they have."""


@contextmanager
def _together() -> Iterator[None]:
    """Around what all processes do at once; torch has no class of its own for all that can go wrong there."""
    try:
        yield
    except RuntimeError as error:
        raise _LostError(str(error)) from error


def _join(meeting: str, rank: int, devices: Sequence[torch.device]) -> None:
    on_gpu = devices[rank].type == "cuda"
    if on_gpu:
        torch.cuda.set_device(devices[rank])
    with _together():
        distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=meeting,
            rank=rank,
            world_size=len(devices),
            timeout=PATIENCE,
        )


def _follow(
    number: int,
    meeting: str,
    devices: list[torch.device],
    work: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    """What each process but the leader does."""
    rank = number + 1
    # torch asks for SIGINT at the leader's death, which a wait for NCCL does not see.
    with suppress(AttributeError):  # there is none but on Linux
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C reaches all processes; the leader ends the others, and must not wait for one that went on its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_all_cores()
    torch.set_num_threads(max(1, cores() // len(devices)))
    # Bars and messages are the leader's. An error ends this process, and torch carries its text to the leader.
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        _join(meeting, rank, devices)
        work(*arguments, devices[rank], Team(rank, len(devices)))
        distributed.destroy_process_group()


def _watch(others: ProcessContext, devices: Sequence[torch.device], over: threading.Event) -> None:
    """In a thread of the leader: where another process fails and the leader does not notice, end the leader."""
    running = {process.sentinel: process.pid for process in others.processes}
    while running:
        for sentinel in wait(list(running)):
            if _failed(running.pop(cast(int, sentinel))) and not over.wait(GRACE):
                log.error(_lost(devices, _reason(others) or "one ended"))
                os._exit(1)


def _failed(pid: int) -> bool:
    """Whether a process that is over, or about to be, failed.

    Its end stays to be noticed by the leader, who has not yet where this is True.
    """
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return False
    return ended is not None and (ended.si_code, ended.si_status) != (os.CLD_EXITED, 0)


def _reason(others: ProcessContext) -> str | None:
    """Why another process ended, as far as one did within some seconds and said so."""
    try:
        others.join(timeout=GRACE / 3)
    except (ProcessExitedException, ProcessRaisedException) as error:
        return str(error)
    return None


def _lost(devices: Sequence[torch.device], reason: str) -> str:
    last = reason.strip().splitlines()[-1][:300]
    return (
        f"the processes on {', '.join(map(str, devices))} lost each other: {last}. What was done until the last "
        "epoch is kept: run again, or set SINET_DEVICE to one device"
    )
