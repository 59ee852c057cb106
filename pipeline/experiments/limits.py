"""What limits a trained SINet: what it has learned against what it has not seen, and where its wrong pixels lie.

`python -m pipeline benchmark limits` reads data/dataset and params.yaml. It is there to find what to do next, so it
looks at the sides train and dev; the test side is not opened.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.core.stage import write_text
from pipeline.experiments.runs import heading, row
from pipeline.train import samples_of, seen
from sinet.core.recipe import EvaluateRecipe
from sinet.evaluation.metrics import foreground_iou_each
from sinet.evaluation.protocol import Predicts, evaluate, read_pair
from sinet.images.sample import Sample
from sinet.inference.predictor import Predictor, enlarge
from sinet.network.loss import outline_band
from sinet.network.preprocess import squash_mask
from sinet.network.weights import WeightsError

NEAR, FARTHEST = 3, 40  # pixels from the outline
WORST = 0.1  # share of the pictures


def main(weights: Path, out: Path | None) -> None:
    """Print a row for each kind of mask on train and dev, then of dev how near the outline and how shared the mistakes
    are; with `out` also a CSV of the distances: pixels, share.
    """
    records, measure = seen(read_records(DATASET)), load_params().evaluate
    if not (records["side"] == "dev").any():
        raise PipelineError("expected a dev side in data/dataset, found none; run `dvc repro merge`")
    try:
        predictor = Predictor.load(weights)
    except WeightsError as error:
        raise PipelineError(str(error)) from error
    print(heading("in percent", "pictures"))
    label_of = dict(zip(records["id"], records["label"], strict=True))
    found = {
        side: evaluate(predictor, samples_of(records, side), measure) for side in sorted(set(records["side"]))
    }
    for side, evaluation in found.items():
        labels = pd.Series([label_of[one] for one in evaluation.ids])
        for label in sorted(set(labels)):
            part = evaluation.select(labels == label)
            print(row(f"{side}, {label}", len(part.ids), [part.figures()]))
    each = foreground_iou_each(found["dev"].table)
    wrong = np.array([mistakes(predictor, sample, measure) for sample in samples_of(records, "dev")])
    shares = wrong.sum(axis=0) / max(1, wrong[:, -1].sum())
    print(f"median picture of dev: {100 * np.median(each):.1f} % foreground IoU")
    in_worst = 100 * worst_share(each, wrong[:, -1])
    near, in_band = (100 * shares[pixels - 1] for pixels in (NEAR, measure.boundary_kernel // 2))
    print(
        f"wrong pixels of dev: {in_worst:.0f} % in the worst {100 * WORST:.0f} % of the pictures; {near:.0f} % within "
        f"{NEAR} pixels of the true outline, {in_band:.0f} % in the band of boundary F1"
    )
    if out is not None:
        table = pd.DataFrame({"pixels": range(1, FARTHEST + 1), "share": shares[:-1]})
        write_text(out, table.to_csv(index=False, float_format="%.4f"))
        print(f"{out}: share of the wrong pixels that lie no further from the outline than so many pixels")


def mistakes(predictor: Predicts, sample: Sample, measure: EvaluateRecipe) -> NDArray[np.int64]:
    """How many wrong pixels lie within 1, 2, ... FARTHEST pixels of the true outline (in squares, as the band of
    boundary F1), and as the last number how many there are; at the protocol's size.
    """
    image, mask = read_pair(sample)
    true = squash_mask(mask, measure.size)
    found = enlarge(predictor.square_probability(image), measure.size, measure.size) > 0.5
    wrong = found != (true > 0)
    target = torch.from_numpy(true.astype(np.int64))[None]
    near = [outline_band(target, 2 * pixels + 1)[0].numpy() for pixels in range(1, FARTHEST + 1)]
    return np.array([*((wrong & one).sum() for one in near), wrong.sum()])


def worst_share(each: NDArray[np.float64], wrong: Sequence[int] | NDArray[np.int64]) -> float:
    """Share of the wrong pixels, a number a picture, in the worst tenth of the pictures by `each`, their IoU."""
    worst = np.argsort(each, kind="stable")[: max(1, round(WORST * len(each)))]
    return float(np.asarray(wrong)[worst].sum() / max(1, np.sum(wrong)))
