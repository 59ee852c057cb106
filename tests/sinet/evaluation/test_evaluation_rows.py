"""An evaluation by hand: the rows, the choice of some of them, the worst, and which stems a list means."""

from pathlib import Path

import numpy as np
import pytest

from sinet.evaluation.metrics import Counts, PixelCounts, tabulate
from sinet.evaluation.protocol import Evaluation, pair

EVALUATION = Evaluation(
    ("b", "a", "c", "d"),
    tabulate(
        [
            Counts(4, 4, 0, 8, 2, 1, 1, 0),
            Counts(4, 0, 4, 8, 2, 2, 0, 0),
            Counts(8, 0, 0, 8, 4, 0, 0, 0),
            Counts(0, 8, 0, 8, 0, 3, 1, 0),
        ]
    ),
    tabulate(
        [PixelCounts(1, 0, 3, 0), PixelCounts(2, 0, 2, 0), PixelCounts(3, 0, 1, 0), PixelCounts(4, 0, 0, 0)]
    ),
)


def test_each_column_is_its_own_figure() -> None:
    rows = EVALUATION.rows()
    assert [row["id"] for row in rows] == ["b", "a", "c", "d"]
    assert [row["foreground_iou"] for row in rows] == [0.5, 0.5, 1.0, 0.0]
    assert [row["mean_iou"] for row in rows] == pytest.approx([(1 / 2 + 2 / 3) / 2] * 2 + [1.0, 0.25])
    assert [row["boundary_f1"] for row in rows] == pytest.approx([4 / 6, 4 / 6, 1.0, 0.0])
    assert [row["foreground_iou_native"] for row in rows] == [0.25, 0.5, 0.75, 1.0]
    assert [row["band_fp"] for row in rows] == [1, 2, 0, 3]
    figures = EVALUATION.figures()
    assert figures["mean_iou"] == pytest.approx((16 / 32 + 32 / 48) / 2), (
        "pixels summed, not the mean of rows"
    )
    assert (figures["foreground_iou"], figures["foreground_iou_native"], figures["count"]) == (0.5, 0.625, 4)


def test_a_choice_keeps_each_pictures_own_counts() -> None:
    some = EVALUATION.select([False, True, False, True])
    assert some.ids == ("a", "d")
    assert [row["foreground_iou_native"] for row in some.rows()] == [0.5, 1.0]
    assert [row["foreground_iou"] for row in some.rows()] == [0.5, 0.0]


def test_of_pictures_that_are_as_bad_the_first_by_id_comes_first() -> None:
    assert [EVALUATION.ids[row] for row in EVALUATION.worst(3)] == ["d", "a", "b"]


@pytest.mark.parametrize(("entry", "found"), [("1", ["1"]), ("01", ["01"]), ("2", ["002"]), ("²", [])])
def test_a_list_means_the_whole_stem_first(tmp_path: Path, entry: str, found: list[str]) -> None:
    for name in ("1.png", "01.png", "002.png"):
        (tmp_path / name).touch()
    samples, unmatched = pair(tmp_path, tmp_path, [entry])
    assert [sample.id for sample in samples] == found
    assert len(unmatched) == (not found) and np.all([entry in line for line in unmatched])
