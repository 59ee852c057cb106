"""One epoch of training: a step for each batch, and what the loss was. A GPU is waited for every 50 steps alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from sinet.core.device import loader_workers
from sinet.core.recipe import Phase
from sinet.network.loss import portrait_loss
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing, network_input
from sinet.training.average import RunningMean
from sinet.training.batches import Waiting, index_batches, training_batches
from sinet.training.data import PortraitDataset
from sinet.training.schedule import rate_factor
from sinet.training.together import Together

TERMS = ("loss", "segmentation", "boundary")
READ_EVERY = {"cpu": 1, "cuda": 50}  # steps: reading a loss waits for all that a GPU still has to do


class TrainingError(RuntimeError):
    """Training cannot start or cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """What stays the same through a phase."""

    name: str
    phase: Phase
    model: SINet
    network: nn.Module  # the part that is trained, as the processes share it
    average: RunningMean | None  # of `model`, its running mean
    optimizer: torch.optim.Optimizer
    data: PortraitDataset
    preprocessing: Preprocessing
    class_weights: Tensor | None
    device: torch.device
    team: Together
    steps: int  # an epoch
    half: bool  # bfloat16
    waiting: Waiting = field(default_factory=Waiting)

    @property
    def judged(self) -> SINet:
        """What dev judges and what is kept: the running mean where there is one."""
        return self.model if self.average is None else cast(SINet, self.average.module)


def train_epoch(run: Run, epoch: int, bar: "tqdm[Any]") -> dict[str, float]:
    """One pass over the train side: means of the loss's terms, and the learning rate of the last step."""
    run.network.train()
    losses = _Losses(run, epoch)
    rate = 0.0
    phase = run.phase
    workers = loader_workers(run.device)
    pictures = training_batches(run.data, phase.batch, run.device, workers, run.team)
    for step, (images, masks) in enumerate(run.waiting.counted(pictures)):
        rate = phase.learning_rate * rate_factor(
            phase.schedule, epoch * run.steps + step, run.steps, phase.epochs
        )
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        x = network_input(images, run.preprocessing, run.device)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=run.half):
            logits = run.network(x).float()
        target = _label(masks.to(run.device, non_blocking=True), logits)
        terms = portrait_loss(logits, target, phase.boundary_weight, phase.boundary_kernel, run.class_weights)
        losses.add(step, rate, terms)
        run.optimizer.zero_grad()
        terms["loss"].backward()
        run.optimizer.step()
        if run.average is not None:
            run.average.move(run.model)
        bar.update(min(phase.batch, len(run.data)))
    losses.read()
    return {**{term: value / run.steps for term, value in losses.sums.items()}, "learning_rate": rate}


class _Losses:
    """Sums of the loss's terms over an epoch; TrainingError names the batch of the first that is no number."""

    def __init__(self, run: Run, epoch: int) -> None:
        self.sums = dict.fromkeys(TERMS, 0.0)
        self._run, self._epoch = run, epoch
        self._every = READ_EVERY[run.device.type]
        self._unread: list[tuple[int, float, Tensor]] = []

    def add(self, step: int, rate: float, terms: Mapping[str, Tensor]) -> None:
        """Note a step's terms; now and then they are read, and the device is waited for."""
        self._unread.append((step, rate, torch.stack([terms[term].detach() for term in TERMS])))
        if len(self._unread) >= self._every:
            self.read()

    def read(self) -> None:
        """Add up what was noted: each term is the mean over the processes' parts of the batch."""
        if not self._unread:
            return
        values = torch.stack([terms for _, _, terms in self._unread])
        self._run.team.average(values)
        for (step, rate, _), row in zip(self._unread, values.tolist(), strict=True):
            if not math.isfinite(row[TERMS.index("loss")]):
                batch = index_batches(self._run.data, self._run.phase.batch)[step]
                ids = [self._run.data.samples[index].id for index in batch]
                raise TrainingError(_diverged(self._run.name, self._epoch, rate, ids))
            for term, value in zip(TERMS, row, strict=True):
                self.sums[term] += value
        self._unread.clear()


def part_of(phase: str, model: SINet) -> nn.Module:
    """What a phase trains of a model: its encoder, or all of it."""
    return model.encoder if phase == "encoder" else model


def _label(masks: Tensor, logits: Tensor) -> Tensor:
    """Masks (N, H, W) uint8 on the grid of the logits by nearest neighbour, int64."""
    if masks.shape[1:] != logits.shape[2:]:
        masks = interpolate(masks[:, None], logits.shape[2:], mode="nearest")[:, 0]
    return masks.long()


def _diverged(name: str, epoch: int, rate: float, ids: Sequence[str]) -> str:
    return (
        f"the loss is not a number any more in phase {name}, epoch {epoch + 1}, at learning rate {rate:.2g}. "
        f"The batch: {' '.join(ids)}. Look at these pictures, or lower train.phases.{name}.learning_rate"
    )
