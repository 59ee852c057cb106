"""Train SINet in the paper's two phases: the encoder alone on labels at 1/8, then the whole network.

Each phase starts from the best weights of the one before (judged on dev), with a fresh Adam whose weight
decay has three tiers. Augmented pictures, their order and the learning rate depend on nothing but the
samples, (seed, epoch, id) and the step, so a run that was killed goes on from its last epoch to the result
of an undisturbed one on the same machine (on a GPU: up to the order in which it adds). The test side is
never seen here.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sinet.core import ranks
from sinet.core.progress import bar_interval
from sinet.core.recipe import NONE, Phase, TrainRecipe, WeightDecay
from sinet.images.sample import Sample
from sinet.network.loss import class_weights
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing
from sinet.training.average import RunningMean
from sinet.training.checkpoint import State, load_state, save_state
from sinet.training.data import PortraitDataset
from sinet.training.dev_side import DevSet, evaluate_dev, read_dev
from sinet.training.epoch import Run, TrainingError, part_of, train_epoch
from sinet.training.fused import fused
from sinet.training.start import Start
from sinet.training.together import LostError, Together, together

log = logging.getLogger("sinet")

PHASES = ("encoder", "full")


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

    `start` are the first weights (`sinet.training.start.read_start`), else random ones. The folder must belong to this
    recipe, these samples and these weights alone (`sinet.training.checkpoint.run_hash`). The caller removes the
    checkpoint when the result is safe. Where no epoch is better on dev than `start`, that is the result, and a warning
    says so. Processes that torchrun started train along (`sinet.training.together`), and the result of rank 0 counts.
    TrainingError where a side is empty, a batch is too small for the processes, one of these is lost, or the loss is
    not a number.
    """
    if (recipe.weights == NONE) != (start is None):
        raise ValueError(f"train.weights is {recipe.weights}: read it with sinet.training.start.read_start")
    if len(samples) < 2 or not dev:
        raise TrainingError(
            f"training needs at least 2 train and 1 dev samples, found {len(samples)} and {len(dev)}"
        )
    smallest = min(len(samples), *(p.batch for p in (recipe.phases.encoder, recipe.phases.full) if p.epochs))
    if smallest // ranks.size() < 2:
        raise TrainingError(
            f"expected 2 pictures of each batch or more for each of {ranks.size()} processes, found a batch of "
            f"{smallest}; start fewer of them, or enlarge the batch of train.phases"
        )
    try:
        with together(device) as team:
            return _train(samples, dev, recipe, checkpoint_dir, architecture, start, device, team)
    except LostError as error:
        raise TrainingError(str(error)) from error


def _train(
    samples: Sequence[Sample],
    dev: Sequence[Sample],
    recipe: TrainRecipe,
    checkpoint_dir: Path,
    architecture: type[SINet],
    start: Start | None,
    device: torch.device,
    team: Together,
) -> Trained:
    preprocessing = Preprocessing(size=recipe.predict_size, **recipe.input.model_dump())
    data = PortraitDataset(samples, recipe.phases.full.size, recipe.augment, recipe.seed)
    data.preload("train side")
    judge = _Judge(read_dev(dev, recipe.predict_size) if team.leads else None, preprocessing, team, device)
    model = _initial_model(recipe, architecture).to(device)
    if device.type == "cpu":
        fused(model)
    before = None
    if start is not None:
        model.load_state_dict(start.state)
        before, loss_before = judge(model)
        log.info("the weights that training starts from: dev foreground IoU %.4f", before)
    state = team.told(lambda: load_state(checkpoint_dir))
    if state is None:
        state = State(PHASES[0], 0, _weights(model), {}, {}, {}, 0, 0.0, [])
    else:
        log.info("going on after epoch %d of phase %s", state.epoch, state.phase)
    for name in PHASES[PHASES.index(state.phase) :]:
        if state.phase != name:
            state = State(name, 0, state.best or state.model, {}, {}, {}, 0, 0.0, state.history)
        _train_phase(name, model, data, judge, recipe, state, checkpoint_dir)
    row = next(row for row in state.history if (row["phase"], row["epoch"]) == ("full", state.best_epoch))
    best, loss = state.best, row["dev_loss"]
    if start is not None and before is not None and before >= state.best_iou:
        text = (
            "no epoch that counts (train.best_from) was better on dev than the weights that training started from, "
            "%.4f against %.4f, and these are kept: lower train.phases.full.learning_rate, or train longer"
        )
        log.warning(text, state.best_iou, before)
        best, loss, state.best_epoch, state.best_iou = dict(start.state), loss_before, 0, before
    plain = _initial_model(recipe, architecture)
    plain.load_state_dict(best)
    return Trained(
        model=plain.eval(),
        preprocessing=preprocessing,
        history=state.history,
        best_epoch=state.best_epoch,
        dev_foreground_iou=state.best_iou,
        dev_loss=loss,
        start_dev_foreground_iou=before,
    )


