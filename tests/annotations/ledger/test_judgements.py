"""The judgements beside the lock: every word that was said, small, canonical, and the lock as before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotations.errors import ReviewError
from annotations.ledger.collect import collect
from annotations.ledger.exported import Subject, read_export
from annotations.ledger.judgements import (
    FOLDER,
    JudgedTask,
    edit_of,
    judgements,
    read_judgements,
    write_judgements,
)
from annotations.ledger.lock import LockError, pack_mask, read_lock, unpack_mask, write_lock
from annotations.ledger.settle import settle, to_do, update
from annotations.masks.brush import fingerprint
from annotations.server.client import Project
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.session import Session
from annotations.server.status import gain
from annotations.settings import ReviewSettings
from annotations.tasks.purpose import FIELD, seal, unseal
from tests.annotations.exports import PROPOSED, export, key, moved, said, task

NEAR, FAR = moved(PROPOSED, 1), moved(PROPOSED, 20)


def never(subject: Subject) -> np.ndarray | None:
    raise AssertionError(f"the server was asked for the mask of task {subject.task}")


def pulled(*tasks: dict[str, Any], earlier: list[JudgedTask] = (), **options: Any) -> list[JudgedTask]:
    options.setdefault("ask", lambda subject: PROPOSED)
    return collect(earlier, read_export(export(*tasks)), options.pop("ask"), **options)


def sealed(number: int, purpose: str, *annotations: dict[str, Any], truth: np.ndarray | None = None) -> dict:
    made = task(number, *annotations, version=f"{purpose} {number}")
    made["data"][FIELD] = seal(purpose, "v", truth)
    return made


def test_every_word_of_two_reviewers_comes_back(tmp_path: Path):
    found = pulled(
        task(1, said("accept"), said("fix", FAR, by=2, number=2, minute=1)),
        task(2, said("reject", by=3, number=3, reasons=("bad_crop",))),
        task(3, said("fix", number=4)),
    )
    write_judgements(tmp_path, found)
    assert read_judgements(tmp_path) == found
    one, two = judgements([task for task in found if task.key == key(1)])
    assert (one.reviewer, one.said, two.reviewer, two.said) == ("curator-1", "accept", "curator-2", "fix")
    assert np.array_equal(one.mask, PROPOSED) and np.array_equal(two.mask, FAR)
    assert np.array_equal(two.proposed, PROPOSED) and one.unit == two.unit and one.seconds == 4.0
    said_of = {task.key: task.opinions[0] for task in found}
    assert (said_of[key(2)].said, said_of[key(2)].reasons) == ("reject", ("bad_crop",))
    assert said_of[key(3)].said == "unclear"  # a fix without a change is not lost, it is what it is


def test_the_lock_reads_as_before_with_judgements_beside_it(tmp_path: Path):
    reading = read_export(export(task(1, said("accept"))))
    entries = list(settle(reading).entries.values())
    write_lock(tmp_path, entries)
    assert read_judgements(tmp_path) == []  # an older lock
    write_judgements(tmp_path, collect([], reading, never))
    assert read_lock(tmp_path) == entries
    write_lock(tmp_path, [])
    assert len(read_judgements(tmp_path)) == 1


def test_an_accepted_mask_costs_its_pixels_once(tmp_path: Path):
    write_judgements(tmp_path, pulled(task(1, said("accept"), said("accept", by=2, number=2)), ask=never))
    (line,) = next((tmp_path / FOLDER).iterdir()).read_text().splitlines()
    assert line.count(pack_mask(PROPOSED)) == 1
    assert [one["edit"] for one in json.loads(line)["opinions"]] == [None, None]


masks = arrays(np.uint8, (7, 5), elements=st.integers(0, 1))


@given(masks, st.none() | masks)
def test_any_mask_comes_back_from_its_edit(mask: np.ndarray, proposed: np.ndarray | None):
    edit = edit_of(mask, proposed)
    assert (edit is None) == np.array_equal(mask, np.zeros_like(mask) if proposed is None else proposed)
    opinion = {
        "reviewer": "ann",
        "at": "2025-01-31T12:00:00+00:00",
        "said": "fix",
        "reasons": [],
        "seconds": None,
    }
    task = JudgedTask(
        key="ab" * 8,
        version="v",
        purpose="review",
        round=1,
        width=5,
        height=7,
        uncertainty=None,
        teacher=None,
        proposed=None if proposed is None else pack_mask(proposed),
        truth=None,
        opinions=[{**opinion, "edit": edit}],
    )
    back = task.mask_of(task.opinions[0])
    assert np.array_equal(np.zeros_like(mask) if back is None else back, mask)


def test_the_same_export_twice_and_in_another_order_gives_the_same(tmp_path: Path):
    tasks = [task(1, said("accept"), said("fix", FAR, by=2, number=2)), task(2, said("reject"))]
    first = pulled(*tasks)
    assert pulled(*tasks[::-1]) == first
    assert pulled(*tasks, earlier=first, ask=never) == first


def test_the_last_word_of_a_reviewer_counts():
    words = [said("accept", minute=1), said("fix", FAR, number=2, minute=2)]
    for order in (words, words[::-1]):
        found = pulled(task(1, *order))
        assert [one.said for one in judgements(found)] == ["fix"]


def test_what_is_gone_from_the_server_stays_as_it_was_said():
    first = pulled(task(1, said("accept"), said("reject", by=2, number=2)), task(2, said("accept")))
    again = pulled(task(1, said("fix", NEAR, minute=9)), earlier=first)
    assert {task.key: [one.said for one in task.opinions] for task in again} == {
        key(1): ["reject", "fix"],
        key(2): ["accept"],
    }
    assert [task.key for task in pulled(earlier=first, forget=[key(1)])] == [key(2)]


def test_the_server_is_asked_only_where_no_review_shows_the_mask():
    asked: list[int] = []

    def ask(subject: Subject) -> np.ndarray | None:
        asked.append(subject.task)
        return PROPOSED

    drawn = sealed(4, "scratch", said("fix", FAR))
    drawn["data"]["proposed"] = fingerprint(np.zeros_like(PROPOSED))
    first = pulled(
        task(1, said("accept")), task(2, said("fix", FAR)), task(3, said("reject")), drawn, ask=ask
    )
    assert sorted(asked) == [2, 3]
    scratch = next(task for task in first if task.purpose == "scratch")
    assert scratch.proposed is not None and not unpack_mask(scratch.proposed).any()
    assert np.array_equal(scratch.mask_of(scratch.opinions[0]), FAR)


def test_the_server_is_not_asked_for_a_mask_that_it_noted_with_the_review():
    def noted(mask: np.ndarray, **options: Any) -> dict[str, Any]:
        return {**said("fix", FAR, **options), "prediction": {"result": said("accept", mask)["result"]}}

    (task_1,) = pulled(task(1, noted(PROPOSED)), ask=never)
    assert task_1.proposed == pack_mask(PROPOSED)
    asked = []
    (task_2,) = pulled(task(2, noted(NEAR)), ask=lambda subject: asked.append(subject.task))
    assert asked == [2] and task_2.proposed is None, "what it noted is of another teacher's mask"
    for damage in (
        {},
        None,
        7,
        {"result": None},
        {"result": "lost"},
        {"result": [{"type": "brushlabels", "value": {}}]},
        {"result": [{"type": "brushlabels", "value": None}]},
    ):
        pulled(
            task(3, {**said("reject"), "prediction": damage}), ask=lambda subject: asked.append(subject.task)
        )
    assert asked == [2] + 7 * [3]


def test_a_proposal_that_nobody_knows_is_told_anew_once_it_is_known():
    (unknown,) = pulled(
        task(1, said("fix", FAR), said("fix", NEAR, by=2, number=2)), ask=lambda subject: None
    )
    assert unknown.proposed is None and np.array_equal(unknown.mask_of(unknown.opinions[0]), FAR)
    (known,) = pulled(task(1, said("accept", by=3, number=3)), earlier=[unknown], ask=never)
    masks = {one.reviewer: known.mask_of(one) for one in known.opinions}
    assert np.array_equal(masks["curator-1"], FAR) and np.array_equal(masks["curator-2"], NEAR)
    assert np.array_equal(masks["curator-3"], PROPOSED)


def test_a_second_reviewer_agrees_or_the_crop_goes_to_a_second_round():
    first = task(1, said("accept"))
    agrees = sealed(1, "second", said("fix", NEAR, by=2, number=2))
    differs = sealed(1, "second", said("reject", by=2, number=2, minute=50))
    assert settle(read_export(export(first, agrees))).entries[key(1)].verdict == "accept"
    settled = settle(read_export(export(first, differs)))
    assert settled.entries == {} and settled.conflicts.keys() == {key(1)}
    # Both words are kept whatever becomes of the crop.
    assert [task.opinions[0].said for task in pulled(first, differs)] == ["reject", "accept"]


def test_gold_is_never_in_the_lock_and_waits_for_nobody():
    gold = sealed(1, "gold", said("accept"), truth=FAR)
    reading = read_export(export(gold, sealed(2, "gold", truth=FAR), task(3)))
    settled = settle(reading)
    assert not settled.entries and not settled.conflicts and to_do(reading, settled).waiting == 1
    (found,) = collect([], reading, never)
    (judgement,) = judgements([found])
    assert judgement.purpose == "gold" and np.array_equal(judgement.truth, FAR)


def test_a_gold_task_takes_no_review_out_of_the_lock():
    locked = list(settle(read_export(export(task(1, said("accept"))))).entries.values())
    reading = read_export(export(sealed(1, "gold", said("reject"), truth=FAR)))
    drift = update(locked, reading, settle(reading))
    assert drift.entries == locked and drift.lost == [] and drift.elsewhere == [key(1)]


def test_a_crop_drawn_from_scratch_tells_nothing_of_the_gain():
    tasks = [sealed(number, "scratch", said("fix", FAR)) for number in range(20)]
    reading = read_export(export(*tasks))
    assert len(settle(reading).entries) == 20 and gain(reading, settle(reading), 1.0) is None


@pytest.mark.parametrize("purpose", ["review", "second", "gold", "scratch"])
def test_a_seal_holds_the_purpose_and_does_not_show_it(purpose: str):
    truth = FAR if purpose == "gold" else None
    text = seal(purpose, "00ff", truth)
    assert purpose not in text and text != seal(purpose, "00fe", truth)
    found = unseal(text, 1)
    assert found.purpose == purpose
    assert found.truth == (pack_mask(FAR) if truth is not None else None)
    with pytest.raises(ReviewError, match=r"seal of task 7 .* was changed on the server; delete"):
        unseal(text[:-6], 7)


def test_a_task_without_a_seal_is_a_review_and_gold_needs_its_mask():
    assert unseal(None, 1).purpose == "review"
    for purpose, truth in (("gold", None), ("review", FAR)):
        with pytest.raises(ValueError, match="a gold task needs its right mask"):
            seal(purpose, "v", truth)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"purpose": "gold"}, "a gold task needs its right mask"),
        ({"width": 3}, "a mask is 120x160, the task says 3x160"),
        ({"opinions": []}, "opinions: .* at least 1 item"),
        ({"key": "ab"}, "key: String should match"),
        ({"teecher": ""}, "teecher: Extra inputs"),
        ({"uncertainty": float("nan")}, "uncertainty: "),
    ],
)
def test_damage_names_file_and_line(tmp_path: Path, change: dict[str, Any], message: str):
    write_judgements(tmp_path, pulled(task(1, said("accept"))))
    path = next((tmp_path / FOLDER).iterdir())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) + "\n")
    with pytest.raises(LockError, match=rf"{path.name}, line 1: .*{message}"):
        read_judgements(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"said": "reject"}, "reject brings no mask, found an edit"),
        ({"reviewer": "ann@example.org"}, "an e-mail address is no pseudonym"),
        ({"at": "2025-01-31T12:00:00"}, "expected a time with its zone"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "expected a time of the years 1 to 9999"),
        ({"seconds": float("nan")}, "seconds: "),
        ({"seconds": float("inf")}, "seconds: "),
        ({"annotation": 7}, "annotation: "),
    ],
)
def test_a_damaged_opinion_is_named(tmp_path: Path, change: dict[str, Any], message: str):
    write_judgements(tmp_path, pulled(task(1, said("fix", FAR))))
    path = next((tmp_path / FOLDER).iterdir())
    line = json.loads(path.read_text())
    line["opinions"][0] |= change
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(LockError, match=message):
        read_judgements(tmp_path)


def test_a_task_changed_between_two_pulls_is_named():
    first = pulled(task(1, said("reject")))
    smaller = task(1, said("reject"), version="v1")
    wider = [one.model_copy(update={"proposed": pack_mask(PROPOSED[:, :60])}) for one in first]
    with pytest.raises(ReviewError, match=r"task 1 has other data than at an earlier pull.*a mask is 60x160"):
        pulled(smaller, earlier=wider)


class Server:
    """A server that holds these tasks, without HTTP."""

    url = "http://127.0.0.1:1"

    def __init__(self, *tasks: dict[str, Any]) -> None:
        self.tasks = tasks

    def projects(self, title: str) -> list[Project]:
        return [Project(1, title, "<View/>")]

    def export(self, project: Project) -> bytes:
        return export(*self.tasks)

    def task(self, number: int) -> dict[str, Any]:
        (found,) = (one for one in self.tasks if one["id"] == number)
        region = said("accept")["result"][-1:]
        return {
            "data": found["data"],
            "predictions": [{"model_version": "t", "score": 0.5, "result": region}],
        }


def test_a_pull_writes_the_lock_and_what_everyone_said(tmp_path: Path):
    lock = tmp_path / "lock"
    installation = Installation(tmp_path / "review-data")
    second = {**sealed(1, "second", said("reject", by=2, number=2)), "id": 2}
    server = Server(
        task(1, said("accept")),
        second,
        task(3, said("fix", FAR, number=3)),
        sealed(4, "gold", said("accept", number=4), truth=FAR),
    )
    session = Session(ReviewSettings("", "", lock, 0.1, False), installation, server, True)
    pull(session)
    assert [entry.key for entry in read_lock(lock)] == [key(3)]
    assert sorted((task.key, task.purpose) for task in read_judgements(lock)) == sorted(
        [(key(1), "review"), (key(1), "second"), (key(3), "review"), (key(4), "gold")]
    )
    (second_round,) = installation.second_round.glob("*.json")
    assert json.loads(second_round.read_text())["data"]["round"] == 2
    before = {path: path.read_bytes() for path in lock.rglob("*.jsonl")}
    pull(session)
    assert {path: path.read_bytes() for path in lock.rglob("*.jsonl")} == before


def test_a_pull_hears_who_was_written_over_until_that_is_forgotten(tmp_path: Path):
    lock, installation = tmp_path / "lock", Installation(tmp_path / "review-data")

    def pulled_from(*annotations: dict[str, Any], forget: tuple[str, ...] = ()) -> list[str]:
        session = Session(
            ReviewSettings("", "", lock, 0.1, False), installation, Server(task(1, *annotations)), True
        )
        return pull(session, forget=forget).held

    assert pulled_from({**said("accept"), "updated_by": 1}) == []
    over = {**said("reject", minute=9), "updated_by": 2}
    assert pulled_from(over) == [key(1)] and len(list(installation.second_round.iterdir())) == 1
    (entry,) = read_lock(lock)
    assert entry.verdict == "accept"
    assert pulled_from(over, forget=(key(1),)) == [] and not list(installation.second_round.iterdir())
    assert pulled_from(over) == [] and read_lock(lock)[0].reviewer == "curator-2"


def test_a_pull_names_what_it_passes_over(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    others = [{"id": number, "data": {"text": "x"}, "annotations": []} for number in (7, 8)]
    untimed = [task(number, {**said("accept"), "lead_time": -1}) for number in range(1, 15)]
    session = Session(
        ReviewSettings("", "", tmp_path / "lock", 0.1, False),
        Installation(tmp_path / "review-data"),
        Server(*untimed),
        True,
    )
    session.client.tasks = (*others, *untimed)
    with caplog.at_level("INFO", "annotations"):
        pull(session)
    lines = [one.getMessage() for one in caplog.records]
    assert "... and 5 more like these" in lines
    assert "2 tasks are not of this review and were passed over: [7, 8]" in lines
    assert sum("expected its time in seconds, found -1" in line for line in lines) == 9
