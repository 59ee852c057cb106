"""The house: no room too full, no name for two things, the page that shows it as the code is."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.commands import architecture

PACKAGES = ("pipeline", "sinet", "annotations")
FULL = 15  # modules a folder
# What several modules have on purpose: a stage's two functions, the command line's object, a log; what each layout and
# each benchmark answers to.
ALIKE = {"main", "summarise", "app", "log", "EXPECTED", "matches", "read", "report"}


def folders(root: Path) -> list[Path]:
    return sorted({path.parent for package in PACKAGES for path in (root / package).rglob("*.py")})


def public(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_no_room_is_too_full(root: Path) -> None:
    rooms = [folder for folder in folders(root) if folder != root / "pipeline"]
    sizes = {folder: len(architecture.modules_in(folder)) for folder in rooms}
    assert {folder: size for folder, size in sizes.items() if size > FULL} == {}


def test_beside_the_rooms_of_the_pipeline_lie_the_stages_and_nothing_else(root: Path) -> None:
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert {path.stem for path in architecture.modules_in(root / "pipeline")} == set(stages)


def test_a_public_name_stands_for_one_thing(root: Path) -> None:
    """A command of a `__main__.py` may bear the name of the function that it calls."""
    places = defaultdict(list)
    for folder in folders(root):
        for path in folder.glob("*.py"):
            commands = path.name in ("__main__.py", "command.py")
            for name in public(path) if not commands else ():
                if not name.startswith("_") and name not in ALIKE:
                    places[name].append(path.relative_to(root).as_posix())
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_each_room_says_what_it_is_for(root: Path) -> None:
    for folder in folders(root):
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_no_stage_is_imported_by_a_room_or_another_stage(root: Path) -> None:
    stages = {path.stem for path in architecture.modules_in(root / "pipeline")}
    for folder in folders(root):
        for path in folder.glob("*.py"):
            if (
                folder.name not in ("experiments", "label_errors") and path.name != "__main__.py"
            ):  # which run stages
                for node in ast.walk(ast.parse(path.read_text())):
                    if isinstance(node, ast.ImportFrom) and node.module:
                        head, _, stage = node.module.partition(".")
                        assert not (head == "pipeline" and stage in stages), path


def test_the_page_of_the_architecture_is_of_today(root: Path) -> None:
    assert (root / architecture.ARCHITECTURE).read_text() == architecture.described(root), (
        "run `python -m pipeline.commands.architecture`"
    )


@pytest.mark.parametrize(
    ("path", "never"),
    [
        ("sinet/training/augment.py", ["ingest", "crop", "pseudo_label", "merge", "evaluate"]),
        ("pipeline/faces/detector.py", ["merge", "evaluate", "train", "teacher"]),
        ("sinet/training/fused.py", ["evaluate", "export"]),
        ("sinet/inference/video.py", ["train", "evaluate"]),
    ],
)
def test_an_edit_leaves_what_it_cannot_change(root: Path, path: str, never: list[str]) -> None:
    assert not set(architecture.reruns_of(path, root)) & set(never)


def test_a_mended_reader_or_record_reruns_what_reads(root: Path) -> None:
    assert "ingest" in architecture.reruns_of("sinet/images/mask_file.py", root)
    assert {"ingest", "crop", "merge"} <= set(architecture.reruns_of("pipeline/core/records.py", root))
    assert {"ingest", "crop", "merge"} <= set(architecture.reruns_of("pipeline/core/store.py", root))
