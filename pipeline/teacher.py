"""Train the teacher, a DeepLabv3+, on the labelled portraits and crops of the train side.

Its weights are those of the epoch with the best foreground IoU on dev.
"""

import csv
import io
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate
from torch.utils.data import DataLoader
from tqdm import tqdm

from pipeline.core.code import code_of
from pipeline.core.errors import PipelineError
from pipeline.core.params import TeacherParams, load_params
from pipeline.core.paths import CACHE, CROP, INGEST, PLOTS, SPLIT, TEACHER, of_project
from pipeline.core.records import check_pictures, dataset_hash, read_records, teacher_name
from pipeline.core.stage import run, write_metrics, write_text
from pipeline.deeplab import network as deeplab
from sinet.core import paper
from sinet.core.device import DeviceError, choose_device, loader_workers, use_all_cores
from sinet.core.progress import bar_interval
from sinet.evaluation import metrics
from sinet.images.decode import read_image, read_mask
from sinet.images.sample import Sample
from sinet.network.preprocess import Preprocessing, squash_mask
from sinet.training.average import RunningMean
from sinet.training.checkpoint import State, load_state, remove_state, run_hash, save_state
from sinet.training.data import PortraitDataset
from sinet.training.schedule import rate_factor

log = logging.getLogger("pipeline")

CHECKPOINTS = CACHE / "teacher"


@dataclass(frozen=True)
class TrainedTeacher:
    """The best weights, how to build the network for them, and what happened in each epoch."""

    weights: dict[str, Tensor]
    card: deeplab.TeacherCard
    history: list[dict[str, float]]
    best_epoch: int


@dataclass(frozen=True)
class _DevSide:
    """Dev in memory: inputs (N, size, size, 3) uint8 RGB and masks (N, 224, 224) uint8 {0, 1}."""

    inputs: NDArray[np.uint8]
    masks: NDArray[np.uint8]


def read_labelled() -> tuple[pd.DataFrame, int]:
    """The labelled records that stage split put on train and dev, and how many it gave a side.

    PipelineError where nothing is left to train on or to judge by.
    """
    placed = read_records(SPLIT / "labelled")
    check_pictures(placed, INGEST / "labelled", CROP / "bodies")
    chosen = placed[placed["side"] != "test"].reset_index(drop=True)
    counts = {side: int((chosen["side"] == side).sum()) for side in ("train", "dev")}
    if not all(counts.values()):
        raise PipelineError(
            f"teacher: expected labelled pictures on the sides train and dev, found {counts['train']} and "
            f"{counts['dev']}; give a source with masks (EG1800=, PAIRS= or BAIDU=DIR), or change split.dev_share"
        )
    return chosen, len(placed)


