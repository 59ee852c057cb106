"""What bfloat16 does to a training of SINet: the recipe of params.yaml in both precisions, same seed, same pictures.

`python -m pipeline benchmark precision` reads data/dataset and params.yaml; the test side is not opened. With `--out
DIR` it leaves the loss of each epoch there as precision.csv and as curves, precision.svg. Nothing else is kept.
"""

import time
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.core.stage import write_text
from pipeline.experiments.runs import heading, judged, row, trained_aside
from pipeline.reporting.figures import precision_curves
from pipeline.train import samples_of, seen
from sinet.core.recipe import NONE

PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")


def main(out: Path | None) -> None:
    """Print a row for each precision: the four metrics on dev in percent, and how long the training took."""
    records, params = seen(read_records(DATASET)), load_params()
    dev = samples_of(records, "dev")
    if not dev or not (records["side"] == "train").any():
        raise PipelineError("expected a train and a dev side in data/dataset; run `dvc repro merge`")
    print(f"the recipe of params.yaml, seed {params.train.seed}; on {len(dev)} dev pictures, in percent")
    print(heading("precision", "seconds"), flush=True)
    curves: list[dict[str, Any]] = []
    for precision in PRECISIONS:
        recipe = params.train.model_copy(update={"precision": precision, "weights": NONE})
        start = time.monotonic()
        trained = trained_aside(records, recipe)
        seconds = round(time.monotonic() - start)
        print(row(precision, seconds, [judged(trained, dev, params.evaluate)]), flush=True)
        curves += [
            {"precision": precision, **line, "epoch": number}
            for number, line in enumerate(trained.history, 1)
        ]
    if out is not None:
        table = pd.DataFrame(curves)[["precision", "phase", "epoch", "loss", "dev_foreground_iou"]]
        text = table.to_csv(index=False, float_format="%.5g")
        write_text(out / "precision.csv", text)
        # From the file's rounded numbers, so that it can be drawn again.
        write_text(out / "precision.svg", precision_curves(pd.read_csv(out / "precision.csv")))
        print(f"{out}: precision.csv, precision.svg")
