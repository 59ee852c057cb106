"""What the engine `ray` costs beside `local`: a stage over the same pictures on the same cores, in one run.

`python -m pipeline benchmark engines --stage crop` or `ingest`, which does less for a picture. Seconds and CPU seconds
of all processes from the start of the stage to its end, with what Ray takes to start and to stop; the output must be
the same, byte by byte.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from pipeline.core.errors import PipelineError
from pipeline.core.paths import CACHE, CROP, INGEST
from pipeline.drawing.picture import body, generator, portrait
from pipeline.experiments.again import add, write_params
from sinet.images.decode import Array

_DRAWN = 100  # people; of each as many pictures as are wanted, each cut a pixel smaller
_LOOK = 0.2  # seconds between two looks at what the processes have taken
_ENGINES = ("local", "ray")
_STAGES = {"ingest": ("crawl",), "crop": ()}
_OUT = {"ingest": INGEST / "crawl", "crop": CROP}


def main(stage: str, pictures: int, rounds: int) -> None:
    """Print seconds and CPU seconds of each engine in each round, and what ray takes more."""
    if stage not in _OUT:
        raise PipelineError(f"expected a stage of {', '.join(_OUT)}; found {stage!r}")
    cores = len(os.sched_getaffinity(0))
    taken: dict[str, list[tuple[float, float]]] = {engine: [] for engine in _ENGINES}
    with tempfile.TemporaryDirectory(prefix="benchmark-engines-") as name:
        project = Path(name)
        add(project / "crawl", enumerate(_people(pictures)))
        whole = body(generator(1800, "engines", 0))
        add(project / "bodies", [(0, (whole.image, whole.mask))])  # the stage wants one
        add(project / "labelled", [])
        write_params(project, {})
        for words in ("list_sources", "ingest crawl", "ingest bodies") if stage == "crop" else ():
            _stage(project, *words.split())
        found = set()
        for _ in range(rounds):
            for engine in _ENGINES:
                write_params(project, {"execute": {"engine": engine}})
                for folder in (CACHE, _OUT[stage]):
                    shutil.rmtree(project / folder, ignore_errors=True)
                taken[engine].append(_stage(project, stage, *_STAGES[stage]))
                found.add(_digest(project / _OUT[stage]))
        if len(found) > 1:
            raise PipelineError("expected the same bytes of both engines, found others; report this")
    print(f"{stage} of {pictures:,} pictures by {cores} workers; the same bytes")
    print(f"{'':<8}{'seconds':>10}{'CPU s':>10}")
    for engine in _ENGINES:
        for seconds, cpu in taken[engine]:
            print(f"{engine:<8}{seconds:>10.1f}{cpu:>10.1f}")
    best = {engine: [min(values) for values in zip(*taken[engine], strict=True)] for engine in _ENGINES}
    more = [ray / local - 1 for local, ray in zip(*(best[engine] for engine in _ENGINES), strict=True)]
    print(f"ray takes {more[0]:+.1%} seconds and {more[1]:+.1%} CPU seconds, best rounds")


def _people(pictures: int) -> Iterator[tuple[Array, None]]:
    drawn = [portrait(generator(1800, "engines", number)).image for number in range(min(pictures, _DRAWN))]
    for number in range(pictures):
        cut = number // _DRAWN
        yield drawn[number % _DRAWN][cut:, cut:], None


def _stage(project: Path, stage: str, *names: str) -> tuple[float, float]:
    """Run a stage with a worker a core; its seconds, and the CPU seconds of all that it starts."""
    environment = {**os.environ, "PIPELINE_WORKERS": str(len(os.sched_getaffinity(0)))}
    start, cpu = time.monotonic(), dict[int, float]()
    log = project / "stderr"
    with log.open("w") as file:
        process = psutil.Popen(
            [sys.executable, "-m", f"pipeline.{stage}", *names],
            cwd=project,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
            stderr=file,
        )
    while process.poll() is None:
        for one in (process, *process.children(recursive=True)):
            try:
                times = one.cpu_times()
            except psutil.Error:  # it has just ended
                continue
            cpu[one.pid] = times.user + times.system
        time.sleep(_LOOK)
    if process.returncode != 0:
        raise PipelineError(f"stage {stage} failed: {log.read_text()[-2000:]}")
    return time.monotonic() - start, sum(cpu.values())


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        digest.update(
            f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()
