"""Clusters of pictures that show the same photograph: equal files or pixels, one parent, or pairs that look alike."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

_NAMES = ["id", "parent_id", "sha256", "parent_sha256"]  # to go through all columns takes four times as long


def clusters(records: pd.DataFrame, pairs: Iterable[tuple[str, str]] = ()) -> "pd.Series[str]":
    """The cluster id of each record, which is the smallest record id in the cluster; indexed as `records`.

    Records share a cluster where they have the same pixels, file or parent, or where their pictures or their
    parents' pictures are one of the `pairs`; and so on from one to the next.
    """
    union = _Union()
    for names in names_of(records):
        union.join(names)
    for one, other in pairs:
        union.join([pixels(one), pixels(other)])
    roots = [union.root(pixels(one)) for one in records["id"]]
    smallest: dict[str, str] = {}
    for root, one in zip(roots, records["id"], strict=True):
        smallest[root] = min(one, smallest.get(root, one))
    return pd.Series([smallest[root] for root in roots], index=records.index, dtype="str")


def pixels(id_: str) -> str:
    """The name by which whatever has these pixels is known."""
    return f"pixels {id_}"


def names_of(records: pd.DataFrame) -> list[list[str]]:
    """What each record shares with others of the same photograph: its pixels, its file, and those of its parent."""
    return [_names(row) for row in records[_NAMES].itertuples()]


def _names(row: Any) -> list[str]:
    files = [f"file {value}" for value in (row.sha256, row.parent_sha256) if isinstance(value, str)]
    return [pixels(one) for one in (row.id, row.parent_id) if isinstance(one, str)] + files


class _Union:
    """Union-find over names, with path halving."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        parent = self.parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(self, names: Sequence[str]) -> None:
        roots = {self.root(name) for name in names}
        first = min(roots)
        for root in roots:
            self.parent[root] = first
