"""Where a picture comes from: what its source says of all pictures, where a picture's own row says nothing."""

import pandas as pd

from pipeline.core.licences import states_licence
from pipeline.core.params import Source


def with_terms_of(source: Source, records: pd.DataFrame) -> pd.DataFrame:
    """The records with the source's licence, author, url and retrieved_at where a record states none of its own.

    A licence that says nothing (`unknown`, `-`) is none: of two equal pictures the one that states a licence stays.
    """
    states = records["licence"].map(states_licence).astype(bool)
    records = records.assign(licence=records["licence"].where(states).astype("str"))
    for name in ("licence", "author", "url", "retrieved_at"):
        value = getattr(source, name)
        if value is not None:
            records[name] = records[name].fillna(value)
    return records
