"""Decide which side every picture is on: the only stage that does. Teacher, queue and merge read what it wrote.

Reads the labelled pictures, the portraits cut out of bodies, the crawl's photographs, and the clusters. Writes
data/split/labelled, which depends on the labelled pictures alone, and data/split/crawl, both as records with cluster
and side; what may not be used, or looks like pictures of two sides, leaves with its reason.
"""

import logging
import shutil
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.ingested import read_ingested
from pipeline.core.params import SplitParams, load_params
from pipeline.core.paths import CLUSTER, CROP, INGEST, SPLIT
from pipeline.core.records import (
    SIDES,
    Rejected,
    account,
    read_records,
    reject_rows,
    write_records,
    write_rejected,
)
from pipeline.core.stage import run, write_metrics
from pipeline.dataset.cluster_table import Clusters, read_beside, read_clusters
from pipeline.dataset.licences import licence_fault
from pipeline.dataset.same_pixels import one_of_each
from pipeline.dataset.sides import publishes_test, split_crawl, split_labelled

log = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Split:
    """Records with cluster and side, and what is left out."""

    records: pd.DataFrame
    rejected: list[Rejected]


def split(
    labelled: pd.DataFrame, crawl: pd.DataFrame, found: Clusters, params: SplitParams
) -> tuple[Split, Split]:
    """The labelled pictures that may be used, on their sides, and the crawl's.

    Of equal pixels among the labelled ones one record stays. Every row of both tables is kept or rejected.
    """
    missing = len(set(labelled["id"]) - found.labelled.keys()) + len(set(crawl["id"]) - found.crawl.keys())
    if missing:
        raise PipelineError(
            f"split: expected each picture in data/cluster, found {missing} that are not there; run `dvc repro cluster`"
        )
    licensed, unlicensed = reject_rows(labelled, lambda row: licence_fault(row, params.licences_excluded))
    once, repeated = one_of_each(licensed)
    once["cluster"] = once["id"].map(found.labelled).astype("str")
    placed, leaks = split_labelled(once, params.dev_share, params.test_share)
    crawled, excluded = reject_rows(crawl, lambda row: licence_fault(row, params.licences_excluded))
    crawled, alike = split_crawl(crawled, placed, found, params.dev_share, params.test_share)
    return Split(placed, [*unlicensed, *repeated, *leaks]), Split(crawled, [*excluded, *alike])


def summarise(one: Split) -> dict[str, Any]:
    """Pictures by side, and what was left out to keep the sides apart."""
    records = one.records
    test = records[records["side"] == "test"]
    return {
        "sides": {side: int((records["side"] == side).sum()) for side in SIDES},
        "published_test": publishes_test(records),
        "leaks": sum(row.reason.startswith("leak_with_") for row in one.rejected),
        "test_duplicates": int(len(test) - test["cluster"].nunique()),
    }


def main() -> None:
    params = load_params().split
    portraits, crops = read_ingested(INGEST / "labelled"), read_records(CROP / "bodies")
    labelled, crawl = pd.concat([portraits, crops], ignore_index=True), read_ingested(INGEST / "crawl")
    found = Clusters(
        read_clusters(CLUSTER / "labelled.csv"),
        read_clusters(CLUSTER / "crawl.csv"),
        read_beside(CLUSTER / "beside.csv"),
    )
    of_labelled, of_crawl = split(labelled, crawl, found, params)
    write_rejected(
        "split", [*of_labelled.rejected, *of_crawl.rejected]
    )  # before the gate, whose message sends there
    counted = {}
    for role, items, one, limit in (
        ("labelled", len(labelled), of_labelled, params.max_reject_rate),
        ("crawl", len(crawl), of_crawl, 1.0),
    ):
        kept = account(f"split@{role}", items, len(one.records), one.rejected, limit)
        counted[role] = {**kept, **summarise(one)}
    for folder in (SPLIT / "labelled", SPLIT / "crawl"):
        shutil.rmtree(folder, ignore_errors=True)  # with what a kill has left
    write_records(SPLIT / "labelled", of_labelled.records)
    write_records(SPLIT / "crawl", of_crawl.records)
    write_metrics("split", counted)


if __name__ == "__main__":
    run("split", main)
