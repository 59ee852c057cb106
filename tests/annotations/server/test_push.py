"""What a push sends and removes, decided from the server's list alone."""

from typing import Any

import pytest

from annotations.server.client import TaskHead
from annotations.server.send import misplaced, missing, same_config, shown, surplus, without_masks
from annotations.tasks.task import LABEL_CONFIG, MODEL_VERSION


def tasks(*pairs: str) -> list[dict[str, Any]]:
    """Tasks from "key/version"."""
    return [{"data": dict(zip(("key", "version"), pair.split("/"), strict=True))} for pair in pairs]


def heads(*texts: str) -> list[TaskHead]:
    """Server tasks 1, 2, ... from "key/version", with a * where somebody was there."""
    found = []
    for number, text in enumerate(texts, start=1):
        key, _, version = text.rstrip("*").partition("/")
        found.append(TaskHead(number, key, version, text.endswith("*"), 1))
    return found


@pytest.mark.parametrize(
    ("wanted", "there", "sent"),
    [
        (["a/1", "b/1"], [], ["1", "1b"]),
        (["a/1", "b/2"], ["a/1"], ["2"]),
        (["a/1"], ["a/1", "a/1"], []),
        (["a/1"], ["a/0*"], ["1"]),
        (["a/1", "a/1"], [], ["1"]),
    ],
)
def test_missing(wanted: list[str], there: list[str], sent: list[str]):
    wanted = [one.replace("b/1", "b/1b") for one in wanted]
    assert [task["data"]["version"] for task in missing(tasks(*wanted), heads(*there))] == sent


@pytest.mark.parametrize(
    ("wanted", "there", "removed"),
    [
        pytest.param(["a/1"], ["a/1"], [], id="nothing to do"),
        pytest.param(["a/1"], ["a/1", "a/1", "a/1"], [2, 3], id="the oldest copy stays"),
        pytest.param(["a/1"], ["a/1", "a/1*", "a/1"], [1, 3], id="a touched copy stays"),
        pytest.param(["a/1"], ["a/1*", "a/1*"], [], id="what people did is never deleted"),
        pytest.param(["a/2"], ["a/1", "a/2"], [1], id="a newer mask replaces an untouched task"),
        pytest.param(["a/2"], ["a/1*", "a/2"], [], id="but not one that somebody touched"),
        pytest.param(["a/1", "a/2"], ["a/1", "a/2"], [], id="a second round beside the first"),
        pytest.param(["a/1"], ["b/1"], [], id="no longer queued is no reason"),
        pytest.param([], ["/", "/"], [], id="tasks of others"),
    ],
)
def test_surplus(wanted: list[str], there: list[str], removed: list[int]):
    assert [head.id for head in surplus(tasks(*wanted), heads(*there))] == removed


@pytest.mark.parametrize(
    ("wanted", "there", "scores", "changes"),
    [
        pytest.param(["a/1", "b/2"], ["a/1", "b/2"], {1: 0.5, 2: 1.0}, {}, id="as it is to be"),
        pytest.param(
            ["a/1", "b/2"], ["a/1", "b/2"], {1: 7.0, 2: 8.0}, {}, id="other scores in the same order"
        ),
        pytest.param(["a/1", "b/2"], ["a/1", "b/2"], {1: 1.0, 2: 0.5}, {1: 0.5, 2: 1.0}, id="another order"),
        pytest.param(["a/1", "b/2"], ["a/1", "b/2"], {1: 0.5}, {2: 1.0}, id="one is hidden"),
        pytest.param(["a/1"], ["a/0*"], {}, {1: None}, id="an older one that somebody touched is hidden"),
        pytest.param(
            ["a/1", "b/2"], ["a/1*", "b/2"], {1: 9.0, 2: 1.0}, {}, id="the order of what is answered"
        ),
        pytest.param(
            ["a/1", "b/2"], ["b/2", "a/1"], {1: 0.4, 2: 0.5}, {1: 1.0}, id="a new one between old ones"
        ),
        pytest.param(["a/1"], ["/"], {}, {}, id="tasks of others"),
    ],
)
def test_misplaced(
    wanted: list[str], there: list[str], scores: dict[int, float], changes: dict[int, float | None]
):
    """The wanted tasks have the scores 0.5, 1.0, ..."""
    sent = [{**task, "predictions": [{"score": n / 2}]} for n, task in enumerate(tasks(*wanted), start=1)]
    assert misplaced(sent, heads(*there), scores) == changes


def test_a_task_is_sent_with_our_version_whatever_its_file_says():
    old = {"data": {"key": "a"}, "predictions": [{"model_version": "5ec0de", "score": 0.5, "result": [1]}]}
    assert shown(old)["predictions"] == [{"model_version": MODEL_VERSION, "score": 0.5, "result": [1]}]
    assert old["predictions"][0]["model_version"] == "5ec0de"
    assert without_masks([old]) == [{"data": {"key": "a"}, "predictions": [{"score": 0.5}]}]


def test_configs_are_compared_by_what_they_say():
    config = LABEL_CONFIG.read_text()
    assert same_config(config, config.replace("\n", " ").replace("<!-- Above", "<!-- above"))
    assert not same_config(config, config.replace("unsure", "doubtful"))
    assert not same_config(config, "")
