"""Questions to git about the project in the current folder."""

import subprocess
from pathlib import Path

from pipeline.core.errors import PipelineError


def git(*words: str) -> str:
    """What git prints; PipelineError with its own words where it refuses."""
    done = _done(words)
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace")
        raise PipelineError(f"`git {' '.join(words[:2])}` failed: {why}")
    return done.stdout.decode("utf-8", "surrogateescape").rstrip()


def found_by_git(*words: str) -> bytes | None:
    """What git prints; None where it refuses, as for what a revision does not have or outside of a repository."""
    done = _done(words)
    return None if done.returncode else done.stdout


def taken_by_git(path: Path) -> bool:
    """Whether `git add` would take the file at `path`, which may not be there yet."""
    above = next(one for one in path.absolute().parents if one.is_dir())
    command = ["git", "-C", str(above), "check-ignore", "--quiet", str(path.absolute())]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 1  # 128: no repository
    except FileNotFoundError:  # no git at all
        return False


def _done(words: tuple[str, ...]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *words], capture_output=True, check=False)
