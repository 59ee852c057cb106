"""Many short training runs at an equal budget of image steps, and the table of what they reached."""

import logging
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from pipeline.train import train_sinet
from sinet.core.recipe import NONE, EvaluateRecipe, Phases, TrainRecipe
from sinet.evaluation.protocol import evaluate
from sinet.images.sample import Sample
from sinet.inference.predictor import Predictor
from sinet.network.model import SINet
from sinet.training.loop import Trained

log = logging.getLogger("pipeline")

Figures = dict[str, float | int]  # the four metrics, 0..1, and how many pictures

FOUR_METRICS = ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native")
_NAME, _COUNT, _CELL = 34, 9, 23  # widths of the columns


def heading(name: str, count: str) -> str:
    """The table's first line; `row` gives the others."""
    return f"{name:<{_NAME}}{count:>{_COUNT}}" + "".join(f"{metric:>{_CELL}}" for metric in FOUR_METRICS)


def budgeted(recipe: TrainRecipe, images: int, size: int, seed: int, pictures: int) -> TrainRecipe:
    """The recipe with one phase of about `images` image steps at `size` pixels, over `pictures` pictures.

    The last epoch is the one that is measured: the budget is too small to choose among epochs.
    """
    epochs = max(1, round(images / pictures))
    full = recipe.phases.full.model_copy(update={"epochs": epochs, "size": size})
    encoder = recipe.phases.encoder.model_copy(update={"epochs": 0})
    changes = {
        "seed": seed,
        "weights": NONE,  # what stands in a row is learned in it
        "predict_size": size,
        "evaluate_every": epochs,
        "best_from": 1.0,
        "phases": Phases(encoder=encoder, full=full),
    }
    return recipe.model_copy(update=changes)


def figures(
    records: pd.DataFrame,
    recipe: TrainRecipe,
    judged_on: Sequence[Sample],
    measure: EvaluateRecipe,
    architecture: type[SINet] = SINet,
) -> Figures:
    """The four metrics, 0..1, of one training run on the samples `judged_on`."""
    return judged(trained_aside(records, recipe, architecture), judged_on, measure)


def trained_aside(records: pd.DataFrame, recipe: TrainRecipe, architecture: type[SINet] = SINet) -> Trained:
    """One training run that starts anew and leaves no checkpoint."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        return train_sinet(records, recipe, Path(folder), architecture)


def judged(trained: Trained, judged_on: Sequence[Sample], measure: EvaluateRecipe) -> Figures:
    """The four metrics, 0..1, of a training's result on the samples `judged_on`."""
    return evaluate(Predictor(trained.model, trained.preprocessing), judged_on, measure).figures()


def log_figures(name: str, count: int, runs: Iterable[Figures]) -> None:
    """Print one line of the table, of runs with the seeds 1, 2, ...; `count` stands beside the name."""
    done = []
    for seed, found in enumerate(runs, start=1):
        log.info("%s, seed %d: foreground IoU %.4f", name, seed, found["foreground_iou"])
        done.append(found)
    print(row(name, count, done), flush=True)


def row(name: str, count: int, runs: Sequence[Figures]) -> str:
    """One line of the table: each metric in percent as mean ± standard deviation over the runs."""
    cells = []
    for metric in FOUR_METRICS:
        values = [100 * float(run[metric]) for run in runs]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(f"{statistics.fmean(values):.2f}{spread}")
    return f"{name:<{_NAME}}{count:>{_COUNT}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
