"""From the judgements beside the lock to the figures: what counts as a first look, and as looks at one mask."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from annotations.ledger.collect import collect
from annotations.ledger.exported import read_export
from annotations.ledger.judgements import FOLDER, JudgedTask, judgements, read_judgements, write_judgements
from annotations.ledger.lock import LockError, pack_mask, unpack_mask
from annotations.quality.reviewers import Judgement, double, summarise
from annotations.tasks.purpose import FIELD, seal
from tests.annotations.drawn import TEACHER
from tests.annotations.exports import PROPOSED, export, key, moved, said, task

NEAR, FAR = moved(PROPOSED, 1), moved(PROPOSED, 20)


def asked(number: int, *annotations: dict[str, Any], version: str = "v1", **data: Any) -> dict[str, Any]:
    made = task(number, *annotations, version=version)
    made["data"] |= data
    return made


def judged(*tasks: dict[str, Any], proposed: np.ndarray | None = PROPOSED) -> list[JudgedTask]:
    return collect([], read_export(export(*tasks)), lambda subject: proposed)


def told(*tasks: dict[str, Any], **options: Any) -> list[Judgement]:
    return judgements(judged(*tasks, **options))


def test_a_second_round_is_no_independent_look():
    """Who judges there knows that two others disagreed: that they agree now proves nothing."""
    first = asked(1, said("accept"), said("reject", by=2, number=2))
    again = asked(
        1, *[said("reject", by=n, number=2 + n, minute=30) for n in (1, 2)], version="again", round=2
    )
    found = told(first, again)
    assert [one.first_look for one in found] == [True, True, False, False]
    assert summarise(found)["second_looks"] == 2
    assert double(found) == double(told(first)) and double(found)["conflicts"] == 1


@pytest.mark.parametrize("proposed", [PROPOSED, None])
def test_looks_at_one_mask_are_of_one_unit_and_at_another_mask_of_another(proposed: np.ndarray | None):
    """A task and its copy for a second reviewer show one mask; a new teacher's mask is another question."""
    one = asked(1, said("reject"))
    copy = asked(1, said("reject", by=2, number=2, minute=1), version="copy")
    newer = asked(1, said("reject", by=3, number=3, minute=2), version="newer", proposed="of another")
    another = asked(2, said("reject", by=4, number=4, minute=3))
    units = [found.unit for found in told(one, copy, newer, another, proposed=proposed)]
    wanted = 3 if proposed is None else 1  # masks that nobody knows may differ: by version then
    assert len(set(units[:3])) == wanted and units[3] not in units[:3]
    fresh = judged(newer, proposed=NEAR)
    assert judgements(fresh)[0].unit not in units


def test_every_value_of_a_judgement_comes_from_its_task():
    gold = asked(7, said("fix", FAR), version="gold", uncertainty=0.25, **{FIELD: seal("gold", "v", NEAR)})
    (task_7,) = judged(gold)
    assert (task_7.uncertainty, task_7.teacher, task_7.round) == (0.25, TEACHER, 1)
    (one,) = judgements([task_7])
    assert (one.purpose, one.reviewer, one.said, one.seconds) == ("gold", "curator-1", "fix", 4.0)
    assert one.uncertainty == 0.25 and np.array_equal(one.truth, NEAR)
    assert np.array_equal(one.mask, FAR) and np.array_equal(one.proposed, PROPOSED)


def test_who_keeps_no_mask_has_none():
    for verdict in ("reject", "unsure"):
        (one,) = told(asked(1, said(verdict)))
        assert one.said == verdict and one.mask is None and one.proposed is not None


def test_a_time_that_nobody_measured_stays_unknown():
    unknown = {**said("accept"), "lead_time": None}
    assert [one.seconds for one in told(asked(1, unknown))] == [None]


