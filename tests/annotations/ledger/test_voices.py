"""Whose word a review is: nobody's is replaced by a colleague's, and a missing identity is not one identity."""

from typing import Any

import pytest

from annotations.ledger.collect import collect
from annotations.ledger.exported import Reading, read_export
from annotations.ledger.judgements import JudgedTask, judgements, read_judgements, write_judgements
from annotations.ledger.lock import LockEntry
from annotations.ledger.settle import Drift, settle, update
from annotations.ledger.voices import last_words, with_voices
from annotations.quality.reviewers import summarise
from annotations.tasks.purpose import seal
from tests.annotations.exports import PROPOSED, export, key, moved, said, task

NEAR, FAR = moved(PROPOSED, 1), moved(PROPOSED, 20)
GONE = {"completed_by": None, "updated_by": None}


def written(
    by: int | None, last: int | None, word: str, mask: Any = PROPOSED, **options: Any
) -> dict[str, Any]:
    """An annotation as the server gives it: who began it, who wrote last, and its unique id."""
    made = said(word, mask if word in ("accept", "fix") else None, **options)
    return {**made, "completed_by": by, "updated_by": last, "unique_id": f"u{made['id']}"}


class Pulls:
    """A review that is pulled again and again, as `annotations.server.pull` does it."""

    def __init__(self) -> None:
        self.lock: list[LockEntry] = []
        self.judged: list[JudgedTask] = []

    def pull(self, *annotations: dict[str, Any]) -> tuple[Drift, dict[str, str]]:
        """The drift, and what each voice says."""
        return self.take(read_export(export(task(1, *annotations))))

    def take(self, found: Reading) -> tuple[Drift, dict[str, str]]:
        reading = with_voices(found, self.judged)
        settled = settle(reading, self.lock)
        drift = update(self.lock, reading, settled)
        self.lock, self.judged = drift.entries, collect(self.judged, reading, lambda subject: PROPOSED)
        return drift, voices(reading)


def voices(reading: Reading) -> dict[str, str]:
    """The last word of each reviewer; of those on another server, with its name."""
    return {
        one.reviewer if one.server is None else f"{one.reviewer} on {one.server}": one.said
        for one in last_words([*reading.remembered, *reading.reviews])
    }


def first(*annotations: dict[str, Any]) -> dict[str, str]:
    return Pulls().pull(*annotations)[1]


def test_an_answer_that_a_colleague_changed_is_the_colleagues():
    assert first(written(1, 2, "reject")) == {"curator-2": "reject"}
    assert first(written(1, 1, "reject")) == {"curator-1": "reject"}
    assert first(written(1, {"id": 2}, "reject")) == {"curator-2": "reject"}


def test_what_an_earlier_pull_heard_is_still_the_first_ones_voice():
    pulls = Pulls()
    assert pulls.pull(written(1, 1, "accept"))[0].added == [key(1)]
    for _ in range(2):  # the second time from the judgements of the first
        drift, heard = pulls.pull(written(1, 2, "reject", minute=9))
        assert heard == {"curator-1": "accept", "curator-2": "reject"}
        assert drift.held == [key(1)] and drift.entries[0].verdict == "accept", (
            "a conflict, never the last writer"
        )
    said_by = {one.reviewer: one.said for one in pulls.judged[0].opinions}
    assert said_by == {"curator-1": "accept", "curator-2": "reject"}
    drift, heard = pulls.pull(written(1, 2, "reject", minute=9), written(1, 1, "reject", number=2, minute=20))
    assert heard == {"curator-2": "reject", "curator-1": "reject"}, "the first one comes round"
    assert drift.updated == [key(1)]


def test_the_first_one_takes_the_answer_back_and_the_colleague_keeps_a_voice():
    pulls = Pulls()
    pulls.pull(written(1, 1, "accept"))
    pulls.pull(written(1, 2, "reject", minute=9))
    drift, heard = pulls.pull(written(1, 1, "fix", FAR, minute=20))
    assert heard == {"curator-2": "reject", "curator-1": "fix"} and drift.held == [key(1)]
    _, heard = pulls.pull(written(1, 2, "accept", minute=30))
    assert heard == {"curator-1": "fix", "curator-2": "accept"}, "who changes their mind has one voice"


