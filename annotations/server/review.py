"""`make review`: this machine's Label Studio with the queue in it, until Ctrl-C."""

import logging
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from filelock import BaseFileLock, FileLock, Timeout

from annotations.errors import ReviewError
from annotations.server.clicks import Backend, answering_clicks
from annotations.server.client import on_this_machine
from annotations.server.import_files import written
from annotations.server.installation import Installation
from annotations.server.session import alone, open_session, send_tasks, show_pictures, the_project, withdraw
from annotations.server.status import lost_pictures
from annotations.server.withdraw import read_requested
from annotations.settings import IMPORT_FILES, REVIEW_DATA, read_settings, server_python

log = logging.getLogger("annotations")

_PORT = 8080
_CLICKS = "clicks of make review"  # title of the backend


def run_review(
    folder: Path = REVIEW_DATA, show: Callable[[str], None] = print, update_config: bool = False
) -> None:
    """Start the server, or find it running; push; print address and log-in; wait, and stop what was started.

    With `update_config` this checkout's labelling interface replaces that of a review begun with another one.
    """
    address = ready(folder)
    installation = Installation(folder)
    installation.prepare()
    lock = FileLock(folder / "review.lock", blocking=False)
    try:
        only_one, running = _locked(lock), installation.running()
        if not only_one or running is not None:
            _wait_for_start(installation, lock)
            _push_and_show(installation, show, update_config)
            show("It was running already; Ctrl-C there or `make review-stop` stops it.")
            if only_one and running is not None and running.clicks:
                show(
                    "The `make review` that answered its clicks is gone: `make review-stop`, then `make review`."
                )
            return
        _run(installation, urlsplit(address).port or _PORT, show, update_config)
    finally:
        lock.release(force=True)


def ready(folder: Path = REVIEW_DATA) -> str:
    """The address of the review here; ReviewError where the server is another machine's, or nothing is to review."""
    address = read_settings().url
    if not on_this_machine(address):
        raise ReviewError(
            f"label_studio.url is {address}, which is not this machine: `python -m annotations push` sends the "
            "queue there, and curators log in there"
        )
    if not written(IMPORT_FILES) and not any(Installation(folder).database.glob("*.sqlite3")):
        raise ReviewError(
            f"nothing to review yet: {IMPORT_FILES} holds no import files; run `make repro` first"
        )
    return address


def stop(folder: Path = REVIEW_DATA) -> bool:
    """Stop the server of `review`; False where none runs."""
    return Installation(folder).stop()


def _run(installation: Installation, port: int, show: Callable[[str], None], update_config: bool) -> None:
    python = server_python()
    if python is None:
        raise ReviewError(
            "expected Label Studio in an environment of its own, found none; `make label-studio` installs it (996 MB), "
            "or LABEL_STUDIO_PYTHON names the python of another one"
        )
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job starts with SIGINT ignored
        signal.signal(number, _interrupt)
    clicks = read_settings().clicks
    answers = ExitStack()
    try:
        show("Starting Label Studio (the first time it makes its database: about a minute) ...")
        running = installation.start(python, port, clicks)
        _push_and_show(installation, show, update_config)
        connect(
            installation, answers.enter_context(answering_clicks(installation.pictures)) if clicks else None
        )
        show("Ctrl-C stops it; nothing that was submitted is lost. `make pull` brings the reviews home.")
        while installation.running() == running:
            time.sleep(1)
        _say_why_it_ended(installation)
        show("Label Studio has stopped.")
    except ReviewError:
        _say_why_it_ended(installation)
        raise
    except KeyboardInterrupt:
        show("\nStopping Label Studio ...")
    finally:
        installation.stop()
        answers.close()


def connect(installation: Installation, backend: Backend | None) -> None:
    """Let this machine's Label Studio ask that backend where somebody clicks, or none."""
    session = open_session(installation.folder)
    session.client.set_backend(the_project(session), _CLICKS, None if backend is None else backend.access())


def _say_why_it_ended(installation: Installation) -> None:
    """ReviewError where nobody stopped the server that is gone."""
    if installation.ended_by_itself():
        raise ReviewError(
            f"Label Studio ended by itself. The last lines of its log {installation.log} (later starts keep it as "
            f"server.1.log):\n{installation.last_words()}\nNothing that was submitted is lost; `make review` starts it "
            "again"
        ) from None


def _push_and_show(installation: Installation, show: Callable[[str], None], update_config: bool) -> None:
    session = open_session(installation.folder)
    if written(IMPORT_FILES):
        project, sent = send_tasks(session, update_config)
        show(
            f"{sent.wanted} tasks are in the project, {sent.sent} of them new, {sent.removed} replaced ones removed."
        )
    else:  # restored on a machine where the recipe has not run
        project = the_project(session)
        with alone(installation.folder):
            withdraw(session, read_requested())
        show_pictures(session, project)
        show(f"Nothing new is sent, as {IMPORT_FILES} holds no import files.")
    heads = session.client.heads(project)
    show(f"The project has {len(heads)} tasks.")
    for sentence in lost_pictures(heads, installation.pictures):
        show(f"Look: {sentence}.")
    made = installation.secrets()
    show(
        f"\n  Review at   {session.client.url}/projects/{project.id}/data\n"
        f"  E-mail      {made.email}\n  Password    {made.password}\n"
        "\nThere, `Label All Tasks` shows one after the other, what matters most first.\n"
        "A accepts, F fixes, R rejects, U is unsure, Ctrl+Enter submits.\n"
        f"To fix: {'M, then Ctrl+click on what is wrong; ' if session.clicks else ''}B adds with the brush, "
        "E takes away, Ctrl+Z undoes, Ctrl+wheel zooms.\n"
    )


def _wait_for_start(installation: Installation, lock: BaseFileLock) -> None:
    """Wait for the server that the other `make review` is starting."""
    while installation.answering() is None:
        if _locked(lock):
            raise ReviewError(
                "the other `make review` has ended before its Label Studio answered; start it again"
            )
        time.sleep(1)


def _locked(lock: BaseFileLock) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    return True


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
