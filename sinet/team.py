"""Several processes that train one network, a device each: every one draws its part of a batch, and all step alike.

Gradients are averaged over the processes before each step, so the weights are the same in all of them. Batch
normalisation sees a process's own part of the batch, and its running statistics are averaged after each epoch; so the
result is about that of one device, not the same. The first process judges, writes and reports.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed import DistError
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from sinet.device import use_all_cores

PATIENCE = timedelta(minutes=10)  # that a process waits for the others, the judging on dev included

T = TypeVar("T")
_ENDED = (ProcessExitedException, ProcessRaisedException)


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
        distributed.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in mine])
        for tensor, part in zip(mine, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

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
        distributed.broadcast(numbers, 0)
        return tuple(numbers.tolist())


ALONE = Team()


@contextmanager
def team_of(devices: Sequence[torch.device], work: Callable[..., object], *arguments: Any) -> Iterator[Team]:
    """This process leads, on the first device; the others run `work(*arguments, device, team)` until the end.

    `work` is a function of a module, and its arguments can be pickled. With one device there are no others. TeamError
    where one of the others failed.
    """
    if len(devices) == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="sinet-team-") as folder:
        meeting = f"file://{folder}/meeting"
        others = spawn(
            _follow,
            (meeting, list(devices), work, arguments),
            nprocs=len(devices) - 1,
            join=False,
            daemon=True,
        )
        try:
            with _joined(meeting, 0, devices):
                yield Team(0, len(devices))
            while not others.join():
                pass
        except (RuntimeError, *_ENDED) as error:
            if type(error) is not RuntimeError and not isinstance(error, (DistError, *_ENDED)):
                raise  # the leader's own
            ended = [
                f"{device}: exit code {process.exitcode}"
                for device, process in zip(devices[1:], others.processes, strict=True)
                if process.exitcode
            ]
            raise TeamError(
                f"the processes of {', '.join(map(str, devices))} lost each other ({'; '.join(ended) or 'all alive'}): "
                f"{str(error).strip().splitlines()[-1][:300]}. What was done until the last epoch is kept: run again, "
                "or set SINET_DEVICE to one device"
            ) from error
        finally:
            for process in others.processes:
                process.kill()


def _follow(
    number: int,
    meeting: str,
    devices: list[torch.device],
    work: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    rank = number + 1
    use_all_cores()
    # Bars and messages are the leader's; an error travels to it by another way.
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), _joined(meeting, rank, devices):
        work(*arguments, devices[rank], Team(rank, len(devices)))


@contextmanager
def _joined(meeting: str, rank: int, devices: Sequence[torch.device]) -> Iterator[None]:
    if devices[rank].type == "cuda":
        torch.cuda.set_device(devices[rank])
    backend = "nccl" if devices[rank].type == "cuda" else "gloo"
    distributed.init_process_group(
        backend, init_method=meeting, rank=rank, world_size=len(devices), timeout=PATIENCE
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()
