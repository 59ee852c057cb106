"""The pictures of a dataset by side and by source, with what is plain to see of each."""

from typing import Any

import pandas as pd

from pipeline.core.records import SIDES
from pipeline.dataset.facts_table import slices_of


def groups_of(records: pd.DataFrame, facts: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The facts of each side, then of each source, by its name; `facts` has a row for each of the `records`."""
    both = records[["id", "side", "source"]].merge(facts, on="id", how="left", validate="one_to_one")
    sides = {f"side {side}": both[both["side"] == side] for side in SIDES}
    sources = {str(name): table for name, table in both.groupby("source")}
    return {name: table for name, table in (sides | sources).items() if len(table)}


def balance_rows(groups: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Name, pictures and the share in each slice, None where no picture can tell; a row a group."""
    return [
        {
            "name": name,
            "pictures": len(table),
            "shares": [None if pd.isna(share) else float(share) for share in slices_of(table).mean()],
        }
        for name, table in groups.items()
    ]