@dataclass(frozen=True)
class _Judge:
    """Foreground IoU and loss of a network on dev, which rank 0 alone has read and tells the others."""

    dev: DevSet | None
    preprocessing: Preprocessing
    team: Together
    device: torch.device

    def __call__(self, network: nn.Module) -> tuple[float, float]:
        return self.team.told(lambda: self._measure(network))

    def _measure(self, network: nn.Module) -> tuple[float, float]:
        assert self.dev is not None, "only rank 0 is asked"
        return evaluate_dev(network, self.dev, self.preprocessing)


def _train_phase(
    name: str,
    model: SINet,
    data: PortraitDataset,
    judge: _Judge,
    recipe: TrainRecipe,
    state: State,
    checkpoint_dir: Path,
) -> None:
    """Bring `state` to the end of the phase, with a checkpoint after every epoch."""
    phase: Phase = getattr(recipe.phases, name)
    if state.epoch >= phase.epochs:
        return
    device, team, preprocessing = judge.device, judge.team, judge.preprocessing
    groups = parameter_groups(part_of(name, model), recipe.weight_decay)
    optimizer = torch.optim.Adam(groups, lr=phase.learning_rate, fused=True)
    model.load_state_dict(state.model)
    steps = max(1, len(data) // phase.batch)
    decay = recipe.average_decay
    average = RunningMean(model, decay, steps) if decay else None
    if state.epoch:
        optimizer.load_state_dict(state.optimizer)
        if average is not None:
            average.load_state_dict(state.average)
    weights = class_weights(data.class_shares()).to(device) if recipe.class_weights else None
    network = team.wrapped(part_of(name, model), device)
    run = Run(
        name=name,
        phase=phase,
        model=model,
        network=cast(nn.Module, torch.compile(network)) if recipe.compile else network,
        average=average,
        optimizer=optimizer,
        data=data,
        preprocessing=preprocessing,
        class_weights=weights,
        device=device,
        team=team,
        steps=steps,
        half=recipe.precision == "bfloat16",
    )
    data.resize(phase.size)
    epoch_images = steps * min(phase.batch, len(data))
    with logging_redirect_tqdm(), _bar(name, phase.epochs, state.epoch, epoch_images) as bar:
        for epoch in range(state.epoch, phase.epochs):
            # The second phase draws other pictures than the first.
            data.set_epoch(epoch if name == "encoder" else recipe.phases.encoder.epochs + epoch)
            row: dict[str, Any] = {"phase": name, "epoch": epoch + 1, **train_epoch(run, epoch, bar)}
            row |= {"dev_foreground_iou": None, "dev_loss": None}
            last = epoch + 1 == phase.epochs
            if last or (epoch + 1) % recipe.evaluate_every == 0:
                iou, row["dev_loss"] = judge(part_of(name, run.judged))
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
            if team.leads:
                save_state(checkpoint_dir, state)


def parameter_groups(network: nn.Module, decay: WeightDecay) -> list[dict[str, Any]]:
    """Adam's groups as in the official code: depthwise convolutions, other convolutions, the rest."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    depthwise = [conv.weight for conv in convolutions if conv.groups == conv.in_channels > 1]
    dense = [conv.weight for conv in convolutions if not conv.groups == conv.in_channels > 1]
    taken = {id(weight) for weight in depthwise + dense}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    tiers = ((depthwise, decay.depthwise), (dense, decay.convolution), (rest, decay.rest))
    return [{"params": parameters, "weight_decay": value} for parameters, value in tiers]


def _initial_model(recipe: TrainRecipe, architecture: type[SINet] = SINet) -> SINet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return architecture(classes=2, width=recipe.width)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


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
