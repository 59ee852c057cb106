"""What `make repro` says about dvc.lock."""

import copy
from typing import Any

import pytest

from pipeline.lock_difference import changed_stages, explain

LOCK: dict[str, Any] = {
    "stages": {
        "crop": {"outs": [{"path": "data/crop", "md5": "a"}], "deps": [{"path": "x", "md5": "1"}]},
        "train": {"outs": [{"path": "models/sinet.safetensors", "md5": "b"}]},
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
        (
            changed(train="z"),
            False,
            ["for train:", "depends on the CPU", "Every data stage gave the committed bytes"],
        ),
        (changed(train="z", crop="y"), False, ["Of these, crop are data stages"]),
        (changed(train="z"), True, ["because params.yaml does (train)"]),
    ],
)
def test_words(after: dict[str, Any], params_changed: bool, words: list[str]) -> None:
    sentence = explain(LOCK, after, params_changed)
    for word in words:
        assert word in sentence


def test_another_dependency_with_the_same_output() -> None:
    after = copy.deepcopy(LOCK)
    after["stages"]["crop"]["deps"][0]["md5"] = "2"
    assert changed_stages(LOCK, after) == []
    assert "every output has the committed bytes" in explain(LOCK, after, False)
