"""dvc.lock, the version of the data: read whole or refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PipelineError

LOCK = Path("dvc.lock")
BRING_BACK = (
    "`git checkout dvc.lock` brings the committed one back, and what was made since is in DVC's cache"
)
_DAMAGED = "dvc.lock is damaged, as where DVC is stopped while it writes it"


def parse_dvc_lock(text: str) -> dict[str, Any]:
    """The content of a dvc.lock; PipelineError where it is not whole, as where DVC was killed while writing it."""
    try:
        lock = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PipelineError(f"{_DAMAGED} ({str(error).splitlines()[0]}); {BRING_BACK}") from error
    if not isinstance(lock, dict) or not isinstance(lock.get("stages"), dict):
        raise PipelineError(f"{_DAMAGED} ({len(text)} characters, no stages); {BRING_BACK}")
    return lock


def run_dvc(*words: str) -> str:
    """What DVC prints: that of this Python, whether PATH has one or not. PipelineError where it fails."""
    done = subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PipelineError(f"`dvc {' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
