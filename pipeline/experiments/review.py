"""Time and memory of push and pull on a real Label Studio with many tasks, beside the SDK's own import.

`python -m pipeline benchmark review --tasks 5000` (about 2 GB of disk). The server lives in a temporary folder, on a
free port of loopback, and ends with the run. What is measured are the commands of docs/review.md, from their start
to their end, each in a process of its own: `python -m annotations push` and `pull`.
"""

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from label_studio_sdk import LabelStudio
from tqdm import tqdm

from annotations.ledger.lock import read_lock, review_key
from annotations.masks.brush import mask_to_rle, regions_to_mask
from annotations.server.client import Client, Project
from annotations.server.import_files import TaskContent, read_tasks
from annotations.server.installation import Installation, Running
from annotations.server.send import BATCH
from annotations.settings import IMPORT_FILES, PROJECT, REVIEW_DATA, server_python
from annotations.tasks.task import LABEL_CONFIG, Proposal, task_batches
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import CACHE, PARAMS, PROFILES
from pipeline.core.store import Store
from pipeline.drawing.picture import generator, portrait
from pipeline.review.import_folder import Candidate, write_import_folder
from sinet.images.decode import encode_mask, encode_png, pixel_id

WIDTH, HEIGHT = 600, 800  # pixels of a drawn portrait
PEOPLE = 25  # different drawn portraits, which the tasks share
_TEACHER = "be7c4" + "0" * 11
MOVED = 3  # pixels, by which a changed mask lies beside the proposed one
_POLL = 0.05  # seconds between two looks at a process's memory


@dataclass(frozen=True)
class _Row:
    """A line of the table."""

    name: str
    tasks: int  # that the time is shared by
    seconds: float  # from the start to the end
    cpu: float  # seconds of CPU time of the command alone
    server: float  # seconds of CPU time of the server meanwhile
    peak: float | None  # MB of memory of the command; None where it was not a process of its own

    def line(self, width: int) -> str:
        """The row under `HEADER`'s columns, its name in `width` letters."""
        each = 1000 * self.seconds / self.tasks
        peak = "" if self.peak is None else f"{self.peak:9.0f}"
        return f"{self.name:{width}}{self.seconds:9.1f}{each:9.2f}{self.cpu:9.1f}{self.server:9.1f}{peak}".rstrip()


HEADER = ("s", "ms/task", "our CPU", "server's", "peak MB")


def main(tasks: int, reviews: int, sample: int) -> None:
    """Push `tasks`, submit `reviews` of them, pull, push again; import `sample` tasks; print the table."""
    python = server_python()
    if python is None:
        raise PipelineError(
            "expected Label Studio in an environment of its own, found none; run `make label-studio`"
        )
    reviews, sample = min(reviews, tasks), min(sample, tasks)
    with tempfile.TemporaryDirectory(prefix="benchmark-review-") as name:
        folder = Path(name)
        write_project(folder, tasks)
        installation = Installation(folder / REVIEW_DATA)
        try:
            running = installation.start(python, 0)
            rows = _measure(folder, installation, running, reviews, sample)
        finally:
            installation.stop()
    print(f"{tasks:,} tasks of {WIDTH}x{HEIGHT} pixels, {reviews:,} reviewed; CPU in seconds")
    print("\n".join(_table(rows)))


def write_project(folder: Path, tasks: int) -> None:
    """Make FOLDER one in which `python -m annotations push` sends `tasks` tasks of drawn portraits."""
    content = yaml.safe_load((PARAMS if PARAMS.is_file() else PROFILES / "sample.yaml").read_text())
    content["reviews"] = {"path": "reviews"}
    content["label_studio"] |= {"url": "http://127.0.0.1:8080", "send": False}
    (folder / PARAMS).write_text(yaml.safe_dump(content))
    people = [_person(folder / "people", number) for number in range(min(PEOPLE, tasks))]
    items = [_item(number, *people[number % len(people)]) for number in range(tasks)]
    write_import_folder(
        folder / IMPORT_FILES, items, load_params(folder / PARAMS).label_studio, Store("push", folder / CACHE)
    )


def _measure(
    folder: Path, installation: Installation, running: Running, reviews: int, sample: int
) -> list[_Row]:
    """The table's rows, on a running server without projects; PipelineError where a push or a pull went wrong."""
    server = psutil.Process(running.pid)
    key = installation.secrets().api_key
    tasks = list(read_tasks(folder / IMPORT_FILES))
    count = len(tasks)
    imports = _imports(running.url, key, tasks[:sample], server)
    push = _command(f"push of {count:,}", "push", count, folder, server, f" {count} sent")
    submit(running.url, key, tasks[:reviews])
    pull = _command(f"pull, {reviews:,} reviewed", "pull", count, folder, server, f" holds {reviews} reviews")
    again = _command("push again, nothing to send", "push", count, folder, server, " 0 sent")
    fixed = sum(entry.verdict == "fix" for entry in read_lock(folder / "reviews"))
    if fixed != reviews // 2:
        raise PipelineError(f"{reviews // 2} masks were changed, but {fixed} came back as changed")
    return [push, pull, again, *imports]


