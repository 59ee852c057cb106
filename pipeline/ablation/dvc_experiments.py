"""DVC experiments of the last commit, by name: those that are there, and one more."""

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PipelineError
from pipeline.core.paths import PARAMS
from pipeline.versions.dvc_lock import run_dvc
from pipeline.versions.git_commands import found_by_git, git
from pipeline.versions.revision import Objects, Version

Values = Mapping[str, Any]  # parameters by their dotted name

_READ = (
    "annotations",
    "pipeline",
    "sinet",
)  # folders of which stages also read files that git does not know yet
_SHOWN = 12  # lines of what a failed experiment printed
_BUSY = "Unable to acquire lock"  # another command of DVC runs here
_PAUSE = 10  # seconds
_TRAINING = re.compile(r"train \w+: .*\|")  # the bar of a training
_TOLD_EVERY = 60  # seconds
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Experiments:
    """The experiments that started from HEAD; with the same parameters one is run only once."""

    def __init__(self) -> None:
        """PipelineError where files differ from HEAD: an experiment would be of those, or miss the new ones."""
        self.head = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no").splitlines()
        changed += git("status", "--porcelain", "--untracked-files=all", *_READ).splitlines()
        if changed:
            names = ", ".join(dict.fromkeys(line[3:] for line in changed[:5]))
            raise PipelineError(
                f"expected files as the last commit has them, found others: {names}; an experiment starts from a "
                "commit, so commit them (`git add` those that are new) or take them back (`git stash`)"
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

    def run(self, name: str, stages: Sequence[str], values: Values) -> Version:
        """Run what the `stages` need with these values in a temporary folder; the files here stay as they are.

        What lies nowhere DVC knows, as a raw folder of another machine, is taken as dvc.lock has it. PipelineError
        where a stage fails, with the last lines of what it printed.
        """
        options = [word for key, value in values.items() for word in ("-S", f"{key}={_hydra(value)}")]
        if self.version(name) is not None:
            run_dvc("exp", "remove", name)
        while True:
            code, printed = _dvc("exp", "run", "--temp", "--allow-missing", "--name", name, *options, *stages)
            if not (code and _BUSY in printed):
                break
            time.sleep(_PAUSE)  # not for long: DVC holds it while it reads and writes what it knows
        self._objects = Objects()  # what the cache lacked before is there now
        found = self.version(name)
        if code or found is None:
            lines = [line for line in _COLOURS.sub("", printed).splitlines() if line.strip()]
            raise PipelineError(
                f"the experiment {name} (stage {stages[0]}) failed; what it printed last:\n  "
                + "\n  ".join(lines[-_SHOWN:])
            )
        return found


def inputs_of(version: Version, stage: str) -> dict[str, str]:
    """What a stage read of the data, by path, each with its md5."""
    deps = version.lock["stages"][stage]["deps"]
    return {dep["path"]: dep.get("md5", "") for dep in deps if dep["path"].split("/")[0] not in _READ}


def _dvc(*words: str) -> tuple[int, str]:
    """Exit code and output of a command, which ends by itself where somebody presses Ctrl-C: it tidies up then.

    Once a minute it is told how far a training is.
    """
    command = [sys.executable, "-m", "dvc", *words]
    lines: list[str] = []
    told = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout or ():  # a carriage return, as after a bar's state, ends one too
                if not _TRAINING.match(line):
                    lines.append(line)
                elif time.monotonic() - told >= _TOLD_EVERY:
                    told = time.monotonic()
                    print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            process.communicate()
            raise
    return process.returncode, "".join(lines)


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
