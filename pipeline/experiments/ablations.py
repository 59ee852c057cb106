"""What each part of SINet and of its training is worth: the same run without it, with equal image steps.

`python -m pipeline benchmark ablations` reads data/dataset and params.yaml. Choices are made by its table, so it is
measured on the dev side; the test side is not opened. Nothing is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.experiments.runs import budgeted, figures, heading, log_figures
from pipeline.train import samples_of, seen
from sinet.core.recipe import Range, TrainRecipe
from sinet.network.model import SINet

MEAN, BEHIND = 0.98, 0.3  # of average_decay and augment.background, where the recipe has none
# Of augment.rotation, scale and translation: the article's ranges, and those that the teacher's profiles take.
WIDE: dict[str, Range] = {"rotation": (-45, 45), "scale": (0.5, 1.5), "translation": (-0.25, 0.25)}
NARROW: dict[str, Range] = {"rotation": (-15, 15), "scale": (0.75, 1.3), "translation": (-0.1, 0.1)}


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
class _Ablation:
    """One row of the table: what is changed in the recipe, or in the network."""

    name: str
    change: Callable[[TrainRecipe], TrainRecipe] = lambda recipe: recipe
    architecture: type[SINet] = SINet


def variants(recipe: TrainRecipe) -> Sequence[_Ablation]:
    """The recipe as it stands, and without one thing at a time; with it where the recipe does without."""
    mean, behind = recipe.average_decay, recipe.augment.background
    narrow = all(getattr(recipe.augment, key) == value for key, value in NARROW.items())
    return (
        _Ablation("as params.yaml says"),
        _Ablation("gate always 1", architecture=OpenGate),
        _Ablation("no low-level branch", architecture=NoDetail),
        _Ablation("lambda 0", lambda recipe: _full(recipe, boundary_weight=0.0)),
        _Ablation(
            "no running mean" if mean else f"running mean {MEAN}",
            lambda recipe: recipe.model_copy(update={"average_decay": 0.0 if mean else MEAN}),
        ),
        _Ablation(
            "no other backgrounds" if behind else f"other backgrounds {BEHIND}",
            lambda recipe: _augment(recipe, background=0.0 if behind else BEHIND),
        ),
        _Ablation(
            "wide warps" if narrow else "narrow warps",
            lambda recipe: _augment(recipe, **(WIDE if narrow else NARROW)),
        ),
    )


def main(images: int, size: int, seeds: int) -> None:
    """Print the table: a row a variant, each metric in percent as mean ± standard deviation over the seeds."""
    records, params = seen(read_records(DATASET)), load_params()
    pictures = int((records["side"] == "train").sum())
    dev = samples_of(records, "dev")
    if not pictures or not dev:
        raise PipelineError("expected a train and a dev side in data/dataset; run `dvc repro merge`")
    print(f"{images:,} image steps at {size} pixels, {seeds} seeds; on {len(dev)} dev pictures, in percent")
    print(heading("variant", "runs"), flush=True)
    recipes = [budgeted(params.train, images, size, seed, pictures) for seed in range(1, seeds + 1)]
    for variant in variants(params.train):
        changed = map(variant.change, recipes)
        runs = (figures(records, recipe, dev, params.evaluate, variant.architecture) for recipe in changed)
        log_figures(variant.name, seeds, runs)


def _augment(recipe: TrainRecipe, **changes: Any) -> TrainRecipe:
    return recipe.model_copy(update={"augment": recipe.augment.model_copy(update=changes)})


def _full(recipe: TrainRecipe, **changes: Any) -> TrainRecipe:
    full = recipe.phases.full.model_copy(update=changes)
    return recipe.model_copy(update={"phases": recipe.phases.model_copy(update={"full": full})})
