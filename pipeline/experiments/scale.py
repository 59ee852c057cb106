"""What a crawl of millions takes: time, memory, disk and money, from measured costs a picture and simulated workers.

`python -m pipeline benchmark scale`. The costs are those of docs/results.md. Simulated are the workers, which take
pictures of unequal cost, whose results are wanted in order, and which are lost now and then.
"""

import functools
import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

_WINDOW = 8  # pictures a worker that may wait for an earlier one (`pipeline.core.execute`)
_SPREAD = 0.6  # of the logarithm of a picture's cost: the slowest of a hundred takes four times the median
_SEED = 1800
_A_WORKER = 400  # pictures that each simulated worker gets
_RECORD = 1100  # bytes of memory that a row of records takes in pandas, text and all


@dataclass(frozen=True)
class StageCost:
    """What one stage costs a crawled picture."""

    stage: str
    parallel: float  # seconds of CPU in workers
    serial: float = 0.0  # seconds in the one process of the stage
    memory: float = 0.0  # bytes in that process
    files: int = 0  # that it leaves
    stored: float = 0.0  # bytes of them
    out: str = ""  # where they lie


# Seconds as docs/results.md has them, two cores of an AMD EPYC: five folders through the data stages, and a million of
# made pictures for the candidates. Bytes are those of these folders' crawls, pictures of 320 to 550 pixels.
COSTS = (
    StageCost("ingest", 0.015, 0, _RECORD, 1, 27e3, "data/ingest/crawl"),
    StageCost("crop", 0.058, 0, _RECORD, 1, 25e3, "data/crop/crawl"),
    StageCost("cluster", 0.108, 0.000465, 3500),
    StageCost("pseudo_label", 0.073, 0, _RECORD, 3, 45e3, "data/pseudo"),
    StageCost("merge", 0.0, 0.0023, 3 * _RECORD, 2, 0, "data/dataset"),  # links, no bytes of its own
    StageCost("balance", 0.045, 0, _RECORD),
)
_DVC_A_FILE = 0.00028  # seconds, before each stage that depends on the file


@dataclass(frozen=True)
class Machines:
    """How many workers there are, how often one is lost, and what each costs."""

    workers: int
    lost_an_hour: float = 0.01  # a worker: one of a hundred
    start: float = 3.0  # seconds until a new one works
    price: float = 0.05  # of a core and hour, in your money


def makespan(costs: NDArray[np.float64], machines: Machines) -> float:
    """Seconds until all pictures are done, which take `costs` seconds each and whose results are wanted in order.

    A lost worker's picture is done again by the one that starts in its place.
    """
    draw = np.random.default_rng(_SEED)
    losses = (
        draw.exponential(3600 / machines.lost_an_hour, machines.workers) if machines.lost_an_hour else None
    )
    free = [(machines.start, worker) for worker in range(machines.workers)]  # when, and who
    heapq.heapify(free)
    ready = np.zeros(len(costs))  # when the results up to this picture are there
    window = _WINDOW * machines.workers
    for at, cost in enumerate(costs):
        now, worker = heapq.heappop(free)
        begun = max(now, ready[at - window] if at >= window else 0.0)
        done = begun + cost
        while losses is not None and losses[worker] < done:
            begun = max(begun, losses[worker] + machines.start)
            done = begun + cost
            losses[worker] += machines.start + draw.exponential(3600 / machines.lost_an_hour)
        heapq.heappush(free, (done, worker))
        ready[at] = max(done, ready[at - 1] if at else 0.0)
    return float(ready[-1])


@functools.cache  # it does not depend on how many pictures there are, which the table asks for three times
def efficiency(mean: float, machines: Machines) -> float:
    """The share of the workers' time that pictures of `mean` seconds get, in 0..1."""
    draw = np.random.default_rng(_SEED)
    costs = mean * draw.lognormal(-(_SPREAD**2) / 2, _SPREAD, _A_WORKER * machines.workers)
    return float(costs.sum() / (machines.workers * makespan(costs, machines)))


def hours(cost: StageCost, pictures: int, machines: Machines) -> tuple[float, float]:
    """Hours in the workers, and in the stage's own process."""
    workers = 0.0
    if cost.parallel:
        # Of millions a worker's start is nothing: the simulated share without it is what lasts.
        share = efficiency(cost.parallel, Machines(machines.workers, machines.lost_an_hour, 0.0))
        workers = pictures * cost.parallel / machines.workers / share / 3600
    return workers, pictures * cost.serial / 3600


def dvc_hours(pictures: int, dvc_yaml: Path = Path("dvc.yaml")) -> float:
    """Hours in which DVC looks at the files of the pictures, once before each stage that depends on them."""
    stages = yaml.safe_load(dvc_yaml.read_text(encoding="utf-8"))["stages"].values()
    read = [dep for stage in stages for dep in stage.get("do", stage).get("deps", [])]
    return pictures * _DVC_A_FILE * sum(cost.files * read.count(cost.out) for cost in COSTS) / 3600


def main(price: float) -> None:
    """Print a table for 1, 10 and 100 million pictures, and for each what holds it up."""
    print(
        "| pictures | workers | in workers | in one process | in DVC | memory | disk | cost | what holds it up |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    for millions in (1, 10, 100):
        for workers in (16, 160, 1600):
            print(_row(millions * 1_000_000, Machines(workers, price=price)))


def _row(pictures: int, machines: Machines) -> str:
    each = {cost.stage: hours(cost, pictures, machines) for cost in COSTS}
    in_workers, alone = (sum(one[at] for one in each.values()) for at in (0, 1))
    dvc = dvc_hours(pictures)
    memory = {cost.stage: cost.memory * pictures for cost in COSTS}
    needy = max(memory, key=memory.__getitem__)
    slowest = max(each, key=lambda stage: each[stage][0])
    disk = sum(cost.stored for cost in COSTS) * pictures
    limits = {
        f"the workers of {slowest}": in_workers,
        "DVC, which looks at every file": dvc,
        "one process": alone,
    }
    money = machines.price * (machines.workers * in_workers + alone + dvc)
    return (
        f"| {pictures / 1e6:.0f} million | {machines.workers:,} | {in_workers:,.1f} h | {alone:,.1f} h | "
        f"{dvc:,.1f} h | {memory[needy] / 1e9:,.0f} GB ({needy}) | {disk / 1e12:,.1f} TB | "
        f"{money:,.0f} | {max(limits, key=limits.__getitem__)} |"
    )
