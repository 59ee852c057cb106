"""Second, gold and unmasked tasks: the stated shares, always the same pictures, each task where it belongs."""

import numpy as np
import pandas as pd
import pytest

from annotations.ledger.lock import review_key
from pipeline.core.params import QueueParams
from pipeline.core.records import make_records
from pipeline.queue import rank, summarise
from pipeline.review.mix import LATER, mix
from tests.pipeline.test_queue import NO_DATASET, identity, only, parent, pseudo, scattered


def labelled(count: int, **changes: object) -> pd.DataFrame:
    """Dev records of a dataset, their masks drawn by people."""
    rows = []
    for number in range(10_000, 10_000 + count):
        paths = {"image": f"{number}.png", "mask": f"{number}-mask.png", "sha256": parent(number)}
        size = {"width": 60, "height": 80, "label": "human", "side": "dev"}
        rows.append(
            {
                "id": identity(number),
                "source": "eg1800",
                "source_key": f"{number}",
                **paths,
                **size,
                **changes,
            }
        )
    return make_records(rows)


def mixed(records: pd.DataFrame, params: QueueParams, dataset: pd.DataFrame = NO_DATASET) -> pd.DataFrame:
    return mix(rank(records, set(), params), dataset, params)


def test_without_shares_the_queue_stays_as_it_is():
    records, params = pseudo(scattered(40)), only(30, 0.2)
    queue = mixed(records, params, labelled(9))
    pd.testing.assert_frame_equal(queue.drop(columns="purpose"), rank(records, set(), params))
    assert set(queue["purpose"]) == {"review"}
    assert mixed(records.iloc[:0], only(9, 0.5, gold_share=1.0), labelled(3)).empty


def test_the_shares_are_those_of_the_params():
    records = pseudo(scattered(1000))
    params = only(1000, 0.1, double_share=0.2, gold_share=0.05, from_scratch_share=0.1)
    queue = mixed(records, params, labelled(80))
    counts = summarise(records, set(), queue)
    assert counts["gold"] == 50 and counts["queued"] == 1000 and counts["left_out"] == 0
    assert counts["from_scratch"] == pytest.approx(100, abs=30)
    assert counts["second"] == pytest.approx(1000 * 0.2 * 0.9, abs=40)
    assert counts["tasks"] == len(queue) == 1000 + 50 + counts["second"]
    assert list(queue["rank"]) == list(range(1, len(queue) + 1)) and queue["score"].is_monotonic_increasing


@pytest.mark.parametrize("purpose", ["scratch", "second"])
def test_tasks_of_every_purpose_come_from_the_whole_queue(purpose: str):
    """Drawn apart from the random slice: else what they measure is the slice's alone."""
    queue = mixed(pseudo(scattered(1000)), only(1000, 0.3, double_share=0.3, from_scratch_share=0.3))
    share = (queue[queue["purpose"] == purpose]["reason"] == "random").mean()
    assert share == pytest.approx(0.3, abs=0.1)


def test_a_second_task_comes_later_and_none_is_drawn_twice():
    queue = mixed(pseudo(scattered(300)), only(300, 0.1, double_share=0.3, from_scratch_share=0.3))
    first = queue[queue["purpose"] != "second"].set_index("id")
    second = queue[queue["purpose"] == "second"].set_index("id")
    assert first.index.is_unique and second.index.is_unique
    assert set(first.loc[second.index, "purpose"]) == {"review"}
    apart = second["rank"] - first.loc[second.index, "rank"]
    assert (apart > 0).all() and (apart[first.loc[second.index, "rank"] < 200] > LATER).all()


def test_gold_tasks_are_known_dev_pictures_spread_over_the_queue():
    params = only(200, 0.1, gold_share=0.05)
    known = labelled(40)
    others = [labelled(40, side="train"), labelled(40, side="test"), labelled(40, label="reviewed")]
    gold = mixed(pseudo(scattered(200)), params, known).query("purpose == 'gold'")
    assert len(gold) == 10 and set(gold["id"]) <= set(known["id"]) and set(gold["reason"]) == {"gold"}
    assert set(gold["key"]) == {
        review_key(known.set_index("id").loc[one, "sha256"], "0,0,60,80") for one in gold["id"]
    }
    beside = gold["rank"].sort_values().to_numpy() - 1 - np.arange(10)  # reviews before each of them
    assert ((20 * np.arange(10) - 1 <= beside) & (beside <= 20 * np.arange(10) + 20)).all(), (
        "one in each tenth"
    )
    assert gold["uncertainty"].between(0, 1).all()
    for dataset in others:
        assert not (mixed(pseudo(scattered(200)), params, dataset)["purpose"] == "gold").any()


