"""Of several records with the same pixels one stays."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.records import Rejected, make_records
from pipeline.dataset.same_pixels import one_of_each
from tests.pipeline import dataset_inputs as inputs


def reasons(rejected: list[Rejected]) -> dict[str, str]:
    return {one.source_key: one.reason for one in rejected}


LABELS = ("human", "crop", "reviewed", "pseudo")  # the first of them stays


@pytest.mark.parametrize(("better", "worse"), [*combinations(LABELS, 2)])
def test_of_equal_pixels_the_mask_that_people_drew_stays(tmp_path: Path, better: str, worse: str) -> None:
    image, mask = inputs.portrait(1)
    rows = []
    for source, label, shown in (("b", better, mask), ("a", worse, np.roll(mask, 20, axis=0))):
        folder = tmp_path / label
        rows.append(
            make_records([inputs.record(folder, image, shown, source=source, source_key=label, label=label)])
        )
    for table in (rows, rows[::-1]):
        kept, rejected = one_of_each(pd.concat(table, ignore_index=True))
        assert (kept["label"].tolist(), reasons(rejected)) == ([better], {worse: "duplicate_pixels"})
        both, either = mask & np.roll(mask, 20, axis=0), mask | np.roll(mask, 20, axis=0)
        assert rejected[0].detail.endswith(f"IoU of the masks {both.sum() / either.sum():.4f}")


def test_of_equals_the_first_by_source_and_name_stays(tmp_path: Path) -> None:
    image, mask = inputs.portrait(1)
    rows = [
        inputs.record(tmp_path, image, mask, source=source, source_key=key, label="human")
        for source, key in (("a", "2"), ("a", "1"), ("b", "0"))
    ]
    for order in (rows, rows[::-1]):
        kept, _ = one_of_each(pd.concat([make_records([row]) for row in order], ignore_index=True))
        assert kept[["source", "source_key"]].values.tolist() == [["a", "1"]]
