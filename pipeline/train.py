"""Train SINet on the dataset's train side and keep the weights that are best on its dev side.

Reads data/dataset. Writes models/sinet.safetensors, metrics/train.json and plots/train.csv. A killed run goes on from
its last epoch; a finished one leaves no checkpoint, so running the stage again trains again.
`torchrun --nproc-per-node 2 -m pipeline.train` trains with two processes, of which the first writes all this.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import CACHE, DATASET, PLOTS, SINET, of_project
from pipeline.core.records import dataset_hash, read_records
from pipeline.core.stage import run, run_beside, write_metrics, write_text
from sinet.core import ranks

if TYPE_CHECKING:
    from sinet.core.recipe import TrainRecipe
    from sinet.images.sample import Sample
    from sinet.network.model import SINet
    from sinet.network.weights import WeightsCard
    from sinet.training.loop import Trained
    from sinet.training.start import Start

log = logging.getLogger("pipeline")


def train_sinet(
    records: pd.DataFrame,
    recipe: TrainRecipe,
    checkpoints: Path | None = None,
    architecture: type[SINet] | None = None,
    start: Start | None = None,
) -> Trained:
    """Train on the records of sides train and dev; no file of another side is opened.

    `checkpoints` is the run's own folder, `checkpoint_folder` where none is named; `architecture` is SINet or a
    variant of it; `start` are the first weights, random where there are none.
    """
    from sinet.core.device import DeviceError, choose_device, use_all_cores
    from sinet.images.decode import ImageError
    from sinet.network.model import SINet
    from sinet.training import loop
    from sinet.training.epoch import TrainingError

    use_all_cores()
    try:
        device = choose_device()
    except DeviceError as error:
        raise PipelineError(str(error)) from error
    samples, dev = samples_of(records, "train"), samples_of(records, "dev")
    text = "%d pictures to train on, %d to judge by, on %s by %d process(es)"
    log.info(text, len(samples), len(dev), device, ranks.size())
    folder = checkpoints or checkpoint_folder(records, recipe, start)
    try:
        return loop.train(samples, dev, recipe, folder, device, architecture or SINet, start)
    except TrainingError as error:
        raise PipelineError(str(error)) from error
    except ImageError as error:
        raise PipelineError(
            f"{DATASET} holds a picture that cannot be read ({error}); run `dvc repro`"
        ) from error


def samples_of(records: pd.DataFrame, side: str) -> list[Sample]:
    """The records of one side as samples, sorted by id; PipelineError where one has no mask."""
    from sinet.images.sample import Sample

    chosen = records[records["side"] == side].sort_values("id")
    without = chosen[chosen["mask"].isna()]["id"].tolist()
    if without:
        raise PipelineError(
            f"expected a mask for each record of side {side}, found none for {' '.join(without)}"
        )
    columns = (chosen[name].tolist() for name in ("id", "image", "mask"))
    return [Sample(id, Path(image), Path(mask)) for id, image, mask in zip(*columns, strict=True)]


def seen(records: pd.DataFrame) -> pd.DataFrame:
    """The records of sides train and dev: all that training opens, and what its dataset hash is made of."""
    return records[records["side"].isin(["train", "dev"])]


def checkpoint_folder(records: pd.DataFrame, recipe: TrainRecipe, start: Start | None = None) -> Path:
    """Where this recipe on this dataset, with these first weights, keeps its state, and no other run.

    Of a temporary experiment in the project that it is of, so that another one goes on from it.
    """
    from sinet.training.checkpoint import run_hash

    values = {**recipe.model_dump(mode="json"), "first weights": start.digest if start else None}
    return of_project(CACHE) / "train" / run_hash(values, dataset_hash(seen(records)))


def unreviewed(records: pd.DataFrame, start: Start | None = None) -> int:
    """How many masks at most are trained on that no person has looked at; those behind the first weights count anew."""
    before = 0 if start is None else start.card.unreviewed_pseudo_labels
    return before + int(((records["side"] == "train") & (records["label"] == "pseudo")).sum())


def card_of(records: pd.DataFrame, trained: Trained, start: Start | None) -> WeightsCard:
    """What goes into the weights file; of a start that no epoch made better, what its own card says."""
    from sinet.network.weights import WeightsCard

    metrics = {"dev_foreground_iou": round(trained.dev_foreground_iou, 6)}
    if start is not None and trained.best_epoch == 0:
        return replace(start.card, preprocessing=trained.preprocessing, metrics=metrics)
    return WeightsCard(
        classes=trained.model.classes,
        preprocessing=trained.preprocessing,
        dataset=dataset_hash(seen(records)),
        metrics=metrics,
        unreviewed_pseudo_labels=unreviewed(records, start),
        started_from=start.card.dataset if start else None,
        width=trained.model.width,
    )


def summarise(records: pd.DataFrame, trained: Trained, start: Start | None = None) -> dict[str, Any]:
    """What becomes metrics/train.json."""
    before = trained.start_dev_foreground_iou
    return {
        "best_epoch": trained.best_epoch,
        "dev_foreground_iou": trained.dev_foreground_iou,
        "dev_loss": trained.dev_loss,
        "epochs": len(trained.history),
        "images": {side: int((records["side"] == side).sum()) for side in ("train", "dev")},
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        **({} if before is None else {"start_dev_foreground_iou": before}),
        "unreviewed_pseudo_labels": unreviewed(records, start),
    }


def _write_curves(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """One row an epoch, numbered through both phases; dev columns are empty where dev was not evaluated."""
    table = pd.DataFrame([{**row, "epoch": number} for number, row in enumerate(history, 1)])
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def main() -> None:
    # Read when torch is loaded: a thread without work waits awake for about 0.1 ms and then sleeps. Awake
    # without a limit, a busy machine crawls; asleep at once, an idle one takes 1.7 times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    from sinet.network.weights import WeightsError, save_weights
    from sinet.training.checkpoint import remove_state
    from sinet.training.start import StartError, read_start

    recipe = load_params().train
    try:
        start = read_start(recipe)
    except (StartError, WeightsError) as error:
        raise PipelineError(f"train.weights: {error}") from error
    records = read_records(DATASET)
    trained = train_sinet(records, recipe, start=start)
    if ranks.own_rank() > 0:
        return
    save_weights(SINET, trained.model, card_of(records, trained, start))
    write_metrics("train", summarise(records, trained, start))
    _write_curves(PLOTS / "train.csv", trained.history)
    remove_state(checkpoint_folder(records, recipe, start))


if __name__ == "__main__":
    if ranks.own_rank() == 0:
        run("train", main)
    else:
        run_beside("train", main)