@pytest.mark.parametrize("verdict", ["accept", "reject"])
def test_who_only_marks_an_answer_is_no_second_voice(verdict: str):
    pulls = Pulls()
    pulls.pull(written(1, 1, verdict))
    drift, heard = pulls.pull(written(1, 9, verdict, minute=9))  # an administrator's star: the same words
    assert heard == {"curator-1": verdict} and drift.unchanged == [key(1)]
    assert [one.reviewer for one in pulls.judged[0].opinions] == ["curator-1"]
    drift, _ = pulls.pull(written(1, 9, verdict, minute=9), written(2, 2, "fix", FAR, number=2))
    assert drift.held == [key(1)], "one against one"


def test_a_mask_that_a_colleague_changed_is_another_word():
    pulls = Pulls()
    pulls.pull(written(1, 1, "fix", NEAR))
    assert pulls.pull(written(1, 2, "fix", FAR, minute=9))[0].held == [key(1)]


def test_two_deleted_users_stay_in_conflict():
    """Without an earlier pull nobody knows who they were, but that there were two answers."""
    words = [written(2, 2, "accept"), written(3, 3, "reject", number=2, minute=9)]
    gone = [one | GONE for one in words]
    drift, heard = Pulls().pull(*gone)
    assert heard == {"curator-gone-1": "accept", "curator-gone-2": "reject"} and drift.entries == []
    pulls = Pulls()
    pulls.pull(*words)
    drift, heard = pulls.pull(*gone)
    assert heard == {"curator-2": "accept", "curator-3": "reject"}, "an earlier pull knows them"
    assert drift.entries == [] and len(pulls.judged[0].opinions) == 2


def test_a_deleted_user_whose_answer_changed_before_is_not_known_by_it():
    pulls = Pulls()
    pulls.pull(written(2, 2, "accept"))
    drift, heard = pulls.pull(written(2, 2, "reject", minute=9) | GONE)
    assert heard == {"curator-2": "accept", "curator-gone-1": "reject"} and drift.held == [key(1)]


def test_a_review_outlives_the_account_of_who_gave_it():
    pulls = Pulls()
    pulls.pull(written(2, 2, "accept"))
    drift, heard = pulls.pull(written(2, 2, "accept") | GONE)
    assert heard == {"curator-2": "accept"} and drift.unchanged == [key(1)]
    drift, heard = Pulls().pull(written(2, 2, "accept") | GONE)
    assert drift.added == [key(1)] and drift.entries[0].reviewer == "curator-gone-1"


@pytest.mark.parametrize(
    ("who", "voice"),
    [
        ({"completed_by": {"email": "a@example.org"}}, "curator-gone-1"),
        ({"completed_by": {"id": 4}}, "curator-4"),
        ({"completed_by": True}, "curator-gone-1"),
        ({"completed_by": "4"}, "curator-gone-1"),
        ({"completed_by": 1, "updated_by": "4"}, "curator-gone-1"),
        ({"completed_by": None, "updated_by": 4}, "curator-4"),
        # An import leaves no updated_by; a deleted user who changed it does so too, but later.
        ({"completed_by": 1, "updated_by": None, "created_at": "2025-01-31T12:00:00.100Z"}, "curator-1"),
        ({"completed_by": 1, "updated_by": None}, "curator-gone-1"),
        ({"completed_by": 1, "updated_by": None, "created_at": None}, "curator-gone-1"),
    ],
)
def test_whoever_is_not_named_is_a_voice_of_its_own(who: dict[str, Any], voice: str):
    annotation = said("accept") | who
    assert first(annotation) == {voice: "accept"}
    del annotation["completed_by"]
    annotation.pop("updated_by", None)
    assert first(annotation) == {"curator-gone-1": "accept"}


NAMED = {name: written(name, name, "accept", number=name) for name in (1, 2, 3)}
AGAINST = {name: written(name, name, "reject", number=name) for name in (1, 2, 3)}


