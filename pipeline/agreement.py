"""Measure the review itself: how reviewers agree, where each of them errs, what a review costs and saves.

Reads the judgements beside the lock (reviews.path). Writes metrics/reviews.json, plots/reviews.csv with accept rate and
edit size by uncertainty decile, and plots/bias_maps.svg.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from annotations.ledger.judgements import judgements, read_judgements
from annotations.ledger.lock import LockError
from annotations.quality.reviewers import Decile, Judgement, bias_maps, deciles, summarise
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import PLOTS
from pipeline.core.stage import run, write_metrics, write_text
from pipeline.reporting.figures import bias_grids

log = logging.getLogger("pipeline")

DECILE_COLUMNS = tuple(Decile.__dataclass_fields__)


def read_judged_tasks(lock: Path) -> list[Judgement]:
    """Every judgement beside the lock, oldest first; [] beside an older lock. PipelineError where one is damaged."""
    try:
        return judgements(read_judgements(lock))
    except LockError as error:
        raise PipelineError(f"the judgements cannot be read: {error}") from error


def decile_table(found: Sequence[Judgement]) -> pd.DataFrame:
    """DECILE_COLUMNS of each decile of uncertainty, 1 the most certain; edit_size is empty where nobody fixed one."""
    return pd.DataFrame([asdict(one) for one in deciles(found)], columns=list(DECILE_COLUMNS))


def main() -> None:
    found = read_judged_tasks(Path(load_params().reviews.path))
    write_text(PLOTS / "reviews.csv", decile_table(found).to_csv(index=False, float_format="%.6f"))
    write_text(PLOTS / "bias_maps.svg", bias_grids(bias_maps(found)))
    write_metrics("reviews", summarise(found))
    log.info("agreement: %d judgements", len(found))


if __name__ == "__main__":
    run("agreement", main)
