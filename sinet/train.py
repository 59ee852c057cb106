"""Train SINet in the paper's two phases: the encoder alone on labels at 1/8, then the whole network.

Each phase starts from the best weights of the one before (judged on dev), with a fresh Adam whose weight
decay has three tiers. Augmented pictures, their order and the learning rate depend on nothing but the
samples, (seed, epoch, id) and the step, so a run that was killed goes on from its last epoch to the result
of an undisturbed one on the same machine (on a GPU: up to the order in which it adds). The test side is
never seen here.
"""

import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sinet.average import running_mean
from sinet.checkpoint import State, load_state, save_state
from sinet.data import PortraitDataset, Sample
from sinet.dev_side import DevSet, evaluate_dev, read_dev
from sinet.device import loader_workers, network_input
from sinet.loss import class_weights, portrait_loss
from sinet.model import SINet
from sinet.preprocess import Preprocessing
from sinet.progress import bar_interval
from sinet.recipe import NONE, Phase, TrainRecipe, WeightDecay
from sinet.schedule import rate_factor
from sinet.start import Start

log = logging.getLogger("sinet")

PHASES = ("encoder", "full")
_Batch = tuple[Tensor, Tensor, Tensor]
TERMS = ("loss", "segmentation", "boundary")


class TrainingError(RuntimeError):
    """Training cannot start or cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Trained:
    """The best weights on dev (`model` in eval mode, on the CPU) and how they came about.

    `history` has a row an epoch: phase, epoch (1, 2, ... in its phase), the loss's terms over the train side,
    learning_rate at the end, dev_foreground_iou and dev_loss (None where dev was not evaluated).
    """

    model: SINet
    preprocessing: Preprocessing
    history: list[dict[str, Any]]
    best_epoch: int  # of the second phase; 0: none was better than what training started from
    dev_foreground_iou: float
    dev_loss: float
    start_dev_foreground_iou: float | None  # of the weights that it started from; None for random ones


class _Waiting:
    """How much of an epoch's steps was spent waiting for pictures."""

    def __init__(self) -> None:
        self._waited = self._taken = 0.0

    def counted(self, batches: Iterator[_Batch]) -> Iterator[_Batch]:
        """The same batches, with the time that each let wait."""
        start, self._waited = time.monotonic(), 0.0
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            now = time.monotonic()
            self._waited, self._taken = self._waited + now - asked, now - start
            if batch is None:
                return
            yield batch

    def share(self) -> float:
        """0..1 of the time from the first batch asked for to the end; what comes after, as dev, does not count."""
        return self._waited / max(1e-9, self._taken)


@dataclass(frozen=True)
class _Run:
    """What stays the same through a phase."""

    name: str
    phase: Phase
    model: SINet
    average: AveragedModel | None  # of `model`, its running mean
    optimizer: torch.optim.Optimizer
    data: PortraitDataset
    preprocessing: Preprocessing
    class_weights: Tensor | None
    device: torch.device
    steps: int  # an epoch
    half: bool  # bfloat16
    waiting: _Waiting = field(default_factory=_Waiting)

    @property
    def judged(self) -> SINet:
        """What dev judges and what is kept: the running mean where there is one."""
        return self.model if self.average is None else cast(SINet, self.average.module)


