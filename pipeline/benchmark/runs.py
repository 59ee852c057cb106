"""Many short training runs at an equal budget of image steps, and the table of what they reached."""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.train import train
from sinet.data import Sample
from sinet.evaluate import evaluate
from sinet.model import SINet
from sinet.predict import Predictor
from sinet.recipe import EvaluateRecipe, Phases, TrainRecipe

METRICS = ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native")
_NAME, _COUNT, _CELL = 34, 9, 23  # widths of the columns


def heading(name: str, count: str) -> str:
    """The table's first line; `row` gives the others."""
    return f"{name:<{_NAME}}{count:>{_COUNT}}" + "".join(f"{metric:>{_CELL}}" for metric in METRICS)


def budgeted(recipe: TrainRecipe, images: int, size: int, seed: int, pictures: int) -> TrainRecipe:
    """The recipe with one phase of about `images` image steps at `size` pixels, over `pictures` pictures.

    The last epoch is the one that is measured: the budget is too small to choose among epochs.
    """
    epochs = max(1, round(images / pictures))
    full = recipe.phases.full.model_copy(update={"epochs": epochs, "size": size})
    encoder = recipe.phases.encoder.model_copy(update={"epochs": 0})
    changes = {
        "seed": seed,
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
) -> dict[str, float | int]:
    """The four metrics, 0..1, of one training run on the samples `judged_on`."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        trained = train(records, recipe, Path(folder), architecture)
    return evaluate(Predictor(trained.model, trained.preprocessing), judged_on, measure).figures()


def row(name: str, count: int, runs: Sequence[dict[str, float | int]]) -> str:
    """One line of the table: each metric in percent as mean ± standard deviation over the runs."""
    cells = []
    for metric in METRICS:
        values = [100 * float(run[metric]) for run in runs]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(f"{statistics.fmean(values):.2f}{spread}")
    return f"{name:<{_NAME}}{count:>{_COUNT}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
