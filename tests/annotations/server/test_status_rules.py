"""What `status` counts, and each kind of damage on a server: found where it is, and nowhere else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from annotations.ledger.exported import Reading, read_export
from annotations.ledger.settle import settle
from annotations.server.client import TaskHead
from annotations.server.import_files import SERVED_ROOT, picture_name
from annotations.server.status import ENOUGH, damage, describe_review, gain
from annotations.tasks.purpose import seal
from annotations.tasks.task import IMAGE, LABEL_CONFIG
from tests.annotations.exports import PROPOSED, export, key, moved, said, task

CONFIG = LABEL_CONFIG.read_text()
NOTHING = Reading([], [])


def wanted(count: int) -> list[dict[str, Any]]:
    return [{"data": {"key": key(number), "version": f"v{number}"}} for number in range(count)]


def heads(count: int, predictions: int = 1) -> list[TaskHead]:
    return [TaskHead(number + 1, key(number), f"v{number}", False, predictions) for number in range(count)]


def showing(there: list[TaskHead]) -> list[TaskHead]:
    """The same tasks with the picture that each of them names."""
    return [replace(one, shows=(f"{SERVED_ROOT}/{picture_name(one.version, IMAGE)}",)) for one in there]


def found(
    tasks: list[dict[str, Any]],
    there: list[TaskHead],
    reading: Reading = NOTHING,
    config: str = CONFIG,
    pictures: Path | None = None,
) -> list[str]:
    return damage(tasks, there, reading, (config, CONFIG), pictures)


def test_a_whole_server_has_no_damage(tmp_path: Path):
    for number in range(2):
        (tmp_path / picture_name(f"v{number}", IMAGE)).touch()
    stranger = TaskHead(9, "", "", True, 0)  # somebody's own tasks in the project
    old = TaskHead(8, key(7), "of an earlier teacher", True, 1)
    assert found(wanted(2), [*showing(heads(2)), stranger, stranger, old], pictures=tmp_path) == []


def test_tasks_that_are_gone_are_counted_and_named():
    (line,) = found(wanted(5), heads(1))
    assert line.startswith("4 tasks of data/push are not on the server")
    assert all(key(number) in line for number in (1, 2, 3)) and key(4) not in line and "..." in line


def test_a_task_whose_crop_was_reviewed_is_not_missed():
    reading = read_export(export(task(1, said("accept"))))
    assert found(wanted(2), heads(1), reading) == []


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_are_found(copies: int):
    there = [TaskHead(number, key(0), "v0", False, 1) for number in range(1, copies + 1)]
    (line,) = found(wanted(1), there)
    assert line.startswith("1 tasks are there more than once")


@pytest.mark.parametrize(
    ("change", "said_of"),
    [
        pytest.param(
            lambda: found(wanted(1), heads(1, predictions=0)), "have lost their prediction", id="mask"
        ),
        pytest.param(
            lambda: found(wanted(1), heads(1), config="<View/>"), "labelling interface is not", id="interface"
        ),
        pytest.param(
            lambda: found(wanted(1), showing(heads(1)), pictures=Path("/nowhere")),
            "have lost their pictures",
            id="picture",
        ),
    ],
)
def test_each_kind_of_damage_is_one_sentence(change: Callable[[], list[str]], said_of: str):
    (line,) = change()
    assert said_of in line


def test_pictures_of_tasks_that_are_not_ours_are_not_missed():
    others = [replace(one, version="") for one in showing(heads(2))]
    assert found([], others, pictures=Path("/nowhere")) == []


def reviewed(count: int, verdict: str, first: int = 1) -> list[dict[str, Any]]:
    return [task(number, said(verdict)) for number in range(first, first + count)]


def test_a_gain_is_stated_from_ten_reviews_on_and_not_of_who_is_unsure():
    for count, stated in ((ENOUGH - 1, False), (ENOUGH, True)):
        reading = read_export(export(*reviewed(count, "accept"), *reviewed(20, "unsure", first=100)))
        estimate = gain(reading, settle(reading), 1.0)
        assert (estimate is not None) is stated
        assert estimate is None or (estimate.reviews, estimate.expected) == (ENOUGH, 0)


def test_a_mask_fixed_and_a_picture_rejected_are_both_a_gain():
    fixed = [task(number, said("fix", moved(PROPOSED, 20))) for number in range(50, 53)]
    reading = read_export(export(*reviewed(5, "accept"), *reviewed(2, "reject", first=20), *fixed))
    estimate = gain(reading, settle(reading), 1.0)
    assert estimate is not None and estimate.expected == 50


def test_second_opinions_still_to_give_are_those_that_no_second_person_gave():
    tasks = [task(3, said("accept", by=1, number=9)), task(2, said("accept", by=2, number=8))]
    for number in (1, 2, 3):
        second = task(number, *([said("accept", by=2)] if number > 1 else []), version=f"s{number}")
        second["data"]["seal"] = seal("second", "v")
        tasks.append(second)
    reading = read_export(export(*tasks))
    assert "2 of 3 second opinions still to give" in describe_review(reading, settle(reading), 1.0)


def test_one_long_lunch_is_not_the_time_of_a_review():
    answers = [{**said("reject"), "lead_time": seconds} for seconds in (5.0, 7.0, 3600.0)]
    reading = read_export(export(*[task(number, one) for number, one in enumerate(answers)]))
    assert "time of a review: 7 s (median of 3)" in describe_review(reading, settle(reading), 1.0)
