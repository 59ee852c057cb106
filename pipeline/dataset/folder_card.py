"""README.md and schema.json of a dataset's folder: what is in it, of which licences, and how to read it elsewhere."""

from typing import Any

import pandas as pd

from pipeline.core.records import LABELS, SCHEMA, SCHEMA_VERSION, SIDES
from pipeline.dataset.attribution import licence_summary

_NUMBERS = {"int64": "integer", "float64": "number"}  # types by pandas' names; all else is text
_TEXT = """# Portraits with masks

Written by stage merge of the recipe that made this folder. It stands alone: every path in its tables is from here.

| here | what it is |
|---|---|
| `records.csv`, `records.parquet` | one table twice: a row a picture, by id |
| `schema.json` | its columns and the schema's version, {version} |
| `images/`, `masks/` | pictures, and 8-bit PNG masks of their sizes: 0 background, 255 person |
| `ATTRIBUTION.md` | of each picture whose it is, by which licence, from where, and what was done to it |

Version of the data: `{digest}`.

## Read it

```python
from pathlib import Path

import pandas as pd
from PIL import Image

folder = Path("dataset")  # where this file lies
numbers = {{"width": int, "height": int, "face_probability": float, "uncertainty": float}}
records = pd.read_csv(folder / "records.csv", dtype=str).astype(numbers)  # with pyarrow: pd.read_parquet
for row in records[records["side"] == "train"].itertuples():
    picture = Image.open(folder / row.image).convert("RGB")
    mask = Image.open(folder / row.mask)
    assert picture.size == mask.size == (row.width, row.height)
```

## What it holds

{sides}

Train on `train`, choose by `dev`, and measure on `test` once. No photograph is on two sides.

{licences}
A licence is its SPDX id where it is understood, else the text of the source; `unknown`: the source states none. Whether
the pictures may be used is for you to settle; `ATTRIBUTION.md` names each.

## Columns

| column | type | what it is |
|---|---|---|
{columns}
"""


def folder_card(records: pd.DataFrame, digest: str) -> str:
    """The text of README.md: the same for equal records; `digest` is the data's version, 64 hex digits."""
    return _TEXT.format(
        version=SCHEMA_VERSION,
        digest=digest,
        sides=_sides(records),
        licences=licence_summary(records),
        columns="\n".join(f"| {' | '.join(one.values())} |" for one in _columns()),
    )


def table_schema() -> dict[str, Any]:
    """The content of schema.json: the version, and type and meaning of each column, in their order in the table."""
    return {
        "schema_version": SCHEMA_VERSION,
        "columns": _columns(),
    }


def _columns() -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "type": _NUMBERS.get(str(column.dtype), "text"),
            "description": column.description,
        }
        for name, column in SCHEMA.columns.items()
    ]


def _sides(records: pd.DataFrame) -> str:
    counts = pd.crosstab(records["side"], records["label"]).reindex(index=SIDES, fill_value=0)
    labels = [label for label in LABELS if label in counts]
    rows = [
        f"| {side} | {' | '.join(str(counts.at[side, label]) for label in labels)} | {counts.loc[side].sum()} |"
        for side in SIDES
    ]
    return "\n".join([f"| side | {' | '.join(labels)} | all |", f"|---|{'---:|' * (len(labels) + 1)}", *rows])
