"""Which tasks of the queue are asked twice or without a mask, and which gold tasks come between them.

Everything is decided by a hash of the id, so that the same pictures are chosen when others come or go.
"""

from typing import Any

import pandas as pd

from annotations.lock import review_key
from annotations.random_slice import draw
from pipeline.params import QueueParams

LATER = 50  # places in the queue between the two tasks of one mask: seldom are both served to one reviewer in a row
GOLD_LABELS = ("human", "crop")  # whose masks people drew


def mix(queue: pd.DataFrame, dataset: pd.DataFrame, params: QueueParams) -> pd.DataFrame:
    """The queue's rows with their `purpose` and further tasks between them; rank and score are told anew.

    `purpose`: review, scratch (the queued mask is not shown), second (a row more, LATER places on) or gold (a row more,
    of a labelled picture of the dev side of `dataset`, evenly spread). A row of `dataset` that is also queued as a
    pseudo label makes no gold task.
    """
    ids = queue["id"].astype("str")
    from_scratch = ids.map(lambda one: draw(one, "scratch")).astype("float64") < params.from_scratch_share
    twice = ids.map(lambda one: draw(one, "second")).astype("float64") < params.double_share
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
    """At most `count` rows for gold tasks. Their doubt and score are those of the queued task they stand beside."""
    known = dataset[(dataset["side"] == "dev") & dataset["label"].isin(GOLD_LABELS)]
    keys = {str(row.id): review_key(*origin(row)) for row in known.itertuples()}
    queued = set(queue["key"])
    chosen = sorted(
        (one for one in keys if keys[one] not in queued), key=lambda one: (draw(one, "gold"), one)
    )
    chosen = chosen[:count]
    beside = [int((number + 0.5) * len(queue) / len(chosen)) for number in range(len(chosen))]
    rows = queue.iloc[beside].reset_index(drop=True)
    return rows.assign(
        id=pd.Series(chosen, dtype="str"),
        key=pd.Series([keys[one] for one in chosen], dtype="str"),
        reason="gold",
        flags="",
        purpose="gold",
    )
