"""Where a picture comes from: what its source says of all pictures, where a picture's own row says nothing."""

import pandas as pd

from pipeline.core.licences import states_licence
from pipeline.core.params import Source


def with_terms_of(source: Source, records: pd.DataFrame) -> pd.DataFrame:
    """The records with the source's licence, author, url and retrieved_at where a record states none of its own."""
    filled = {}
    for name in ("licence", "author", "url", "retrieved_at"):
        value, column = getattr(source, name), records[name]
        if value is not None:
            states = column.map(states_licence).astype(bool) if name == "licence" else column.notna()
            filled[name] = column.where(states, value)
    return records.assign(**filled)
