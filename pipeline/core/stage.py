"""What every stage's `main` shares: logging, the time it took, and errors as one sentence."""

import json
import logging
import math
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.core.errors import PipelineError, sentence_of
from pipeline.core.paths import CACHE, METRICS
from sinet.core import atomic
from sinet.images.decode import ImageError

log = logging.getLogger("pipeline")


def run(name: str, main: Callable[[], None]) -> None:
    """Run a stage, once at a time; what people can mend is one line on stderr and exit code 1, Ctrl-C 130."""
    heed_interrupts()
    _log_from(logging.INFO)
    start = time.monotonic()
    with _told(name), only_one(" ".join([f"pipeline.{name}", *sys.argv[1:]])):
        main()
    log.info("%s: done in %.1f s", name, time.monotonic() - start)


def run_beside(name: str, main: Callable[[], None]) -> None:
    """Run a stage's work in a process beside the one that runs it, which keeps others away and tells how it goes."""
    heed_interrupts()
    _log_from(logging.ERROR)
    with _told(name):
        main()


def _log_from(level: int) -> None:
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "onnx_ir", "onnxscript", "matplotlib", "PIL", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """End the process with a sentence and a code where what went wrong can be mended."""
    try:
        yield
    except PipelineError as error:
        _end(name, str(error), 1)
    except ImageError as error:  # one of the recipe's own: of a source it would have been rejected
        _end(name, f"damaged since a stage wrote it: {error}; `python -m pipeline look` names such files", 1)
    except OSError as error:
        _end(name, sentence_of(error), 1)
    except MemoryError:
        _end(name, "not enough memory; run it again with fewer workers (PIPELINE_WORKERS=1)", 1)
    except KeyboardInterrupt:
        _end(name, "stopped; run it again to go on: what was finished is kept", 130)


def heed_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, after `pipeline` has let it end the imports; ignored stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(name: str, text: str, code: int) -> None:
    print(f"\n{text if text.startswith(name) else f'{name}: {text}'}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def only_one(words: str) -> Iterator[None]:
    """Keep a second run of `python -m WORDS` from the files of this one; PipelineError in the second one."""
    lock = CACHE / "locks" / (re.sub(r"\W", "-", words) + ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, blocking=False):
            yield
    except Timeout:
        raise PipelineError(
            f"another `python -m {words}` is running in this folder; wait until it has ended"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all; makes the folder."""
    atomic.write_atomic(path, text.encode())


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
