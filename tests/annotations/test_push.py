"""What a push sends and removes, decided from the server's list alone."""

from typing import Any

import pytest

from annotations.client import TaskHead
from annotations.push import missing, same_config, surplus
from annotations.tasks import LABEL_CONFIG


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


def test_configs_are_compared_by_what_they_say():
    config = LABEL_CONFIG.read_text()
    assert same_config(config, config.replace("\n", " ").replace("<!-- Above", "<!-- above"))
    assert not same_config(config, config.replace("unsure", "doubtful"))
    assert not same_config(config, "")
