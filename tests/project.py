"""A project of one's own for tests that run DVC: a copy of the working tree in a git repository, with a tiny world."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent

# Small enough for seconds a stage; every stage still does its real work.
TINY: dict[str, Any] = {
    "sample": {"portraits": 40, "portraits_test": 10, "bodies": 16, "crawl": 24},
    "ingest": {"max_reject_rate": 0.5},
    "crop": {"max_reject_rate": 0.9, "max_reject_rate_crawl": 0.9},
    "reviews": {"path": "annotations/reviews/tiny"},
    "teacher": {"epochs": 4, "batch": 4, "average_decay": 0.9},
    "train": {"phases": {"encoder": {"epochs": 1}, "full": {"epochs": 2, "batch": 4}}},
}


def environment(**more: str) -> dict[str, str]:
    """This process's environment with its own python and dvc first, one worker, quiet BLAS threads."""
    binaries = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PIPELINE_WORKERS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GIT_AUTHOR_NAME": "tester",
        "GIT_AUTHOR_EMAIL": "tester@example.org",
        "GIT_COMMITTER_NAME": "tester",
        "GIT_COMMITTER_EMAIL": "tester@example.org",
        **more,
    }


def run(folder: Path, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`; a failure shows what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
        )
    return done


def copy_tree(folder: Path) -> None:
    """What git tracks or would track of the working tree, as a new git repository with one commit."""
    listed = run(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "config", "user.name", "tester")
    run(folder, "git", "config", "user.email", "tester@example.org")
    commit(folder, "the recipe")


def commit(folder: Path, message: str) -> None:
    """Commit everything that git does not ignore."""
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--allow-empty", "-m", message)


def set_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change values in FOLDER/params.yaml, comments kept; a key that is not there is a mistake in the test."""
    yaml = YAML()
    path = folder / "params.yaml"
    content = yaml.load(path.read_text())
    _overlay(content, changes)
    with path.open("w") as file:
        yaml.dump(content, file)


def _overlay(base: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        assert key in base, f"params.yaml has no {key}"
        if isinstance(value, Mapping):
            _overlay(base[key], value)
        else:
            base[key] = value


def digest(path: Path) -> dict[str, str]:
    """sha256 of each file at or below `path`, by its name relative to `path`."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {str(one.relative_to(path)): sha256(one.read_bytes()).hexdigest() for one in files}
