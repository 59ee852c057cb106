"""The contracts of import-linter in pyproject.toml: an import that they forbid is named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("from sinet.images.decode import read_mask", 0),
        ("from sinet.network.model import SINet", 1),
        ("import sinet", 1),
    ],
)
def test_annotations_sees_nothing_of_sinet_but_its_pictures(
    root: Path, tmp_path: Path, line: str, code: int
) -> None:
    for package in ("pipeline", "sinet", "annotations"):
        for file in (root / package).rglob("*.py"):
            copy = tmp_path / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    shutil.copyfile(root / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "annotations/new.py").write_text(f"{line}\n")

    program = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
    assert ("annotations.new -> " in done.stdout) == bool(code)
