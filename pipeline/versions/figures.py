"""A JSON file of figures, a stage's metrics or the headline: read whole or refused."""

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError


def read_figures(path: Path) -> dict[str, Any]:
    """A stage's metrics; PipelineError where they are missing or damaged."""
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file: `dvc repro` makes it")
    return parse_figures(path.read_bytes(), str(path))


def parse_figures(content: bytes, where: str) -> dict[str, Any]:
    """The figures of a JSON file; PipelineError, which calls it `where`, for anything else."""
    try:
        figures = json.loads(content)
    except ValueError as error:
        raise PipelineError(f"{where} is not JSON ({error}); run `dvc repro headline`") from error
    if not isinstance(figures, dict):
        raise PipelineError(
            f"expected figures by name in {where}, found {figures!r}; run `dvc repro headline`"
        )
    return figures
