"""Which kinds of masks help: SINet trained on growing mixes of them with an equal number of image steps each.

`python -m pipeline benchmark mixes` reads data/dataset (with `merge.unreviewed: include` it holds pseudo labels
too) and params.yaml, and measures each run on the test side once. Nothing is kept.
"""

import logging
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from pipeline.errors import PipelineError
from pipeline.params import load_params
from pipeline.paths import DATASET
from pipeline.records import read_records
from pipeline.train import samples_of, train
from sinet.data import Sample
from sinet.evaluate import evaluate
from sinet.predict import Predictor
from sinet.recipe import EvaluateRecipe, Phases, TrainRecipe

log = logging.getLogger("pipeline")

KINDS = ("human", "crop", "reviewed", "pseudo")  # from the surest masks to the least sure ones
METRICS = ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native")


def main(images: int, size: int, seeds: int) -> None:
    """Print the table: a row a mix, each metric in percent as mean ± standard deviation over the seeds."""
    records, params = read_records(DATASET), load_params()
    test = samples_of(records, "test")
    if not test:
        raise PipelineError("expected a test side in data/dataset, found none; raise sides.test_share")
    print(f"{images:,} image steps at {size} pixels, {seeds} seeds; on {len(test)} test pictures, in percent")
    print(f"{'trained on':<34}{'pictures':>9}" + "".join(f"{name:>23}" for name in METRICS), flush=True)
    for name, chosen in mixes(records):
        runs, pictures = [], int((chosen["side"] == "train").sum())
        for seed in range(1, seeds + 1):
            recipe = budgeted(params.train, images, size, seed, pictures)
            runs.append(figures(chosen, recipe, test, params.evaluate))
            log.info("%s, seed %d: foreground IoU %.4f", name, seed, runs[-1]["foreground_iou"])
        print(row(name, pictures, runs), flush=True)


def mixes(records: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The mix of the first kind there is, of the first two, ...; every mix has the same dev side, of the first kind."""
    training = records[records["side"] == "train"]
    kinds = [kind for kind in KINDS if (training["label"] == kind).any()]
    if not kinds:
        raise PipelineError("expected a train side in data/dataset, found none; run `dvc repro merge`")
    dev = records[(records["side"] == "dev") & (records["label"] == kinds[0])]
    for count in range(1, len(kinds) + 1):
        chosen = training[training["label"].isin(kinds[:count])]
        yield " + ".join(kinds[:count]), pd.concat([chosen, dev], ignore_index=True)


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
    records: pd.DataFrame, recipe: TrainRecipe, test: Sequence[Sample], measure: EvaluateRecipe
) -> dict[str, float | int]:
    """The four metrics, 0..1, of one training run on `test`."""
    with tempfile.TemporaryDirectory(prefix="benchmark-mixes-") as folder:
        trained = train(records, recipe, Path(folder))
    return evaluate(Predictor(trained.model, trained.preprocessing), test, measure).figures()


def row(name: str, pictures: int, runs: Sequence[dict[str, float | int]]) -> str:
    """One line of the table."""
    cells = []
    for metric in METRICS:
        values = [100 * float(run[metric]) for run in runs]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(f"{statistics.fmean(values):.2f}{spread}")
    return f"{name:<34}{pictures:>9}" + "".join(f"{cell:>23}" for cell in cells)
