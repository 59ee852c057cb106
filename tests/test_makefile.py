"""The Makefile hands paths on as they are, whatever characters are in them."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

STUB = """#!/bin/sh
for one in "$@"; do printf '%s\\n' "$one"; done >> "$TOLD"
"""


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Path:
    """The Makefile with programs that only write down their arguments."""
    shutil.copyfile(root / "Makefile", tmp_path / "Makefile")
    bin_ = tmp_path / ".venv" / "bin"
    bin_.mkdir(parents=True)
    for name in ("python", "dvc"):
        (bin_ / name).write_text(STUB)
        (bin_ / name).chmod(stat.S_IRWXU)
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", "-o", ".venv/.installed", *words],
        cwd=checkout, env={**os.environ, "TOLD": str(checkout / "told")}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def told(checkout: Path, *words: str) -> list[str]:
    done = make(checkout, *words)
    assert done.returncode == 0, done.stderr
    return (checkout / "told").read_text().splitlines()


@pytest.mark.parametrize("folder", ["plain", "with space", "it's $(touch x) `touch x` $1", "a;touch x"])
def test_a_folder_arrives_as_it_is(checkout: Path, folder: str) -> None:
    for name in ("EG1800", "PAIRS"):
        words = [f"{name}={folder.replace('$', '$$')}", "PROFILE=real", "CRAWL=c"]
        found = told(checkout, "repro", *words)
        option = f"--{name.lower()}"
        assert found[:7] == ["-m", "pipeline", "configure", "real", option, folder, "--crawl"]
        (checkout / "told").unlink()
    assert not (checkout / "x").exists()


def test_a_backup_file_arrives_as_it_is(checkout: Path) -> None:
    assert told(checkout, "review-backup", "FILE=it's.tar.gz")[-1] == "it's.tar.gz"


def test_a_compiler_that_comes_with_the_tests_is_used(checkout: Path) -> None:
    """An environment that was installed before there was one is installed again, and builds prediction in C."""
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("rm", "bash", "make"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for name, script in {"id": "echo 0", "apt-get": "exit 0", "python3": 'echo "$@"'}.items():
        (tools / name).write_text(f"#!{tools / 'bash'}\n{script}\n")
        (tools / name).chmod(stat.S_IRWXU)
    for name in ("pyproject.toml", "constraints.txt"):
        (checkout / name).touch()
    (checkout / ".venv" / ".installed").touch()
    done = subprocess.run(
        ["make", "-s", "compiler", "install"],
        cwd=checkout, env={"PATH": str(tools), "TOLD": os.devnull}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "-m venv .venv" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["EG1800", "PAIRS", "BAIDU", "CRAWL", "IMG2DATASET", "URLS"])
def test_folders_without_a_profile_are_refused(checkout: Path, name: str) -> None:
    done = make(checkout, "repro", f"{name}=x")
    assert done.returncode != 0
    assert (
        done.stdout
        == "EG1800=, PAIRS=, BAIDU=, CRAWL=, IMG2DATASET= and URLS= need a profile: add PROFILE=real\n"
    )
    assert not (checkout / "told").exists()
