"""Split records into train, dev and test so that no near-duplicate cluster crosses a side.

What goes in are records with a cluster; what comes out are the records that stay, with their side, and those
that had to leave because their cluster belongs to a side that they must not stand on.
"""

import hashlib

import pandas as pd

from pipeline.errors import PipelineError
from pipeline.records import SIDES, Rejected, reject_rows


def share_of(name: str) -> float:
    """A number in 0..1 that depends on the name alone, so that new pictures never move old ones."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def split(records: pd.DataFrame, dev_share: float, test_share: float) -> tuple[pd.DataFrame, list[Rejected]]:
    """Give every record a side; raises PipelineError where a side stays empty.

    A published test side stays test, and what shares a cluster with it leaves (`leak_with_test`). Where no
    source publishes one, `test_share` of the clusters become test. dev is cut from the rest, by a hash of the
    cluster. Unreviewed pseudo labels stand on the train side only, so they leave where their cluster is on
    dev or test.
    """
    published = publishes_test(records)
    test = records[records["published_side"] == "test"]
    stays, pinned = set(test["id"]), _first_id(test)
    judged = _first_id(records[records["label"] != "pseudo"])
    cut_test = 0.0 if published else test_share
    sides = {
        cluster: _side(cluster, cluster in pinned, cluster in judged, dev_share, cut_test)
        for cluster in records["cluster"].unique()
    }
    records = records.assign(side=records["cluster"].map(sides).astype("str"))

    def fault(row: pd.Series) -> tuple[str, str] | None:
        cluster, side = row["cluster"], row["side"]
        if cluster in pinned and row["id"] not in stays:
            return "leak_with_test", f"the same photograph as {pinned[cluster]} of the published test side"
        if row["label"] == "pseudo" and side != "train":
            first = f"{judged[cluster]} of its cluster is on the {side} side"
            return f"leak_with_{side}", f"an unreviewed mask may only train, but {first}"
        return None

    kept, rejected = reject_rows(records, fault)
    _no_empty_side(kept, published)
    return kept, rejected


def _first_id(records: pd.DataFrame) -> dict[str, str]:
    """The smallest record id of each cluster."""
    return {str(cluster): str(group.min()) for cluster, group in records.groupby("cluster")["id"]}


def publishes_test(records: pd.DataFrame) -> bool:
    """Whether a source of these records comes with a test side of its own."""
    return bool((records["published_side"] == "test").any())


def _side(cluster: str, pinned: bool, judged: bool, dev_share: float, test_share: float) -> str:
    if pinned:
        return "test"
    if not judged:
        return "train"
    if share_of(f"test {cluster}") < test_share:
        return "test"
    return "dev" if share_of(cluster) < dev_share else "train"


def _no_empty_side(records: pd.DataFrame, published: bool) -> None:
    counts = {side: int((records["side"] == side).sum()) for side in SIDES}
    if all(counts.values()):
        return
    listed = ", ".join(f"{side} {count}" for side, count in counts.items())
    cures = {
        "train": "add labelled pictures, accept reviews, or lower merge.dev_share and merge.test_share",
        "dev": "raise merge.dev_share or add labelled pictures",
        "test": "raise merge.test_share or add labelled pictures, or a source with a published test list",
    }
    empty = next(side for side in SIDES if not counts[side])
    origin = "the test side is the one a source publishes" if published else "no source publishes a test side"
    raise PipelineError(
        f"merge: expected pictures on all three sides, found {listed} ({origin}); {cures[empty]}"
    )
