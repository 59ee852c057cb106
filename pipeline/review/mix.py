"""Which tasks of the queue are asked twice or without a mask, and which gold tasks come between them.

Everything is decided by a hash of the id, so that the same pictures are chosen when others come or go.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from annotations.ledger.lock import review_key
from annotations.quality.random_slice import hashed_share
from pipeline.core.params import QueueParams

LATER = 50  # places in the queue between the two tasks of one mask: seldom are both served to one reviewer in a row
GOLD_LABELS = ("human", "crop")  # whose masks people drew
_NEAR = 10  # places in the queue to each side, whose flags and doubts a gold task is like


def mix(queue: pd.DataFrame, dataset: pd.DataFrame, params: QueueParams) -> pd.DataFrame:
    """The queue's rows with their `purpose` and further tasks between them; rank and score are told anew.

    `purpose`: review, scratch (the queued mask is not shown), second (a row more, LATER places on) or gold (a row more,
    of a labelled picture of the dev side of `dataset`, spread over the queue). A row of `dataset` that is also queued
    as a pseudo label makes no gold task.
    """
    ids = queue["id"].astype("str")
    from_scratch = (
        ids.map(lambda one: hashed_share(one, "scratch")).astype("float64") < params.from_scratch_share
    )
    twice = ids.map(lambda one: hashed_share(one, "second")).astype("float64") < params.double_share
    first = queue.assign(
        purpose=from_scratch.map({True: "scratch", False: "review"}).astype("str"),
        place=pd.Series(range(len(queue)), index=queue.index, dtype="float64"),
    )
    second = first[twice & ~from_scratch].assign(purpose="second", place=lambda rows: rows["place"] + LATER)
    gold = _gold(first, dataset, round(params.gold_share * len(queue)))
    mixed = pd.concat([first, *[rows for rows in (second, gold) if len(rows)]], ignore_index=True)
    mixed = mixed.sort_values(["place", "purpose", "id"], kind="stable", ignore_index=True)
    mixed["rank"] = range(1, len(mixed) + 1)
    mixed["score"] = [round(place / max(1, len(mixed)), 6) for place in mixed["rank"]]
    return mixed.drop(columns="place")


def origin(row: Any) -> tuple[str, str]:
    """parent_sha256 and crop_box of a record; a picture that was not cut from another is its own, whole parent."""
    if isinstance(row.parent_sha256, str) and isinstance(row.crop_box, str):
        return row.parent_sha256, row.crop_box
    return str(row.sha256), f"0,0,{row.width},{row.height}"


def _gold(queue: pd.DataFrame, dataset: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows for gold tasks, one in each of as many equal parts of the queue, where a hash puts it.

    Their doubt lies between their neighbours', their flags are a neighbour's: nothing that one sees sets them apart.
    """
    known = dataset[(dataset["side"] == "dev") & dataset["label"].isin(GOLD_LABELS)]
    keys = {str(row.id): review_key(*origin(row)) for row in known.itertuples()}
    queued = set(queue["key"])
    chosen = sorted(
        (one for one in keys if keys[one] not in queued), key=lambda one: (hashed_share(one, "gold"), one)
    )
    chosen = chosen[:count]
    part = len(queue) / max(1, len(chosen))
    places = [
        min(len(queue) - 1, int((n + hashed_share(one, "place")) * part)) for n, one in enumerate(chosen)
    ]
    rows = queue.iloc[places].reset_index(drop=True)
    return rows.assign(
        id=pd.Series(chosen, dtype="str"),
        key=pd.Series([keys[one] for one in chosen], dtype="str"),
        reason="gold",
        uncertainty=_doubts(queue, places, chosen),
        flags=[_flags(queue, place, one) for place, one in zip(places, chosen, strict=True)],
        purpose="gold",
        place=[place + hashed_share(one, "before") - 0.5 for place, one in zip(places, chosen, strict=True)],
    )


def _doubts(queue: pd.DataFrame, places: Sequence[int], ids: Sequence[str]) -> list[float]:
    """A doubt for each gold task, between those of the task at its place and of the nearest that has another one."""
    ordered = queue["uncertainty"].to_numpy()
    found = []
    for place, one in zip(places, ids, strict=True):
        here = float(ordered[place])
        others = [float(value) for value in ordered[place : place + _NEAR] if value != here]
        others += [float(value) for value in ordered[max(0, place - _NEAR) : place][::-1] if value != here]
        share = 0.1 + 0.8 * hashed_share(one, "doubt")
        found.append(here + (others[0] - here) * share if others else here)
    return found


def _flags(queue: pd.DataFrame, place: int, one: str) -> str:
    """The flags of a queued task nearby; a gold task always shows a person."""
    near = queue["flags"].iloc[max(0, place - _NEAR) : place + _NEAR]
    near = near[~near.str.contains("no_person")]
    return str(near.iloc[int(hashed_share(one, "flags") * len(near))]) if len(near) else ""
