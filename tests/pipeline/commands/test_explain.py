"""What `make repro` says about dvc.lock."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.explain import changed_stages, explain, first_to_differ, main
from pipeline.core.errors import PipelineError
from pipeline.versions.dvc_lock import parse_dvc_lock

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


@pytest.mark.parametrize(
    "text", ["", "\n", "schema: '2.0'\n", "schema: '2.0'\nstages:\n", "stages: {a: [", "- a", "\x00" * 9]
)
def test_a_lock_that_dvc_did_not_finish_is_damaged(text: str) -> None:
    with pytest.raises(PipelineError, match=r"dvc.lock is damaged.*`git checkout dvc.lock` brings"):
        parse_dvc_lock(text)


def test_a_lock_that_ends_early_lacks_stages() -> None:
    after = {"stages": {name: LOCK["stages"][name] for name in ("crop", "train")}}
    assert "dvc.lock lacks evaluate, second_look, report" in explain(LOCK, after, False)


@pytest.mark.parametrize("command", ["explain", "look"])
def test_the_commands_say_it_and_fail(tmp_path: Path, root: Path, command: str) -> None:
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a lock"]):
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump(LOCK))
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True)
    (tmp_path / "dvc.lock").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", command],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: dvc.lock is damaged") and len(done.stderr.splitlines()) == 1


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
