"""dvc.yaml against the code: right today, and each kind of mistake is named."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.commands.consistency import differences
from pipeline.core.code import imports_of


def test_dvc_yaml_names_what_each_stage_uses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert differences(Path("dvc.yaml")) == []


@pytest.fixture
def stages(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((root / "dvc.yaml").read_text())
    crop = loaded["stages"]["crop"]  # in which the tests below look for names, whatever DVC is told of them
    crop["outs"] = [next(iter(one)) if isinstance(one, dict) else one for one in crop["outs"]]
    return loaded


def after(stages: dict[str, Any], root: Path, tmp_path: Path) -> list[str]:
    """The differences of a changed dvc.yaml."""
    changed = tmp_path / "dvc.yaml"
    changed.write_text(yaml.safe_dump(stages, sort_keys=False))
    return differences(changed, root)


@pytest.mark.parametrize(
    ("key", "entry", "sentences"),
    [
        ("deps", "pipeline/crop.py", ["crop: uses the code pipeline/crop.py, which its deps do not name"]),
        (
            "deps",
            "pipeline/core/boxes.py",
            ["crop: uses the code pipeline/core/boxes.py, which its deps do not name"],
        ),
        (
            "deps",
            "pipeline/faces",
            [
                f"crop: uses the code pipeline/faces/{name}.py, which its deps do not name"
                for name in ("detector", "face", "known_faces", "masked_person", "portrait")
            ],
        ),
        ("deps", "data/ingest/bodies", ["crop: uses data/ingest/bodies, which neither deps nor outs name"]),
        (
            "outs",
            "data/crop/bodies",
            [
                "crop: uses data/crop/bodies, which neither deps nor outs name",
                "data/crop/bodies is no stage's out, but a dependency of cluster, split, teacher, merge",
            ],
        ),
        (
            "outs",
            "metrics/crop.json",
            [
                "crop: uses metrics/crop.json, which neither deps nor outs name",
                "metrics/crop.json is no stage's out, but a dependency of report",
            ],
        ),
        ("params", "crop", ["crop: uses the params crop, which it does not name"]),
    ],
)
def test_what_is_left_out_is_named(
    stages: dict[str, Any], key: str, entry: str, sentences: list[str], root: Path, tmp_path: Path
) -> None:
    stages["stages"]["crop"][key].remove(entry)
    assert after(stages, root, tmp_path) == sentences


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
    assert after(stages, root, tmp_path) == [sentence]


@pytest.mark.parametrize(
    ("stage", "changes", "sentences"),
    [
        (
            "teacher",
            {"params": ["teacher.size"]},
            ["teacher: uses the params teacher, which it does not name"],
        ),
        (
            "merge",
            {"params": ["merge", "cluster", "crop.whole_from"]},
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
    assert after(stages, root, tmp_path) == sentences


@pytest.mark.parametrize(
    ("entry", "old", "new", "sentences"),
    [
        (
            "data/ingest/bodies",
            "deps",
            "outs",
            [
                "the out data/ingest/bodies/sources.csv of list_sources overlaps the out data/ingest/bodies of crop",
                "the out data/ingest/${item.role}/${key} of ingest overlaps the out data/ingest/bodies of crop",
            ],
        ),
        (
            "data/crop/bodies",
            "outs",
            "deps",
            ["data/crop/bodies is no stage's out, but a dependency of crop, cluster, split, teacher, merge"],
        ),
    ],
)
def test_what_is_read_and_what_is_written_are_told_apart(
    stages: dict[str, Any],
    entry: str,
    old: str,
    new: str,
    sentences: list[str],
    root: Path,
    tmp_path: Path,
) -> None:
    crop = stages["stages"]["crop"]
    crop[old].remove(entry)
    crop[new].append(entry)
    assert after(stages, root, tmp_path) == sentences


@pytest.mark.parametrize("kind", ["outs", "metrics", "plots"])
def test_an_out_of_two_stages_is_named(stages: dict[str, Any], kind: str, root: Path, tmp_path: Path) -> None:
    stages["stages"]["report"].setdefault(kind, []).append({"data/gallery": {"cache": False}})
    stages["stages"]["report"]["deps"].remove("data/gallery")
    assert after(stages, root, tmp_path) == [
        "the out data/gallery of evaluate overlaps the out data/gallery of report"
    ]


@pytest.mark.parametrize(
    ("stage", "out", "sentences"),
    [
        (
            "crop",
            "data/crop/bodies/images",
            [
                "crop: uses data/crop/bodies, which neither deps nor outs name",
                "crop: names data/crop/bodies/images as an out, which is no path that its module uses",
            ],
        ),
        (
            "pseudo_label",
            "data/pseudo/uncertainty.csv",
            ["pseudo_label: uses data/pseudo, which neither deps nor outs name"],
        ),
        ("crop", "data", ["crop: names data as an out, which is no path that its module uses"]),
    ],
)
def test_an_out_is_exactly_what_the_module_uses(
    stages: dict[str, Any], stage: str, out: str, sentences: list[str], root: Path, tmp_path: Path
) -> None:
    stages["stages"][stage]["outs"][0] = out
    found = after(stages, root, tmp_path)
    assert found[: len(sentences)] == sentences
    assert all(f"the out {out} of {stage}" in rest for rest in found[len(sentences) :])


def test_each_source_of_the_drawn_world_is_an_out(stages: dict[str, Any], root: Path, tmp_path: Path) -> None:
    stages["stages"]["sample"]["outs"].remove({"data/sample/crawl": {"cache": False, "persist": True}})
    assert after(stages, root, tmp_path) == [
        "sample: uses data/sample/crawl, which neither deps nor outs name"
    ]


@pytest.mark.parametrize("key", ["frozen", "wdir", "always_changed"])
@pytest.mark.parametrize("name", ["crop", "ingest"])
def test_a_key_that_changes_what_dvc_does_is_named(
    stages: dict[str, Any], key: str, name: str, root: Path, tmp_path: Path
) -> None:
    stage = stages["stages"][name]
    stage.get("do", stage)[key] = True
    assert after(stages, root, tmp_path) == [
        f"{name}: has the key {key}, expected only desc, cmd, deps, params, outs, metrics, plots (or foreach and do)"
    ]


def test_a_key_beside_do_is_named(stages: dict[str, Any], root: Path, tmp_path: Path) -> None:
    stages["stages"]["ingest"]["frozen"] = True
    [found] = after(stages, root, tmp_path)
    assert found.startswith("ingest: has the key frozen, expected only desc")


def test_a_list_in_place_of_the_sources_is_named(stages: dict[str, Any], root: Path, tmp_path: Path) -> None:
    stages["stages"]["ingest"]["foreach"] = ["eg1800", "baidu"]
    assert after(stages, root, tmp_path) == [
        "ingest: is run for each of ['eg1800', 'baidu'], expected a reference to params.yaml as `${SECTION}`",
        "ingest: uses the params sources, which it does not name",
    ]


def test_a_foreach_that_forgets_its_key_is_named(stages: dict[str, Any], root: Path, tmp_path: Path) -> None:
    stages["stages"]["ingest"]["do"].update(
        cmd="python -m pipeline.ingest baidu",
        outs=["data/ingest", "data/rejected/ingest/${key}.csv", "metrics/ingest/${key}.json"],
    )
    assert after(stages, root, tmp_path) == [
        "ingest: runs 'python -m pipeline.ingest baidu', expected `python -m pipeline.ingest ${key}`",
        "ingest: is run for each of several items, but its out data/ingest does not name `${key}`",
        *(
            f"the out data/ingest/{role}/sources.csv of list_sources overlaps the out data/ingest of ingest"
            for role in ("bodies", "crawl", "labelled")
        ),
    ]


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        (
            "data/ingest/${key}",
            "the out data/ingest/{role}/sources.csv of list_sources overlaps the out data/ingest/${{key}} of ingest",
        ),
        ("data/ingest/${item.role}/${key}.csv", None),
    ],
)
def test_an_out_that_could_hold_that_of_another_stage_is_named(
    stages: dict[str, Any], out: str, sentence: str | None, root: Path, tmp_path: Path
) -> None:
    """The folder of a source that is called like a role; a name of a source has no dot, but its file may be a list."""
    stages["stages"]["ingest"]["do"]["outs"][0] = out
    expected = [sentence.format(role=role) for role in ("bodies", "crawl", "labelled")] if sentence else None
    found = after(stages, root, tmp_path)
    if expected is None:
        assert any("sources.csv of list_sources overlaps the out" in one for one in found)
    else:
        assert found == expected


def test_a_list_of_sources_that_is_no_out_is_named(
    stages: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    stages["stages"]["list_sources"]["outs"].remove({"data/ingest/bodies/sources.csv": {"persist": True}})
    assert after(stages, root, tmp_path) == [
        "list_sources: uses data/ingest/bodies/sources.csv, which neither deps nor outs name"
    ]


@pytest.mark.parametrize(
    ("entry", "other"),
    [
        ("metrics/ingest/${key}.json", "metrics/ingest_${key}.json"),
        ("data/rejected/ingest/${key}.csv", "data/rejected/ingest_${key}.csv"),
    ],
)
def test_a_file_of_each_source_in_another_folder_is_named(
    stages: dict[str, Any], entry: str, other: str, root: Path, tmp_path: Path
) -> None:
    outs = stages["stages"]["ingest"]["do"]["outs"]
    outs[outs.index(entry)] = other
    folder, above = entry.rpartition("/")[0], other.rpartition("/")[0]
    assert after(stages, root, tmp_path) == [
        f"ingest: names {above} as an out, which is no path that its module uses",
        f"{folder} is no stage's out, but a dependency of report",
    ]


def test_a_deleted_stage_is_named(stages: dict[str, Any], root: Path, tmp_path: Path) -> None:
    del stages["stages"]["push"]
    assert after(stages, root, tmp_path) == [
        "pipeline/push.py runs as a stage, but dvc.yaml has no stage push"
    ]


@pytest.mark.parametrize("name", ["polish", "boxes"])
def test_a_stage_without_a_module_is_named(
    stages: dict[str, Any], name: str, root: Path, tmp_path: Path
) -> None:
    """No such file, or one that is no stage's."""
    stages["stages"][name] = {"desc": "Polish it", "cmd": f"python -m pipeline.{name}"}
    assert after(stages, root, tmp_path) == [
        f'{name}: has no module: expected pipeline/{name}.py with `run("{name}", main)`'
    ]


