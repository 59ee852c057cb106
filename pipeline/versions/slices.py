"""Where a model is good: test pictures in slices, by what they show, by source and by kind of mask."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dataset.facts_table import slices_of
from pipeline.versions.paired import Interval, mean_interval

MEASURES = {"foreground_iou": "foreground IoU", "boundary_f1": "boundary F1"}
MASKS = {"human": "drawn by a person", "crop": "cut with its portrait", "reviewed": "reviewed pseudo label"}


@dataclass(frozen=True)
class Slice:
    """Pictures that have something in common; `chosen` is true for them, a value a row."""

    name: str
    chosen: "pd.Series[bool]"


@dataclass(frozen=True)
class SliceScore:
    """How good a model is on one slice: the interval of the mean of each of MEASURES."""

    name: str
    scores: dict[str, Interval]


def picture_slices(pictures: pd.DataFrame, facts: pd.DataFrame | None) -> list[Slice]:
    """All pictures, then the slices that hold some but not all of them.

    `pictures` has id, source and label; `facts` is the table of `pipeline.dataset.facts_table`, None where nobody wrote
    it down. A picture that cannot tell, or of which no facts are known, is in no slice of what pictures show.
    """
    found = [one for one in _slices(pictures, facts) if 0 < one.chosen.sum() < len(pictures)]
    return [Slice("all", pd.Series(True, index=pictures.index)), *found]


def slice_scores(pictures: pd.DataFrame, facts: pd.DataFrame | None) -> list[SliceScore]:
    """How good one version is in each slice; `pictures` has id, source, label, cluster and each of MEASURES."""
    return [
        SliceScore(one.name, {measure: interval_of(part[measure].to_numpy(), part) for measure in MEASURES})
        for one in picture_slices(pictures, facts)
        for part in [pictures[one.chosen]]
    ]


def interval_of(values: NDArray[np.float64], pictures: pd.DataFrame) -> Interval:
    """The interval of the mean of `values`, one for each of the pictures, whose clusters are drawn as one."""
    return mean_interval(values, pictures["cluster"].fillna(pictures["id"]).tolist())


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
