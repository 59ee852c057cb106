"""Take off a server what people asked to have taken out: its tasks with all that was said of them, and its pictures."""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from annotations.errors import ReviewError
from annotations.ledger.shards import LockError
from annotations.ledger.takedowns import Takedowns, read_takedowns
from annotations.server.client import Client, Project, TaskHead
from annotations.server.import_files import SHOWN_PICTURES, TaskContent, parse_task, picture_name
from annotations.server.installation import Installation
from annotations.server.upload import Place

_PICTURE = re.compile(rf"([0-9a-f]{{16}})-({'|'.join(SHOWN_PICTURES)})\.jpg")  # as `picture_name` makes it


def read_requested() -> Takedowns:
    """The requests in annotations/takedowns; ReviewError where a line is damaged."""
    try:
        return read_takedowns()
    except LockError as error:
        raise ReviewError(f"the list of take-downs cannot be read: {error}") from error


def wanted_tasks(tasks: Iterable[TaskContent], takedowns: Takedowns) -> Iterator[TaskContent]:
    """The tasks of which nobody asked to have the picture taken out."""
    return (task for task in tasks if not _named(task, takedowns))


def withdraw_tasks(
    client: Client, project: Project, takedowns: Takedowns, place: Place | None
) -> tuple[list[TaskHead], list[TaskHead]]:
    """Delete the requests' tasks and what they show at `place`; the tasks that went, and those that stay.

    The pictures go first: a task that is gone names none.
    """
    heads = client.heads(project)
    gone = [head for head in heads if takedowns.of_task(head.key, head.parent_sha256)]
    if place is not None and gone:
        place.remove([picture_name(head.version, kind) for head in gone for kind in SHOWN_PICTURES])
    for head in gone:
        client.delete_task(head.id)
    return gone, [head for head in heads if head not in gone]


def clear_pictures(folder: Path, stay: Collection[TaskHead]) -> None:
    """Remove from this machine's served pictures those of no task that stays: replaced tasks left theirs there."""
    versions = {head.version for head in stay}
    for path in folder.glob("*.jpg"):
        name = _PICTURE.fullmatch(path.name)
        if name is not None and name[1] not in versions:
            path.unlink()


def clear_second_round(installation: Installation, takedowns: Takedowns) -> None:
    """Remove the second round's tasks of such pictures; a damaged one stays, for push to name it."""
    for path in installation.second_round.glob("*.json"):
        try:
            named = _named(parse_task(path.read_bytes()), takedowns)
        except ValueError:
            continue
        if named:
            path.unlink()


def _named(task: TaskContent, takedowns: Takedowns) -> bool:
    data = task["data"]
    return takedowns.of_task(str(data.get("key", "")), str(data.get("parent_sha256", ""))) is not None