def test_judgements_come_from_the_oldest_to_the_newest():
    numbers = sorted(range(1, 7), key=key, reverse=True)  # against the order of the keys
    tasks = [asked(n, said("reject", by=n, number=n, minute=minute)) for minute, n in enumerate(numbers)]
    assert [one.reviewer for one in told(*tasks)] == [f"curator-{n}" for n in numbers]


def test_two_words_of_one_reviewer_at_one_moment_both_count():
    """On two crops, which nothing else tells apart: which one comes first is of no account."""
    found = told(asked(1, said("accept")), asked(2, said("reject", number=2)))
    assert sorted(one.said for one in found) == ["accept", "reject"]


def test_two_answers_of_one_moment_stand_in_one_order_whichever_came_first():
    """Else the same words would be other bytes in the lock's folder."""
    (task_1,) = judged(asked(1, said("accept"), said("reject", number=2)))
    known = task_1.model_dump()
    again = JudgedTask(**{**known, "opinions": known["opinions"][::-1]})
    assert again == task_1 and [one.annotation for one in again.opinions] == ["1", "2"]


def test_what_was_said_cannot_be_changed_once_it_is_read():
    (task_1,) = judged(asked(1, said("accept")))
    for made, name, value in ((task_1, "round", 2), (task_1.opinions[0], "said", "reject")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, name, value)


def test_judged_tasks_are_sorted_by_key_and_version():
    tasks = [asked(n, said("reject"), version=version) for n in (3, 1, 2) for version in ("b", "a")]
    found = [(one.key, one.version) for one in judged(*tasks)]
    assert found == sorted(found) and len(found) == 6


def test_what_is_forgotten_is_not_learnt_again_from_the_same_export():
    tasks = [asked(1, said("accept")), asked(2, said("accept"))]
    found = collect(judged(*tasks), read_export(export(*tasks)), lambda subject: None, [key(1)])
    assert [one.key for one in found] == [key(2)]


def test_reasons_are_kept_with_the_word():
    (one,) = judged(asked(1, said("reject", reasons=("no_person", "bad_crop"))))
    assert one.opinions[0].reasons == ("bad_crop", "no_person")


def test_a_mask_of_any_other_size_is_named(tmp_path: Path):
    small = pack_mask(PROPOSED[::2, ::2])
    gold = asked(1, said("fix", FAR), version="gold", **{FIELD: seal("gold", "v", NEAR)})
    write_judgements(tmp_path, judged(gold))
    (path,) = (tmp_path / FOLDER).iterdir()
    line = json.loads(path.read_text())
    opinion = {**line["opinions"][0], "edit": small}
    for change in ({"proposed": small}, {"truth": small}, {"opinions": [opinion]}):
        path.write_text(json.dumps({**line, **change}) + "\n")
        with pytest.raises(LockError, match="a mask is 60x80, the task says 120x160"):
            read_judgements(tmp_path)
    assert unpack_mask(small).shape == (80, 60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: [one, one], "expected one opinion of each reviewer in an annotation, found several"),
        (lambda one: [{**one, "seconds": -1.0}], "seconds: Input should be greater than or equal to 0"),
    ],
)
def test_opinions_that_cannot_be_are_named(tmp_path: Path, change: Any, message: str):
    write_judgements(tmp_path, judged(asked(1, said("accept"))))
    (path,) = (tmp_path / FOLDER).iterdir()
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, "opinions": change(line["opinions"][0])}) + "\n")
    with pytest.raises(LockError, match=message):
        read_judgements(tmp_path)


@pytest.mark.parametrize("field", ["round", "width"])
def test_a_text_in_place_of_a_number_is_no_number(tmp_path: Path, field: str):
    write_judgements(tmp_path, judged(asked(1, said("accept"))))
    (path,) = (tmp_path / FOLDER).iterdir()
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, field: str(line[field])}) + "\n")
    with pytest.raises(LockError, match=f"{field}: Input should be a valid integer"):
        read_judgements(tmp_path)
