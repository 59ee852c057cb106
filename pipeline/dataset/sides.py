"""Split records into train, dev and test so that no near-duplicate cluster crosses a side.

Labelled pictures come first and by themselves, so that the teacher, which trains before there are pseudo labels, and
the dataset agree on where each of them stands. Reviewed labels then join them, or leave; and pseudo labels come last
(`pipeline.merge`), so that they decide nothing about the others.
"""

import hashlib

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.records import SIDES, Rejected, reject_rows


def share_of(name: str) -> float:
    """A number in 0..1 that depends on the name alone, so that new pictures never move old ones."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def split(labelled: pd.DataFrame, dev_share: float, test_share: float) -> tuple[pd.DataFrame, list[Rejected]]:
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


def with_sides_of_all(
    records: pd.DataFrame, dev_share: float, test_share: float
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Give the reviewed labels, which have no side, one by what their cluster holds.

    `records` are those that `split` gave a side, which keep it, and the reviewed ones, with clusters over all of them.
    A reviewed label goes where the labelled pictures of its cluster are, but never to a published test side; alone, to
    a side drawn by a hash. What stands between pictures of two sides leaves.
    """
    placed = records[records["side"].notna()]
    near: dict[str, dict[str, str]] = {}  # the first id of each side in a cluster
    for one in placed.sort_values("id").itertuples():
        near.setdefault(str(one.cluster), {}).setdefault(str(one.side), str(one.id))
    published = publishes_test(placed)
    alone = first_ids(records[records["side"].isna()])
    cut_test = 0.0 if published else test_share
    sides: dict[str, str] = {}

    def fault(row: pd.Series) -> tuple[str, str] | None:
        if isinstance(row["side"], str):
            return None
        cluster = row["cluster"]
        first = near.get(cluster) or {_drawn(alone[cluster], dev_share, cut_test): alone[cluster]}
        side = next(name for name in ("test", "dev", "train") if name in first)
        if len(first) > 1:
            pictures = " and ".join(f"{one} ({name})" for name, one in sorted(first.items()))
            return f"leak_with_{side}", f"looks like pictures of two sides, {pictures}"
        if side == "test" and published:
            return "leak_with_test", f"the same photograph as {first[side]} of the published test side"
        sides[row["id"]] = side
        return None

    kept, rejected = reject_rows(records, fault)
    return kept.assign(side=kept["side"].fillna(kept["id"].map(sides)).astype("str")), rejected


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
        "train": "add labelled pictures, accept reviews, or lower sides.dev_share and sides.test_share",
        "dev": "raise sides.dev_share or add labelled pictures",
        "test": "raise sides.test_share or add labelled pictures, or a source with a published test list",
    }
    empty = next(side for side in SIDES if not counts[side])
    origin = "the test side is the one a source publishes" if published else "no source publishes a test side"
    raise PipelineError(f"expected pictures on all three sides, found {listed} ({origin}); {cures[empty]}")
