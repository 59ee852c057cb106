"""What `make check` runs, for CI, which runs `make test` alone: each command of the Makefile's target must pass."""

import re
import shlex
from pathlib import Path

import pytest

from tests import project

MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text()
RECIPE = re.search(r"^check:.*\n((?:\t.+\n?)+)", MAKEFILE, re.MULTILINE)
COMMANDS = [line.strip() for line in RECIPE[1].splitlines()] if RECIPE else []


def test_the_target_is_read() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["ruff", "ruff", "mypy", "lint-imports", "python"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_passes(command: str, root: Path) -> None:
    project.run(root, *shlex.split(command))