def train_teacher(
    records: pd.DataFrame,
    params: TeacherParams,
    encoder_weights: Path | None,
    checkpoints: Path = CHECKPOINTS,
) -> TrainedTeacher:
    """Train on the records of side train, keep the epoch that is best on those of side dev.

    After each epoch the state is written below `checkpoints`; a run that was killed goes on from there, and ends
    with the same weights. PipelineError names the pictures where the loss is no number.
    """
    use_all_cores()
    try:
        device = choose_device()
    except DeviceError as error:
        raise PipelineError(str(error)) from error
    card = _card(params)
    train = PortraitDataset(_samples(records, "train"), params.size, params.augment, params.seed)
    steps = max(1, len(train) // params.batch)
    run_ = _Run(params, card, encoder_weights, device, steps)
    train.preload("teacher: train")
    dev = load_dev(_samples(records, "dev"), params.size)
    folder = teacher_checkpoint(records, params, encoder_weights, checkpoints)
    state = load_state(folder) or run_.first_state()
    run_.restore(state)
    bar = tqdm(
        total=params.epochs * steps,
        initial=state.epoch * steps,
        desc="teacher",
        unit="step",
        file=sys.stderr,
        mininterval=bar_interval(),
    )
    with bar:
        while state.epoch < params.epochs and state.epoch - state.best_epoch < params.patience:
            losses = run_.epoch(train, state.epoch, steps, bar)
            scores = evaluate_teacher(run_.average.module, card.preprocessing, dev, device)
            state = run_.next_state(state, {**losses, **{f"dev_{k}": v for k, v in scores.items()}})
            save_state(folder, state)
            bar.set_postfix(epoch=state.epoch, dev_iou=f"{scores['foreground_iou']:.3f}")
    return TrainedTeacher(state.best, card, state.history, state.best_epoch)


def teacher_checkpoint(
    records: pd.DataFrame,
    params: TeacherParams,
    encoder_weights: Path | None,
    checkpoints: Path = CHECKPOINTS,
) -> Path:
    """Where a run with exactly these pictures, masks, params, first weights and code keeps its state."""
    recipe = {
        "params": params.model_dump(mode="json"),
        "weights": teacher_name(encoder_weights) if encoder_weights else None,
        "code": code_of("pipeline.teacher"),
    }
    return of_project(checkpoints) / run_hash(recipe, dataset_hash(records))


def teacher_loss(logits: Tensor, target: Tensor, dice_weight: float) -> dict[str, Tensor]:
    """Named scalar terms: loss = cross_entropy + dice_weight * dice.

    `logits` is (N, 1, H, W), `target` (N, H, W) in {0, 1}; dice is 1 - the Dice coefficient, mean over pictures.
    """
    logits, target = logits[:, 0].float(), target.float()
    cross_entropy = binary_cross_entropy_with_logits(logits, target)
    p = torch.sigmoid(logits)
    both, sizes = (p * target).sum((1, 2)), p.sum((1, 2)) + target.sum((1, 2))
    dice = (1 - (2 * both + 1) / (sizes + 1)).mean()
    return {"loss": cross_entropy + dice_weight * dice, "cross_entropy": cross_entropy, "dice": dice}


def load_dev(samples: Sequence[Sample], size: int) -> _DevSide:
    """Read the dev pictures as the network wants them, and their masks as the evaluation protocol wants them."""
    inputs = [deeplab.teacher_input(read_image(sample.image), size) for sample in samples]
    masks = [squash_mask(read_mask(sample.mask), paper.SIZE) for sample in samples]
    return _DevSide(np.stack(inputs), np.stack(masks))


def evaluate_teacher(
    model: nn.Module, preprocessing: Preprocessing, dev: _DevSide, device: torch.device, batch: int = 16
) -> dict[str, float]:
    """foreground_iou, mean_iou and boundary_f1 (0..1) at 224 x 224, of the mask p > 0.5 without flip."""
    model.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(dev.inputs), batch):
            pictures = torch.from_numpy(dev.inputs[start : start + batch]).to(device)
            logits = model(preprocessing.tensor(pictures).contiguous(memory_format=torch.channels_last))
            large = interpolate(logits.float(), (paper.SIZE,) * 2, mode="bilinear", align_corners=False)
            said = (large[:, 0] > 0).to(torch.uint8).cpu().numpy()
            rows += [metrics.count(p, t) for p, t in zip(said, dev.masks[start : start + batch], strict=True)]
    table = metrics.tabulate(rows)
    return {
        "foreground_iou": metrics.foreground_iou(table),
        "mean_iou": metrics.mean_iou(table),
        "boundary_f1": metrics.boundary_f1(table),
    }


def summarise(records: pd.DataFrame, items: int, trained: TrainedTeacher) -> dict[str, Any]:
    """Dev scores of the kept epoch and how it came about; `items` are the labelled records on all sides."""
    best = trained.history[trained.best_epoch - 1]
    return {
        "foreground_iou": best["dev_foreground_iou"],
        "mean_iou": best["dev_mean_iou"],
        "boundary_f1": best["dev_boundary_f1"],
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "parameters": sum(v.numel() for k, v in trained.weights.items() if not _is_statistic(k)),
        "in": items,
        "train": int((records["side"] == "train").sum()),
        "dev": int((records["side"] == "dev").sum()),
        "left_out": items - len(records),  # the test side
    }


def write_curves(path: Path, history: Sequence[dict[str, float]]) -> None:
    """One CSV line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: round(value, 6) for key, value in row.items()} for row in history)
    write_text(path, text.getvalue())


def to_channels_last(model: nn.Module) -> None:
    """Lay the weights of all convolutions out for N x H x W x C, which is faster on CPU and GPU."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


