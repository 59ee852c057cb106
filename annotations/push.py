"""Send tasks to Label Studio exactly once: what is missing by the server's own list, and no request twice.

In: the tasks of data/push, and those of the second round. Out: a project that holds each version of them once.
The server is the ledger. After any doubt (timeout, disconnect, 5xx) its tasks are listed again before anything
else is sent; two senders at once may cross, so that each removes untouched copies after its last request.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from annotations.client import Client, DoubtfulError, Project, TaskHead
from annotations.errors import ReviewError
from annotations.import_files import Task
from annotations.tasks import batches

log = logging.getLogger("annotations")

BATCH = 100  # tasks of one request: about 3 MB and a second
ROUNDS = 3  # of listing and sending what is missing
QUIET_SECONDS = 5.0  # the server's list must not grow for so long after a doubt
DOUBT_SECONDS = 120.0

INSTRUCTION = (
    "Accept (A), fix (F), reject (R) or unsure (U), then Ctrl+Enter; Ctrl+Space skips. To fix a mask: B takes the brush, "
    "E the eraser (on some servers Alt+. must select the mask first), [ and ] change their size, Ctrl+Z undoes, Ctrl+H "
    "hides the colour, Ctrl+wheel zooms, Shift+drag moves. Each task lists the keys and links to the guidelines."
)


@dataclass(frozen=True)
class Sent:
    """What one push did."""

    wanted: int
    there_before: int
    sent: int
    removed: int  # copies and versions that a newer mask replaces; nobody had touched them


def missing(tasks: Iterable[Task], heads: Iterable[TaskHead]) -> Iterator[Task]:
    """The tasks whose version the server lacks, each version once, in their order."""
    known = {head.version for head in heads}
    for task in tasks:
        version = str(task["data"]["version"])
        if version not in known:
            known.add(version)
            yield task


def without_masks(tasks: Iterable[Task]) -> list[Task]:
    """The tasks' `data` alone: all that deciding what to send takes, and a twentieth of the memory."""
    return [{"data": task["data"]} for task in tasks]


def surplus(tasks: Iterable[Task], heads: Iterable[TaskHead]) -> list[TaskHead]:
    """Untouched tasks to remove: further copies of one version, and versions of a key that a wanted one replaces.

    Of copies a touched one stays, else the oldest: every sender comes to the same choice.
    """
    wanted: dict[str, set[str]] = defaultdict(set)
    for task in tasks:
        wanted[str(task["data"]["key"])].add(str(task["data"]["version"]))
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
        found = client.projects(title)
        if len(found) > 1 and found[0].id != made.id:
            client.delete_project(made)  # another sender was first; ours is empty
            found = found[:1]
    if len(found) > 1:
        numbers = ", ".join(str(project.id) for project in found)
        raise ReviewError(
            f"expected one project '{title}' at {client.url}, found {len(found)} (numbers {numbers}); rename "
            "those that are not this review's"
        )
    project = found[0]
    if not same_config(project.label_config, label_config):
        if not update_config:
            raise ReviewError(
                f"the labelling interface of project '{title}' at {client.url} is not annotations/label_config.xml: "
                "it was changed there, or this checkout is another version; `python -m annotations push "
                "--update-config` writes this checkout's (`python -m annotations review --update-config` into the "
                "review of this machine)"
            )
        client.set_label_config(project, label_config)
    return project


def push(client: Client, project: Project, tasks: Iterable[Task], batch: int = BATCH) -> Sent:
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
    removed = [head for head in surplus(wanted, heads) if _remove(client, head)]
    return Sent(len(wanted), before, len(wanted) - before, len(removed))


def _send(client: Client, project: Project, tasks: Iterable[Task], batch: int) -> DoubtfulError | None:
    """Send the tasks in batches; stop at the first doubt and return it."""
    for content in batches(tasks, max_tasks=batch):
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
