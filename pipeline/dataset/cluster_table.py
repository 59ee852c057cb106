"""The tables of stage cluster: which pictures show the same photograph."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.core.errors import PipelineError
from sinet.core import atomic


@dataclass(frozen=True)
class Clusters:
    """Clusters by id, of the labelled pictures and of the crawl's, each for themselves; and which are alike.

    `beside` names for a cluster of the crawl the labelled ones that a picture of it looks like.
    """

    labelled: dict[str, str]
    crawl: dict[str, str]
    beside: dict[str, list[str]]


def write_clusters(path: Path, found: dict[str, str]) -> None:
    """Write id, cluster as CSV, sorted by id."""
    _write(path, "id,cluster", found.items())


def write_beside(path: Path, beside: dict[str, list[str]]) -> None:
    """Write crawl, labelled as CSV: a row for two clusters that are alike."""
    _write(path, "crawl,labelled", ((one, other) for one, others in beside.items() for other in others))


def read_clusters(path: Path) -> dict[str, str]:
    """The cluster of each picture by id."""
    table = _read(path)
    return dict(zip(table["id"], table["cluster"], strict=True))


def read_beside(path: Path) -> dict[str, list[str]]:
    """The labelled clusters beside each cluster of the crawl that has some."""
    return {str(one): sorted(group) for one, group in _read(path).groupby("crawl")["labelled"]}


def _write(path: Path, header: str, rows: Iterable[tuple[str, str]]) -> None:
    lines = [header, *(f"{one},{other}" for one, other in sorted(rows))]
    atomic.write_atomic(path, "".join(f"{line}\n" for line in lines).encode())


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file; run `dvc repro` to make it")
    return pd.read_csv(path, dtype=str)
