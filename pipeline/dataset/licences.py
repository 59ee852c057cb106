"""Which licences keep a picture out of the dataset."""

import re
from collections.abc import Sequence
from re import Pattern

import pandas as pd

_UNSTATED = frozenset({"", "unknown", "none", "null", "nan", "na", "n/a", "-", "?"})


def licence_fault(row: pd.Series, excluded: Sequence[Pattern[str]]) -> tuple[str, str] | None:
    """Why the licence of a record keeps it out, as reason and detail, or None.

    Where licences are excluded at all, a picture of a crawl (label `none`) has to state one: an unknown licence may be
    one of these. The labelled sources have no place for licences and pass, unless `^$` excludes them.
    """
    licence = row["licence"] if isinstance(row["licence"], str) else ""
    for pattern in excluded:
        if re.search(pattern.pattern, licence, pattern.flags | re.IGNORECASE):
            named = f"the licence {licence!r}" if licence else "an unknown licence"
            return "licence", f"{named} is excluded by {pattern.pattern!r} in split.licences_excluded"
    if excluded and row["label"] == "none" and licence.strip().casefold() in _UNSTATED:
        found = repr(licence) if licence else "nothing"
        detail = (
            f"states {found} as its licence, which may be one of those that split.licences_excluded excludes"
        )
        return "licence", detail
    return None