def train(
    samples: Sequence[Sample],
    dev: Sequence[Sample],
    recipe: TrainRecipe,
    checkpoint_dir: Path,
    device: torch.device,
    architecture: type[SINet] = SINet,
    start: Start | None = None,
) -> Trained:
    """Train on `samples`, keep what is best on `dev`; goes on from a checkpoint in `checkpoint_dir`.

    `start` are the first weights (`sinet.start.read_start`), else random ones. The folder must belong to this recipe,
    these samples and these weights alone (`sinet.checkpoint.run_hash`). The caller removes the checkpoint when the
    result is safe. Where no epoch is better on dev than `start`, that is the result, and a warning says so.
    TrainingError where a side is empty or the loss is not a number.
    """
    if (recipe.weights == NONE) != (start is None):
        raise ValueError(f"train.weights is {recipe.weights}: read it with sinet.start.read_start")
    if len(samples) < 2 or not dev:
        raise TrainingError(
            f"training needs at least 2 train and 1 dev samples, found {len(samples)} and {len(dev)}"
        )
    preprocessing = Preprocessing(size=recipe.predict_size, **recipe.input.model_dump())
    data = PortraitDataset(samples, recipe.phases.full.size, recipe.augment, recipe.seed)
    data.preload("train side")
    judge = read_dev(dev, recipe.predict_size)
    model = _initial_model(recipe.seed, architecture).to(device)
    before = None
    if start is not None:
        model.load_state_dict(start.state)
        before, loss_before = evaluate_dev(model, judge, preprocessing)
        log.info("the weights that training starts from: dev foreground IoU %.4f", before)
    state = load_state(checkpoint_dir)
    if state is None:
        state = State(PHASES[0], 0, _weights(model), {}, {}, {}, 0, 0.0, [])
    else:
        log.info("going on after epoch %d of phase %s", state.epoch, state.phase)
    for name in PHASES[PHASES.index(state.phase) :]:
        if state.phase != name:
            state = State(name, 0, state.best or state.model, {}, {}, {}, 0, 0.0, state.history)
        _train_phase(name, model, data, judge, preprocessing, recipe, state, checkpoint_dir)
    row = next(row for row in state.history if (row["phase"], row["epoch"]) == ("full", state.best_epoch))
    best, loss = state.best, row["dev_loss"]
    if start is not None and before is not None and before >= state.best_iou:
        text = (
            "no epoch that counts (train.best_from) was better on dev than the weights that training started from, "
            "%.4f against %.4f, and these are kept: lower train.phases.full.learning_rate, or train longer"
        )
        log.warning(text, state.best_iou, before)
        best, loss, state.best_epoch, state.best_iou = dict(start.state), loss_before, 0, before
    model.load_state_dict(best)
    return Trained(
        model=model.cpu().eval(),
        preprocessing=preprocessing,
        history=state.history,
        best_epoch=state.best_epoch,
        dev_foreground_iou=state.best_iou,
        dev_loss=loss,
        start_dev_foreground_iou=before,
    )


def _train_phase(
    name: str,
    model: SINet,
    data: PortraitDataset,
    dev: DevSet,
    preprocessing: Preprocessing,
    recipe: TrainRecipe,
    state: State,
    checkpoint_dir: Path,
) -> None:
    """Bring `state` to the end of the phase, with a checkpoint after every epoch."""
    phase: Phase = getattr(recipe.phases, name)
    device = next(model.parameters()).device
    groups = parameter_groups(_part(name, model), recipe.weight_decay)
    optimizer = torch.optim.Adam(groups, lr=phase.learning_rate, fused=True)
    model.load_state_dict(state.model)
    steps = max(1, len(data) // phase.batch)
    decay = recipe.average_decay
    average = running_mean(model, decay, steps) if decay else None
    if state.epoch:
        optimizer.load_state_dict(state.optimizer)
        if average is not None:
            average.load_state_dict(state.average)
    weights = class_weights(data.class_shares()).to(device) if recipe.class_weights else None
    half = recipe.precision == "bfloat16"
    run = _Run(name, phase, model, average, optimizer, data, preprocessing, weights, device, steps, half)
    data.resize(phase.size)
    epoch_images = steps * min(phase.batch, len(data))
    with logging_redirect_tqdm(), _bar(name, phase.epochs, state.epoch, epoch_images) as bar:
        for epoch in range(state.epoch, phase.epochs):
            # The second phase draws other pictures than the first.
            data.set_epoch(epoch if name == "encoder" else recipe.phases.encoder.epochs + epoch)
            row: dict[str, Any] = {"phase": name, "epoch": epoch + 1, **_epoch(run, epoch, bar)}
            row |= {"dev_foreground_iou": None, "dev_loss": None}
            last = epoch + 1 == phase.epochs
            if last or (epoch + 1) % recipe.evaluate_every == 0:
                iou, row["dev_loss"] = evaluate_dev(_part(name, run.judged), dev, preprocessing)
                row["dev_foreground_iou"] = iou
                text = (
                    "%s %d/%d: loss %.4f, dev foreground IoU %.4f, %.0f %% of the time waiting for pictures"
                )
                share = 100 * run.waiting.share()
                log.info(text, name, epoch + 1, phase.epochs, row["loss"], iou, share)
                eligible = last or epoch + 1 > recipe.best_from * phase.epochs
                if eligible and (iou > state.best_iou or not state.best_epoch):
                    state.best, state.best_epoch, state.best_iou = _weights(run.judged), epoch + 1, iou
            state.history.append(row)
            state.epoch, state.model, state.optimizer = epoch + 1, _weights(model), optimizer.state_dict()
            state.average = {} if average is None else _weights(average)
            save_state(checkpoint_dir, state)


def _epoch(run: _Run, epoch: int, bar: "tqdm[Any]") -> dict[str, float]:
    """One pass over the train side: means of the loss's terms, and the learning rate of the last step."""
    network = _part(run.name, run.model).train()
    sums = dict.fromkeys(TERMS, 0.0)
    rate = 0.0
    batches = run.waiting.counted(_batches(run.data, run.phase.batch, run.device))
    for step, (index, images, masks) in enumerate(batches):
        factor = rate_factor(run.phase.schedule, epoch * run.steps + step, run.steps, run.phase.epochs)
        rate = run.phase.learning_rate * factor
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        x = network_input(images, run.preprocessing, run.device)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=run.half):
            logits = network(x).float()
        target = _label(masks.to(run.device), logits)
        phase = run.phase
        terms = portrait_loss(logits, target, phase.boundary_weight, phase.boundary_kernel, run.class_weights)
        if not math.isfinite(terms["loss"].item()):
            ids = [run.data.samples[i].id for i in index.tolist()]
            raise TrainingError(_diverged(run.name, epoch, rate, ids))
        run.optimizer.zero_grad()
        terms["loss"].backward()
        run.optimizer.step()
        if run.average is not None:
            run.average.update_parameters(run.model)
        for term in TERMS:
            sums[term] += terms[term].item()
        bar.update(len(images))
    return {**{term: value / run.steps for term, value in sums.items()}, "learning_rate": rate}


