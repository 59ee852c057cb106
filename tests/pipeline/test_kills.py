"""Every data stage killed at random moments: run again, it gives the same bytes as one that nobody killed.

`KILLS_SEED=7 pytest -m long tests/pipeline/test_kills.py` draws other moments. Stage crawl has the same proof beside
its web server (tests/pipeline/fetching/test_crawl.py), with 120 kills.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
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
    assert ended(forked(make_project)) == 0
    for stage in OUTS:
        assert ended(started(stage)) == 0, stage
    return tmp_path


def make_project() -> None:
    """In a child too: a parent whose libraries have threads cannot be forked."""
    for role in ("labelled", "bodies", "crawl"):
        again.add(Path(role), drawn(role))
    again.write_params(Path(), {"split": {"dev_share": 0.3, "test_share": 0.3}})
    again.write_teacher(TEACHER)


def started(stage: str) -> int:
    """A child of this process, which has imported all that it needs, runs the stage; its number."""
    name, *arguments = stage.split()
    module = importlib.import_module(f"pipeline.{name}")

    def work() -> None:
        sys.argv = [name, *arguments]
        module.main()

    return forked(work)


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
        shutil.rmtree(CACHE, ignore_errors=True)
        if draw.random() < 0.3:  # else nothing is known
            shutil.copytree(kept, CACHE)
        for _ in range(draw.choice((1, 1, 2, 3))):  # in a row
            child = started(stage)
            time.sleep(draw.uniform(0, longest[stage]))
            os.kill(child, signal.SIGKILL)
            status = ended(child)
            assert status in (0, -signal.SIGKILL), stage
            killed[stage] += status == -signal.SIGKILL
            if status == 0:  # it had ended before: the next one comes earlier
                longest[stage] = max(0.02, 0.8 * longest[stage])
        begun, child = time.monotonic(), started(stage)
        assert ended(child) == 0, stage
        longest[stage] = max(longest[stage], 0.7 * (time.monotonic() - begun))
        assert bytes_of(stage) == whole[stage], f"{stage} after {killed[stage]} kills"
        print(sum(killed.values()), stage, flush=True)
    print(killed)
    assert min(killed.values()) >= KILLS // len(OUTS) - 3
