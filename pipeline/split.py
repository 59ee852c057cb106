"""Decide which side every picture is on: the only stage that does. Teacher, queue and merge read what it wrote.

Reads the labelled pictures, the portraits cut out of bodies, the crawl's photographs, the clusters, and the sides that
were given before (annotations/sides). Writes data/split/labelled, which no new photograph of the crawl changes, and
data/split/crawl, both as records with cluster and side; what may not be used, or looks like pictures of two sides,
leaves with its reason, and data/split/near_test.csv names what each found leak copies of the test side. Completes
annotations/sides, which is in git: a picture never moves to another side.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.ingested import read_ingested
from pipeline.core.params import ClusterParams, SplitParams, load_params
from pipeline.core.paths import CLUSTER, CROP, INGEST, KEPT_SIDES, SPLIT
from pipeline.core.records import (
    SIDES,
    Rejected,
    account,
    read_records,
    write_records,
    write_rejected,
)
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Store
from pipeline.dataset.cluster_table import Clusters, read_beside, read_clusters
from pipeline.dataset.clusters import clusters
from pipeline.dataset.kept_sides import (
    NOTHING_KEPT,
    Kept,
    moved,
    photographs_of,
    read_sides,
    sides_of,
    write_sides,
)
from pipeline.dataset.licences import licence_table, of_allowed_licences
from pipeline.dataset.near_test import near_test, write_near_test
from pipeline.dataset.same_pixels import one_of_each
from pipeline.dataset.sides import kept_beside, publishes_test, split_crawl, split_labelled, with_labelled
from pipeline.look_alikes.finder import look_alikes, prints_of

log = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Split:
    """Records with cluster and side, what is left out, the sides of their photographs, to be kept, and licences."""

    records: pd.DataFrame
    rejected: list[Rejected]
    sides: dict[str, str] = field(default_factory=dict)
    licences: dict[str, dict[str, int]] = field(default_factory=dict)  # `licence_table`


def split(
    labelled: pd.DataFrame,
    crawl: pd.DataFrame,
    found: Clusters,
    params: SplitParams,
    allow: str | Sequence[str] = "any",
    kept: Kept = NOTHING_KEPT,
) -> tuple[Split, Split]:
    """The labelled pictures that may be used (`licences.allow`), on their sides, and the crawl's.

    Of equal pixels among the labelled ones one record stays. Every row of both tables is kept or rejected. A photograph
    of the crawl that is a labelled one too goes with that.
    """
    missing = len(set(labelled["id"]) - found.labelled.keys()) + len(set(crawl["id"]) - found.crawl.keys())
    if missing:
        raise PipelineError(
            f"split: expected each picture in data/cluster, found {missing} that are not there; run `dvc repro cluster`"
        )
    licensed, unlicensed = of_allowed_licences(labelled, allow)
    once, repeated = one_of_each(licensed)
    once["cluster"] = once["id"].map(found.labelled).astype("str")
    usable, excluded = of_allowed_licences(crawl, allow)
    shares = params.dev_share, params.test_share
    labelled_too = usable["id"].isin(photographs_of(once))
    alone = usable[~labelled_too]
    placed, leaks = split_labelled(once, *shares, kept, kept_beside(alone, found, kept))
    same, gone = with_labelled(usable[labelled_too], placed)
    own, between = split_crawl(alone, placed, found, *shares, kept)
    crawled = pd.concat([same, own]).sort_values("id", ignore_index=True)
    return (
        Split(
            placed,
            [*unlicensed, *repeated, *leaks],
            sides_of(placed),
            licence_table(labelled, licensed, placed),
        ),
        Split(crawled, [*excluded, *gone, *between], sides_of(own), licence_table(crawl, usable, crawled)),
    )


def summarise(one: Split, sides: Mapping[str, str]) -> dict[str, Any]:
    """Pictures by side, those on another one than the kept `sides`, and what was left out to keep the sides apart."""
    records = one.records
    test = records[records["side"] == "test"]
    return {
        "sides": {side: int((records["side"] == side).sum()) for side in SIDES},
        "published_test": publishes_test(records),
        "leaks": sum(row.reason.startswith("leak_with_") for row in one.rejected),
        "test_duplicates": int(len(test) - test["cluster"].nunique()),
        "moved": moved(sides, records),
        "licences": one.licences,
    }


def clusters_alone(
    bodies: pd.DataFrame, crops: pd.DataFrame, params: ClusterParams
) -> Callable[[pd.DataFrame], "pd.Series[str]"]:
    """A way to cluster some records again with no other between them, as stage cluster does: `Kept.alone`.

    `bodies` are the parents of labelled crops, `crops` the portraits of the crawl's photographs.
    """

    def alone(records: pd.DataFrame) -> "pd.Series[str]":
        rows = pd.concat([records, crops[crops["parent_id"].isin(records["id"])]], ignore_index=True)
        shown = pd.concat([bodies[bodies["id"].isin(rows["parent_id"])], rows])
        pictures = dict(zip(shown["id"], shown["image"], strict=True))
        pairs = look_alikes(prints_of(pictures, Store("look_alikes"), "alone"), params, "alone")
        found = clusters(rows, pairs)[: len(records)].set_axis(records.index)
        return records["id"].groupby(found).transform("min")

    return alone


def main() -> None:
    loaded = load_params()
    params, allow = loaded.split, loaded.licences.allow
    portraits, crops = read_ingested(INGEST / "labelled"), read_records(CROP / "bodies")
    labelled, crawl = pd.concat([portraits, crops], ignore_index=True), read_ingested(INGEST / "crawl")
    found = Clusters(
        read_clusters(CLUSTER / "labelled.csv"),
        read_clusters(CLUSTER / "crawl.csv"),
        read_beside(CLUSTER / "beside.csv"),
    )
    alone = clusters_alone(read_ingested(INGEST / "bodies"), read_records(CROP / "crawl"), loaded.cluster)
    kept = Kept(read_sides(KEPT_SIDES), alone)
    of_labelled, of_crawl = split(labelled, crawl, found, params, allow, kept)
    sides = {**of_labelled.sides, **of_crawl.sides, **kept.sides}
    rejected = [*of_labelled.rejected, *of_crawl.rejected]
    write_rejected("split", rejected)  # before the gate, whose message sends there
    for role, one in (("labelled", of_labelled), ("crawl", of_crawl)):
        for licence, counts in one.licences.items():
            log.info(
                "split@%s: licence %s: %d in, %d left out for it, %d out", role, licence, *counts.values()
            )
    counted = {}
    for role, items, one, limit in (
        ("labelled", len(labelled), of_labelled, params.max_reject_rate),
        ("crawl", len(crawl), of_crawl, 1.0),
    ):
        counts = account(f"split@{role}", items, len(one.records), one.rejected, limit)
        counted[role] = {**counts, **summarise(one, sides)}
    for folder in (SPLIT / "labelled", SPLIT / "crawl"):
        shutil.rmtree(folder, ignore_errors=True)  # with what a kill has left
    write_records(SPLIT / "labelled", of_labelled.records)
    write_records(SPLIT / "crawl", of_crawl.records)
    near = near_test(labelled, crawl, found, [of_labelled.records, of_crawl.records], rejected)
    write_near_test(SPLIT / "near_test.csv", near)
    write_sides(KEPT_SIDES, sides)
    write_metrics("split", counted)


if __name__ == "__main__":
    run("split", main)
