"""Which licences keep a picture out of the dataset, and how many pictures of each remain."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pipeline.core.licences import allowed, licence_name, spdx_id, states_licence
from pipeline.core.records import Rejected, reject_rows


def of_allowed_licences(
    records: pd.DataFrame, allow: str | Sequence[str]
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The records whose licence `allow` (`any`, or ids, families and `unknown`) holds; the others leave.

    What states no licence, or one that is not understood, is unknown, and passes only where `unknown` is allowed: the
    labelled pictures too.
    """
    return reject_rows(records, lambda row: licence_fault(row["licence"], allow))


def licence_fault(licence: object, allow: str | Sequence[str]) -> tuple[str, str] | None:
    """Why a stated licence keeps a picture out, as reason and detail, or None."""
    if allowed(licence, allow):
        return None
    if not states_licence(licence):
        found = "states no licence"
    elif spdx_id(licence) is None:
        found = f"its licence {licence!r} is not understood, and so unknown"
    else:
        found = f"its licence is {licence_name(licence)}"
    return "licence", f"{found}; licences.allow has {', '.join(allow)}"


def licence_table(
    records: pd.DataFrame, allowed_ones: pd.DataFrame, placed: pd.DataFrame
) -> dict[str, dict[str, int]]:
    """By licence how many of the `records` there are, how many left for it, and how many are `placed` in the end.

    A licence is its SPDX id where it is understood, else the text as stated, or `unknown`.
    """
    counts = [
        Counter(licence_name(licence) for licence in table["licence"])
        for table in (records, allowed_ones, placed)
    ]
    return {
        name: {"in": counts[0][name], "left_out": counts[0][name] - counts[1][name], "out": counts[2][name]}
        for name in sorted(counts[0])
    }
