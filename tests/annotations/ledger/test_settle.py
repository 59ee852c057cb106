"""The rules by which reviews become locked entries: each stated one, with the case that breaks it."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.errors import ReviewError
from annotations.ledger.exported import read_export
from annotations.ledger.lock import LockEntry
from annotations.ledger.settle import Drift, settle, update
from annotations.masks.overlap import mask_iou
from annotations.tasks.purpose import seal
from tests.annotations.exports import PROPOSED, export, key, moved, said, task

NEAR, FAR, NOBODY = moved(PROPOSED, 1), moved(PROPOSED, 20), np.zeros_like(PROPOSED)


def outcome(*annotations: dict[str, Any]) -> tuple[LockEntry | None, str | None]:
    """The entry of one crop, or why it is in conflict."""
    settled = settle(read_export(export(task(1, *annotations))))
    conflict = settled.conflicts.get(key(1))
    return settled.entries.get(key(1)), conflict.why if conflict else None


def test_the_drawn_masks_are_near_and_far():
    assert mask_iou(PROPOSED, NEAR) >= 0.95 > 0.8 > mask_iou(PROPOSED, FAR)
    assert mask_iou(NOBODY, NOBODY) == 1 and mask_iou(NOBODY, NEAR) == 0


@pytest.mark.parametrize(
    ("annotations", "verdict", "mask"),
    [
        pytest.param([said("accept")], "accept", PROPOSED, id="accepted"),
        pytest.param([said("accept", FAR)], "fix", FAR, id="accepted with changes is a fix"),
        pytest.param([said("fix", NEAR)], "fix", NEAR, id="fixed"),
        pytest.param([said("reject", reasons=("bad_mask",))], "reject", None, id="rejected"),
        pytest.param([said("unsure", reasons=("rule_missing",))], "unsure", None, id="unsure alone"),
        pytest.param(
            [said("unsure"), said("accept", by=2, number=2)], "accept", PROPOSED, id="unsure steps back"
        ),
        pytest.param(
            [said("accept", minute=1), said("fix", FAR, number=2, minute=2)], "fix", FAR, id="own last word"
        ),
        pytest.param(
            [said("fix", FAR, number=2, minute=1), said("accept", minute=2)],
            "accept",
            PROPOSED,
            id="own last word by time, not by number",
        ),
        pytest.param([said("accept"), said("fix", NEAR, by=2, number=2)], "accept", PROPOSED, id="agree"),
        pytest.param(
            [said("reject"), said("accept", by=2, number=2), said("accept", by=3, number=3)],
            "accept",
            PROPOSED,
            id="two of three",
        ),
        pytest.param(
            [said("fix", FAR), said("fix", NEAR, by=2, number=2), said("fix", NEAR, by=3, number=3)],
            "fix",
            NEAR,
            id="the mask most like the others",
        ),
        pytest.param(
            [said("fix"), said("fix", NEAR, number=2, minute=5)],
            "fix",
            NEAR,
            id="a second round of one's own",
        ),
    ],
)
def test_reviews_that_decide(annotations: list[dict[str, Any]], verdict: str, mask: np.ndarray | None):
    for order in (annotations, annotations[::-1]):
        entry, conflict = outcome(*order)
        assert conflict is None and entry is not None
        assert entry.verdict == verdict
        if mask is None:
            assert entry.mask is None
        else:
            assert np.array_equal(entry.mask_array(), mask)


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        pytest.param([said("fix")], "curator-1: fix, but no pixel changed", id="fix without changes"),
        pytest.param([said("accept", NOBODY)], "accept of a mask that holds nobody", id="accepted nobody"),
        pytest.param([said(None)], "expected one verdict, found 0", id="no verdict"),
        pytest.param([said("accept", FAR[:, :60])], "its mask cannot be read", id="another size"),
        pytest.param(
            [said("accept", minute=1), said("reject", by=2, number=2, minute=9)],
            "curator-1: accept; curator-2: reject",
            id="never the last writer",
        ),
        pytest.param(
            [said("fix", NEAR), said("fix", FAR, by=2, number=2)],
            "curator-1: fix; curator-2: fix",
            id="two different masks",
        ),
        pytest.param(
            [said("fix"), said("fix", FAR, by=2, number=2)], "no pixel changed; curator-2", id="unclear"
        ),
    ],
)
def test_reviews_that_do_not_decide(annotations: list[dict[str, Any]], why: str):
    for order in (annotations, annotations[::-1]):
        entry, conflict = outcome(*order)
        assert entry is None and conflict is not None and why in conflict


def test_reasons_reviewer_and_time_are_kept():
    entry, _ = outcome(
        said("reject", by=7, number=3, minute=4, reasons=("bad_crop", "bad_mask", "bad_crop")),
        said("reject", by=8, number=4, minute=5, reasons=("no_person",)),
    )
    assert entry is not None
    assert entry.reasons == ("bad_crop", "bad_mask", "no_person")
    assert entry.reviewer == "curator-7" and entry.reviewed_at == "2025-01-31T12:04:00+00:00"


def test_a_skip_and_a_draft_are_no_review():
    reading = read_export(
        export(task(1, said(None, cancelled=True)), task(2, drafts=1), task(3, said("accept")))
    )
    assert reading.skipped == {key(1)} and reading.drafts == {key(2)}
    assert settle(reading).entries.keys() == {key(3)}


def test_versions_of_one_crop_are_one_subject():
    versions = [task(1, said("accept")), task(1, said("reject", by=2, number=2), version="v2")]
    assert settle(read_export(export(*versions))).conflicts.keys() == {key(1)}


def test_a_task_by_hand_tells_a_change_by_its_origin():
    by_hand = task(1, said("accept", NEAR))
    del by_hand["data"]["proposed"]
    by_hand["annotations"][0]["result"][-1]["origin"] = "prediction"
    assert settle(read_export(export(by_hand))).entries[key(1)].verdict == "accept"
    by_hand["annotations"][0]["result"][-1]["origin"] = "prediction-changed"
    assert settle(read_export(export(by_hand))).entries[key(1)].verdict == "fix"


def test_a_task_whose_data_was_changed_on_the_server_is_named():
    wrong = task(1, said("accept"))
    wrong["data"]["crop_box"] = "1,0,121,160"
    with pytest.raises(ReviewError, match=r"task 1 has the key .* was changed on the server"):
        settle(read_export(export(wrong)))


def test_tasks_of_others_are_passed_over():
    assert read_export(b'[{"id": 1, "data": {"text": "x"}, "annotations": []}]').subjects == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[",
        b"[%b",
        b"[%b %b]",
        b"[%b,",
        b"[%b,]",
        b"[] []",
        b"<html>",
        b"[\xff]",
        b"[[1]",
        b"[1]",
        b"[{}]",
    ],
)
def test_an_export_that_is_no_list_is_refused(content: bytes):
    with pytest.raises(ReviewError, match=r"the server's export is no JSON .*pull again"):
        read_export(content.replace(b"%b", b'{"data": {}}'))


@given(st.lists(st.integers(1, 9), max_size=4), st.sampled_from([None, 1]))
def test_an_export_reads_alike_however_it_is_spaced(numbers: list[int], indent: int | None):
    tasks = [task(number, said("reject", None, number=number)) for number in numbers]
    reading = read_export(b"\n " + json.dumps(tasks, indent=indent).encode() + b" \n")
    assert [subject.task for subject in reading.subjects] == numbers
    assert [review.annotation for review in reading.reviews] == numbers


def pulled(earlier: list[LockEntry], *tasks: dict[str, Any], **options: Any) -> Drift:
    reading = read_export(export(*tasks))
    return update(earlier, reading, settle(reading, earlier), **options)


def locked(number: int, annotation: dict[str, Any]) -> LockEntry:
    return settle(read_export(export(task(number, annotation)))).entries[key(number)]


def test_the_same_export_twice_changes_nothing():
    tasks = [task(1, said("accept")), task(2, said("fix", NEAR)), task(3)]
    first = pulled([], *tasks)
    assert first.added == sorted([key(1), key(2)])
    second = pulled(first.entries, *tasks)
    assert second.entries == first.entries and second.unchanged == first.added and not second.updated


def test_an_updated_review_replaces_the_locked_one():
    drift = pulled([locked(1, said("accept"))], task(1, said("fix", FAR, minute=9)))
    assert drift.updated == [key(1)] and drift.entries[0].verdict == "fix"


def test_a_second_look_is_a_further_word_on_its_crop():
    before = locked(1, said("accept"))
    again = task(1, said("reject", number=2, minute=9), version="v2")
    again["data"]["seal"] = seal("student", "v2")
    by_the_same = pulled([before], task(1, said("accept")), {**again, "id": 2})
    assert by_the_same.updated == [key(1)] and by_the_same.entries[0].verdict == "reject"
    again["annotations"] = [said("reject", by=2, number=2, minute=9)]
    by_another = pulled([before], task(1, said("accept")), {**again, "id": 2})
    assert by_another.held == [key(1)] and by_another.entries == [before], "goes to a second round"


@pytest.mark.parametrize(
    ("answers", "fate"),
    [
        pytest.param([], "elsewhere", id="not answered yet"),
        pytest.param([said("accept", by=2)], "unchanged", id="another agrees"),
        pytest.param([said("reject", by=2)], "held", id="another does not: a second round"),
        pytest.param([said("reject", by=2), said("reject", by=3, number=2)], "updated", id="two of three"),
        pytest.param([said("fix", FAR, minute=9)], "held", id="the same number, and perhaps somebody else"),
    ],
)
def test_a_second_look_at_a_review_of_another_server(answers: list[dict[str, Any]], fate: str):
    before = locked(1, said("fix", NEAR))
    again = task(1, *answers, version="v2")
    again["data"]["seal"] = seal("student", "v2")
    drift = pulled([before], again)
    assert getattr(drift, fate) == [key(1)] and not drift.lost
    assert (drift.entries == [before]) == (fate != "updated")
    if fate == "updated":  # the lock has one of these two reviews now, which is no third voice
        assert pulled(drift.entries, again).unchanged == [key(1)]
        assert settle(read_export(export(again)), drift.entries).reviewers[key(1)] == {
            "curator-2",
            "curator-3",
        }


def test_reviews_of_another_server_stay():
    drift = pulled([locked(1, said("accept"))], task(2, said("accept")))
    assert drift.elsewhere == [key(1)] and drift.added == [key(2)] and len(drift.entries) == 2


def test_a_review_in_conflict_stays_until_the_second_round():
    before = locked(1, said("accept"))
    drift = pulled([before], task(1, said("accept"), said("reject", by=2, number=2)))
    assert drift.held == [key(1)] and drift.entries == [before]


@pytest.mark.parametrize(
    "now",
    [
        pytest.param([], id="deleted"),
        pytest.param([said(None, cancelled=True)], id="skipped now"),
        pytest.param([said("reject", by=2, number=2)], id="only another reviewer's is left"),
    ],
)
def test_a_review_that_would_be_lost_is_named(now: list[dict[str, Any]]):
    before = locked(1, said("accept"))
    drift = pulled([before], task(1, *now))
    assert drift.lost == [key(1)]
    kept = pulled([before], task(1, *now), keep=True)
    assert kept.lost == [] and kept.elsewhere == [key(1)] and kept.entries == [before]
    dropped = pulled([before], task(1, *now), forget=[key(1)])
    assert dropped.lost == [] and dropped.forgotten == [key(1)] and dropped.entries == []


def test_one_that_goes_on_to_the_same_end_is_not_lost():
    before = locked(1, said("accept"))
    drift = pulled([before], task(1, said("accept", by=2, number=2)))
    assert drift.unchanged == [key(1)] and drift.entries == [before]


@given(
    st.permutations(range(4)), st.lists(st.sampled_from(["accept", "fix", "reject"]), min_size=4, max_size=4)
)
def test_the_order_of_an_export_does_not_matter(order: list[int], verdicts: list[str]):
    voices = [said(verdict, NEAR, by=n, number=n, minute=n) for n, verdict in enumerate(verdicts)]
    one, other = outcome(*voices), outcome(*[voices[n] for n in order])
    assert one == other
