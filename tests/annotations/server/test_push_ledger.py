"""A push against a ledger that loses, repeats, delays and shares: every task is there once, nobody's work is gone."""

import json
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.errors import ReviewError
from annotations.server import send as pushes
from annotations.server.client import DoubtfulError, Project, ServerError, Serving, TaskHead
from annotations.server.send import SERVING, find_project, push, same_config

PORTRAITS = Project(1, "portraits", "<View/>")
FAULTS = ("lost on the way", "no answer", "half of it", "late")


class Ledger:
    """A server's list of tasks; each import goes through the next of `faults`, "" for none."""

    url = "https://labels.example.org"

    def __init__(self, *faults: str) -> None:
        self.faults = list(faults)
        self.tasks: dict[int, dict[str, Any]] = {}
        self.late: list[dict[str, Any]] = []
        self.touched: set[int] = set()
        self.touched_soon: set[int] = set()  # by somebody, after the tasks are listed
        self.received = 0
        self.number = 0

    def import_tasks(self, project: Project, content: bytes) -> None:
        batch = json.loads(content)
        self.received += len(batch)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "late":
            self.late += batch
        elif fault != "lost on the way":
            self.add(batch[: len(batch) // 2] if fault == "half of it" else batch)
        if fault:
            raise DoubtfulError(f"could not import tasks: {fault}")

    def add(self, tasks: list[dict[str, Any]]) -> None:
        for task in tasks:
            self.number += 1
            self.tasks[self.number] = task

    def heads(self, project: Project) -> list[TaskHead]:
        found = [self.of(number) for number in sorted(self.tasks)]
        self.add(self.late)
        self.late = []
        self.touched |= self.touched_soon
        return found

    def of(self, number: int) -> TaskHead:
        data = self.tasks[number]["data"]
        return TaskHead(number, data["key"], data["version"], number in self.touched, 1)

    def head(self, number: int) -> TaskHead | None:
        return self.of(number) if number in self.tasks else None

    def delete_task(self, number: int) -> None:
        del self.tasks[number]

    def serving(self, project: Project) -> Serving:
        return SERVING

    def scores(self, project: Project) -> dict[int, float]:
        return dict.fromkeys(self.tasks, 0.0)

    def versions(self) -> Counter[str]:
        return Counter(task["data"]["version"] for task in self.tasks.values())


def tasks(count: int, version: str = "v") -> list[dict[str, Any]]:
    return [
        {"data": {"key": f"k{number}", "version": f"{version}{number}"}, "predictions": []}
        for number in range(count)
    ]


@pytest.fixture(autouse=True, scope="module")
def no_waiting() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pushes, "QUIET_SECONDS", 0.0)
        yield


@given(st.integers(0, 7), st.integers(1, 4), st.lists(st.sampled_from(("", *FAULTS)), max_size=5))
def test_whatever_goes_wrong_no_task_is_there_twice_and_none_is_missing_unsaid(
    count: int, batch: int, faults: list[str]
):
    ledger: Any = Ledger(*faults)
    wanted = {task["data"]["version"] for task in tasks(count)}
    try:
        sent = push(ledger, PORTRAITS, tasks(count), batch)
    except ReviewError as error:
        assert ledger.versions().keys() < wanted and "run push again" in str(error)
        ledger.faults = []
        push(ledger, PORTRAITS, tasks(count), batch)
    else:
        assert (sent.wanted, sent.there_before, sent.sent, sent.removed) == (count, 0, count, 0)
    assert ledger.versions() == Counter(wanted), "each of them once"


@pytest.mark.parametrize("fault", FAULTS)
def test_after_one_doubt_only_what_is_missing_goes_out_again(fault: str, caplog: pytest.LogCaptureFixture):
    ledger: Any = Ledger(fault)
    push(ledger, PORTRAITS, tasks(6), batch=2)
    assert caplog.messages == [f"could not import tasks: {fault}; looking at what arrived"]
    again = {"lost on the way": 2, "no answer": 0, "half of it": 1, "late": 0}[fault]
    assert ledger.versions() == Counter(task["data"]["version"] for task in tasks(6))
    assert ledger.received == 6 + again


def test_a_push_that_meets_doubt_after_doubt_goes_on_and_then_says_so():
    ledger: Any = Ledger("half of it", "half of it")
    assert push(ledger, PORTRAITS, tasks(8)).sent == 8
    ledger = Ledger(*["lost on the way"] * 9)
    with pytest.raises(ReviewError, match=r"8 of 8 tasks did not arrive .*lost on the way.*run push again"):
        push(ledger, PORTRAITS, tasks(8))
    assert ledger.received == 3 * 8, "a server in trouble is not pressed any further"


def test_a_refused_import_is_not_repeated():
    class Refuses(Ledger):
        def import_tasks(self, project: Project, content: bytes) -> None:
            self.received += 1
            raise ServerError("answered 400")

    ledger: Any = Refuses()
    with pytest.raises(ServerError, match="answered 400"):
        push(ledger, PORTRAITS, tasks(5), batch=1)
    assert ledger.received == 1


def test_of_copies_and_replaced_tasks_only_untouched_ones_go():
    ledger: Any = Ledger()
    ledger.add([*tasks(3), *tasks(3), *tasks(3, "old")])
    ledger.touched = {2, 8}
    sent = push(ledger, PORTRAITS, tasks(3))
    assert (sent.there_before, sent.sent, sent.removed) == (3, 0, 5)
    assert sorted(ledger.tasks) == [1, 2, 3, 8]


def test_a_task_that_somebody_begins_meanwhile_stays():
    """Between the list and the removal a curator opens the older task, and another sender removes a copy."""
    ledger: Any = Ledger()
    ledger.add([*tasks(2), *tasks(2, "old")])
    ledger.touched_soon = {3}
    assert push(ledger, PORTRAITS, tasks(2)).removed == 1
    assert sorted(ledger.tasks) == [1, 2, 3]


class Showing(Ledger):
    """A ledger that keeps the tasks' predictions, one each, whose number is the task's."""

    served = SERVING

    def serving(self, project: Project) -> Serving:
        return self.served

    def set_serving(self, project: Project, serving: Serving) -> None:
        self.served = serving
        assert self.scores(project), "the real one refuses a version of which it has no prediction"

    def scores(self, project: Project) -> dict[int, float]:
        shown = [(number, one) for number in self.tasks for one in self.tasks[number]["predictions"]]
        return {
            number: one["score"] for number, one in shown if one["model_version"] == self.served.model_version
        }

    def predictions(self, number: int) -> list[dict[str, Any]]:
        return [{"id": number, **one} for one in self.tasks[number]["predictions"]]

    def add_prediction(self, number: int, prediction: dict[str, Any]) -> None:
        self.tasks[number]["predictions"].append(prediction)

    def change_prediction(self, number: int, model_version: str, score: float) -> None:
        self.tasks[number]["predictions"][0] |= {"model_version": model_version, "score": score}


def with_masks(*scores: float) -> list[dict[str, Any]]:
    """Tasks with a mask each, as an earlier version named them."""
    return [
        {**task, "predictions": [{"model_version": "5ec0de", "score": score, "result": [number]}]}
        for number, (task, score) in enumerate(zip(tasks(len(scores)), scores, strict=True))
    ]


def test_tasks_that_lost_their_masks_get_their_own_back():
    ledger: Any = Showing()
    push(ledger, PORTRAITS, with_masks(0.1, 0.2, 0.3, 0.4))
    whole = deepcopy(ledger.tasks)
    for number in (2, 4):
        ledger.tasks[number]["predictions"] = []
    assert push(ledger, PORTRAITS, with_masks(0.1, 0.2, 0.3, 0.4)).sent == 0
    assert ledger.tasks == whole


def test_a_queue_ranked_anew_is_served_in_its_order():
    ledger: Any = Showing()
    push(ledger, PORTRAITS, with_masks(0.1, 0.2, 0.3))
    push(ledger, PORTRAITS, with_masks(0.3, 0.2, 0.1))
    assert ledger.scores(PORTRAITS) == {1: 0.3, 2: 0.2, 3: 0.1}
    assert [task["predictions"][0]["result"] for task in ledger.tasks.values()] == [[0], [1], [2]]


def test_a_project_that_shows_another_version_is_set_right_with_its_tasks():
    """The scores stay, also of an older task that somebody touched and of which nothing here tells."""
    ledger: Any = Showing()
    ledger.add(with_masks(0.1, 0.2, 0.3))
    ledger.touched = {3}
    ledger.served = Serving("5ec0de", SERVING.sampling, prefilled=True)
    assert push(ledger, PORTRAITS, with_masks(0.1, 0.2)).sent == 0
    assert ledger.serving(PORTRAITS) == SERVING
    assert ledger.scores(PORTRAITS) == {1: 0.1, 2: 0.2, 3: 0.3}


class Projects:
    """A server's projects; of two that make one at the same time, the other one is quicker."""

    url = "https://labels.example.org"

    def __init__(self, *there: Project, raced_by: int | None = None) -> None:
        self.there, self.raced_by = list(there), raced_by

    def projects(self, title: str) -> list[Project]:
        found = [project for project in self.there if project.title == title]
        return sorted(found, key=lambda project: project.id)

    def create_project(self, title: str, label_config: str, instruction: str) -> Project:
        made = Project(5, title, label_config)
        others = [] if self.raced_by is None else [Project(self.raced_by, title, label_config)]
        self.there += [made, *others]
        return made

    def delete_project(self, project: Project) -> None:
        self.there.remove(project)

    def set_label_config(self, project: Project, label_config: str) -> None:
        self.there = [
            Project(one.id, one.title, label_config) if one == project else one for one in self.there
        ]


@pytest.mark.parametrize(("raced_by", "taken", "left"), [(None, 5, [5]), (4, 4, [4]), (6, 5, [5, 6])])
def test_of_two_who_make_the_project_at_once_the_first_one_s_holds(
    raced_by: int | None, taken: int, left: list[int]
):
    """Who came second removes its own; who came first goes on, as the other one will do so."""
    server: Any = Projects(raced_by=raced_by)
    assert find_project(server, "portraits", "<View/>").id == taken
    assert sorted(one.id for one in server.there) == left


def test_two_projects_of_one_title_are_named_and_left():
    server: Any = Projects(Project(2, "portraits", "<View/>"), Project(3, "portraits", "<View/>"))
    with pytest.raises(ReviewError, match=r"found 2 \(numbers 2, 3\); rename those"):
        find_project(server, "portraits", "<View/>")
    assert len(server.there) == 2


def test_an_interface_is_replaced_only_where_asked():
    server: Any = Projects(Project(2, "portraits", "<View><Old/></View>"))
    with pytest.raises(ReviewError, match="update-config"):
        find_project(server, "portraits", "<View/>")
    assert server.there[0].label_config == "<View><Old/></View>"
    find_project(server, "portraits", "<View/>", update_config=True)
    assert server.there[0].label_config == "<View/>"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ('<View b="2" a="1"><A/><B/></View>', True),
        ('<View a="1" b="2">\n  <A/> <!-- of faces --> <B/>\n</View>', True),
        ('<View a="1" b="2"><B/><A/></View>', False),
        ('<View a="1" b="2"><A/></View>', False),
        ('<View a="1" b="3"><A/><B/></View>', False),
        ('<View a="1" b="2">words<A/><B/></View>', False),
        ("<View", False),
        ("", False),
    ],
)
def test_interfaces_that_say_the_same(other: str, same: bool):
    assert same_config('<View a="1" b="2"><A/><B/></View>', other) is same
    assert not same_config("<View", "<Vue")
