"""Which judgements a figure is made of: one small review in which every figure has another value, worked by hand."""

from itertools import count
from typing import Any

import numpy as np
import pytest

from annotations.masks.overlap import AGREE_IOU, mask_iou
from annotations.quality.reviewers import (
    NOT_MEASURED,
    Judgement,
    bias_maps,
    by_reviewer,
    caught,
    deciles,
    double,
    edit_size,
    minutes_saved,
    summarise,
    with_others,
)
from sinet.images.decode import Array

NUMBERS = count()


def rows(number: int) -> Array:
    """A mask of so many of 100 rows: areas and overlaps can be told by heart."""
    mask = np.zeros((100, 10), np.uint8)
    mask[:number] = 1
    return mask


def judged(said: str, mask: int | None = None, **changes: Any) -> Judgement:
    values: dict[str, Any] = {
        "unit": f"unit {next(NUMBERS)}",
        "purpose": "review",
        "first_look": True,
        "reviewer": "ann",
        "seconds": 10.0,
        "uncertainty": 0.5,
        "proposed": rows(50),
        "truth": None,
    }
    return Judgement(said=said, mask=None if mask is None else rows(mask), **{**values, **changes})


def gold(said: str, mask: int, **changes: Any) -> Judgement:
    return judged(said, mask, purpose="gold", truth=rows(50), seconds=99.0, **changes)


REVIEW = [
    judged("accept", 50, seconds=10.0),
    judged("fix", 40, seconds=20.0),
    judged("reject", seconds=30.0, purpose="second"),
    judged("unsure", seconds=500.0),
    judged("unclear", seconds=None),
    judged("unclear", seconds=None),
    # None of these is a look at a mask as the queue brings it.
    judged("fix", 10, purpose="student", seconds=1.0),
    judged("fix", 50, purpose="scratch", seconds=85.0, proposed=rows(0)),
    judged("fix", 50, purpose="scratch", seconds=900.0, proposed=rows(0), first_look=False),
    gold("accept", 60),
    judged("fix", 10, first_look=False, seconds=1.0),
]


def test_each_figure_is_made_of_its_own_judgements():
    figures = summarise(REVIEW)
    assert (figures["judgements"], figures["reviewers"], figures["second_looks"]) == (11, 1, 2)
    assert figures["accept_rate"] == 1 / 6
    assert figures["edit_size"] == pytest.approx(1 - 40 / 50)
    assert figures["unclear_rate"] == 2 / 6 and figures["unsure_rate"] == 1 / 6
    assert figures["seconds"] == 25  # the median of 10, 20, 30 and 500: a lunch break is no judgement
    assert figures["minutes"] == 25 * 6 / 60
    assert figures["seconds_from_scratch"] == 85
    assert figures["minutes_saved"] == minutes_saved(REVIEW) == (85 - 25) * 6 / 60


def test_a_reviewers_habits_are_those_at_the_queue():
    habits = by_reviewer(REVIEW)["ann"]
    assert habits["judgements"] == 11
    assert {name: habits[name] for name in ("accept_rate", "seconds")} == {
        "accept_rate": 1 / 6,
        "seconds": 25,
    }


@pytest.mark.parametrize(
    ("said", "mask", "noticed"), [("accept", 60, 0), ("fix", 50, 1), ("reject", None, 1)]
)
def test_a_damaged_mask_is_noticed_by_whoever_does_not_accept_it(said: str, mask: int | None, noticed: int):
    assert caught([judged(said, mask, purpose="gold", truth=rows(50))]) == {"caught": noticed}


def test_gold_of_a_second_round_measures_nobody():
    again = [gold("accept", 60), gold("fix", 50, first_look=False)]
    assert caught(again) == {"caught": 0}
    assert summarise(again)["gold"] == summarise(again[:1])["gold"]
    assert caught([again[1]]) == {"caught": NOT_MEASURED}


def two(one: tuple[str, int | None], other: tuple[str, int | None]) -> dict[str, Any]:
    """The figures of two reviewers of one mask."""
    return double([judged(*said, unit="one", reviewer=name) for name, said in (("ann", one), ("bob", other))])


