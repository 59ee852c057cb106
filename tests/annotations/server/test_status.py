"""How a review stands, and what would be wrong on a server."""

import pytest

import pipeline.queue
from annotations.ledger.collect import collect
from annotations.ledger.exported import read_export
from annotations.ledger.settle import settle
from annotations.ledger.voices import with_voices
from annotations.quality.random_slice import in_random_slice
from annotations.server.status import describe_quality, describe_review, gain, wilson
from annotations.tasks.purpose import seal
from tests.annotations.exports import PROPOSED, export, key, moved, said, task
from tests.annotations.quality.test_quality import session


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 10, 0.0, 0.278), (5, 10, 0.237, 0.763), (10, 10, 0.722, 1.0)]
)
def test_wilsons_interval_is_that_of_the_tables(hits: int, trials: int, low: float, high: float):
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-4)


def test_the_random_slice_is_the_queues():
    for number in range(200):
        identity = f"{number:016x}"
        assert in_random_slice(identity, 0.1) == (pipeline.queue.hashed_share(identity) < 0.1)


def test_the_state_in_words():
    reading = read_export(
        export(
            task(1, said("accept")),
            task(2, said("fix", moved(PROPOSED, 20))),
            task(3, said("reject")),
            task(4, said("unsure")),
            task(5, said("fix")),
            task(6),
            task(7, said(None, cancelled=True)),
            task(8, drafts=1),
        )
    )
    assert describe_review(reading, settle(reading), 1.0) == [
        "3 waiting (1 skipped, 1 begun but not submitted)",
        "5 reviewed: 1 accepted, 1 fixed, 1 rejected, 1 unsure, 1 in conflict",
        "time of a review: 4 s (median of 5)",
        "expected gain of 100 further reviews: too few reviews to say (under 10 of the random slice)",
    ]
    assert (
        describe_review(read_export(b"[]"), settle(read_export(b"[]")), 1.0)[2]
        == "time of a review: none yet"
    )


def test_the_gain_comes_from_the_random_slice_alone():
    reading = read_export(
        export(*[task(number, said("reject" if number % 4 == 0 else "accept")) for number in range(100)])
    )
    found = gain(reading, settle(reading), 1.0)
    assert found is not None and found.reviews == 100 and found.expected == 25
    assert 17 < found.low < 18 and 34 < found.high < 35
    sliced = gain(reading, settle(reading), 0.3)
    assert sliced is not None
    assert sliced.reviews == sum(in_random_slice(f"{number:016x}", 0.3) for number in range(100))
    assert gain(reading, settle(reading), 0.01) is None
    assert key(0) != key(1)


def test_second_opinions_to_give_are_counted():
    tasks = [task(number, said("accept")) for number in (1, 2)]
    for number in (1, 2):
        second = task(
            number, *([said("accept", by=2, number=9)] if number == 2 else []), version=f"s{number}"
        )
        second["data"]["seal"] = seal("second", "v")
        tasks.append({**second, "id": 10 + number})
    reading = read_export(export(*tasks))
    lines = describe_review(reading, settle(reading), 1.0)
    assert lines[0].startswith("0 waiting") and "1 of 2 second opinions still to give" in lines


def paired(number: int, *answers: dict | None) -> list[dict]:
    """The two tasks of a crop that is asked twice; an answer each, or None."""
    first, second = (task(number, *([one] if one else []), version=f"{n}") for n, one in enumerate(answers))
    second["data"]["seal"] = seal("second", "v")
    return [first, {**second, "id": 10 + number}]


@pytest.mark.parametrize(
    ("first", "second", "given", "told"),
    [
        (said("accept"), said("accept", by=2, number=9), True, False),
        (said("accept"), said("reject", by=2, number=9), True, False),
        (said("accept"), said("fix", moved(PROPOSED, 20), number=9), False, True),
        (None, said("accept", number=9), False, False),
        (said("accept"), None, False, False),
        (said("accept", by=None), said("accept", by=None, number=9), False, True),
    ],
)
def test_a_second_opinion_is_another_persons(first, second, given: bool, told: bool):
    reading = read_export(export(*paired(1, first, second)))
    lines = describe_review(reading, settle(reading), 1.0)
    assert f"{0 if given else 1} of 1 second opinions still to give" in lines
    words = "answered twice, but not surely by two people: somebody else opens task 11"
    assert any(words in line for line in lines) == told


def test_two_people_may_also_answer_one_of_the_two_tasks():
    first, second = paired(1, said("accept"), None)
    first["annotations"].append(said("accept", by=2, number=9))
    reading = read_export(export(first, second))
    assert "0 of 1 second opinions still to give" in describe_review(reading, settle(reading), 1.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"updated_by": 9}, said("accept", number=9)),  # a mark by 9, perhaps: both are of one person
        ({}, said("accept", by=2, number=9) | {"parent_annotation": 1}),  # a copy
    ],
)
def test_a_mark_and_a_copy_give_no_second_opinion(first: dict, second: dict):
    reading = read_export(export(*paired(1, said("accept") | first, second)))
    lines = describe_review(reading, settle(reading), 1.0)
    assert "1 of 1 second opinions still to give" in lines
    assert any("answered twice, but not surely by two people" in line for line in lines)


def test_a_word_written_over_another_is_no_second_opinion():
    word = said("accept") | {"unique_id": "u1", "updated_by": 1}
    judged = collect([], read_export(export(*paired(1, word, None))), lambda subject: PROPOSED)
    over = word | said("reject", minute=9) | {"updated_by": 2}
    for second, left in ((None, 1), (said("accept", by=3, number=9), 0)):
        reading = with_voices(read_export(export(*paired(1, over, second))), judged)
        lines = describe_review(reading, settle(reading), 1.0)
        assert f"{left} of 1 second opinions still to give" in lines


def test_second_looks_to_give_are_counted():
    tasks = [task(number, said("accept")) for number in (1, 2)]
    for number in (1, 2):
        look = task(number, *([said("accept", number=9)] if number == 2 else []), version=f"s{number}")
        look["data"]["seal"] = seal("student", "v")
        newer = task(number, version=f"t{number}")  # as after a change of the interface
        newer["data"]["seal"] = seal("student", "v")
        tasks += [{**look, "id": 10 + number}, {**newer, "id": 20 + number}]
    reading = read_export(export(*tasks))
    lines = describe_review(reading, settle(reading), 1.0)
    assert lines[0].startswith("0 waiting") and "1 of 2 second looks still to give" in lines


def test_the_quality_in_words():
    assert describe_quality([]) == ["judged by two: 0 masks", "gold tasks judged: 0"]
    assert describe_quality(session(("careful", "lazy"), tasks=6, gold=4)) == [
        "judged by two: 6 masks; IoU of their masks 0.98, alpha of their answers -0.10, in conflict 0.17",
        "gold tasks judged: 8; damaged masks noticed 0.50",
    ]