class _Run:
    """Network, its running mean and optimizer of one training."""

    def __init__(
        self,
        params: TeacherParams,
        card: deeplab.TeacherCard,
        weights: Path | None,
        device: torch.device,
        steps: int,
    ) -> None:
        torch.manual_seed(params.seed)
        model = deeplab.build(card)
        if weights is not None:
            deeplab.load_encoder(model, weights)
        self.params, self.card, self.device, self.batch = params, card, device, params.batch
        self.model = model.to(device)
        to_channels_last(self.model)
        self.average = RunningMean(self.model, params.average_decay, steps)
        self.optimizer = torch.optim.AdamW(
            _groups(self.model, params.weight_decay), lr=params.learning_rate, fused=True
        )

    def first_state(self) -> State:
        """The state before the first epoch."""
        model, average = _on_cpu(self.model), _on_cpu(self.average)
        return State("teacher", 0, model, self.optimizer.state_dict(), average, {}, 0, -1.0, [])

    def restore(self, state: State) -> None:
        """Go back to a state; the first one changes nothing."""
        self.model.load_state_dict(state.model)
        self.average.load_state_dict(state.average)
        self.optimizer.load_state_dict(state.optimizer)

    def next_state(self, state: State, row: dict[str, float]) -> State:
        """The state one epoch later; `row` is what the curves show of that epoch."""
        epoch, iou = state.epoch + 1, row["dev_foreground_iou"]
        best, best_epoch, best_iou = state.best, state.best_epoch, state.best_iou
        if iou > best_iou:
            best, best_epoch, best_iou = _on_cpu(self.average.module), epoch, iou
        history = [*state.history, {"epoch": epoch, **row}]
        return State(
            "teacher",
            epoch,
            _on_cpu(self.model),
            self.optimizer.state_dict(),
            _on_cpu(self.average),
            best,
            best_epoch,
            best_iou,
            history,
        )

    def epoch(self, dataset: PortraitDataset, epoch: int, steps: int, bar: "tqdm[Any]") -> dict[str, float]:
        """Train one epoch (0, 1, ...); return the learning rate at its end and the mean of each loss term."""
        self.model.train()
        # Dropout's draws follow from the epoch, so that a resumed run has no generator to restore.
        torch.manual_seed(self.params.seed * 100_003 + epoch)
        dataset.set_epoch(epoch)
        loader = DataLoader(
            dataset,
            min(self.batch, len(dataset)),
            sampler=dataset.order(),
            drop_last=True,
            num_workers=loader_workers(self.device),
        )
        sums: dict[str, float] = {}
        rate = 0.0
        for number, (index, images, masks) in enumerate(loader):
            rate = self.params.learning_rate * rate_factor(
                self.params.schedule, epoch * steps + number, steps, self.params.epochs
            )
            terms = self._step(images, masks, rate)
            if not math.isfinite(terms["loss"]):
                ids = ", ".join(dataset.samples[i].id for i in index.tolist())
                raise PipelineError(
                    f"teacher: the loss is {terms['loss']} in step {number + 1} of epoch {epoch + 1}; the pictures "
                    f"are {ids}. Look at their masks, or lower teacher.learning_rate"
                )
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value / steps
            bar.update()
        return {"learning_rate": rate, **sums}

    def _step(self, images: Tensor, masks: Tensor, rate: float) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        x = self.card.preprocessing.tensor(images.to(self.device))
        mixed = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            logits = self.model(x.contiguous(memory_format=torch.channels_last))
        terms = teacher_loss(logits, masks.to(self.device), self.params.dice_weight)
        self.optimizer.zero_grad()
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.params.max_gradient)
        self.optimizer.step()
        self.average.move(self.model)
        return {name: float(value.detach()) for name, value in terms.items()}


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for the weights of convolutions and linear layers, none for biases and batch normalisation."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _card(params: TeacherParams) -> deeplab.TeacherCard:
    input_ = deeplab.imagenet_input(params.size)
    return deeplab.TeacherCard(params.encoder, params.output_stride, params.atrous_rates, 1, input_)


def _samples(records: pd.DataFrame, side: str) -> list[Sample]:
    rows = records[records["side"] == side]
    return [
        Sample(id_, Path(image), Path(mask))
        for id_, image, mask in zip(rows["id"], rows["image"], rows["mask"], strict=True)
    ]


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}


def _is_statistic(key: str) -> bool:
    return key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def main() -> None:
    params = load_params().teacher
    encoder_weights = deeplab.find_encoder_weights(params.weights, params.encoder)
    records, items = read_labelled()
    trained = train_teacher(records, params, encoder_weights)
    deeplab.save_teacher(TEACHER, trained.weights, trained.card)
    write_curves(PLOTS / "teacher.csv", trained.history)
    write_metrics("teacher", summarise(records, items, trained))
    remove_state(teacher_checkpoint(records, params, encoder_weights))


if __name__ == "__main__":
    run("teacher", main)
