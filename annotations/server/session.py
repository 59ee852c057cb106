"""One review on one server: which address, which key, which project; sending and fetching for the command line."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from annotations.errors import ReviewError
from annotations.ledger.takedowns import Takedowns
from annotations.server.bucket import add_storage, open_bucket
from annotations.server.client import KEY_NAME, Client, Project, TaskHead, on_this_machine
from annotations.server.exports import clear_copies
from annotations.server.import_files import (
    TaskContent,
    parse_task,
    publish_tasks,
    read_tasks,
    served,
    with_addresses,
    written,
)
from annotations.server.installation import Installation
from annotations.server.send import Sent, find_project, missing, push, without_masks
from annotations.server.upload import SHELF_CONFIG, Place, Shelf, upload_pictures
from annotations.server.withdraw import (
    clear_pictures,
    clear_second_round,
    read_requested,
    wanted_tasks,
    withdraw_tasks,
)
from annotations.settings import (
    BUCKET,
    IMPORT_FILES,
    PROJECT,
    REVIEW_DATA,
    SECOND_LOOK_FILES,
    SHELF,
    UPLOAD,
    ReviewSettings,
    brings_pictures,
    read_settings,
)
from annotations.tasks.task import labelling_interface

log = logging.getLogger("annotations")

PICTURES_FOLDER = "pictures"  # title of the storage with the pictures of this machine's server


@dataclass(frozen=True)
class Session:
    """A server and what belongs to it here."""

    settings: ReviewSettings
    installation: Installation
    client: Client
    own_server: bool  # the one of `make review`, which shows pictures from the installation's folder

    @property
    def clicks(self) -> bool:
        """Whether clicks repair masks there: the pages of other servers do not tell which mask is on the screen."""
        return self.own_server and self.settings.clicks


Addresses = Callable[[TaskContent], Mapping[str, str]]  # of what a task shows, where they are not as written


@dataclass(frozen=True)
class Outgoing:
    """The tasks that are to be on the server. Each time through, the import files are read anew, one at a time."""

    folders: Mapping[Path, Addresses]
    second_round: Sequence[TaskContent]
    takedowns: Takedowns = field(default_factory=Takedowns)

    def __iter__(self) -> Iterator[TaskContent]:
        for folder, addresses in self.folders.items():
            for task in wanted_tasks(read_tasks(folder), self.takedowns):
                yield with_addresses(task, addresses(task))
        yield from wanted_tasks(self.second_round, self.takedowns)


def open_session(folder: Path = REVIEW_DATA) -> Session:
    """The running server of this machine where label_studio.url is loopback, else the server at that address.

    The key comes from LABEL_STUDIO_API_KEY, or from the installation's own secrets. A server that is still starting is
    waited for.
    """
    settings = read_settings()
    installation = Installation(folder)
    running = installation.answering() if on_this_machine(settings.url) else None
    named = os.environ.get(KEY_NAME)
    if running is not None:
        if settings.clicks != running.clicks:
            log.warning(
                "label_studio.clicks is %s, but Label Studio was started with %s; `make review-stop`, then "
                "`python -m annotations review --update-config` changes that",
                *(str(one).lower() for one in (settings.clicks, running.clicks)),
            )
        settings = replace(settings, clicks=running.clicks)
        client = Client(running.url, installation.secrets().api_key, key_from=str(folder / "secrets.json"))
        return Session(settings, installation, client, True)
    if named:
        return Session(settings, installation, Client(settings.url, named), False)
    if on_this_machine(settings.url):
        raise ReviewError(
            f"no Label Studio runs on {folder}; start it with `make review`, or set {KEY_NAME} for another one at "
            f"{settings.url}"
        )
    raise ReviewError(
        f"expected an API key for {settings.url} in {KEY_NAME}, found none; make one in Label Studio under Account "
        "& Settings, Personal Access Token"
    )


def send_tasks(
    session: Session, update_config: bool = False, source: Path = IMPORT_FILES
) -> tuple[Project, Sent]:
    """Send what stage push wrote, second looks and the second round to the project; make it if there is none.

    Tasks of pictures that people asked to have taken out are not sent, and those on the server go.
    """
    with alone(session.installation.folder):
        takedowns = read_requested()
        withdraw(session, takedowns)
        written = {
            folder: without_masks(wanted_tasks(read_tasks(folder), takedowns)) for folder in sources(source)
        }
        client = session.client
        project = find_project(client, PROJECT, labelling_interface(session.clicks), update_config)
        folders = {
            folder: _shown(session, project, tasks, folder / "images") for folder, tasks in written.items()
        }
        outgoing = Outgoing(folders, second_round(session.installation), takedowns)
        show_pictures(session, project)
        return project, push(client, project, outgoing)


def fetch_export(session: Session, project: Project) -> bytes:
    """All tasks as the server's JSON; this machine's server keeps no copy, of which a take-down would not know."""
    try:
        return session.client.export(project)
    finally:
        if session.own_server:
            clear_copies(session.installation.database)


def withdraw(session: Session, takedowns: Takedowns) -> list[TaskHead]:
    """Take the pictures that `takedowns` name off the server, and return the tasks that went.

    Hold the installation's lock (`alone`). Tasks go with their annotations; pictures go where push brought them. This
    machine's server keeps no copy; others may keep those of exports, which no request removes.
    """
    if not takedowns.requests:
        return []
    clear_second_round(session.installation, takedowns)
    projects = session.client.projects(PROJECT)
    place = _place(session)
    here = _versions_here(takedowns) if place is not None else ()
    gone, stay = withdraw_tasks(session.client, projects, takedowns, place, here)
    if session.own_server:
        clear_copies(session.installation.database)
        clear_pictures(session.installation.pictures, stay)
    if gone:
        log.info("%d tasks of pictures taken out are deleted at %s", len(gone), session.client.url)
    return gone


def _versions_here(takedowns: Takedowns) -> set[str]:
    """Of the tasks in the import files, but for those taken out."""
    folders = [folder for folder in sources() if written(folder)]
    return {
        str(task["data"]["version"])
        for folder in folders
        for task in wanted_tasks(read_tasks(folder), takedowns)
    }


def _place(session: Session) -> Place | None:
    """Where push puts pictures that others than this machine's server show; None where there are none."""
    root = session.settings.picture_root
    if session.own_server or not brings_pictures(root):
        return None
    if root.startswith(BUCKET):
        return open_bucket(root)
    shelves = session.client.projects(SHELF)
    return Shelf(session.client, shelves[0]) if shelves else None


