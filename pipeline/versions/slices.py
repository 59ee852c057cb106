"""Which test pictures belong together when one asks where a model is good: all, by what they show, source and mask."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from pipeline.dataset.facts_table import slices_of

MASKS = {"human": "drawn by a person", "crop": "cut with its portrait", "reviewed": "reviewed pseudo label"}


@dataclass(frozen=True)
class Slice:
    """Pictures that have something in common; `chosen` is true for them, a value a row."""

    name: str
    chosen: "pd.Series[bool]"


def picture_slices(pictures: pd.DataFrame, facts: pd.DataFrame | None) -> list[Slice]:
    """All pictures, then the slices that hold some but not all of them.

    `pictures` has id, source and label; `facts` is the table of `pipeline.dataset.facts_table`, None where nobody wrote
    it down. A picture that cannot tell, or of which no facts are known, is in no slice of what pictures show.
    """
    found = [one for one in _slices(pictures, facts) if 0 < one.chosen.sum() < len(pictures)]
    return [Slice("all", pd.Series(True, index=pictures.index)), *found]


def _slices(pictures: pd.DataFrame, facts: pd.DataFrame | None) -> Iterator[Slice]:
    if facts is not None:
        shown = slices_of(facts).set_index(facts["id"]).reindex(pictures["id"])
        for name in shown:
            chosen = shown[name].fillna(False).astype(bool).set_axis(pictures.index)
            yield Slice(str(name).replace("_", " "), chosen)
    for source in sorted(pictures["source"].unique()):
        yield Slice(f"source {source}", pictures["source"] == source)
    for label in sorted(pictures["label"].unique()):
        yield Slice(f"mask {MASKS.get(label, label)}", pictures["label"] == label)
