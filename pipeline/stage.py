"""What every stage's `main` shares: logging, the time it took, and errors as one sentence."""

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.paths import METRICS

log = logging.getLogger("pipeline")


def run(name: str, main: Callable[[], None]) -> None:
    """Run a stage; a PipelineError becomes one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "onnx_ir", "onnxscript", "matplotlib", "PIL", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    start = time.monotonic()
    try:
        main()
    except PipelineError as error:
        text = str(error)
        print(f"\n{text if text.startswith(name) else f'{name}: {text}'}", file=sys.stderr)
        sys.exit(1)
    log.info("%s: done in %.1f s", name, time.monotonic() - start)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 by way of a temporary name, so that a kill leaves no half file; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write sorted, indented JSON, as `write_text` does."""
    write_text(path, json.dumps(_rounded(content), indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_metrics(stage: str, content: Mapping[str, object]) -> None:
    """Write metrics/STAGE.json, floats rounded to six places."""
    write_json(METRICS / f"{stage}.json", content)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a metric must be a finite number, found {value}")
        return round(value, 6)
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