def submit(url: str, key: str, tasks: Sequence[TaskContent]) -> None:
    """Review pushed tasks as the editor would: every second mask changed, the others accepted."""
    client, sdk = Client(url, key), _sdk(url, key)
    (project,) = client.projects(PROJECT)
    numbers = {head.version: head.id for head in client.heads(project)}
    for number, task in enumerate(tqdm(tasks, desc="reviews", unit="task", mininterval=15)):
        result = _said(task["predictions"][0]["result"], changed=number % 2 == 1)
        sdk.annotations.create(id=numbers[task["data"]["version"]], lead_time=5.0, result=result)


def _table(rows: Sequence[_Row]) -> list[str]:
    """The rows under their header; and how ours compare with the SDK's import, which is the last row.

    The first row is push, the last but one our import alone.
    """
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}{''.join(f'{title:>9}' for title in HEADER)}", *(row.line(width) for row in rows)]
    theirs = rows[-1]
    for what, ours in (("our import", rows[-2]), ("all of push", rows[0])):
        seconds = (ours.seconds / ours.tasks) / (theirs.seconds / theirs.tasks)
        cpu = ((ours.cpu + ours.server) / ours.tasks) / ((theirs.cpu + theirs.server) / theirs.tasks)
        lines.append(f"{what} takes {seconds:.2f} of the SDK's time a task, {cpu:.2f} of its CPU time")
    return lines


def _person(folder: Path, number: int) -> tuple[str, Path, Path]:
    """Draw portrait `number` into FOLDER: its id, picture and mask."""
    drawn = portrait(generator(0, "benchmark review", number), WIDTH, HEIGHT)
    folder.mkdir(exist_ok=True)
    image, mask = folder / f"{number}.png", folder / f"{number}-mask.png"
    image.write_bytes(encode_png(drawn.image))
    mask.write_bytes(encode_mask(drawn.mask))
    return pixel_id(drawn.image), image, mask


def _item(number: int, identity: str, image: Path, mask: Path) -> Candidate:
    parent, box = hashlib.sha256(f"picture {number}".encode()).hexdigest(), f"0,0,{WIDTH},{HEIGHT}"
    candidate = Proposal(
        key=review_key(parent, box),
        parent_sha256=parent,
        crop_box=box,
        id=identity,
        teacher=_TEACHER,
        uncertainty=0.5,
        flags="",
        score=float(number),
    )
    return Candidate(candidate, image, mask, "review")


def _said(proposed: list[dict[str, Any]], changed: bool) -> list[dict[str, Any]]:
    """The result of an annotation: the verdict, and the proposed regions or one that lies beside them."""
    choice = {"choices": ["fix" if changed else "accept"]}
    verdict = {"type": "choices", "from_name": "verdict", "to_name": "image", "value": choice}
    if not changed:
        return [verdict, *proposed]
    mask = np.roll(regions_to_mask(proposed, HEIGHT, WIDTH), MOVED, axis=1)
    value = {**proposed[0]["value"], "rle": mask_to_rle(mask)}
    return [verdict, {**proposed[0], "value": value, "origin": "prediction-changed"}]


def _command(
    name: str, command: str, tasks: int, folder: Path, server: psutil.Process, expected: str
) -> _Row:
    """Run `python -m annotations COMMAND` in FOLDER; PipelineError where it fails or does not print `expected`."""
    log = folder / f"{command}.log"
    peak = 0.0

    def run() -> None:
        nonlocal peak
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "annotations", command], cwd=folder, stdout=out, stderr=out
            )
            while process.poll() is None:
                peak = max(peak, _peak_memory(process.pid))
                time.sleep(_POLL)

    seconds, cpu, servers = _timed(run, resource.RUSAGE_CHILDREN, server)
    if expected not in log.read_text():
        raise PipelineError(f"{command} was to print '{expected}', found: {log.read_text()[-1000:]}")
    return _Row(name, tasks, seconds, cpu, servers, peak)


def _imports(url: str, key: str, tasks: Sequence[TaskContent], server: psutil.Process) -> list[_Row]:
    """The import alone, of tasks that are parsed already: as push does it, and by the SDK; each into a new project."""
    client, sdk = Client(url, key), _sdk(url, key)

    def ours(project: Project) -> None:
        for content in task_batches(tasks, max_tasks=BATCH):
            client.import_tasks(project, content)

    def theirs(project: Project) -> None:
        sdk.projects.import_tasks(id=project.id, request=tasks)

    rows = []
    for name, run in (("our import alone", ours), ("the SDK's import", theirs)):
        project = client.create_project(name, LABEL_CONFIG.read_text(), "")
        taken = _timed(partial(run, project), resource.RUSAGE_SELF, server)
        client.delete_project(project)
        rows.append(_Row(f"{name}, {len(tasks)}", len(tasks), *taken, peak=None))
    return rows


def _timed(run: Callable[[], object], who: int, server: psutil.Process) -> tuple[float, float, float]:
    """Seconds of a run, CPU seconds of `who` (as resource.getrusage has it) and of the server meanwhile."""
    start, cpu, servers = time.monotonic(), _cpu(who), _server_cpu(server)
    run()
    return time.monotonic() - start, _cpu(who) - cpu, _server_cpu(server) - servers


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _server_cpu(server: psutil.Process) -> float:
    times = [one.cpu_times() for one in (server, *server.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def _peak_memory(pid: int) -> float:
    """The most resident memory in MB that the process had so far; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def _sdk(url: str, key: str) -> Any:
    sdk: Any = LabelStudio  # its constructor is untyped
    return sdk(base_url=url, api_key=key)
