"""What is wrong with the task that a server serves next, decided from its answers alone."""

from typing import Any

import numpy as np
import pytest

from annotations.masks.brush import fingerprint
from annotations.server.client import Served, Serving
from annotations.server.send import SERVING
from annotations.server.served import hidden, out_of_order, plain, without_mask
from annotations.tasks.task import Proposal, TaskPictures, build_task
from tests.annotations.drawn import TEACHER, person


def task(mask: np.ndarray, **changes: Any) -> Served:
    candidate = Proposal("ab" * 8, "cd" * 32, "0,0,120,160", "ef" * 8, TEACHER, 0.4, "", 0.1)
    made = build_task(candidate, mask, TaskPictures("/i", "/o", "/c", "/g"), "v" * 16)
    return Served(**{"id": 7, **made, "held": False, **changes})


def test_the_mask_that_was_sent_is_the_one_that_comes():
    mask = person(1)[1]
    assert without_mask(task(mask)) == without_mask(task(np.zeros_like(mask))) == []
    assert "opens without its mask" in without_mask(task(mask, predictions=[]))[0]
    other = task(person(2)[1]).predictions
    assert "with another mask" in without_mask(task(mask, predictions=other))[0]
    assert "with another mask" in without_mask(task(mask, predictions=[{"result": []}]))[0]
    assert "with another mask" in without_mask(task(mask, predictions=2 * task(mask).predictions))[0]
    broken = [{"result": [{**other[0]["result"][0], "original_width": 5}]}]
    assert "cannot be read" in without_mask(task(mask, predictions=broken))[0]
    assert without_mask(task(mask, data={"image": "somebody else's"}, predictions=[])) == []
    assert task(mask).data["proposed"] == fingerprint(mask)


SCORES = {7: 0.3, 8: 0.1, 9: 0.2, 10: 0.3}


@pytest.mark.parametrize(
    ("number", "held", "waiting", "people", "before"),
    [
        pytest.param(8, False, [7, 8, 9], 1, None, id="the first"),
        pytest.param(9, False, [7, 8, 9], 1, "1 that are to come before it wait (8 ...)", id="not the first"),
        pytest.param(9, False, [7, 8, 9], 2, None, id="the first is open with somebody else"),
        pytest.param(7, False, [7, 8, 9], 2, "2 that are to come before it wait (8 ...)", id="two are not"),
        pytest.param(7, True, [7, 8, 9], 1, None, id="it stood open already"),
        pytest.param(10, False, [7, 10], 1, None, id="as good as the first"),
        pytest.param(
            11, False, [7, 8], 1, "2 that are to come before it wait (8 ...)", id="one without a score"
        ),
        pytest.param(9, False, [9], 1, None, id="what is answered does not wait"),
    ],
)
def test_the_first_of_those_that_wait_comes(
    number: int, held: bool, waiting: list[int], people: int, before: str | None
):
    found = out_of_order(task(person(1)[1], id=number, held=held), waiting, SCORES, people)
    assert (before in found[0] and f"next task is {number}" in found[0]) if before else found == []


def test_hidden_tasks_and_another_way_to_serve_are_named():
    assert hidden(SERVING, [7, 8], SCORES) == []
    assert (
        "2 waiting tasks show no mask and come at random (11 ...)" in hidden(SERVING, [7, 11, 12], SCORES)[0]
    )
    (found,) = hidden(Serving("5ec0de", SERVING.sampling, prefilled=True), [7], SCORES)
    assert "by Uncertainty sampling with predictions of '5ec0de', not by" in found


def test_an_address_of_a_picture_is_shown_without_what_may_be_secret():
    assert plain("https://ann:hunter2@e.org/a.jpg?X-Signature=hunter2") == "https://e.org/a.jpg"
    assert plain("/data/local-files/?d=pictures/a.jpg") == "/data/local-files/?d=pictures/a.jpg"


@pytest.mark.parametrize("predictions", [[{}], [{"result": None}], [7]])
def test_a_prediction_that_is_none_is_said(predictions: list[Any]):
    assert "cannot be read" in without_mask(task(person(1)[1], predictions=predictions))[0]
