"""The backend of the clicks, asked over HTTP as Label Studio asks it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from annotations.masks.brush import regions_to_mask
from annotations.server import review
from annotations.server.clicks import USER, Backend, answering_clicks
from annotations.server.import_files import picture_name
from annotations.server.installation import Installation, Running
from annotations.tasks.task import build_region, encode_jpeg
from tests.annotations.drawn import person

WIDTH, HEIGHT, VERSION = 360, 480, "00000000000000aa"
TOKEN = "a key that nobody may read"


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    rgb, _ = person(1, WIDTH, HEIGHT)
    (tmp_path / picture_name(VERSION, "image")).write_bytes(encode_jpeg(rgb))
    with answering_clicks(tmp_path) as running:
        yield running


def with_a_chunk() -> np.ndarray:
    mask = person(1, WIDTH, HEIGHT)[1]
    mask[200:300, 0:110] = 1
    return mask


def asked(mask: np.ndarray | None, **changes: Any) -> dict[str, Any]:
    """What Label Studio posts of a click into the chunk; a mask of None is a page that does not tell."""
    point = {
        "type": "keypoint",
        "from_name": "click",
        "value": {"x": 100 * 40 / WIDTH, "y": 100 * 250 / HEIGHT},
    }
    context: dict[str, Any] = {"result": [point]}
    if mask is not None:
        context["mask"] = [build_region("k", mask, "r1")]
    data = {"key": "k", "version": VERSION, "width": WIDTH, "height": HEIGHT, **changes}
    return {"tasks": [{"id": 7, "data": data}], "params": {"context": context}}


def post(backend: Backend, content: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{backend.url}/predict", json=content, auth=(USER, backend.password))
    assert answer.status_code == 200
    (said,) = answer.json()["results"]
    return dict(said)


def mask_of(said: dict[str, Any]) -> np.ndarray:
    return regions_to_mask(said["result"], HEIGHT, WIDTH)


def test_a_click_changes_the_mask_that_was_sent_in_its_region_and_a_second_takes_it_back(backend: Backend):
    before = with_a_chunk()
    said = post(backend, asked(before))
    after = mask_of(said)
    assert said["result"][0]["id"] == "r1"
    assert before[210:290, 10:80].all() and not after[210:290, 10:80].any()
    assert np.array_equal(mask_of(post(backend, asked(after))), before)


def test_a_mask_that_was_changed_by_hand_is_where_the_next_click_begins(backend: Backend):
    after = mask_of(post(backend, asked(with_a_chunk())))
    drawn = after.copy()
    drawn[230:270, 20:60] = 1  # into the last change
    again = mask_of(post(backend, asked(drawn)))
    assert not again[235:265, 25:55].any() and not again[205, 20], (
        "the stroke is taken away, nothing is taken back"
    )


def at(content: dict[str, Any], x: float, y: float) -> dict[str, Any]:
    """The same click at another place, in pixels of the picture."""
    content["params"]["context"]["result"][0]["value"] = {"x": 100 * x / WIDTH, "y": 100 * y / HEIGHT}
    return content


def test_after_an_undo_the_click_that_is_left_is_the_one_that_is_taken_back(backend: Backend):
    before = with_a_chunk()
    before[360:, 230:] = 0
    once = mask_of(post(backend, asked(before)))
    twice = mask_of(post(backend, at(asked(once), 262, 440)))
    assert not np.array_equal(once, twice)
    assert np.array_equal(mask_of(post(backend, asked(once))), before)  # Ctrl+Z led back to `once`


def test_a_colleagues_click_into_the_same_task_leaves_ones_own_to_be_taken_back(backend: Backend):
    mine, theirs = with_a_chunk(), person(1, WIDTH, HEIGHT)[1]
    after = mask_of(post(backend, asked(mine)))
    theirs[360:, 230:] = 0
    post(backend, at(asked(theirs), 262, 440))
    assert np.array_equal(mask_of(post(backend, asked(after))), mine)


def test_a_click_that_waits_for_its_answer_is_made_with_the_next_and_a_double_click_is_one(
    backend: Backend,
):
    before = with_a_chunk()
    before[360:, 230:] = 0
    content = asked(before)
    (first,) = content["params"]["context"]["result"]
    shoulder = {**first, "value": {"x": 100 * 262 / WIDTH, "y": 100 * 440 / HEIGHT}}
    content["params"]["context"]["result"] = [first, first, shoulder]
    both = mask_of(post(backend, content))
    one_by_one = mask_of(post(backend, at(asked(mask_of(post(backend, asked(before)))), 262, 440)))
    assert np.array_equal(both, one_by_one) and both[440, 262] and not both[250, 40]


def test_a_click_on_a_turned_picture_changes_nothing(backend: Backend):
    content = asked(with_a_chunk())
    content["params"]["context"]["result"][0]["image_rotation"] = 90
    said = post(backend, content)
    assert said["result"] == [] and "turn it upright" in said["refused"]


@pytest.mark.parametrize("place", [(-3, 250), (WIDTH + 2, 250), (40, -1), (40, HEIGHT + 90)])
def test_a_click_outside_of_the_picture_changes_nothing(backend: Backend, place: tuple[int, int]):
    said = post(backend, at(asked(with_a_chunk()), *place))
    assert said["result"] == [] and "outside of the picture" in said["refused"]


@pytest.mark.parametrize("password", ["", "wrong"])
def test_nobody_else_is_answered(backend: Backend, password: str):
    access = {"auth": (USER, password)} if password else {}
    assert httpx.get(f"{backend.url}/health", **access).status_code == 401
    assert httpx.post(f"{backend.url}/predict", json=asked(with_a_chunk()), **access).status_code == 401
    odd = httpx.get(f"{backend.url}/health", headers={b"Authorization": b"Basic \xff\xfe"})
    assert odd.status_code == 401
    assert backend.url.startswith("http://127.0.0.1:") and backend.password not in repr(backend)


def test_the_key_that_the_server_tells_is_not_logged(backend: Backend, caplog: pytest.LogCaptureFixture):
    caplog.set_level(0)
    told = {"project": "1.2", "schema": "<View/>", "access_token": TOKEN}
    answer = httpx.post(f"{backend.url}/setup", json=told, auth=(USER, backend.password))
    assert answer.json() == {"model_version": "clicks"}
    assert TOKEN not in caplog.text and backend.password not in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (asked(None), "does not tell which mask"),
        (asked(with_a_chunk(), version="../../secrets.json"), "none that `make review` sent"),
        (asked(with_a_chunk(), version="00000000000000bb"), "its picture is not here"),
        (asked(with_a_chunk(), width=WIDTH - 1), "not the one that the task was made of"),
        ({"tasks": [], "params": {}}, "could not be read"),
    ],
)
def test_what_cannot_be_answered_says_why_and_changes_nothing(
    backend: Backend, content: dict[str, Any], why: str
):
    said = post(backend, content)
    assert said["result"] == [] and why in said["refused"]


def test_several_regions_are_refused(backend: Backend):
    content = asked(with_a_chunk())
    content["params"]["context"]["mask"] *= 2
    assert "2 regions" in post(backend, content)["refused"]


def test_it_ends_with_its_context(tmp_path: Path):
    with answering_clicks(tmp_path) as running:
        pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/health")


@pytest.mark.parametrize("clicks", [True, False])
def test_a_server_whose_make_review_was_killed_says_that_nobody_answers_clicks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clicks: bool
):
    monkeypatch.setattr(review, "ready", lambda folder: "http://127.0.0.1:8080")
    monkeypatch.setattr(
        Installation, "running", lambda self: Running(1, "http://127.0.0.1:8080", clicks=clicks)
    )
    for name in ("_wait_for_start", "_push_and_show"):
        monkeypatch.setattr(review, name, lambda *_: None)
    said: list[str] = []
    review.run_review(tmp_path, said.append)
    assert ("answered its clicks is gone" in " ".join(said)) == clicks
