"""Decide which side every picture is on: the only stage that does. Teacher, queue and merge read it.

Reads the labelled pictures, the portraits cut out of bodies, the crawl's photographs, and the clusters. Writes
data/split/labelled, which depends on the labelled pictures alone, and data/split/crawl, both as records with cluster
and side; what may not be used, or looks like pictures of two sides, leaves with its reason.
"""

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

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


def split(
    labelled: pd.DataFrame,
    crawl: pd.DataFrame,
    found: Clusters,
    params: SplitParams,
) -> tuple[pd.DataFrame, pd.DataFrame, list[Rejected]]:
    """The labelled records and the crawl's that may be used, with cluster and side; and what is left out.

    Of equal pixels among the labelled ones one record stays. Every row of both tables is in one of the three results.
    """
    licensed, rejected = reject_rows(labelled, lambda row: licence_fault(row, params.licences_excluded))
    once, repeated = one_of_each(licensed)
    once["cluster"] = once["id"].map(found.labelled).astype("str")
    placed, leaks = split_labelled(once, params.dev_share, params.test_share)
    crawled, unlicensed = reject_rows(crawl, lambda row: licence_fault(row, params.licences_excluded))
    crawled, alike = split_crawl(crawled, placed, found, params.dev_share, params.test_share)
    return placed, crawled, [*rejected, *repeated, *leaks, *unlicensed, *alike]


def summarise(labelled: pd.DataFrame, crawl: pd.DataFrame, rejected: Sequence[Rejected]) -> dict[str, Any]:
    """Pictures by side, and what was left out to keep the sides apart."""
    test = labelled[labelled["side"] == "test"]
    return {
        "sides": {
            name: {side: int((table["side"] == side).sum()) for side in SIDES}
            for name, table in (("labelled", labelled), ("crawl", crawl))
        },
        "published_test": publishes_test(labelled),
        "leaks": sum(one.reason.startswith("leak_with_") for one in rejected),
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
    placed, crawled, rejected = split(labelled, crawl, found, params)
    write_rejected("split", rejected)  # before the gate, whose message sends people there
    sources = set(labelled["source"])
    of_labelled = [one for one in rejected if one.source in sources]
    account("split@labelled", len(labelled), len(placed), of_labelled, params.max_reject_rate)
    items, kept = len(labelled) + len(crawl), len(placed) + len(crawled)
    counted = account("split", items, kept, rejected, 1.0)
    write_records(SPLIT / "labelled", placed)
    write_records(SPLIT / "crawl", crawled)
    write_metrics("split", {**counted, **summarise(placed, crawled, rejected)})


if __name__ == "__main__":
    run("split", main)
