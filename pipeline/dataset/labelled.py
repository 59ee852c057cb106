"""Labelled pictures and their sides, as each stage that learns from them sees them: the teacher and the dataset."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from re import Pattern

import pandas as pd

from pipeline.core.params import SidesParams
from pipeline.core.records import Rejected, reject_rows
from pipeline.dataset.near_duplicates import Hashes, clusters
from pipeline.dataset.sides import split
from sinet.images.decode import read_mask

_CRAWLED = frozenset({"pseudo", "reviewed"})  # labels of crawled pictures, which have a licence each
_UNSTATED = frozenset({"", "unknown", "none", "null", "nan", "na", "n/a", "-", "?"})

# Which record of several with the same pixels stays, after those of a published test side.
_PREFERENCE = {"human": 0, "crop": 1, "reviewed": 2, "pseudo": 3}


def with_sides(
    labelled: pd.DataFrame,
    hashes: Mapping[str, Hashes],
    params: SidesParams,
    licences_excluded: Sequence[Pattern[str]],
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The labelled records that may be used, each picture once, with cluster and side; and what is left out.

    `hashes` are perceptual hashes by id of their pictures and of the pictures they were cut from; other pictures may
    be among them. The result depends on the labelled records alone, so that a growing crawl moves none of them.
    """
    licensed, unlicensed = reject_rows(labelled, lambda row: licence_fault(row, licences_excluded))
    once, repeated = one_of_each(licensed)
    once["cluster"] = clusters(once, of_these(once, hashes), params.max_hash_distance)
    records, leaks = split(once, params.dev_share, params.test_share)
    return records, [*unlicensed, *repeated, *leaks]


def of_these(records: pd.DataFrame, hashes: Mapping[str, Hashes]) -> dict[str, Hashes]:
    """The hashes of the records' pictures and of the pictures they were cut from."""
    wanted = {*records["id"], *records["parent_id"].dropna()}
    return {one: value for one, value in hashes.items() if one in wanted}


def one_of_each(records: pd.DataFrame) -> tuple[pd.DataFrame, list[Rejected]]:
    """One record for each id: a published test side first, then human, crop, reviewed and pseudo labels."""
    preference = records["label"].map(_PREFERENCE).astype("int64")
    rank = preference.mask(records["published_side"].isin(["test"]).astype(bool), -1)
    order = records.assign(rank=rank).sort_values(["rank", "source", "source_key"], kind="stable")
    first = order.drop_duplicates("id").set_index("id")
    kept = order.drop_duplicates("id").drop(columns="rank").sort_values("id", ignore_index=True)
    rejected = []
    for row in order[order.duplicated("id")].itertuples():
        stays = first.loc[str(row.id)]
        same = _mask_iou(str(stays["mask"]), str(row.mask))
        kept_as = f"{stays['source']} {stays['source_key']} ({row.id})"
        detail = f"the same pixels as {kept_as}, IoU of the masks {same:.4f}"
        rejected.append(Rejected(str(row.source), str(row.source_key), "duplicate_pixels", detail))
    return kept, rejected


def pictures_to_hash(records: Sequence[pd.DataFrame], parents: Sequence[pd.DataFrame]) -> dict[str, str]:
    """Path by id of the records' pictures, and of those `parents` that they were cut from.

    Two crops of one scene may differ where their boxes do; the pictures that they come from still look alike.
    """
    cut_from = {parent for table in records for parent in table["parent_id"].dropna()}
    rows = [row for table in parents for row in table.itertuples() if row.id in cut_from]
    rows += [row for table in records for row in table.itertuples()]
    return {str(row.id): str(row.image) for row in rows}


def licence_fault(row: pd.Series, excluded: Sequence[Pattern[str]]) -> tuple[str, str] | None:
    """Why the licence of a record keeps it out, as reason and detail, or None.

    Where licences are excluded at all, a crawled picture has to state one: an unknown licence may be one of these. The
    labelled sources have no place for licences and pass, unless `^$` excludes them.
    """
    licence = row["licence"] if isinstance(row["licence"], str) else ""
    for pattern in excluded:
        if re.search(pattern.pattern, licence, pattern.flags | re.IGNORECASE):
            named = f"the licence {licence!r}" if licence else "an unknown licence"
            return "licence", f"{named} is excluded by {pattern.pattern!r} in merge.licences_excluded"
    if excluded and row["label"] in _CRAWLED and licence.strip().casefold() in _UNSTATED:
        found = repr(licence) if licence else "nothing"
        detail = (
            f"states {found} as its licence, which may be one of those that merge.licences_excluded excludes"
        )
        return "licence", detail
    return None


def _mask_iou(one: str, other: str) -> float:
    first, second = read_mask(Path(one)), read_mask(Path(other))
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0