@pytest.mark.parametrize(
    ("one", "other", "conflicts"),
    [
        (("reject", None), ("reject", None), 0),
        (("reject", None), ("accept", 50), 1),
        (("unclear", None), ("unclear", None), 1),
        (("unsure", None), ("accept", 50), NOT_MEASURED),
        (("unsure", None), ("unsure", None), NOT_MEASURED),
        (("fix", 100), ("fix", 95), 0),
        (("fix", 100), ("fix", 94), 1),
    ],
)
def test_two_are_in_conflict_where_the_lock_would_not_decide(
    one: tuple[str, int | None], other: tuple[str, int | None], conflicts: object
):
    assert two(one, other)["conflicts"] == two(other, one)["conflicts"] == conflicts
    assert mask_iou(rows(100), rows(95)) == AGREE_IOU


def test_a_copy_for_a_second_reviewer_is_a_look_at_the_same_mask():
    pair = [judged("accept", 50, unit="one"), judged("fix", 40, unit="one", reviewer="bob", purpose="second")]
    assert (double(pair)["crops"], double(pair)["mask_iou"]) == (1, 0.8)


def test_of_two_words_on_both_copies_the_last_one_counts():
    words = [judged("reject", unit="one"), judged("accept", 50, unit="one", purpose="second")]
    other = judged("accept", 50, unit="one", reviewer="bob")
    assert double([*words, other])["conflicts"] == 0
    assert double([*words[::-1], other])["conflicts"] == 1


def test_who_takes_too_much_is_told_by_the_sign():
    pair = [judged("fix", 60, unit="one"), judged("fix", 40, unit="one", reviewer="bob")]
    found = with_others(pair)
    assert {name: len(pairs) for name, pairs in found.items()} == {"ann": 1, "bob": 1}, (
        "nobody beside themselves"
    )
    areas = {name: habits["others"]["signed_area"] for name, habits in by_reviewer(pair).items()}
    assert areas == {"ann": (60 - 40) / 40, "bob": (40 - 60) / 60}
    assert by_reviewer([gold("fix", 60)])["ann"]["gold"]["signed_area"] == (60 - 50) / 50


def test_a_map_is_made_of_gold_tasks_where_there_are_any():
    pair = [judged("fix", 50, unit="one"), judged("fix", 100, unit="one", reviewer="bob")]
    maps = bias_maps([*pair, gold("fix", 50)])
    assert not maps["ann"].any() and maps["bob"][-1].min() == 1, "too much in the lower half"


def test_deciles_are_of_the_queue_and_begin_with_no_doubt_at_all():
    queue = [judged("accept", 50, uncertainty=number / 20) for number in range(20)]
    beside = [
        gold("fix", 50, uncertainty=0.3),
        judged("fix", 40, uncertainty=None),
        judged("fix", 40, first_look=False),
    ]
    found = deciles([*queue[::-1], *beside])
    assert [row.judgements for row in found] == [2] * 10
    assert [row.lowest for row in found] == [number / 10 for number in range(10)]
    assert found[-1].highest == 0.95


@pytest.mark.parametrize(
    ("said", "mask", "proposed", "size"),
    [
        ("fix", 40, rows(50), 0.2),
        ("fix", 50, rows(0), 1.0),
        ("accept", 50, rows(50), None),
        ("fix", 40, None, None),
        ("reject", None, rows(50), None),
    ],
)
def test_the_size_of_an_edit(said: str, mask: int | None, proposed: Array | None, size: float | None):
    found = edit_size(judged(said, mask, proposed=proposed))
    assert found == (None if size is None else pytest.approx(size))


def test_what_clicks_cost_stands_beside_what_strokes_cost():
    answers = [
        judged("fix", 60, seconds=4.0, clicks=True),
        judged("fix", 60, seconds=6.0, clicks=True),
        judged("fix", 60, seconds=20.0),
        judged("accept", 50, seconds=1.0),
    ]
    assert summarise(answers)["fixes"] == {
        "clicks": {"masks": 2, "seconds": 5.0},
        "strokes": {"masks": 1, "seconds": 20.0},
    }
    assert summarise([])["fixes"]["clicks"] == {"masks": 0, "seconds": NOT_MEASURED}
