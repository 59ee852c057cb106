"""Which side a picture is on: train, dev or test. Look-alikes (one cluster) never stand on two sides.

The labelled pictures come first and by themselves, so that a growing crawl moves none of them. The crawl's photographs
then join them, or leave, whether or not a person has looked at them: a review moves nothing either.
"""

import pandas as pd

from annotations.quality.random_slice import share_of
from pipeline.core.errors import PipelineError
from pipeline.core.records import SIDES, Rejected, reject_rows
from pipeline.dataset.cluster_table import Clusters


def split_labelled(
    labelled: pd.DataFrame, dev_share: float, test_share: float
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Give every labelled record, which has a cluster, a side; a side may stay empty (`check_sides`).

    A published test side stays test, and what shares a cluster with it leaves (`leak_with_test`). Where no
    source publishes one, `test_share` of the clusters become test. dev is cut from the rest, by a hash of the
    cluster.
    """
    test = labelled[labelled["published_side"] == "test"]
    stays, pinned = set(test["id"]), first_ids(test)
    cut_test = 0.0 if publishes_test(labelled) else test_share
    sides = {
        cluster: "test" if cluster in pinned else _drawn(cluster, dev_share, cut_test)
        for cluster in labelled["cluster"].unique()
    }
    labelled = labelled.assign(side=labelled["cluster"].map(sides).astype("str"))

    def fault(row: pd.Series) -> tuple[str, str] | None:
        if row["cluster"] in pinned and row["id"] not in stays:
            return (
                "leak_with_test",
                f"the same photograph as {pinned[row['cluster']]} of the published test side",
            )
        return None

    return reject_rows(labelled, fault)


def split_crawl(
    crawl: pd.DataFrame, labelled: pd.DataFrame, found: Clusters, dev_share: float, test_share: float
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Give the crawl's photographs a side and a cluster by what their look-alikes are.

    `labelled` is what `split_labelled` gave a side, which stays as it is. A cluster of the crawl goes where the
    labelled pictures are that it looks like, and becomes one with them, but never to a published test side; without
    any, to a side drawn by a hash. What stands between two sides leaves.
    """
    first, side_of = first_ids(labelled), dict(zip(labelled["cluster"], labelled["side"], strict=True))
    published = publishes_test(labelled)
    cut_test = 0.0 if published else test_share
    placed: dict[str, tuple[str, str]] = {}

    def fault(row: pd.Series) -> tuple[str, str] | None:
        cluster = found.crawl[row["id"]]
        near: dict[str, str] = {}  # by side the first labelled cluster
        for one in found.beside.get(cluster, []):
            if one in side_of:  # else all of it has left
                near.setdefault(side_of[one], one)
        near = near or {_drawn(cluster, dev_share, cut_test): cluster}
        side = next(name for name in ("test", "dev", "train") if name in near)
        if len(near) > 1:
            pictures = " and ".join(f"{first[one]} ({name})" for name, one in sorted(near.items()))
            return f"leak_with_{side}", f"looks like pictures of two sides, {pictures}"
        if side == "test" and published:
            return "leak_with_test", f"the same photograph as {first[near[side]]} of the published test side"
        placed[row["id"]] = (side, near[side])
        return None

    kept, rejected = reject_rows(crawl, fault)
    sides, clusters = (kept["id"].map({one: told[at] for one, told in placed.items()}) for at in (0, 1))
    return kept.assign(side=sides.astype("str"), cluster=clusters.astype("str")), rejected


def first_ids(records: pd.DataFrame) -> dict[str, str]:
    """The smallest record id of each cluster."""
    return {str(cluster): str(group.min()) for cluster, group in records.groupby("cluster")["id"]}


def publishes_test(records: pd.DataFrame) -> bool:
    """Whether a source of these records comes with a test side of its own."""
    return bool((records["published_side"] == "test").any())


def _drawn(cluster: str, dev_share: float, test_share: float) -> str:
    if share_of(f"test {cluster}") < test_share:
        return "test"
    return "dev" if share_of(cluster) < dev_share else "train"


def check_sides(records: pd.DataFrame) -> None:
    """Raise PipelineError where a side is empty."""
    published = publishes_test(records)
    counts = {side: int((records["side"] == side).sum()) for side in SIDES}
    if all(counts.values()):
        return
    listed = ", ".join(f"{side} {count}" for side, count in counts.items())
    cures = {
        "train": "add labelled pictures, accept reviews, or lower split.dev_share and split.test_share",
        "dev": "raise split.dev_share or add labelled pictures",
        "test": "raise split.test_share or add labelled pictures, or a source with a published test list",
    }
    empty = next(side for side in SIDES if not counts[side])
    origin = "the test side is the one a source publishes" if published else "no source publishes a test side"
    raise PipelineError(f"expected pictures on all three sides, found {listed} ({origin}); {cures[empty]}")
