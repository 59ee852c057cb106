"""What `make repro` says about dvc.lock."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.lock_difference import changed_stages, explain, first_to_differ, main

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
        (changed(crop="z", report="y"), False, ["begins with crop and report:", "the sources"]),
    ],
)
def test_words(after: dict[str, Any], params_changed: bool, words: list[str]) -> None:
    sentence = explain(LOCK, after, params_changed)
    for word in words:
        assert word in sentence


def test_what_follows_a_change_is_not_blamed() -> None:
    assert first_to_differ(LOCK, changed(crop="z", train="y", report="x")) == ["crop"]
    assert "depends on the CPU" not in explain(LOCK, changed(report="z"), False)


def test_a_stage_that_the_commit_does_not_have_is_a_changed_one() -> None:
    before = {"stages": {name: stage for name, stage in LOCK["stages"].items() if name != "evaluate"}}
    assert changed_stages(before, LOCK) == ["evaluate"]


def test_it_compares_with_the_commit_and_says_when_params_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main()
    assert capsys.readouterr().out == ""  # no git checkout
    lock, params = Path("dvc.lock"), Path("params.yaml")
    lock.write_text(yaml.safe_dump(LOCK))
    params.write_text("seed: 1\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "lock"]):
        subprocess.run([*git, *command], check=True)
    main()
    assert "as committed" in capsys.readouterr().out
    lock.write_text(yaml.safe_dump(changed(train="z")))
    main()
    assert "depends on the CPU" in capsys.readouterr().out
    params.write_text("seed: 2\n")
    main()
    assert "because params.yaml does (train)" in capsys.readouterr().out
    lock.unlink()
    main()
    assert capsys.readouterr().out == ""


def test_another_dependency_with_the_same_output() -> None:
    after = copy.deepcopy(LOCK)
    after["stages"]["crop"]["deps"][0]["md5"] = "2"
    assert changed_stages(LOCK, after) == []
    assert "every output has the committed bytes" in explain(LOCK, after, False)
