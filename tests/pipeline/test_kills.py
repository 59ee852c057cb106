"""Every data stage killed at random moments: run again, it gives the same bytes as one that nobody killed.

`KILLS_SEED=7 pytest -m long tests/pipeline/test_kills.py` draws other moments. Stage crawl has the same proof beside its
web server (tests/pipeline/fetching/test_crawl.py), with 120 kills.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.paths import CACHE, METRICS, REJECTED, TEACHER
from pipeline.drawing.picture import body, generator, portrait
from pipeline.experiments import again
from sinet.images.decode import Array
from tests.project import digest

KILLS = 200
PICTURES = 5  # of each role
OUTS = {
    "list_sources": [f"data/ingest/{role}/sources.csv" for role in ("labelled", "bodies", "crawl")],
    "ingest labelled": ["data/ingest/labelled/labelled"],
    "ingest bodies": ["data/ingest/bodies/bodies"],
    "ingest crawl": ["data/ingest/crawl/crawl"],
    "crop": ["data/crop"],
    "cluster": ["data/cluster"],
    "split": ["data/split", "annotations/sides"],
    "pseudo_label": ["data/pseudo"],
    "merge": ["data/dataset"],
    "queue": ["data/queue"],
    "push": ["data/push"],
}


def drawn(kind: str) -> Iterator[tuple[int, tuple[Array, Array | None]]]:
    for number in range(PICTURES):
        picture = (body if kind == "bodies" else portrait)(generator(21, kind, number))
        yield number, (picture.image, None if kind == "crawl" else picture.mask)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every data stage has run in it once; the teacher is an untrained one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_WORKERS", "1")
    for role in ("labelled", "bodies", "crawl"):
        again.add(tmp_path / role, drawn(role))
    again.write_params(tmp_path, {})
    again.write_teacher(tmp_path / TEACHER)
    for stage in OUTS:
        assert os.waitstatus_to_exitcode(os.waitpid(started(stage), 0)[1]) == 0, stage
    return tmp_path


def started(stage: str) -> int:
    """A child of this process, which has imported all that it needs, runs the stage; its number."""
    name, *arguments = stage.split()
    module = importlib.import_module(f"pipeline.{name}")
    child = os.fork()
    if child:
        return child
    try:
        sys.argv = [name, *arguments]
        module.main()
        os._exit(0)
    finally:
        os._exit(1)


def bytes_of(stage: str) -> dict[str, dict[str, str]]:
    """All that a stage wrote, its metrics and rejects too."""
    name = stage.replace(" ", "/")
    more = [path for path in (METRICS / f"{name}.json", REJECTED / f"{name}.csv") if path.exists()]
    return {str(path): digest(Path(path)) for path in [*OUTS[stage], *more]}


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_data_stages_killed_at_random_moments_give_the_same_bytes(project: Path) -> None:
    draw = random.Random(int(os.environ.get("KILLS_SEED", "12")))
    whole = {stage: bytes_of(stage) for stage in OUTS}
    kept = project / "kept"
    shutil.copytree(CACHE, kept)
    killed = dict.fromkeys(OUTS, 0)
    longest = dict.fromkeys(OUTS, 1.0)
    while sum(killed.values()) < KILLS:
        stage = min(killed, key=lambda one: (killed[one], draw.random()))
        shutil.rmtree(CACHE)
        if draw.random() < 0.3:  # else nothing is known
            shutil.copytree(kept, CACHE)
        for _ in range(draw.choice((1, 1, 2, 3))):  # in a row
            begun, child = time.monotonic(), started(stage)
            time.sleep(draw.uniform(0, longest[stage]))
            os.kill(child, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status in (0, -signal.SIGKILL), stage
            killed[stage] += status == -signal.SIGKILL
            if status == 0:  # it had ended before: the next one comes earlier
                longest[stage] = max(0.02, 0.8 * longest[stage])
        begun, child = time.monotonic(), started(stage)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, stage
        longest[stage] = max(longest[stage], 0.7 * (time.monotonic() - begun))
        assert bytes_of(stage) == whole[stage], f"{stage} after {killed[stage]} kills"
    print(killed)
    assert min(killed.values()) >= KILLS // len(OUTS) - 3