def parameter_groups(network: nn.Module, decay: WeightDecay) -> list[dict[str, Any]]:
    """Adam's groups as in the official code: depthwise convolutions, other convolutions, the rest."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    depthwise = [conv.weight for conv in convolutions if conv.groups == conv.in_channels > 1]
    dense = [conv.weight for conv in convolutions if not conv.groups == conv.in_channels > 1]
    taken = {id(weight) for weight in depthwise + dense}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    tiers = ((depthwise, decay.depthwise), (dense, decay.convolution), (rest, decay.rest))
    return [{"params": parameters, "weight_decay": value} for parameters, value in tiers]


def _batches(data: PortraitDataset, batch: int, device: torch.device) -> Iterator[_Batch]:
    # A last batch of one or two pictures would spoil batch normalisation, so it is left out.
    loader: DataLoader[Any] = DataLoader(
        data,  # collates its items to (index (N,), images, masks)
        batch_size=min(batch, len(data)),
        sampler=data.order(),
        drop_last=True,
        num_workers=loader_workers(device),
        pin_memory=device.type == "cuda",
    )
    yield from loader


def _label(masks: Tensor, logits: Tensor) -> Tensor:
    """Masks (N, H, W) on the grid of the logits by nearest neighbour, int64."""
    if masks.shape[1:] != logits.shape[2:]:
        masks = interpolate(masks[:, None], logits.shape[2:], mode="nearest")[:, 0]
    return masks.long()


def _part(phase: str, model: SINet) -> nn.Module:
    """What a phase trains of a model: its encoder, or all of it."""
    return model.encoder if phase == "encoder" else model


def _initial_model(seed: int, architecture: type[SINet] = SINet) -> SINet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture(classes=2)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


def _diverged(name: str, epoch: int, rate: float, ids: Sequence[str]) -> str:
    return (
        f"the loss is not a number any more in phase {name}, epoch {epoch + 1}, at learning rate {rate:.2g}. "
        f"The batch: {' '.join(ids)}. Look at these pictures, or lower train.phases.{name}.learning_rate"
    )


def _bar(name: str, epochs: int, done: int, epoch_images: int) -> "tqdm[Any]":
    total, initial = epochs * epoch_images, done * epoch_images
    return tqdm(
        total=total,
        initial=initial,
        desc=f"train {name}",
        unit="img",
        file=sys.stderr,
        mininterval=bar_interval(),
    )
