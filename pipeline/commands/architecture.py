"""`python -m pipeline.commands.architecture` writes docs/architecture.md: rooms, imports and reruns.

All of it is read from the code. A test compares the file with what the code says today.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import yaml

from pipeline.commands.consistency import Stage
from pipeline.core.code import OUR_PACKAGES, imports_of

ARCHITECTURE = Path("docs/architecture.md")
# Of the files that one edits, ten that stand for their rooms.
EDITED = (
    "pipeline/drawing/face.py",
    "sinet/images/mask_file.py",
    "pipeline/faces/detector.py",
    "pipeline/deeplab/network.py",
    "pipeline/dataset/sides.py",
    "annotations/tasks/label_config.xml",
    "pipeline/core/records.py",
    "sinet/training/augment.py",
    "sinet/evaluation/metrics.py",
    "pipeline/reporting/page.py",
)
_OPENING = """# Architecture

Written by `python -m pipeline.commands.architecture` from the code; a test notices when it is stale.

A stage of `dvc.yaml` is one module at `pipeline/*.py`. Nearly everything else lies in rooms, which are folders. Imports
between the three packages point one way: `pipeline` sees `annotations` and `sinet`; `annotations` sees of `sinet` only
how pictures are read and files written; `sinet` sees neither. Inside `pipeline` no stage sees a stage, and no room does
but `experiments`, which measures them, and `label_errors`, which trains teachers. Tests hold this.
"""


def main() -> None:
    """Write the page."""
    ARCHITECTURE.write_text(described())


def described(root: Path = Path()) -> str:
    """The page as Markdown."""
    rooms = [room for package in OUR_PACKAGES for room in _rooms(root / package, root)]
    parts = [
        _OPENING,
        "## Rooms",
        _rooms_table(rooms, root),
        "## Imports between rooms",
        _imports_table(rooms, root),
    ]
    return "\n\n".join(part.strip() for part in [*parts, "## What an edit reruns", _reruns(root)]) + "\n"


def _rooms(package: Path, root: Path) -> Iterator[str]:
    folders = {package, *(path.parent for path in package.rglob("__init__.py"))}
    yield from sorted(folder.relative_to(root).as_posix() for folder in folders)


def _rooms_table(rooms: list[str], root: Path) -> str:
    rows = ["| room | what it is for | modules |", "|---|---|---:|"]
    for room in rooms:
        text = ast.get_docstring(ast.parse((root / room / "__init__.py").read_text())) or ""
        rows.append(
            f"| `{room}/` | {text.splitlines()[0] if text else ''} | {len(modules_in(root / room))} |"
        )
    return "\n".join(rows)


def modules_in(folder: Path) -> list[Path]:
    """The modules of a folder itself, without its `__init__.py` and `__main__.py`."""
    return [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("__")]


def _imports_table(rooms: list[str], root: Path) -> str:
    rows = ["| room | imports of |", "|---|---|"]
    for room in rooms:
        seen = {
            _room_of(name, root) for path in sorted((root / room).glob("*.py")) for name in _names(path, root)
        }
        others = sorted(seen - {room})
        rows.append(f"| `{room}/` | {', '.join(f'`{other}`' for other in others) or '—'} |")
    return "\n".join(rows)


def _names(path: Path, root: Path) -> Iterator[str]:
    module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    yield from imports_of(module, root)


def _room_of(module: str, root: Path) -> str:
    path = root / module.replace(".", "/")
    return (path if path.is_dir() else path.parent).relative_to(root).as_posix()


def _reruns(root: Path) -> str:
    rows = [
        "What follows from a stage reruns where its output changed. Results of single pictures come back from the",
        "cache unless the code that made them was edited.",
        "",
        "| an edit of | reruns |",
        "|---|---|",
    ]
    for path in EDITED:
        rows.append(f"| `{path}` | {', '.join(reruns_of(path, root)) or 'nothing'} |")
    return "\n".join(rows)


def reruns_of(path: str, root: Path = Path()) -> list[str]:
    """The stages that depend on a file of code, by dvc.yaml."""
    entries = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    stages = [Stage(name, entry) for name, entry in entries.items()]
    return [stage.name for stage in stages if any(_covers(dep, path) for dep in stage.code | stage.data)]


def _covers(dep: str, path: str) -> bool:
    return path == dep or path.startswith(f"{dep}/")


if __name__ == "__main__":
    main()
