"""Each value of an export where it is read: a zero that is a value, a time, a name, an answer that says two things."""

from typing import Any

import numpy as np
import pytest

from annotations.ledger.exported import Review, read_export
from annotations.ledger.settle import settle
from annotations.quality.reviewers import deciles
from tests.annotations.drawn import TEACHER
from tests.annotations.exports import PROPOSED, export, key, moved, said, task
from tests.annotations.ledger.test_judgement_rules import told

FAR = moved(PROPOSED, 20)


def read(annotation: dict[str, Any], **data: Any) -> Review:
    made = task(1, annotation)
    made["data"] |= data
    (review,) = read_export(export(made)).reviews
    return review


def choice(name: str, *values: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": name, "value": {"choices": list(values)}}


@pytest.mark.parametrize(
    ("name", "told", "wanted"),
    [
        ("uncertainty", 0, 0.0),
        ("uncertainty", 0.0, 0.0),
        ("uncertainty", 0.5, 0.5),
        ("uncertainty", None, None),
        ("round", 2, 2),
        ("teacher", "", None),
        ("teacher", None, None),
        ("teacher", TEACHER, TEACHER),
    ],
)
def test_a_value_of_a_task(name: str, told: object, wanted: object):
    assert getattr(read(said("reject"), **{name: told}).subject, name) == wanted


def test_the_most_certain_masks_are_in_the_deciles():
    """A mask of doubt 0 is the most certain there is, and not one of unknown doubt."""
    tasks = [task(number, said("accept", number=number)) for number in range(1, 11)]
    for number, made in enumerate(tasks):
        made["data"]["uncertainty"] = number / 10
    rows = deciles(told(*tasks))
    assert [row.judgements for row in rows] == [1] * 10 and (rows[0].lowest, rows[-1].highest) == (0.0, 0.9)


@pytest.mark.parametrize("who", [3, {"id": 3, "email": "ann@example.org"}])
def test_a_reviewer_is_a_number_and_no_name(who: object):
    assert read({**said("reject"), "completed_by": who}).reviewer == "curator-3"


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ({"updated_at": "2025-01-31T14:00:00.987654+02:00"}, "2025-01-31T12:00:00+00:00"),
        ({"updated_at": None, "created_at": "2025-01-31T11:00:00Z"}, "2025-01-31T11:00:00+00:00"),
    ],
)
def test_a_moment_is_told_in_whole_seconds_of_one_zone(times: dict[str, Any], wanted: str):
    assert read({**said("reject"), **times}).at.isoformat() == wanted


@pytest.mark.parametrize(
    ("verdict", "reasons"),
    [("accept", ()), ("fix", ()), ("reject", ("bad_crop",)), ("unsure", ("bad_crop",))],
)
def test_reasons_belong_to_who_keeps_no_mask_and_are_unclear_beside_one(
    verdict: str, reasons: tuple[str, ...]
):
    found = read(said(verdict, FAR if verdict == "fix" else PROPOSED, reasons=("bad_crop",)))
    assert (found.outcome, found.reasons) == ("unclear" if not reasons else verdict, reasons)


@pytest.mark.parametrize("verdicts", [["accept", "reject"], ["perhaps"], []])
def test_an_answer_that_says_two_things_or_none_is_unclear(verdicts: list[str]):
    answer = said("accept")
    answer["result"] = [choice("verdict", *verdicts), *answer["result"][1:]]
    found = read(answer)
    assert found.outcome == "unclear" and found.why


@pytest.mark.parametrize("origin", ["prediction-changed", "manual"])
def test_a_region_that_the_editor_did_not_get_was_drawn(origin: str):
    by_hand = task(1, said("accept", FAR))
    del by_hand["data"]["proposed"]
    by_hand["annotations"][0]["result"][-1]["origin"] = origin
    assert settle(read_export(export(by_hand))).entries[key(1)].verdict == "fix"


def test_an_unclear_answer_brings_no_mask():
    found = read(said("fix"))  # no pixel changed
    assert found.outcome == "unclear" and found.kept is None and found.mask is None


def test_a_changed_mask_is_not_taken_for_the_proposed_one():
    found = read(said("fix", FAR))
    assert found.changed and found.shown is None and np.array_equal(found.mask, FAR)
    assert np.array_equal(read(said("accept")).shown.unpack(), PROPOSED)
