"""Take off a server what people asked to have taken out: its tasks with all that was said of them, and its pictures."""

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from annotations.errors import ReviewError
from annotations.ledger.shards import LockError
from annotations.ledger.takedowns import Takedowns, read_takedowns
from annotations.server.client import Client, Project, TaskHead
from annotations.server.import_files import SHOWN_PICTURES, TaskContent, parse_task
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
    client: Client,
    projects: Iterable[Project],
    takedowns: Takedowns,
    place: Place | None,
    on_their_way: Collection[str] = (),
) -> tuple[list[TaskHead], list[TaskHead]]:
    """Delete the requests' tasks, and all pictures at `place` but those of the others; tasks that went, and that stay.

    A picture's name tells the version of its task alone: of a task that is replaced or gone nobody knows whose it was.
    Versions `on_their_way` stay, whose tasks somebody may be sending. The pictures go first: a task that is gone names
    none.
    """
    heads = [head for project in projects for head in client.heads(project)]
    gone = [head for head in heads if takedowns.of_task(head.key, head.parent_sha256)]
    stay = [head for head in heads if head not in gone]
    if place is not None:
        names = place.files()
        place.remove([name for name in _of_no_task(names, stay) if name[:16] not in on_their_way])
    for head in gone:
        client.delete_task(head.id)
    return gone, stay


def clear_pictures(folder: Path, stay: Collection[TaskHead]) -> None:
    """Remove from this machine's served pictures those of no task that stays: replaced tasks left theirs there."""
    for name in _of_no_task((path.name for path in folder.glob("*.jpg")), stay):
        (folder / name).unlink()


def _of_no_task(names: Iterable[str], stay: Collection[TaskHead]) -> list[str]:
    """Of the names of files those of pictures that none of the tasks shows."""
    shown = (_PICTURE.search(address) for head in stay for address in head.shows)
    # A second round shows the pictures of the first, which has another version.
    versions = {head.version for head in stay} | {one[1] for one in shown if one is not None}
    found = (_PICTURE.fullmatch(name) for name in sorted(names))
    return [one[0] for one in found if one is not None and one[1] not in versions]


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
