"""Send tasks to Label Studio exactly once: what is missing by the server's own list, and no request twice.

The tasks are those of data/push, of data/second_look and of the second round; in the end the project holds each version
of them once. The server is the ledger. After any doubt (timeout, disconnect, 5xx) its tasks are listed again before
anything else is sent; two senders at once may cross, so that each removes untouched copies after its last request.
At the end every task of ours shows its mask, and they are served in the order of their scores.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from tqdm import tqdm

from annotations.errors import ReviewError
from annotations.server.client import (
    LOWEST_FIRST,
    Client,
    DoubtfulError,
    Project,
    Serving,
    TaskHead,
    on_this_machine,
)
from annotations.server.import_files import TaskContent
from annotations.tasks.task import MODEL_VERSION, task_batches

log = logging.getLogger("annotations")

BATCH = 100  # tasks of one request: about 3 MB and a second
ROUNDS = 3  # of listing and sending what is missing
QUIET_SECONDS = 5.0  # the server's list must not grow for so long after a doubt
DOUBT_SECONDS = 120.0
SERVING = Serving(MODEL_VERSION, LOWEST_FIRST, prefilled=True)  # what a review needs of its project

INSTRUCTION = (
    "Accept (A), fix (F), reject (R) or unsure (U), then Ctrl+Enter; Ctrl+Space skips. To fix a mask: B takes the "
    "brush, E the eraser (on some servers Alt+. must select the mask first), [ and ] change their size, Ctrl+Z undoes, "
    "Ctrl+H hides the colour, Ctrl+wheel zooms, Shift+drag moves. Each task lists the keys and links to the guidelines."
)


@dataclass(frozen=True)
class Sent:
    """What one push did."""

    wanted: int
    there_before: int
    sent: int
    removed: int  # copies and versions that a newer mask replaces; nobody had touched them


def missing(tasks: Iterable[TaskContent], heads: Iterable[TaskHead]) -> Iterator[TaskContent]:
    """The tasks whose version the server lacks, each version once, in their order."""
    known = {head.version for head in heads}
    for task in tasks:
        version = _version(task)
        if version not in known:
            known.add(version)
            yield task


def without_masks(tasks: Iterable[TaskContent]) -> list[TaskContent]:
    """The tasks' `data` and scores: all that deciding what to send takes, and a twentieth of the memory."""
    return [
        {"data": task["data"], "predictions": [{"score": one["score"]} for one in task["predictions"]]}
        for task in tasks
    ]


def shown(task: TaskContent) -> TaskContent:
    """The task as it is sent: an import file or a second round of an earlier version named the teacher as the model."""
    predictions = [{**one, "model_version": MODEL_VERSION} for one in task["predictions"]]
    return {**task, "predictions": predictions}


def misplaced(
    tasks: Iterable[TaskContent], heads: Iterable[TaskHead], scores: Mapping[int, float]
) -> dict[int, float | None]:
    """Of the server's tasks those that show no mask, and all of another score where the order is not that of `tasks`.

    `scores` are those that the server orders by. The value is the score that a task is to have, None where `tasks` do
    not tell. A queue that was ranked anew has other scores, which is of no account as long as the order is the same.
    """
    wanted = {_version(task): float(one["score"]) for task in tasks for one in task["predictions"]}
    ours = [head for head in heads if head.version]
    hidden = {head.id: wanted.get(head.version) for head in ours if head.id not in scores}
    ranked = [head for head in ours if head.version in wanted and not head.touched]
    right = {head.id: wanted[head.version] for head in ranked}
    now = {task: scores.get(task, score) for task, score in right.items()}
    if _order(now) == _order(right):
        return hidden
    return hidden | {task: score for task, score in right.items() if now[task] != score}


def surplus(tasks: Iterable[TaskContent], heads: Iterable[TaskHead]) -> list[TaskHead]:
    """Untouched tasks to remove: further copies of one version, and versions of a key that a wanted one replaces.

    Of copies a touched one stays, else the oldest: every sender comes to the same choice.
    """
    wanted: dict[str, set[str]] = defaultdict(set)
    for task in tasks:
        wanted[str(task["data"]["key"])].add(_version(task))
    copies: dict[str, list[TaskHead]] = defaultdict(list)
    for head in heads:
        if head.version:  # a task without one is somebody else's
            copies[head.version].append(head)
    removable = []
    for version, group in copies.items():
        replaced = group[0].key in wanted and version not in wanted[group[0].key]
        kept = min(group, key=lambda head: (not head.touched, head.id))
        removable += [head for head in group if not head.touched and (replaced or head is not kept)]
    return sorted(removable, key=lambda head: head.id)


def same_config(one: str, other: str) -> bool:
    """Whether two labelling interfaces are equal but for comments, spaces and the order of attributes."""
    return _canonical(one) == _canonical(other)


