"""Which side a picture is on: train, dev or test. Look-alikes (one cluster) never stand on two sides.

A side once given is kept (`pipeline.dataset.kept_sides`): old pictures stay, new ones go where their look-alikes are,
and leave where these are on two sides. The labelled pictures come first, and see of the crawl only the photographs
whose side is kept, so that a growing crawl moves none of them. The crawl's photographs then join them, or leave,
whether or not a person has looked at them: a review moves nothing either.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from annotations.quality.random_slice import share_of
from pipeline.core.errors import PipelineError
from pipeline.core.records import SIDES, Rejected, reject_rows
from pipeline.dataset.cluster_table import Clusters
from pipeline.dataset.kept_sides import NOTHING_KEPT, Kept, is_published_test, photographs_of

_PUBLISHED = "published"  # where a picture of a published test side stands, and no other may
_FIRST = (_PUBLISHED, *reversed(SIDES))  # who stays where two meet
_Near = Mapping[str, str]  # where look-alikes stand, each with the smallest id there
_NOBODY: _Near = {}


def split_labelled(
    labelled: pd.DataFrame,
    dev_share: float,
    test_share: float,
    kept: Kept = NOTHING_KEPT,
    crawl_beside: Mapping[str, _Near] | None = None,
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Give every labelled record, which has a cluster, a side; a side may stay empty (`check_sides`).

    A published test side stays test, and what shares a cluster with it leaves (`leak_with_test`). Else a kept side
    stays, and a cluster's new records take it, or that of the crawl's photographs beside it (`kept_beside`). Without
    one, where no source publishes a test side, `test_share` of the clusters become test; dev is cut from the rest, by
    a hash of the cluster. New records between two sides leave (`leak_with_SIDE`). Old ones of two sides leave only
    where they are alike without the new ones too, but for the first of test, dev and train (`kept_sides_meet`).
    """
    published, held = publishes_test(labelled), kept.of(labelled)
    old, new = labelled.assign(side=held)[held.notna()], labelled[held.isna()]
    standing = _standing(old)
    meet = _between_two(old, standing)
    again = _alone(kept, old[meet])
    parted = _standing(again)
    stay, met = reject_rows(again, lambda row: _fault_of_old(row, parted[row["cluster"]], _NOBODY))

    near = _joined([standing, crawl_beside or {}])
    placed, leaks = _place_new(new, near, published, dev_share, test_share)
    return pd.concat([old[~meet], stay, placed]).sort_values("id", ignore_index=True), [*met, *leaks]


