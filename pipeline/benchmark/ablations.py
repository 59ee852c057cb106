"""What each part of SINet and of its training is worth: the same run without it, with equal image steps.

`python -m pipeline benchmark ablations` reads data/dataset and params.yaml. Choices are made by its table, so it is
measured on the dev side; the test side is not opened. Nothing is kept.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.benchmark.runs import budgeted, figures, heading, row
from pipeline.errors import PipelineError
from pipeline.params import load_params
from pipeline.paths import DATASET
from pipeline.records import read_records
from pipeline.train import samples_of
from sinet.model import SINet
from sinet.recipe import TrainRecipe

log = logging.getLogger("pipeline")


class OpenGate(SINet):
    """The gate is 1 everywhere: no information is blocked."""

    @staticmethod
    def uncertainty(logits: Tensor) -> Tensor:
        return torch.ones_like(logits[:, :1])


class NoDetail(SINet):
    """The gate is 0 everywhere: the decoder enlarges what the encoder says, without the low-level branch."""

    @staticmethod
    def uncertainty(logits: Tensor) -> Tensor:
        return torch.zeros_like(logits[:, :1])


@dataclass(frozen=True)
class Variant:
    """One row of the table: what is changed in the recipe, or in the network."""

    name: str
    change: Callable[[TrainRecipe], TrainRecipe] = lambda recipe: recipe
    architecture: type[SINet] = SINet


def variants() -> Sequence[Variant]:
    """The recipe as it stands, and without one thing at a time."""
    return (
        Variant("as params.yaml says"),
        Variant("gate always 1", architecture=OpenGate),
        Variant("no low-level branch", architecture=NoDetail),
        Variant("lambda 0", lambda recipe: _full(recipe, boundary_weight=0.0)),
    )


def main(images: int, size: int, seeds: int) -> None:
    """Print the table: a row a variant, each metric in percent as mean ± standard deviation over the seeds."""
    records, params = read_records(DATASET), load_params()
    seen = records[records["side"].isin(["train", "dev"])]
    pictures = int((seen["side"] == "train").sum())
    dev = samples_of(seen, "dev")
    if not pictures or not dev:
        raise PipelineError("expected a train and a dev side in data/dataset; run `dvc repro merge`")
    print(f"{images:,} image steps at {size} pixels, {seeds} seeds; on {len(dev)} dev pictures, in percent")
    print(heading("variant", "runs"), flush=True)
    for variant in variants():
        runs = []
        for seed in range(1, seeds + 1):
            recipe = variant.change(budgeted(params.train, images, size, seed, pictures))
            runs.append(figures(seen, recipe, dev, params.evaluate, variant.architecture))
            log.info("%s, seed %d: foreground IoU %.4f", variant.name, seed, runs[-1]["foreground_iou"])
        print(row(variant.name, len(runs), runs), flush=True)


def _full(recipe: TrainRecipe, **changes: Any) -> TrainRecipe:
    full = recipe.phases.full.model_copy(update=changes)
    return recipe.model_copy(update={"phases": recipe.phases.model_copy(update={"full": full})})