def find_project(client: Client, title: str, label_config: str, update_config: bool = False) -> Project:
    """The project of this title, made if there is none; ReviewError where its interface is not LABEL_CONFIG."""
    found = client.projects(title)
    if not found:
        made = client.create_project(title, label_config, INSTRUCTION)
        found = client.projects(title)[:1]
        if found[0].id != made.id:
            client.delete_project(made)  # another sender was first, and ours is empty
    if len(found) > 1:
        numbers = ", ".join(str(project.id) for project in found)
        raise ReviewError(
            f"expected one project '{title}' at {client.url}, found {len(found)} (numbers {numbers}); rename "
            "those that are not this review's"
        )
    project = found[0]
    if not same_config(project.label_config, label_config):
        if not update_config:
            here = " (`python -m annotations review --update-config` into the review of this machine)"
            raise ReviewError(
                f"the labelling interface of project '{title}' at {client.url} is not "
                "annotations/tasks/label_config.xml: it was changed there, or this checkout is another version; "
                "`python -m annotations push --update-config` writes this checkout's"
                f"{here if on_this_machine(client.url) else ''}"
            )
        client.set_label_config(project, label_config)
    return project


def push(client: Client, project: Project, tasks: Iterable[TaskContent], batch: int = BATCH) -> Sent:
    """Make the project hold every task once; ReviewError says how many are there if it cannot.

    `tasks` is gone through several times and never kept whole, so that it may read them from files each time.
    """
    wanted = without_masks(tasks)
    heads = client.heads(project)
    absent = list(missing(wanted, heads))
    before = len(wanted) - len(absent)
    doubt: DoubtfulError | None = None
    for _ in range(ROUNDS):
        if not absent:
            break
        doubt = _send(client, project, missing(tasks, heads), batch)
        heads = client.heads(project) if doubt is None else _settled(client, project, doubt)
        absent = list(missing(wanted, heads))
    if absent:
        raise ReviewError(
            f"{len(absent)} of {len(wanted)} tasks did not arrive at {client.url}"
            f"{f' ({doubt})' if doubt else ''}; run push again: it sends only what is missing"
        )
    removed = {head.id for head in surplus(wanted, heads) if _remove(client, head)}
    _show(client, project, tasks, wanted, [head for head in heads if head.id not in removed])
    return Sent(len(wanted), before, len(wanted) - before, len(removed))


def _show(
    client: Client,
    project: Project,
    tasks: Iterable[TaskContent],
    wanted: list[TaskContent],
    heads: list[TaskHead],
) -> None:
    """Make the masks visible, and the order that of the scores; where all is well it costs two requests."""
    serving = client.serving(project)
    # The server takes no version that it has no prediction of: of one task it gets it first.
    if serving != SERVING and any(_mend(client, head, None) for head in heads if head.version):
        client.set_serving(project, SERVING)
        log.info(
            "project %d served its tasks by %s; now as a review needs it, by %s", project.id, serving, SERVING
        )
    changes = misplaced(wanted, heads, client.scores(project))
    mended = [head for head in heads if head.id in changes]
    each = tqdm(mended, desc="order", unit="task", disable=len(mended) < BATCH)
    bare = {head.version: head.id for head in each if not _mend(client, head, changes[head.id])}
    for task in tasks if bare else ():
        for prediction in shown(task)["predictions"] if _version(task) in bare else ():
            client.add_prediction(bare[_version(task)], prediction)


def _mend(client: Client, head: TaskHead, score: float | None) -> bool:
    """Give the task's predictions the version that is shown, and the score; False where it has lost them."""
    there = client.predictions(head.id)
    for one in there:
        client.change_prediction(int(one["id"]), MODEL_VERSION, one["score"] if score is None else score)
    return bool(there)


def _send(client: Client, project: Project, tasks: Iterable[TaskContent], batch: int) -> DoubtfulError | None:
    """Send the tasks in batches; stop at the first doubt and return it."""
    for content in task_batches(map(shown, tasks), max_tasks=batch):
        try:
            client.import_tasks(project, content)
        except DoubtfulError as error:
            log.warning("%s; looking at what arrived", error)
            return error
    return None


def _settled(client: Client, project: Project, doubt: DoubtfulError) -> list[TaskHead]:
    """The server's tasks once it answers again and their number has stopped to grow."""
    deadline = time.monotonic() + DOUBT_SECONDS
    last: list[TaskHead] | None = None
    while time.monotonic() < deadline:
        try:
            now = client.heads(project)
        except DoubtfulError:
            last = None
        else:
            if last is not None and len(now) == len(last):
                return now
            last = now
        time.sleep(QUIET_SECONDS)
    raise ReviewError(f"{doubt}; when it is well again, run push again: it sends only what is missing")


def _remove(client: Client, head: TaskHead) -> bool:
    """Delete a task if nobody has touched it since it was listed, and no one else removed it."""
    now = client.head(head.id)
    if now is None or now.touched:
        return False
    client.delete_task(head.id)
    return True


def _canonical(config: str) -> object:
    try:
        return _element(ElementTree.fromstring(config))
    except ElementTree.ParseError:
        return config


def _element(node: ElementTree.Element) -> object:
    text = " ".join((node.text or "").split())
    return node.tag, sorted(node.attrib.items()), text, [_element(child) for child in node]


def _version(task: TaskContent) -> str:
    return str(task["data"]["version"])


def _order(scores: Mapping[int, float]) -> list[int]:
    """The tasks as they are served: of equal ones the oldest first."""
    return sorted(scores, key=lambda task: (scores[task], task))