def show_pictures(session: Session, project: Project) -> None:
    """Let this machine's server show the installation's pictures; what others set up to be shown is left alone.

    A storage names an absolute folder: that of a review which was moved or restored is another one.
    """
    if not session.own_server:
        return
    folder = session.installation.pictures.resolve()
    there = session.client.folders(project)
    if any(one.path == str(folder) for one in there):
        return
    ours = [
        one.id
        for one in there
        if one.title == PICTURES_FOLDER and Path(one.path).parts[-2:] == folder.parts[-2:]
    ]
    session.client.write_folder(project, PICTURES_FOLDER, str(folder), ours[0] if ours else None)


def the_project(session: Session) -> Project:
    """The project that was pushed to; ReviewError where there is none yet, or several."""
    found = session.client.projects(PROJECT)
    if len(found) != 1:
        raise ReviewError(
            f"expected one project '{PROJECT}' at {session.client.url}, found {len(found)}; "
            + (
                f"push first ({_how_to_push(session)})"
                if not found
                else "rename those that are not this review's"
            )
        )
    return found[0]


def sources(push: Path = IMPORT_FILES) -> list[Path]:
    """The folders with import files: that of stage push, and that of stage second_look where it has run."""
    return [push, *([SECOND_LOOK_FILES] if SECOND_LOOK_FILES.is_dir() else [])]


def second_round(installation: Installation) -> list[TaskContent]:
    """The tasks that the last pull wrote for crops in conflict."""
    return [_second_round(path) for path in sorted(installation.second_round.glob("*.json"))]


def _second_round(path: Path) -> TaskContent:
    try:
        return parse_task(path.read_bytes())
    except ValueError as error:
        raise ReviewError(f"{path} is damaged; `python -m annotations pull` makes it anew") from error


def _how_to_push(session: Session) -> str:
    return "`make review`" if session.own_server else "`python -m annotations push`"


def _shown(session: Session, project: Project, tasks: list[TaskContent], source: Path) -> Addresses:
    """The addresses at which the server shows the tasks' pictures, brought there where that is ours to do."""
    if session.own_server:
        publish_tasks(tasks, source, session.installation.pictures)
        return served
    root = session.settings.picture_root
    if root == UPLOAD:
        absent = missing(tasks, session.client.heads(project))
        shelf = find_project(session.client, SHELF, SHELF_CONFIG)
        uploaded = upload_pictures(Shelf(session.client, shelf), absent, source)
    elif root.startswith(BUCKET) and tasks:
        bucket = open_bucket(root)
        # Of all tasks: the bucket's name may now lead to another storage.
        uploaded = upload_pictures(bucket, tasks, source)
        add_storage(session.client, project, bucket)
    else:
        return lambda task: {}
    return lambda task: uploaded.get(task["data"]["version"], {})


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: a second push or pull on this machine waits for the first."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "push.lock"):
        yield