def nameless(word: str, number: int) -> dict[str, Any]:
    return written(None, None, word, number=number)


@pytest.mark.parametrize(
    ("annotations", "verdict"),
    [
        pytest.param([nameless("accept", 7)], "accept", id="alone"),
        pytest.param([nameless("accept", 7), nameless("accept", 8)], "accept", id="two alike"),
        pytest.param([nameless("accept", 7), nameless("reject", 8)], None, id="two unlike"),
        pytest.param(
            [nameless("accept", 7), nameless("accept", 8), nameless("reject", 9)],
            None,
            id="two of three nameless",
        ),
        pytest.param([NAMED[1], AGAINST[2], nameless("accept", 7)], None, id="no casting vote"),
        pytest.param(
            [nameless("accept", 7), nameless("accept", 8), AGAINST[1]], None, id="they outvote nobody"
        ),
        pytest.param([NAMED[1], NAMED[2], nameless("reject", 7)], "accept", id="two named against one"),
        pytest.param([NAMED[1], nameless("reject", 7)], None, id="one against one"),
        pytest.param(
            [NAMED[1], nameless("accept", 7), nameless("reject", 8)], "accept", id="a second round decides"
        ),
        pytest.param(
            [NAMED[1], nameless("accept", 7), nameless("accept", 8), nameless("reject", 9), AGAINST[2]],
            None,
            id="however many they are",
        ),
        pytest.param([NAMED[1], nameless("unsure", 7)], "accept", id="unsure steps back"),
    ],
)
def test_the_nameless_add_one_vote_at_most(annotations: list[dict[str, Any]], verdict: str | None):
    for order in (annotations, annotations[::-1]):
        drift, _ = Pulls().pull(*order)
        assert [entry.verdict for entry in drift.entries] == ([] if verdict is None else [verdict])


def test_judgements_of_before_know_their_authors_too():
    """Lines that do not name their annotation: it is that of who began it, or what was said in that second."""
    pulls = Pulls()
    pulls.pull(written(1, 1, "accept"))
    before = [
        task.model_copy(
            update={"opinions": tuple(one.model_copy(update={"annotation": None}) for one in task.opinions)}
        )
        for task in pulls.judged
    ]
    for now, heard in (
        (written(1, 2, "reject", minute=9), {"curator-1": "accept", "curator-2": "reject"}),
        (written(1, 1, "accept") | GONE, {"curator-1": "accept"}),
        # Whether that is the same answer nobody knows: what was said once stays, the nameless one is another voice.
        (written(1, 1, "accept", minute=1) | GONE, {"curator-1": "accept", "curator-gone-1": "accept"}),
        (written(1, 1, "reject", minute=9), {"curator-1": "reject"}),
    ):
        reading = with_voices(read_export(export(task(1, now))), before)
        assert voices(reading) == heard


def test_the_mark_is_kept_and_older_lines_stay_as_they_are(tmp_path: Any):
    pulls = Pulls()
    pulls.pull(written(1, 1, "accept"))
    write_judgements(tmp_path, pulls.judged)
    (path,) = (tmp_path / "judgements").iterdir()
    assert '"annotation":"u1"' in path.read_text() and read_judgements(tmp_path) == pulls.judged
    path.write_text(path.read_text().replace('"annotation":"u1",', ""))
    old = path.read_bytes()
    write_judgements(tmp_path, read_judgements(tmp_path))
    assert path.read_bytes() == old


def test_a_word_written_over_another_is_no_independent_look():
    pulls = Pulls()
    pulls.pull(written(1, 1, "accept"))
    pulls.pull(written(1, 2, "fix", NEAR, minute=9))
    one, other = judgements(pulls.judged)
    assert one.first_look and not other.first_look
    assert summarise([one, other])["double"]["crops"] == 0


def test_the_nameless_have_no_habits_and_make_no_pairs():
    pulls = Pulls()
    pulls.pull(NAMED[1], nameless("accept", 7), nameless("accept", 8))
    figures = summarise(judgements(pulls.judged))
    assert (figures["judgements"], figures["reviewers"], figures["nameless"]) == (3, 1, 2)
    assert list(figures["by_reviewer"]) == ["curator-1"] and figures["double"]["crops"] == 0


def on(server: str, annotation: dict[str, Any]) -> dict[str, Any]:
    """The annotation as another server has it: the numbers are the same, its unique id is not."""
    return {**annotation, "unique_id": f"{server}-{annotation['id']}"}


@pytest.mark.parametrize("minute", [0, 30])  # the second answer may also be the older one
def test_the_same_number_on_another_server_is_somebody_else(minute: int):
    pulls = Pulls()
    pulls.pull(on("A", written(1, 1, "accept", minute=15)))
    for _ in range(2):
        drift, heard = pulls.pull(on("B", written(1, 1, "reject", minute=minute)))
        assert heard == {"curator-1 on the first server": "accept", "curator-1": "reject"}
        assert drift.held == [key(1)] and drift.entries[0].verdict == "accept"
    drift, heard = pulls.pull(on("A", written(1, 1, "accept", minute=15)))
    assert heard == {"curator-1": "accept", "curator-1 on B-1": "reject"} and drift.held == [key(1)]
    said_by = sorted((one.reviewer, one.annotation, one.said) for one in pulls.judged[0].opinions)
    assert said_by == [("curator-1", "A-1", "accept"), ("curator-1", "B-1", "reject")]
    drift, _ = pulls.pull(on("B", written(1, 1, "accept", minute=40)))
    assert drift.unchanged == [key(1)], "they agree"


def test_a_new_answer_in_place_of_a_deleted_one_is_a_change_of_mind_where_the_server_is_known():
    """That it is the same server shows by whatever else it still holds of what was pulled."""
    pulls = Pulls()
    other = written(2, 2, "unsure", number=5)
    pulls.pull(written(1, 1, "accept"), other)
    drift, heard = pulls.pull(written(1, 1, "reject", number=2, minute=9), other)
    assert heard["curator-1"] == "reject" and drift.updated == [key(1)]


def test_a_mark_is_one_only_of_the_latest_words():
    pulls = Pulls()
    pulls.pull(written(1, 1, "accept"))
    pulls.pull(written(1, 2, "reject", minute=5))
    drift, heard = pulls.pull(written(1, 3, "accept", minute=10))
    assert heard == {"curator-1": "accept", "curator-2": "reject", "curator-3": "accept"}
    assert drift.unchanged == [key(1)]


ACCEPTED = written(1, 1, "accept")
REJECTED = written(1, 1, "reject", number=2, minute=10)


@pytest.mark.parametrize(
    "then",
    [
        pytest.param([written(1, 9, "accept", minute=20), REJECTED], id="a star on the older one"),
        pytest.param([ACCEPTED | GONE, REJECTED | GONE], id="the account is gone"),
        pytest.param([ACCEPTED], id="the later one is deleted"),
        pytest.param([ACCEPTED, REJECTED | {"was_cancelled": True, "updated_by": 2}], id="and skipped"),
    ],
)
def test_of_two_answers_of_one_person_the_later_one_stays_the_last_word(then: list[dict[str, Any]]):
    pulls = Pulls()
    pulls.pull(ACCEPTED)
    assert pulls.pull(ACCEPTED, REJECTED)[0].updated == [key(1)]
    drift, heard = pulls.pull(*then)
    assert heard == {"curator-1": "reject"} and drift.unchanged == [key(1)]
    assert {one.said for one in pulls.judged[0].opinions} == {"accept", "reject"}


@pytest.mark.parametrize("fate", ["skipped by a colleague", "deleted"])
def test_an_answer_that_vanished_is_named_and_stays_a_voice(fate: str):
    pulls, other = Pulls(), written(3, 3, "reject", number=2, minute=5)
    assert pulls.pull(ACCEPTED, other)[0].entries == []
    skipped = ACCEPTED | {"was_cancelled": True, "updated_by": 2, "result": []}
    left = [skipped, other] if fate != "deleted" else [other]
    drift, heard = pulls.pull(*left)
    assert heard == {"curator-1": "accept", "curator-3": "reject"} and drift.entries == []
    (note,) = with_voices(read_export(export(task(1, *left))), pulls.judged).notes
    assert note.startswith("task 1: the answer of curator-1 (accept) is not on the server any more")
    assert note.endswith(f"--forget {key(1)}")
    came_round = written(1, 1, "reject", number=7, minute=30)
    assert with_voices(read_export(export(task(1, *left, came_round))), pulls.judged).notes == []


def test_it_does_not_matter_when_one_pulled():
    """A first look on one server, second looks on another, one of which changes: as if all were pulled at once."""

    def second_look(*words: str) -> Reading:
        answers = [on("B", written(n, n, word, number=n, minute=30 + n)) for n, word in enumerate(words, 1)]
        made = task(1, *answers, version="again")
        made["data"]["seal"] = seal("student", "again")
        return read_export(export(made))

    def verdict(*looks: Reading) -> str:
        pulls = Pulls()
        pulls.pull(on("A", ACCEPTED))
        return [pulls.take(look)[0] for look in looks][-1].entries[0].verdict

    first, changed = second_look("reject", "reject"), second_look("reject", "accept")
    assert verdict(first) == "reject"
    assert verdict(first, changed) == verdict(changed) == "accept"
    assert verdict(changed, first) == verdict(first, changed, first) == "reject"


def test_a_copy_of_an_answer_is_no_independent_look():
    pulls = Pulls()
    copied = written(2, 2, "accept", number=2, minute=9) | {"parent_annotation": 1}
    for _ in range(2):
        pulls.pull(ACCEPTED, copied)
        assert [one.first_look for one in judgements(pulls.judged)] == [True, False]
        assert summarise(judgements(pulls.judged))["double"]["crops"] == 0


STARRED = written(1, 9, "accept")  # before anybody pulled: the word of 1 with a mark by 9, or that of 9


@pytest.mark.parametrize(
    ("annotations", "verdict"),
    [
        pytest.param([STARRED], "accept", id="alone"),
        pytest.param([STARRED, written(1, 1, "accept", number=2)], "accept", id="both alike"),
        pytest.param([STARRED, written(1, 1, "reject", number=2)], None, id="not surely a change of mind"),
        pytest.param(
            [STARRED, written(1, 1, "accept", number=2), AGAINST[3]], None, id="not surely two of three"
        ),
        pytest.param([STARRED, NAMED[2], AGAINST[3]], "accept", id="two of three, whoever that was"),
    ],
)
def test_a_mark_from_before_the_first_pull_makes_no_second_person(
    annotations: list[dict[str, Any]], verdict: str | None
):
    for order in (annotations, annotations[::-1]):
        drift, _ = Pulls().pull(*order)
        assert [entry.verdict for entry in drift.entries] == ([] if verdict is None else [verdict])


def test_who_was_heard_is_surely_not_who_wrote_over_it():
    pulls = Pulls()
    pulls.pull(ACCEPTED)
    pulls.pull(written(1, 9, "reject", minute=5))
    drift, _ = pulls.pull(written(1, 9, "reject", minute=5), AGAINST[2])
    assert drift.updated == [key(1)], "two of three"


def test_the_double_figures_take_no_mark_for_a_person():
    pulls = Pulls()
    pulls.pull(STARRED, written(1, 1, "accept", number=2, minute=9))
    assert summarise(judgements(pulls.judged))["double"]["crops"] == 0


def test_a_server_of_an_older_state_takes_no_later_word():
    """As after `restore`: the annotation says again what it said before it was changed."""
    pulls = Pulls()
    pulls.pull(written(1, 1, "accept", minute=9))
    older = written(1, 1, "reject", minute=1)
    for _ in range(2):
        assert len(with_voices(read_export(export(task(1, older))), pulls.judged).notes) == 1
        drift, heard = pulls.pull(older)
        assert heard == {"curator-1": "accept"} and drift.unchanged == [key(1)]


def test_what_a_colleague_wrote_over_is_in_conflict_and_not_gone():
    pulls = Pulls()
    pulls.pull(ACCEPTED)
    assert (
        with_voices(read_export(export(task(1, written(1, 2, "reject", minute=9)))), pulls.judged).notes == []
    )
