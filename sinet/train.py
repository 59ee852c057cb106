"""Train SINet in the paper's two phases: the encoder alone on labels at 1/8, then the whole network.

Each phase starts from the best weights of the one before (judged on dev), with a fresh Adam whose weight
decay has three tiers. Augmented pictures, their order and the learning rate depend on nothing but (seed,
epoch, id) and the step, so a run that was killed goes on from its last epoch to the result of an undisturbed
one on the same machine (on a GPU: up to the order in which it adds). The test side is never seen here.
"""

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from sinet.checkpoint import State, load_state, save_state
from sinet.data import PortraitDataset, Sample
from sinet.device import loader_workers
from sinet.images import Array, read_image, read_mask
from sinet.loss import class_weights, portrait_loss
from sinet.metrics import count_pixels, foreground_iou, tabulate
from sinet.model import SINet
from sinet.preprocess import Preprocessing, squash_image, squash_mask
from sinet.recipe import Phase, TrainRecipe, WeightDecay
from sinet.schedule import rate_factor

log = logging.getLogger("sinet")

METRIC_SIZE = 224  # pixels: the foreground IoU is always that of the paper's protocol
PHASES = ("encoder", "full")
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
    best_epoch: int
    dev_foreground_iou: float
    dev_loss: float


@dataclass(frozen=True)
class DevSet:
    """Dev as the protocol shows it: images (N, S, S, 3) uint8 RGB, masks (N, 224, 224) uint8 {0, 1}."""

    images: Tensor
    masks: Array


@dataclass(frozen=True)
class _Run:
    """What stays the same through a phase."""

    name: str
    phase: Phase
    network: nn.Module  # the encoder or the whole model
    optimizer: torch.optim.Optimizer
    data: PortraitDataset
    preprocessing: Preprocessing
    class_weights: Tensor | None
    device: torch.device
    steps: int  # an epoch


