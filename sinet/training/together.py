"""Several processes, started by torchrun, that train one network: each draws its part of every batch.

torch's DistributedDataParallel averages their gradients, so that all step alike, and gives all of them the running
statistics of rank 0, which alone judges, writes and reports. Batch normalisation sees a process's own part of the
batch: SyncBatchNorm, which would see the whole, does not run on a CPU. So a step is that of one process that averages
the gradients of the same parts, and near that of one that sees the batch as a whole.

Where one of the processes is lost the others end: gloo says so at once, and torchrun sends SIGTERM, after 30 s SIGKILL.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from sinet.core import ranks

T = TypeVar("T")


class LostError(RuntimeError):
    """One of the processes is lost, and with it the work of all; the message says what to do."""


@dataclass(frozen=True)
class Together:
    """One process's place among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process judges, writes and reports."""
        return self.rank == 0

    def part(self, batch: Sequence[T]) -> list[T]:
        """Returns this process's part of a batch: parts differ in length by one at most, and count alike."""
        return list(batch[self.rank :: self.size])

    def wrapped(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Returns what to call for `network`: the same in all processes from now on, gradients and statistics too."""
        if self.size == 1:
            return network
        return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)

    def average(self, values: Tensor) -> None:
        """Replaces values by their mean over the processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size

    def told(self, ask: Callable[[], T]) -> T:
        """Returns in every process what rank 0 gets by asking."""
        if self.size == 1:
            return ask()
        answer: list[Any] = [ask() if self.leads else None]
        distributed.broadcast_object_list(answer)
        told: T = answer[0]
        return told


ALONE = Together()


@contextmanager
def together(device: torch.device) -> Iterator[Together]:
    """Joins the processes that torchrun started; LostError where one of the others fails or is killed.

    Only rank 0 shows bars.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)  # also what has no device of its own, as pinned memory, is for this one
    if ranks.size() == 1:
        yield ALONE
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        with _silent(ranks.own_rank() > 0):
            yield Together(ranks.own_rank(), ranks.size())
        distributed.destroy_process_group()
    except RuntimeError as error:
        # gloo has no class of its own for what goes wrong; it begins with the place in its sources.
        if isinstance(error, distributed.DistError) or "gloo/transport" in str(error):
            _end(cause=error)
        raise
    signal.signal(signal.SIGTERM, before)


def _end(*_: object, cause: Exception | None = None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, which would come before the sentence is told
    raise LostError(
        f"one of the {ranks.size()} processes is lost, or torchrun was ended; it says below which. What was done until "
        "the last epoch is kept: the same command goes on"
    ) from cause


@contextmanager
def _silent(silent: bool) -> Iterator[None]:
    if not silent:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield
