"""A pull from end to end without HTTP: what it keeps, what it forgets, and that a refused one changes nothing."""

import gzip
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotations.errors import ReviewError
from annotations.ledger.exported import read_export
from annotations.ledger.judgements import read_judgements
from annotations.ledger.lock import read_lock, unpack_mask
from annotations.ledger.settle import Conflict
from annotations.server import pull as pulls
from annotations.server.installation import Installation
from annotations.server.pull import proposal, pull, round_version, write_second_round
from annotations.server.session import Session, second_round
from annotations.settings import ReviewSettings
from tests.annotations.exports import PROPOSED, export, key, moved, said, task
from tests.annotations.ledger.test_judgements import Server, sealed
from tests.killed import kill_at_write
from tests.project import digest

FAR = moved(PROPOSED, 20)


class Review:
    """A lock and a server that can be told other tasks between two pulls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, folder / "lock"
        self.installation = Installation(folder / "review-data")

    def pull(self, *tasks: dict[str, Any], **options: Any) -> None:
        session = Session(
            ReviewSettings("", "", self.lock, 0.1, False), self.installation, Server(*tasks), True
        )
        pull(session, **options)

    def verdicts(self) -> dict[str, str]:
        return {entry.key: entry.verdict for entry in read_lock(self.lock)}

    def second_round(self) -> list[dict[str, Any]]:
        paths = sorted(self.installation.second_round.glob("*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def exports(self) -> list[bytes]:
        return [gzip.decompress(path.read_bytes()) for path in sorted(self.installation.exports.iterdir())]


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(tmp_path)


def test_a_forgotten_review_has_no_voice_any_more(review: Review):
    """Somebody looked again and rejects; the first review, from another server, is dropped by name."""
    again = sealed(1, "student", said("reject", by=2))
    review.pull(task(1, said("accept")), task(2, said("accept")))
    review.pull(again)
    assert review.verdicts()[key(1)] == "accept" and len(review.second_round()) == 1
    review.pull(again, forget=[key(1)])
    assert review.verdicts() == {key(2): "accept"} and review.second_round() == []
    assert [one.key for one in read_judgements(review.lock)] == [key(2)]
    review.pull(again)
    assert review.verdicts() == {key(1): "reject", key(2): "accept"} and review.second_round() == []


def test_an_unknown_key_to_forget_is_refused_by_name(review: Review):
    disagree = [said("accept"), said("reject", by=2, number=2)]
    review.pull(task(1, said("accept")), task(2, *disagree))
    before = digest(review.lock)
    with pytest.raises(ReviewError, match=r"expected keys of .*lock to forget, found nonsense;"):
        review.pull(task(1, said("reject", minute=9)), forget=[key(1), "nonsense"])
    assert digest(review.lock) == before
    review.pull(task(2), forget=[key(2)])  # in no lock, but in the judgements
    assert [one.key for one in read_judgements(review.lock)] == [key(1)]


def test_a_pull_that_would_lose_a_review_changes_nothing_and_keeps_the_export(review: Review):
    review.pull(task(1, said("accept")), task(2, said("accept")))
    before = digest(review.lock)
    lost = [task(1), task(2, said("fix", FAR)), task(3, said("accept"), said("reject", by=2, number=2))]
    with pytest.raises(
        ReviewError, match=rf"1 reviews .* review any more of who gave them: {key(1)}\. .*--keep"
    ):
        review.pull(*lost)
    assert digest(review.lock) == before and review.second_round() == []
    assert review.exports()[-1] == export(*lost), "what the server said is not lost"
    review.pull(*lost, keep=True)
    assert review.verdicts() == {key(1): "accept", key(2): "fix"} and len(review.second_round()) == 1


@pytest.mark.parametrize("count", [10, 11, 12])
def test_many_lost_reviews_are_named_as_far_as_one_can_read(review: Review, count: int):
    review.pull(*[task(number, said("reject")) for number in range(count)])
    with pytest.raises(ReviewError) as caught:
        review.pull(*[task(number) for number in range(count)])
    named = [key(number) for number in range(count) if key(number) in str(caught.value)]
    assert len(named) == 10 and f"{count} reviews" in str(caught.value)
    assert (", ..." in str(caught.value)) is (count > 10)


def test_what_was_said_on_an_earlier_server_stays(review: Review):
    review.pull(task(1, said("fix", FAR)))
    review.pull(task(2, said("accept")))
    assert [one.key for one in read_judgements(review.lock)] == sorted([key(1), key(2)])
    (word,) = (one for one in read_judgements(review.lock) if one.key == key(1))
    assert np.array_equal(word.mask_of(word.opinions[0]), FAR)


def test_of_two_pulls_at_once_the_second_begins_when_the_first_has_written(
    review: Review, monkeypatch: pytest.MonkeyPatch
):
    """The first has its export, in which nobody has answered yet, while the other would find answers."""
    first = threading.get_ident()
    other = threading.Thread(target=review.pull, args=(task(1, said("accept")),))
    read = pulls.read_judged

    def slowly(lock: Path) -> list[Any]:
        if threading.get_ident() == first:
            other.start()
            other.join(0.5)
        return read(lock)

    monkeypatch.setattr(pulls, "read_judged", slowly)
    review.pull(task(1))
    other.join(30)
    assert review.verdicts() == {key(1): "accept"}
    assert [one.key for one in read_judgements(review.lock)] == [key(1)]


def test_exports_are_for_their_owner_alone(review: Review):
    review.pull(task(1, said("accept")))
    assert stat.S_IMODE(review.installation.exports.stat().st_mode) == 0o700


def test_what_a_pull_did_is_said_line_by_line(review: Review, caplog: pytest.LogCaptureFixture):
    disagree = [said("accept"), said("reject", by=2, number=2)]
    review.pull(task(1, said("accept")), task(2, said("accept")), task(3, said("accept")))
    caplog.clear()
    with caplog.at_level("INFO", logger="annotations"):
        tasks = [task(1, *disagree), task(2, said("fix", FAR)), task(4, *disagree), task(5)]
        review.pull(*tasks, forget=[key(3)])
    assert caplog.messages[1:] == [
        "0 new, 1 changed, 0 as before, 0 not on this server (kept)",
        f"changed since the lock: {key(2)}",
        f"forgotten: {key(3)}",
        *sorted(
            [
                f"in conflict, second round at the next push (the earlier review stays): {key(1)}: curator-1: "
                "accept; curator-2: reject",
                f"in conflict, second round at the next push: {key(4)}: curator-1: accept; curator-2: reject",
            ],
            key=lambda line: line.partition(": ")[2],
        ),
        "1 wait for a review, 0 of them skipped and 0 begun but not submitted",
    ]


def test_a_second_round_shows_the_newest_version_of_its_crop(review: Review):
    newer = {**task(1, said("reject", by=2, number=2), version="newer"), "id": 9}
    newer["data"]["about"] = "the newer one"
    review.pull(task(1, said("accept")), newer)
    (again,) = review.second_round()
    assert again["data"]["about"] == "second round, 2 reviews · the newer one"
    assert again["data"]["round"] == 2 and again["data"]["version"] not in ("v1", "newer")
    assert again["predictions"][0]["score"] == 0.0, "served first"


def conflict(number: int, *minutes: int) -> Conflict:
    voices = [said("accept", by=n, number=n, minute=minute) for n, minute in enumerate(minutes)]
    return Conflict(key(number), tuple(read_export(export(task(1, *voices))).reviews), "why")


def test_a_second_round_has_a_version_of_its_own():
    versions = [round_version(conflict(*one)) for one in ((1, 1, 2), (1, 1, 3), (2, 1, 2), (1, 1, 2, 3))]
    assert len(set(versions)) == 4 and versions[0] == round_version(conflict(1, 1, 2))


def test_a_second_round_that_waits_is_not_asked_for_again(tmp_path: Path):
    class Once:
        def task(self, number: int) -> dict[str, Any]:
            assert not list(tmp_path.rglob("*.json")), "the task may be gone from the server by now"
            return {"data": {}, "predictions": [{"result": [{}]}]}

    installation = Installation(tmp_path)
    for _ in range(2):
        write_second_round(Once(), installation, [conflict(1, 1, 2)])
    assert len(list(installation.second_round.iterdir())) == 1


@pytest.mark.parametrize(
    "left", [lambda whole: whole[:200], lambda whole: b"", lambda whole: b"[]", lambda whole: b"{}"]
)
def test_a_damaged_second_round_is_named_by_push_and_made_anew_by_pull(review: Review, left: Any):
    asked = task(1, said("accept"), said("reject", by=2, number=2))
    review.pull(asked)
    (path,) = review.installation.second_round.iterdir()
    whole = path.read_bytes()
    path.write_bytes(left(whole))
    with pytest.raises(
        ReviewError, match=rf"{path.name} is damaged; `python -m annotations pull` makes it anew"
    ):
        second_round(review.installation)
    review.pull(asked)
    assert path.read_bytes() == whole


def test_a_second_round_is_written_whole_or_not_at_all(tmp_path: Path):
    installation = Installation(tmp_path)
    child = os.fork()
    if child == 0:
        kill_at_write(0)
        try:
            write_second_round(Server(task(1)), installation, [conflict(1, 1, 2)])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and not list(installation.second_round.glob("*.json"))


def test_the_one_mask_that_a_task_shows_is_the_proposed_one(review: Review):
    """A review that keeps no mask tells nothing of it, so that the server is asked; the judgement holds it."""
    review.pull(task(1, said("reject")))
    (judged,) = read_judgements(review.lock)
    assert judged.proposed is not None and np.array_equal(unpack_mask(judged.proposed), PROPOSED)


def test_a_task_that_shows_no_mask_or_several_proposes_none_that_is_known():
    (subject,) = read_export(export(task(1))).subjects
    region = said("accept")["result"][-1:]
    for predictions in ([], [{"result": region}] * 2, [{"result": [{**region[0], "original_width": 7}]}]):

        class Shows:
            def task(self, number: int, shown: Any = predictions) -> dict[str, Any]:
                return {"data": {}, "predictions": shown}

        assert proposal(Shows(), subject) is None