def train(
    samples: Sequence[Sample],
    dev: Sequence[Sample],
    recipe: TrainRecipe,
    checkpoint_dir: Path,
    device: torch.device,
) -> Trained:
    """Train on `samples`, keep what is best on `dev`; goes on from a checkpoint in `checkpoint_dir`.

    The folder must belong to this recipe and these samples alone (`sinet.checkpoint.run_hash`). The caller
    removes the checkpoint when the result is safe. TrainingError where a side is empty or the loss is not a
    number.
    """
    if len(samples) < 2 or not dev:
        raise TrainingError(
            f"training needs at least 2 train and 1 dev samples, found {len(samples)} and {len(dev)}"
        )
    preprocessing = Preprocessing(size=recipe.predict_size, **recipe.input.model_dump())
    data = PortraitDataset(samples, recipe.phases.full.size, recipe.augment, recipe.seed)
    data.preload("train side")
    judge = read_dev(dev, recipe.predict_size)
    model = _initial_model(recipe.seed).to(device)
    state = load_state(checkpoint_dir)
    if state is None:
        state = State(PHASES[0], 0, _weights(model), {}, {}, 0, 0.0, [])
    else:
        log.info("going on after epoch %d of phase %s", state.epoch, state.phase)
    for name in PHASES[PHASES.index(state.phase) :]:
        if state.phase != name:
            state = State(name, 0, state.best or state.model, {}, {}, 0, 0.0, state.history)
        _train_phase(name, model, data, judge, preprocessing, recipe, state, checkpoint_dir)
    model.load_state_dict(state.best)
    row = next(row for row in state.history if (row["phase"], row["epoch"]) == ("full", state.best_epoch))
    return Trained(
        model=model.cpu().eval(),
        preprocessing=preprocessing,
        history=state.history,
        best_epoch=state.best_epoch,
        dev_foreground_iou=state.best_iou,
        dev_loss=row["dev_loss"],
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
    network = model.encoder if name == "encoder" else model
    device = next(model.parameters()).device
    groups = parameter_groups(network, recipe.weight_decay)
    optimizer = torch.optim.Adam(groups, lr=phase.learning_rate, fused=True)
    model.load_state_dict(state.model)
    if state.epoch:
        optimizer.load_state_dict(state.optimizer)
    weights = class_weights(data.class_shares()).to(device) if recipe.class_weights else None
    steps = max(1, len(data) // phase.batch)
    run = _Run(name, phase, network, optimizer, data, preprocessing, weights, device, steps)
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
                iou, row["dev_loss"] = evaluate_dev(network, dev, preprocessing)
                row["dev_foreground_iou"] = iou
                text = "%s %d/%d: loss %.4f, dev foreground IoU %.4f"
                log.info(text, name, epoch + 1, phase.epochs, row["loss"], iou)
                eligible = last or epoch + 1 > recipe.best_from * phase.epochs
                if eligible and (iou > state.best_iou or not state.best_epoch):
                    state.best, state.best_epoch, state.best_iou = _weights(model), epoch + 1, iou
            state.history.append(row)
            state.epoch, state.model, state.optimizer = epoch + 1, _weights(model), optimizer.state_dict()
            save_state(checkpoint_dir, state)


def _epoch(run: _Run, epoch: int, bar: "tqdm[Any]") -> dict[str, float]:
    """One pass over the train side: means of the loss's terms, and the learning rate of the last step."""
    run.network.train()
    sums = dict.fromkeys(TERMS, 0.0)
    rate = 0.0
    for step, (index, images, masks) in enumerate(_batches(run.data, run.phase.batch, run.device)):
        factor = rate_factor(run.phase.schedule, epoch * run.steps + step, run.steps, run.phase.epochs)
        rate = run.phase.learning_rate * factor
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        logits = run.network(_input(images, run.preprocessing, run.device))
        target = _label(masks.to(run.device), logits)
        phase = run.phase
        terms = portrait_loss(logits, target, phase.boundary_weight, phase.boundary_kernel, run.class_weights)
        if not math.isfinite(terms["loss"].item()):
            ids = [run.data.samples[i].id for i in index.tolist()]
            raise TrainingError(_diverged(run.name, epoch, rate, ids))
        run.optimizer.zero_grad()
        terms["loss"].backward()
        run.optimizer.step()
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


def read_dev(samples: Sequence[Sample], size: int) -> DevSet:
    """Read the dev side: images squashed to the network's size, masks to 224, both from the full picture."""
    images, masks = [], []
    for sample in tqdm(samples, desc="dev side", unit="img", file=sys.stderr, mininterval=_interval()):
        images.append(squash_image(read_image(sample.image), size))
        masks.append(squash_mask(read_mask(sample.mask), METRIC_SIZE))
    return DevSet(torch.from_numpy(np.stack(images)), np.stack(masks))


@torch.no_grad()
def evaluate_dev(
    network: nn.Module, dev: DevSet, preprocessing: Preprocessing, batch: int = 32
) -> tuple[float, float]:
    """Foreground IoU per picture at 224x224 (0..1) and mean cross-entropy, of logits enlarged to 224x224."""
    network.eval()
    device = next(network.parameters()).device
    rows, losses = [], []
    for start in range(0, len(dev.images), batch):
        logits = network(_input(dev.images[start : start + batch], preprocessing, device))
        logits = interpolate(logits, (METRIC_SIZE, METRIC_SIZE), mode="bilinear", align_corners=False)
        masks = dev.masks[start : start + batch]
        target = torch.from_numpy(masks).long().to(device)
        losses += cross_entropy(logits, target, reduction="none").mean((1, 2)).tolist()
        found = logits.argmax(1).byte().cpu().numpy()
        rows += [count_pixels(pred, true) for pred, true in zip(found, masks, strict=True)]
    return foreground_iou(tabulate(rows)), float(np.mean(losses))


def _batches(
    data: PortraitDataset, batch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
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


def _input(images: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    x = preprocessing.tensor(images.to(device, non_blocking=True))
    return x.contiguous(memory_format=_memory_format(device))


def _label(masks: Tensor, logits: Tensor) -> Tensor:
    """Masks (N, H, W) on the grid of the logits by nearest neighbour, int64."""
    if masks.shape[1:] != logits.shape[2:]:
        masks = interpolate(masks[:, None], logits.shape[2:], mode="nearest")[:, 0]
    return masks.long()


def _memory_format(device: torch.device) -> torch.memory_format:
    # Measured on a CPU: 1.2 times as many images a second.
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def _initial_model(seed: int) -> SINet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SINet(classes=2)


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
        mininterval=_interval(),
    )


def _interval() -> float:
    return 0.5 if sys.stderr.isatty() else 15
