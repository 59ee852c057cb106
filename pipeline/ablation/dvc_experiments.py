"""DVC experiments of the last commit, by name: those that are there, and one more."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PipelineError
from pipeline.core.paths import PARAMS
from pipeline.versions.dvc_lock import run_dvc
from pipeline.versions.git_commands import found_by_git, git
from pipeline.versions.revision import Objects, Version

Values = Mapping[str, Any]  # parameters by their dotted name

_SHOWN = 12  # lines of what a failed experiment printed
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Experiments:
    """The experiments that started from HEAD; with the same parameters one is run only once."""

    def __init__(self) -> None:
        """PipelineError where tracked files differ from HEAD: an experiment would be of those, and named after it."""
        self.head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no").splitlines()
        if changed:
            names = ", ".join(line[3:] for line in changed[:5])
            raise PipelineError(
                f"expected files as the last commit has them, found others: {names}; an experiment starts from a "
                "commit, so commit them (`git commit -am ...`) or take them back (`git stash`)"
            )
        self._objects = Objects()

    def version(self, name: str) -> Version | None:
        """The experiment of that name, None where there is none."""
        found = found_by_git(
            "rev-parse", "--verify", "--quiet", f"refs/exps/{self.head[:2]}/{self.head[2:]}/{name}"
        )
        return None if found is None else Version(name, found.decode().strip(), self._objects)

    def base(self) -> Version:
        """The commit itself."""
        return Version(self.head, self.head, self._objects)

    def done(self, name: str, values: Values, needed: Path) -> Version | None:
        """The experiment of that name with just these values beside HEAD's, None where there is none such.

        None too where it has not written the `needed` output, or where this is neither in the cache nor in the remote.
        """
        found = self.version(name)
        if found is None or _params(found) != with_values(_params(self.base()), values):
            return None
        return found if found.bring([str(needed)]) else None

    def run(self, name: str, stage: str, values: Values) -> Version:
        """Run what `stage` needs with these values in a temporary folder; the files here stay as they are.

        What lies nowhere DVC knows, as a raw folder of another machine, is taken as dvc.lock has it. PipelineError
        where a stage fails, with the last lines of what it printed.
        """
        options = [word for key, value in values.items() for word in ("-S", f"{key}={_hydra(value)}")]
        command = ["exp", "run", "--temp", "--allow-missing", "--name", name, *options, stage]
        if self.version(name) is not None:
            run_dvc("exp", "remove", name)
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found = self.version(name)
        if done.returncode or found is None:
            lines = [line for line in _COLOURS.sub("", done.stdout).splitlines() if line.strip()]
            raise PipelineError(
                f"the experiment {name} (stage {stage}) failed; what it printed last:\n  "
                + "\n  ".join(lines[-_SHOWN:])
            )
        return found


def with_values(content: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The content of params.yaml with other values at dotted names."""
    changed = dict(content)
    for key, value in values.items():
        first, _, rest = key.partition(".")
        changed[first] = with_values(changed[first], {rest: value}) if rest else value
    return changed


def _params(version: Version) -> dict[str, Any]:
    content = yaml.safe_load(version.read(str(PARAMS)))
    if not isinstance(content, dict):
        raise PipelineError(f"expected sections in {Path(PARAMS)} of {version.title}, found {content!r}")
    return content


def _hydra(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
