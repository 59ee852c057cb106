"""dvc.yaml against the code: right today, and each kind of mistake is named."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.consistency import differences


def test_dvc_yaml_names_what_each_stage_uses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert differences(Path("dvc.yaml")) == []


@pytest.fixture
def stages(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((root / "dvc.yaml").read_text())
    return loaded


@pytest.mark.parametrize(
    ("key", "entry", "sentence"),
    [
        ("deps", "pipeline/crop.py", "crop: uses the code pipeline/crop.py, which its deps do not name"),
        (
            "deps",
            "pipeline/portrait.py",
            "crop: uses the code pipeline/portrait.py, which its deps do not name",
        ),
        ("deps", "data/ingest/baidu", "crop: uses data/ingest/baidu, which neither deps nor outs name"),
        ("outs", "data/crop", "crop: uses data/crop, which neither deps nor outs name"),
        ("metrics", "metrics/crop.json", "crop: uses metrics/crop.json, which neither deps nor outs name"),
        ("params", "crop", "crop: uses the params crop, which it does not name"),
    ],
)
def test_what_is_left_out_is_named(
    stages: dict[str, Any], key: str, entry: str, sentence: str, root: Path, tmp_path: Path
) -> None:
    stages["stages"]["crop"][key].remove(entry)
    changed = tmp_path / "dvc.yaml"
    changed.write_text(yaml.safe_dump(stages))
    assert differences(changed, root) == [sentence]


@pytest.mark.parametrize(
    ("key", "entry", "sentence"),
    [
        (
            "deps",
            "pipeline/teacher.py",
            "crop: names pipeline/teacher.py as a dependency, but does not import it",
        ),
        ("deps", "data/pseudo", "crop: names data/pseudo, which its module does not use"),
        ("params", "train", "crop: names the params train, which its module does not use"),
    ],
)
def test_what_is_named_in_vain(
    stages: dict[str, Any], key: str, entry: str, sentence: str, root: Path, tmp_path: Path
) -> None:
    stages["stages"]["crop"][key].append(entry)
    changed = tmp_path / "dvc.yaml"
    changed.write_text(yaml.safe_dump(stages))
    assert differences(changed, root) == [sentence]


@pytest.mark.parametrize(
    ("stage", "changes", "sentences"),
    [
        (
            "teacher",
            {"params": ["teacher.size", "sides", "merge.licences_excluded"]},
            ["teacher: uses the params teacher, which it does not name"],
        ),
        (
            "merge",
            {"params": ["merge", "sides", "crop.whole_from"]},
            [
                "merge: uses the params crop.fill, which it does not name",
                "merge: names the params crop.whole_from, which its module does not use",
            ],
        ),
        (
            "crop",
            {"cmd": "python -m pipeline.merge"},
            ["crop: runs 'python -m pipeline.merge', expected `python -m pipeline.crop`"],
        ),
    ],
)
def test_another_entry_in_its_place_is_named(
    stages: dict[str, Any],
    stage: str,
    changes: dict[str, Any],
    sentences: list[str],
    root: Path,
    tmp_path: Path,
) -> None:
    stages["stages"][stage].update(changes)
    changed = tmp_path / "dvc.yaml"
    changed.write_text(yaml.safe_dump(stages))
    assert differences(changed, root) == sentences


def test_a_source_that_is_no_dependency_is_named(stages: dict[str, Any], root: Path, tmp_path: Path) -> None:
    stages["stages"]["ingest"]["do"]["deps"].remove("${item.path}")
    changed = tmp_path / "dvc.yaml"
    changed.write_text(yaml.safe_dump(stages))
    assert (
        "ingest: is run for each of several items, but names nothing of an item"
        in differences(changed, root)[0]
    )


def test_the_committed_lock_belongs_to_the_committed_code(root: Path) -> None:
    """After a change of a stage's code, `make repro` and a commit of dvc.lock are due."""
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    old = {
        (name, dep["path"])
        for name, stage in stages.items()
        for dep in stage["deps"]
        if dep["path"].endswith(".py")
        and hashlib.md5((root / dep["path"]).read_bytes(), usedforsecurity=False).hexdigest() != dep["md5"]
    }
    assert not old
