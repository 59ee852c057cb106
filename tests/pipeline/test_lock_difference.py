"""What `make repro` says about dvc.lock."""

import copy
from typing import Any

import pytest

from pipeline.lock_difference import changed_stages, explain, first_to_differ

LOCK: dict[str, Any] = {
    "stages": {
        "crop": {"outs": [{"path": "data/crop", "md5": "a"}], "deps": [{"path": "x", "md5": "1"}]},
        "train": {
            "deps": [{"path": "data/crop", "md5": "a"}],
            "outs": [{"path": "models/sinet.safetensors", "md5": "b"}],
        },
        "evaluate": {
            "deps": [{"path": "models/sinet.safetensors", "md5": "b"}],
            "outs": [{"path": "metrics/evaluate.json", "md5": "e"}],
        },
        "second_look": {
            "deps": [{"path": "models/sinet.safetensors", "md5": "b"}],
            "outs": [{"path": "data/second_look", "md5": "s"}],
        },
        "report": {
            "deps": [{"path": "models/sinet.safetensors", "md5": "b"}],
            "outs": [{"path": "data/report", "md5": "c"}],
        },
    }
}


def changed(**hashes: str) -> dict[str, Any]:
    lock = copy.deepcopy(LOCK)
    for stage, value in hashes.items():
        lock["stages"][stage]["outs"][0]["md5"] = value
    return lock


@pytest.mark.parametrize(
    ("after", "params_changed", "words"),
    [
        (LOCK, False, ["as committed"]),
        (changed(train="z"), False, ["for train.", "begins with train", "depends on the CPU"]),
        (changed(train="z", report="y"), False, ["for train, report.", "begins with train:", "on the CPU"]),
        (changed(evaluate="z"), False, ["begins with evaluate:", "in torch, not in C", "type of CPU"]),
        (
            changed(evaluate="z", second_look="y"),
            False,
            ["begins with evaluate and second_look:", "not in C"],
        ),
        (changed(train="z", second_look="y"), False, ["begins with train: training sums"]),
        (changed(evaluate="z", crop="y"), False, ["begins with crop and evaluate:", "the sources"]),
        (changed(report="z"), False, ["for report.", "names the versions"]),
        (changed(train="z", crop="y"), False, ["begins with crop:", "the sources, the installed versions"]),
        (changed(train="z"), True, ["because params.yaml does (train)"]),
    ],
)
def test_words(after: dict[str, Any], params_changed: bool, words: list[str]) -> None:
    sentence = explain(LOCK, after, params_changed)
    for word in words:
        assert word in sentence


def test_what_follows_a_change_is_not_blamed() -> None:
    assert first_to_differ(LOCK, changed(crop="z", train="y", report="x")) == ["crop"]
    assert "depends on the CPU" not in explain(LOCK, changed(report="z"), False)


def test_another_dependency_with_the_same_output() -> None:
    after = copy.deepcopy(LOCK)
    after["stages"]["crop"]["deps"][0]["md5"] = "2"
    assert changed_stages(LOCK, after) == []
    assert "every output has the committed bytes" in explain(LOCK, after, False)