def test_a_crop_is_found_by_its_parent():
    dataset = labelled(1, label="crop", parent_sha256="ab" * 32, crop_box="3,4,63,84")
    gold = mixed(pseudo(scattered(20)), only(20, 0, gold_share=0.1), dataset).query("purpose == 'gold'")
    assert list(gold["key"]) == [review_key("ab" * 32, "3,4,63,84")]


def test_a_picture_of_the_queue_is_no_gold_task():
    # The crawl holds the same file, so that a review of it would be of the same key.
    twins = labelled(3)
    twins["sha256"] = pd.Series([parent(number) for number in range(3)], dtype="str")
    queue = mixed(pseudo(scattered(20)), only(20, 0, gold_share=1.0), twins)
    assert set(queue["purpose"]) == {"review"}


def test_new_pictures_change_no_purpose():
    params = only(1000, 0.1, double_share=0.2, gold_share=0.05, from_scratch_share=0.1)
    uncertainties = scattered(300)
    before = mixed(pseudo(uncertainties[:200]), params, labelled(20))
    after = mixed(pseudo(uncertainties), params, labelled(40))
    for purpose in ("second", "scratch"):
        was, now = (set(one.loc[one["purpose"] == purpose, "id"]) for one in (before, after))
        assert was == now & {identity(number) for number in range(200)}
    mixed_up = pseudo(uncertainties).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(mixed(mixed_up, params, labelled(40).iloc[::-1]), after)


def test_a_single_gold_task_may_stand_anywhere_between_the_others() -> None:
    """Before the first, after the last: else its place would give it away."""
    queue, params = pseudo(scattered(4)), only(4, 0, gold_share=0.25)
    places = {
        int(mixed(queue, params, labelled(1, id=identity(-number))).query("purpose == 'gold'")["rank"].item())
        for number in range(20_000, 20_060)
    }
    assert places == {1, 2, 3, 4, 5}


def test_a_gold_task_has_the_columns_of_the_others_and_is_numbered_with_them() -> None:
    queue, params = pseudo(scattered(20)), only(20, 0.1, gold_share=0.2)
    with_gold = mixed(queue, params, labelled(9))
    assert len(with_gold) == 24 and list(with_gold.index) == list(range(24))
    assert list(with_gold.columns) == list(mixed(queue, params).columns)


def test_the_doubt_of_a_gold_task_lies_between_those_of_its_neighbours_on_either_side() -> None:
    """All but the first are alike: their only neighbour of another doubt comes before them."""
    queue, params = pseudo([0.9] + [0.5] * 8), only(9, 0, gold_share=1.0)
    doubts = mixed(queue, params, labelled(9)).query("purpose == 'gold'")["uncertainty"]
    assert len(doubts) == 9 and doubts.between(0.5, 0.9, inclusive="neither").all()


def test_of_the_doubts_before_it_a_gold_task_takes_the_nearest() -> None:
    """Behind it all are alike; before it the nearest other one is 0.6, not the 0.9 at the head of the queue."""
    queue, params = pseudo([0.9, 0.6, *[0.5] * 7]), only(9, 0, gold_share=1.0)
    tasks = mixed(queue, params, labelled(9))
    gold = tasks[(tasks["purpose"] == "gold") & (tasks.index > 4)]
    assert len(gold) > 3 and gold["uncertainty"].between(0.5, 0.6, inclusive="neither").all()


def test_a_queue_of_one_task_is_scored_as_it_was() -> None:
    records, params = pseudo([0.3]), only(9, 0)
    pd.testing.assert_frame_equal(
        mixed(records, params).drop(columns="purpose"), rank(records, set(), params)
    )


def test_the_flags_of_a_gold_task_are_those_of_a_neighbour_that_shows_a_person() -> None:
    params = only(40, 0, gold_share=0.5)
    for flags, shown in (("pieces", {"pieces"}), ("no_person", {""})):
        gold = mixed(pseudo(scattered(40), flags=flags), params, labelled(20)).query("purpose == 'gold'")
        assert len(gold) == 20 and set(gold["flags"]) == shown