def test_a_source_that_is_no_dependency_is_named(stages: dict[str, Any], root: Path, tmp_path: Path) -> None:
    stages["stages"]["ingest"]["do"]["deps"].remove("${item.path}")
    assert after(stages, root, tmp_path) == [
        "ingest: is run for each of several items, but names nothing of an item as a dependency"
    ]


def test_the_c_of_an_extension_module_is_a_dependency(
    stages: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    deps = stages["stages"]["evaluate"]["deps"]
    deps.remove("sinet/native")
    deps += [f"sinet/native/{name}.py" for name in ("__init__", "installed", "weights")]
    assert after(stages, root, tmp_path) == [
        "evaluate: names each file of sinet/native, all of which it uses: name the folder",
        "evaluate: uses sinet/native/c, which neither deps nor outs name",
    ]


def test_a_room_of_which_a_stage_uses_a_part_is_named(
    stages: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    deps = stages["stages"]["teacher"]["deps"]
    deps[:] = [*(dep for dep in deps if not dep.startswith("pipeline/deeplab/")), "pipeline/deeplab"]
    assert after(stages, root, tmp_path) == [
        "teacher: names pipeline/deeplab/uncertainty.py as a dependency, but does not import it"
    ]


def test_what_is_imported_for_types_alone_is_no_dependency(tmp_path: Path) -> None:
    for name, text in (
        ("seen", ""),
        ("typed", ""),
        (
            "user",
            "from typing import TYPE_CHECKING\nfrom pipeline import seen\n"
            "if TYPE_CHECKING:\n    from pipeline import typed\n",
        ),
    ):
        (tmp_path / "pipeline").mkdir(exist_ok=True)
        (tmp_path / "pipeline" / f"{name}.py").write_text(text)
    assert list(imports_of("pipeline.user", tmp_path)) == ["pipeline.seen"]


def test_the_committed_lock_belongs_to_the_committed_code(root: Path) -> None:
    """After a change of a stage's code, `make repro` and a commit of dvc.lock are due."""
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    old = {
        (name, dep["path"])
        for name, stage in stages.items()
        for dep in stage["deps"]
        if dep["path"].split("/")[0] in ("pipeline", "sinet", "annotations")
        and "/reviews" not in dep["path"]
        and _md5(root / dep["path"]) != dep["md5"]
    }
    assert not old


def _md5(path: Path) -> str:
    """DVC's hash of a file, or of a folder without what .dvcignore names."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = [
        one
        for one in path.rglob("*")
        if one.is_file() and "__pycache__" not in one.parts and one.suffix != ".so"
    ]
    entries = [{"md5": _md5(one), "relpath": one.relative_to(path).as_posix()} for one in files]
    listed = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return f"{hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()}.dir"
