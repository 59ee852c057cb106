"""ATTRIBUTION.md of a dataset: of every picture whose it is, by which licence, from where, and what was done to it."""

import re
from collections.abc import Hashable, Iterator, Mapping

import pandas as pd

from pipeline.core.licences import licence_name

_OPEN = ("author", "url", "retrieved_at")
_HEAD = """# Attribution

Written by stage merge. A licence is its SPDX id where it is understood, else the text of the source; `unknown` is
one that no source states. The id is the name of the picture's files in `images/` and `masks/`.
"""


def attribution(records: pd.DataFrame) -> str:
    """The text of ATTRIBUTION.md: a table a licence, a row a picture by source and name; the same for equal records."""
    named = _with_names(records)
    parts = [_HEAD, licence_summary(records)]
    for licence, group in named.sort_values(["source", "source_key", "id"]).groupby("named"):
        rows = [f"| {' | '.join(map(_cell, row))} |" for row in _rows(group)]
        table = [
            "| picture | id | author | from | retrieved | done to it |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
        parts.append(f"## {_cell(licence)}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


def licence_summary(records: pd.DataFrame) -> str:
    """A Markdown table: how many pictures each source gives by each licence, and how many of no stated author."""
    rows = [
        f"| {_cell(licence)} | {_cell(source)} | {len(group)} | {int(group['author'].isna().sum())} |"
        for (licence, source), group in _with_names(records).groupby(["named", "source"])
    ]
    head = ["| licence | source | pictures | of no stated author |", "|---|---|---:|---:|"]
    return "\n".join([*head, *rows]) + "\n"


def _with_names(records: pd.DataFrame) -> pd.DataFrame:
    return records.assign(named=records["licence"].map(licence_name).astype("str"))


def _rows(group: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    for row in group.to_dict("records"):
        author, url, retrieved = (row[name] if isinstance(row[name], str) else "" for name in _OPEN)
        yield f"{row['source']} {row['source_key']}", row["id"], author, url, retrieved, _steps_of(row)


def _steps_of(row: Mapping[Hashable, object]) -> str:
    """What was done to a picture and its mask since the source gave it, in words."""
    steps = []
    if isinstance(row["crop_box"], str):
        steps.append(f"cut out of {row['parent_id']} at {row['crop_box']}")
    if row["label"] in ("pseudo", "reviewed"):
        steps.append(
            f"mask of teacher {str(row['teacher'])[:16]}" if isinstance(row["teacher"], str) else "mask drawn"
        )
    if isinstance(row["review"], str):
        steps.append(f"reviewed: {row['review']}")
    return ", ".join(steps) or "as its source gives it"


def _cell(text: object) -> str:
    """Text as a cell of a Markdown table: on one line, and nothing in it means anything to Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
