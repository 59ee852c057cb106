"""Measure SINet on the dataset's test side: the four metrics, a row a picture, the worst cases.

The same four also without the test pictures that something outside the test side was found to show too.

Nothing here is used to choose anything: training and its thresholds look at dev only.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET, GALLERY, PICTURE_FACTS, PLOTS, SINET, SPLIT
from pipeline.core.records import read_records
from pipeline.core.stage import run, write_metrics, write_text
from pipeline.dataset.facts_table import known_facts, read_facts
from pipeline.dataset.near_test import read_near_test
from sinet.core.recipe import EvaluateRecipe

log = logging.getLogger("pipeline")


def evaluate_sinet(
    records: pd.DataFrame,
    weights: Path,
    recipe: EvaluateRecipe,
    gallery: Path,
    near: Collection[str] = (),
    facts: pd.DataFrame | None = None,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Metrics and one row a picture of the records' test side; writes the gallery.

    Beside the four metrics and `count`: the same by_source and by_label where there are several of them; the same
    by_slice (`Evaluation.by_slice`), by what `facts` (`pipeline.dataset.facts_table`) say as well; the same
    `without_near_train`, of the pictures that are not `near` (`read_near_test`), the count alone where all are; and
    `unreviewed_pseudo_labels`, the number of masks trained on that no person has looked at.
    """
    # Imported here, since torch takes seconds and a wrong params.yaml should be told at once.
    from sinet import native
    from sinet.evaluation.gallery import write_gallery
    from sinet.evaluation.protocol import EvaluateError
    from sinet.evaluation.protocol import evaluate as measure
    from sinet.images.sample import Sample
    from sinet.inference.predictor import Predictor
    from sinet.network.weights import WeightsError, read_weights

    test = records[records["side"] == "test"].reset_index(drop=True)
    if test.empty:
        raise PipelineError(
            "expected records on the test side, found none; give a source with a test list, "
            "or raise split.test_share"
        )
    columns = (test["id"], test["image"], test["mask"])
    samples = [Sample(name, Path(image), Path(mask)) for name, image, mask in zip(*columns, strict=True)]
    if why := native.why_torch():
        log.warning("evaluate: %s", why)
    try:
        model, card = read_weights(weights)
        predictor = Predictor(model, card.preprocessing)
        evaluation = measure(predictor, samples, recipe)
        write_gallery(gallery, predictor, samples, evaluation, recipe.gallery)
    except (WeightsError, EvaluateError) as error:
        raise PipelineError(str(error)) from error
    metrics: dict[str, Any] = evaluation.figures()
    for column in ("source", "label"):
        if test[column].nunique() > 1:
            metrics[f"by_{column}"] = evaluation.by_kind(test[column])
    metrics["by_slice"] = evaluation.by_slice({} if facts is None else known_facts(facts, test["id"]))
    near_train = test["id"].isin(list(near)) | test["parent_id"].isin(list(near))
    apart = evaluation.select(~near_train)
    metrics["without_near_train"] = apart.figures() if apart.ids else {"count": 0}
    metrics["unreviewed_pseudo_labels"] = card.unreviewed_pseudo_labels
    table = pd.DataFrame(evaluation.rows())
    table.insert(1, "source", test["source"])
    table.insert(2, "label", test["label"])
    table.insert(3, "near_train", near_train)
    return metrics, table


def main() -> None:
    """Run the stage."""
    from sinet.evaluation.protocol import slice_table

    near = read_near_test(SPLIT / "near_test.csv")
    records, facts = read_records(DATASET), read_facts(PICTURE_FACTS)
    metrics, table = evaluate_sinet(records, SINET, load_params().evaluate, GALLERY, near, facts)
    write_text(PLOTS / "evaluate.csv", table.to_csv(index=False, float_format="%.6f"))
    write_metrics("evaluate", metrics)
    log.info(
        "foreground IoU %.4f, two-class mIoU %.4f, boundary F1 %.4f, at native size %.4f (%d pictures)",
        *(
            metrics[name]
            for name in ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native", "count")
        ),
    )
    log.info("in slices:\n%s", slice_table(metrics["by_slice"]))


if __name__ == "__main__":
    run("evaluate", main)