def split_crawl(
    crawl: pd.DataFrame,
    labelled: pd.DataFrame,
    found: Clusters,
    dev_share: float,
    test_share: float,
    kept: Kept = NOTHING_KEPT,
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Give the crawl's photographs a side and a cluster by what their look-alikes are.

    `labelled` is what `split_labelled` gave a side, which stays as it is. A cluster of the crawl goes where the
    labelled pictures are that it looks like, and becomes one with them, and where its old photographs are; without
    any, to a side drawn by a hash; never to a published test side. What stands between two sides leaves, an old
    photograph only where it does so without the new ones too.
    """
    published, held = publishes_test(labelled), kept.of(crawl)
    crawl = crawl.assign(cluster=crawl["id"].map(found.crawl).astype("str"))
    old, new = crawl.assign(side=held)[held.notna()], crawl[held.isna()]
    as_found = labelled["id"].map(found.labelled).astype("str")
    of_labelled = _standing(labelled.assign(cluster=as_found))
    beside = _joined({one: of_labelled.get(other, _NOBODY)} for one, other in _links(found))
    near = _joined([beside, _standing(old)])

    meet = _between_two(old, near)
    others = {other for one, other in _links(found) if one in set(old.loc[meet, "cluster"])}
    again = _alone(kept, pd.concat([old[meet], labelled[as_found.isin(others)]], ignore_index=True))
    again, looked_like = again[: meet.sum()], _standing(again[meet.sum() :])
    parted = _standing(again)
    stay, met = reject_rows(
        again,
        lambda row: _fault_of_old(row, parted[row["cluster"]], looked_like.get(row["cluster"], _NOBODY)),
    )

    placed, leaks = _place_new(new, near, published, dev_share, test_share)
    clusters = dict(zip(labelled["id"], labelled["cluster"], strict=True))
    records = pd.concat(
        [
            _one_with(pd.concat([old[~meet], placed]), beside, clusters),
            _one_with(stay, looked_like, clusters),
        ]
    )
    return records.sort_values("id", ignore_index=True), [*met, *leaks]


def with_labelled(crawl: pd.DataFrame, labelled: pd.DataFrame) -> tuple[pd.DataFrame, list[Rejected]]:
    """The crawl's photographs that are labelled ones too: on the side of these, or gone with them.

    As in `split_crawl`, `labelled` is what has a side, and none goes to a published test side.
    """
    published = publishes_test(labelled)
    rows = zip(photographs_of(labelled), labelled["id"], labelled["side"], labelled["cluster"], strict=True)
    same = {photograph: (one, side, cluster) for photograph, one, side, cluster in rows}

    def fault(row: pd.Series) -> tuple[str, str] | None:
        if row["id"] not in same:
            return "labelled_left", "a labelled picture of the same photograph has left"
        one, side, _ = same[row["id"]]
        return _leak_with_test(one) if published and side == "test" else None

    kept, rejected = reject_rows(crawl, fault)
    sides, clusters = (kept["id"].map({one: told[at] for one, told in same.items()}) for at in (1, 2))
    return kept.assign(side=sides.astype("str"), cluster=clusters.astype("str")), rejected


def kept_beside(crawl: pd.DataFrame, found: Clusters, kept: Kept) -> dict[str, dict[str, str]]:
    """By labelled cluster the kept sides of the crawl's photographs that it looks like, each with an id."""
    held = kept.of(crawl)
    of_crawl = _standing(
        crawl.assign(cluster=crawl["id"].map(found.crawl).astype("str"), side=held)[held.notna()]
    )
    return _joined({other: of_crawl.get(one, _NOBODY)} for one, other in _links(found))


def _links(found: Clusters) -> list[tuple[str, str]]:
    """Clusters of the crawl and labelled ones that are alike."""
    return [(one, other) for one, others in found.beside.items() for other in others]


def _standing(records: pd.DataFrame) -> dict[str, dict[str, str]]:
    """By cluster where its records stand: by side, or _PUBLISHED, the smallest id that is there."""
    standing = records["side"].mask(is_published_test(records), _PUBLISHED)
    rows = zip(records["cluster"], standing, records["id"], strict=True)
    return _joined({cluster: {side: one}} for cluster, side, one in rows)


def _joined(tables: Iterable[Mapping[str, _Near]]) -> dict[str, dict[str, str]]:
    """What stands in any of the tables, by cluster and place the smallest id."""
    together: dict[str, dict[str, str]] = {}
    for table in tables:
        for cluster, near in table.items():
            known = together.setdefault(cluster, {})
            for side, one in near.items():
                known[side] = min(one, known.get(side, one))
    return together


def _between_two(old: pd.DataFrame, near: Mapping[str, _Near]) -> "pd.Series[bool]":
    """Which records are in a cluster of which not all stand on one side."""
    return old["cluster"].isin([cluster for cluster, places in near.items() if len(places) > 1])


def _alone(kept: Kept, records: pd.DataFrame) -> pd.DataFrame:
    """The records in the clusters that they make with no other record between them."""
    return records if records.empty else records.assign(cluster=kept.alone(records).astype("str"))


def _fault_of_old(row: pd.Series, own: _Near, beside: _Near) -> tuple[str, str] | None:
    """Why a record with a kept side leaves: who stays in its `own` cluster, or `beside` it, stands elsewhere."""
    place = _PUBLISHED if str(row["published_side"]) == "test" else row["side"]  # which may be missing
    if beside.keys() == {place} or (not beside and _first(own) == place):
        return None
    others = beside or own
    if _PUBLISHED in others:
        return _leak_with_test(others[_PUBLISHED])
    other = _first({side: one for side, one in others.items() if side != place})
    return "kept_sides_meet", f"kept on {place}, and found alike {others[other]}, which is kept on {other}"


def _place_new(
    new: pd.DataFrame, near: Mapping[str, _Near], published: bool, dev_share: float, test_share: float
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Records without a kept side, on the side of what is `near` them, or on a drawn one."""
    cut_test = 0.0 if published else test_share
    placed, leaks = reject_rows(new, lambda row: _fault_of_new(near.get(row["cluster"], _NOBODY), published))
    sides = [
        next(iter(near.get(cluster, _NOBODY)), None) or _drawn(cluster, dev_share, cut_test)
        for cluster in placed["cluster"]
    ]
    return placed.assign(side=pd.Series(sides, index=placed.index, dtype="str")), leaks


def _fault_of_new(near: _Near, published: bool) -> tuple[str, str] | None:
    """Why a record without a kept side leaves: it looks like a published test side, or like two sides."""
    closed = near.get(_PUBLISHED) or (near.get("test") if published else None)
    if closed is not None:
        return _leak_with_test(closed)
    if len(near) > 1:
        pictures = " and ".join(f"{one} ({side})" for side, one in sorted(near.items()))
        return f"leak_with_{_first(near)}", f"looks like pictures of two sides, {pictures}"
    return None


def _leak_with_test(picture: str) -> tuple[str, str]:
    return "leak_with_test", f"the same photograph as {picture} of the test side"


def _first(near: _Near) -> str:
    return next(side for side in _FIRST if side in near)


def _one_with(
    records: pd.DataFrame, beside: Mapping[str, _Near], clusters: Mapping[str, str]
) -> pd.DataFrame:
    """The records in the labelled cluster that stands `beside` their own, where there is one."""
    near = [next(iter(beside.get(cluster, _NOBODY).values()), None) for cluster in records["cluster"]]
    found = [
        one if other is None else clusters[other] for one, other in zip(records["cluster"], near, strict=True)
    ]
    return records.assign(cluster=pd.Series(found, index=records.index, dtype="str"))


def publishes_test(records: pd.DataFrame) -> bool:
    """Whether a source of these records comes with a test side of its own."""
    return bool(is_published_test(records).any())


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
