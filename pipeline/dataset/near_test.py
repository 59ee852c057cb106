"""Which test pictures something outside the test side was found to show too: the found leaks, each with what it copies.

Nothing of it trains. A test side without these pictures tells whether figures gain from a likeness that was not found.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.records import Rejected
from sinet.core import atomic

if TYPE_CHECKING:
    from pipeline.dataset.cluster_table import Clusters

_COLUMNS = ["id", "source", "source_key", "leak_id", "leak_source", "leak_key"]
_Place = tuple[str, str]  # role and cluster


def near_test(
    labelled: pd.DataFrame,
    crawl: pd.DataFrame,
    found: "Clusters",
    placed: Collection[pd.DataFrame],
    rejected: Iterable[Rejected],
) -> pd.DataFrame:
    """A row for a test picture and a picture that left and is in its cluster, or in one beside it.

    `labelled` and `crawl` are the records that went into stage split, `placed` and `rejected` what came out. What left
    for its licence would not have trained, and counts for nothing.
    """
    left = {(one.source, one.source_key) for one in rejected if one.reason != "licence"}
    test = {str(name) for one in placed for name in one[one["side"] == "test"]["id"]}
    beside: dict[_Place, set[_Place]] = {}
    for one, others in found.beside.items():
        for other in others:
            beside.setdefault(("crawl", one), set()).add(("labelled", other))
            beside.setdefault(("labelled", other), set()).add(("crawl", one))

    standing: dict[_Place, list[tuple[str, ...]]] = {}
    leaks: list[tuple[_Place, tuple[str, ...]]] = []
    for role, table, clusters in (("labelled", labelled, found.labelled), ("crawl", crawl, found.crawl)):
        names = table[["id", "source", "source_key"]].itertuples(index=False, name=None)
        for own, published in zip(names, table["published_side"].isin(["test"]), strict=True):
            place = role, clusters[own[0]]
            if own[1:] in left:
                leaks += [] if published else [(place, own)]
            elif own[0] in test:
                standing.setdefault(place, []).append(own)
    rows = [
        (*picture, *leak)
        for place, leak in leaks
        for near in ({place} | beside.get(place, set()))
        for picture in standing.get(near, [])
    ]
    return pd.DataFrame(sorted(set(rows)), columns=_COLUMNS, dtype="str")


def write_near_test(path: Path, table: pd.DataFrame) -> None:
    """Write the table as CSV, always with a header."""
    with atomic.replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def read_near_test(path: Path) -> set[str]:
    """The ids of the test pictures that something was found near; of a crawled one that of its photograph."""
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file; run `dvc repro split`")
    table = pd.read_csv(path, dtype=str, keep_default_na=False, lineterminator="\n")
    return set(table["id"])
