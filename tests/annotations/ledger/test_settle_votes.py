"""Whose word and whose mask goes into the lock: the cases that differ only in who spoke, how often, and how alike."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from annotations.errors import ReviewError
from annotations.ledger.exported import read_export
from annotations.ledger.lock import LockEntry
from annotations.ledger.settle import Drift, Settled, settle, to_do, update
from annotations.masks.brush import fingerprint
from annotations.masks.overlap import AGREE_IOU, mask_iou
from annotations.tasks.purpose import seal
from sinet.images.decode import Array
from tests.annotations.drawn import TEACHER
from tests.annotations.exports import PROPOSED, export, key, moved, said, task

NEAR, FAR, NOBODY = moved(PROPOSED, 1), moved(PROPOSED, 20), np.zeros_like(PROPOSED)


def without(pixels: int) -> Array:
    """The proposed mask without its first pixels: the more, the less alike, and all of them agree."""
    mask = PROPOSED.copy()
    mask.flat[np.flatnonzero(mask)[:pixels]] = 0
    return mask


def settled(*annotations: dict[str, Any], earlier: tuple[LockEntry, ...] = ()) -> Settled:
    return settle(read_export(export(task(1, *annotations))), earlier)


def locked(*annotations: dict[str, Any]) -> LockEntry:
    return settled(*annotations).entries[key(1)]


def second_look(*annotations: dict[str, Any]) -> dict[str, Any]:
    """The task that a server gets which never had the first one."""
    made = task(1, *annotations, version="v2")
    made["data"]["seal"] = seal("student", "v2")
    return made


def pulled(earlier: list[LockEntry], *tasks: dict[str, Any]) -> Drift:
    reading = read_export(export(*tasks))
    return update(earlier, reading, settle(reading, earlier))


@pytest.mark.parametrize("places", list(permutations(range(3))))
def test_the_mask_most_like_the_others_is_kept_whoever_drew_it(places: tuple[int, ...]):
    masks = [without(10), without(20), without(30)]
    assert mask_iou(masks[0], masks[2]) > AGREE_IOU, "all three agree, so that numbers alone decide nothing"
    voices = [said("fix", masks[place], by=n, number=n) for n, place in enumerate(places, start=1)]
    assert np.array_equal(locked(*voices).mask_array(), masks[1])


def test_more_voices_count_before_more_alike_masks():
    rejects = [said("reject", by=n, number=n) for n in range(1, 4)]
    keeps = [said("accept", by=n, number=n) for n in range(4, 6)]
    assert locked(*keeps, *rejects).verdict == "reject"


def test_masks_agree_from_the_limit_on():
    limit, below = np.zeros((2, *PROPOSED.shape), np.uint8)
    limit.flat[:95], below.flat[:94] = 1, 1
    whole = np.zeros_like(PROPOSED)
    whole.flat[:100] = 1
    assert mask_iou(limit, whole) == AGREE_IOU == 0.95
    for other, agrees in ((limit, True), (below, False)):
        found = settled(said("fix", whole), said("fix", other, by=2, number=2))
        assert bool(found.entries) is agrees and bool(found.conflicts) is not agrees


def test_several_who_are_unsure_leave_all_their_reasons_and_the_last_one_s_name():
    entry = locked(
        said("unsure", by=2, number=1, minute=9, reasons=("rule_missing",)),
        said("unsure", by=1, number=2, minute=1, reasons=("bad_mask",)),
    )
    assert (entry.verdict, entry.reasons) == ("unsure", ("bad_mask", "rule_missing"))
    assert (entry.reviewer, entry.reviewed_at) == ("curator-2", "2025-01-31T12:09:00+00:00")


def test_a_rejection_has_the_reasons_of_those_who_reject():
    entry = locked(
        said("reject", reasons=("no_person",)),
        said("reject", by=2, number=2, reasons=("bad_crop",)),
        said("unsure", by=3, number=3, reasons=("rule_missing",)),
    )
    assert entry.reasons == ("bad_crop", "no_person")


def test_answers_that_nobody_understands_agree_on_nothing():
    found = settled(*[said("accept", NOBODY, by=n, number=n) for n in range(1, 4)])
    assert not found.entries and found.conflicts.keys() == {key(1)}


def test_a_mask_of_another_size_than_the_crop_is_named():
    smaller = task(1, said("fix", NEAR[::2, ::2], by=2, number=2), version="v2")
    smaller["data"] |= {"width": 60, "height": 80, "proposed": fingerprint(PROPOSED[::2, ::2])}
    with pytest.raises(ReviewError, match=r"60x80 pixels do not fill the crop box .*delete that task there"):
        settle(read_export(export(task(1, said("fix", NEAR)), smaller)))


def test_a_conflict_is_between_last_words():
    found = settled(
        said("reject", number=1, minute=1),
        said("accept", number=2, minute=2),
        said("reject", by=2, number=3, minute=3),
    )
    assert [review.annotation for review in found.conflicts[key(1)].reviews] == [2, 3]


def test_the_entry_names_the_teacher_whose_mask_was_judged():
    assert locked(said("accept")).teacher == TEACHER


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"crop_box": "everything"}, "has other data .*"),
        ({"parent_sha256": "zz"}, r"makes no review \(parent_sha256: String should match"),
    ],
)
def test_a_task_without_a_usable_box_or_parent_is_named(change: dict[str, str], fault: str):
    wrong = task(1, said("accept"))
    wrong["data"] |= change
    with pytest.raises(ReviewError, match=f"task 1 {fault}.*delete that task there and push again"):
        settle(read_export(export(wrong)))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(said("fix", FAR), said("fix", NEAR), id="another mask"),
        pytest.param(said("reject", reasons=("bad_crop",)), said("reject"), id="other reasons"),
    ],
)
def test_the_same_verdict_with_another_content_is_a_change(before: dict[str, Any], now: dict[str, Any]):
    drift = pulled([locked(before)], task(1, now))
    assert drift.updated == [key(1)] and drift.entries == [locked(now)]


def test_what_changed_is_listed_in_the_order_of_the_keys():
    tasks = [task(number, said("accept")) for number in range(1, 13)]
    added = pulled([], *tasks).added
    assert added == sorted(added) and len(added) == 12


@pytest.mark.parametrize("zone", ["+00:00", "+02:00"])
def test_a_review_that_is_on_the_server_has_one_voice_not_two(zone: str):
    before = locked(said("reject", by=2))
    if zone == "+02:00":
        before = before.model_copy(update={"reviewed_at": "2025-01-31T14:00:00+02:00"})
    drift = pulled([before], second_look(said("reject", by=2), said("accept", by=3, number=2)))
    assert drift.held == [key(1)] and drift.entries == [before]


def test_a_locked_unsure_steps_back_from_a_second_look():
    drift = pulled([locked(said("unsure", reasons=("rule_missing",)))], second_look(said("accept", by=2)))
    assert drift.updated == [key(1)] and drift.entries[0].verdict == "accept"


def test_a_locked_rejection_keeps_its_reasons_beside_the_second_look_s():
    before = locked(said("reject", reasons=("no_person",)))
    drift = pulled([before], second_look(said("reject", by=2, reasons=("bad_crop",))))
    assert drift.entries[0].reasons == ("bad_crop", "no_person")


def test_a_skip_or_a_draft_of_a_reviewed_crop_leaves_nothing_to_do():
    skipped = said(None, by=2, number=2, cancelled=True)
    reading = read_export(
        export(task(1, said("accept"), skipped), task(2, said("accept"), drafts=1), task(3, skipped))
    )
    left = to_do(reading, settle(reading))
    assert (left.waiting, left.skipped, left.begun) == (1, 1, 0)


def test_skips_and_drafts_of_gold_tasks_are_not_counted():
    gold = task(5, said(None, cancelled=True), drafts=1)
    gold["data"]["seal"] = seal("gold", "v", PROPOSED)
    reading = read_export(export(task(1, said("accept")), gold))
    left = to_do(reading, settle(reading))
    assert (left.waiting, left.skipped, left.begun) == (0, 0, 0), "which would tell that there is one"
