"""The commands of a curator on one machine: review, pull, status, stop, backup, restore, as `make` calls them."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from label_studio_sdk import LabelStudio

from annotations.ledger.lock import read_lock
from annotations.server.client import healthy
from annotations.server.import_files import read_tasks
from annotations.server.installation import Installation
from annotations.server.session import open_session, the_project
from annotations.settings import PROJECT
from annotations.tasks.task import task_batches
from tests.annotations.conftest import client_of, environment

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]


class Reviewing:
    """A `python -m annotations review`."""

    def __init__(self, folder: Path, wait: bool = True) -> None:
        self.out = folder / "review.out"
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "annotations", "review"],
                cwd=folder,
                env=environment(),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        if wait:
            self.wait_for(lambda: "Password" in self.text())

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 600
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.text()
            time.sleep(0.2)

    def text(self) -> str:
        return self.out.read_text()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def here(work: Path, template: Path) -> Iterator[Path]:
    """A project's folder with an installation that was started before (making a database takes a minute)."""
    shutil.copytree(template, work / "review-data")
    yield work
    Installation(work / "review-data").stop()


def annotations(folder: Path, *arguments: str, code: int | None = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "annotations", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done.stdout + done.stderr


def accept(installation: Installation, count: int) -> None:
    """Accept the first `count` tasks that show a person, as the editor submits it."""
    server = installation.running()
    assert server is not None
    client = client_of(installation)
    sdk = LabelStudio(base_url=server.url, api_key=installation.secrets().api_key)
    (project,) = client.projects(PROJECT)
    verdict: dict[str, Any] = {"type": "choices", "from_name": "verdict", "to_name": "image"}
    for head in client.heads(project):
        (prediction,) = client.task(head.id)["predictions"]
        if prediction["result"] and count:
            choice = {**verdict, "id": "v", "value": {"choices": ["accept"]}}
            sdk.annotations.create(id=head.id, result=[*prediction["result"], choice], lead_time=3.0)
            count -= 1


def test_a_half_done_review_is_stopped_backed_up_and_carried_on_elsewhere(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    installation = Installation(here / "review-data")
    first = Reviewing(here)
    assert "6 tasks are in the project, 6 of them new" in first.text()
    assert "B adds with the brush, E takes away" in first.text()
    assert installation.secrets().api_key not in first.text()
    secret = (here / "review-data/secrets.json").stat()
    assert stat.S_IMODE(secret.st_mode) == 0o600
    second = annotations(here, "review")  # finds the first
    assert "0 of them new" in second and "running already" in second
    accept(installation, 3)

    assert "reviews holds 3 reviews" in annotations(here, "pull")
    assert len(list((here / "review-data/exports").glob("*.json.gz"))) == 1
    state = annotations(here, "status", "--check")
    assert "3 waiting" in state and "3 accepted" in state and "no damage found" in state
    server = installation.running()
    assert server is not None
    assert first.interrupt() == 0
    assert installation.running() is None and not healthy(server.url)
    assert "no Label Studio runs on" in annotations(here, "pull", code=1)

    again = Reviewing(here)
    assert "6 tasks are in the project, 0 of them new" in again.text()
    annotations(here, "backup", str(tmp_path / "review.tar.gz"))
    assert "has stopped" in annotations(here, "stop")
    assert again.process.wait(60) == 0

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(here, elsewhere, ignore=shutil.ignore_patterns("review-data", "reviews", "data"))
    annotations(elsewhere, "restore", str(tmp_path / "review.tar.gz"))
    third = Reviewing(elsewhere)
    try:
        assert "Nothing new is sent" in third.text() and "The project has 6 tasks" in third.text()
        assert "reviews holds 3 reviews" in annotations(elsewhere, "pull")
        assert read_lock(elsewhere / "reviews") == read_lock(here / "reviews")
        state = annotations(elsewhere, "status", "--check")
        assert "cannot be seen from here" in state and "no damage found" in state
        every_picture_comes(elsewhere)
        shutil.copytree(here / "data", elsewhere / "data")
        assert "6 were there, 0 sent" in annotations(elsewhere, "push")
        damaged_is_found(elsewhere, monkeypatch)
    finally:
        third.interrupt()


def every_picture_comes(folder: Path) -> None:
    """All that the tasks name, at the addresses that they name; the storage of another folder was not left beside."""
    installation = Installation(folder / "review-data")
    client = client_of(installation)
    (project,) = client.projects(PROJECT)
    heads = client.heads(project)
    assert len(heads) == 6 and {len(head.shows) for head in heads} == {4}
    for address in {address for head in heads for address in head.shows}:
        assert client.trouble_with(address, "text" if address.endswith(".html") else "image") == ""
    assert [one.path for one in client.folders(project)] == [str(installation.pictures.resolve())]


def test_a_server_that_dies_is_an_error_that_shows_its_log_and_who_asks_early_waits(
    here: Path, caplog: pytest.LogCaptureFixture
):
    reviewing = Reviewing(here, wait=False)
    installation = Installation(here / "review-data")
    reviewing.wait_for(lambda: installation.running() is not None)
    with caplog.at_level(
        "INFO", "annotations"
    ):  # in this process: a started one may come too late to be early
        assert installation.answering() is not None
    assert "is starting, or busy; waiting" in caplog.text
    early = annotations(here, "pull", code=None)  # it may come before the project is made
    assert "nothing answers" not in early
    reviewing.wait_for(lambda: "Password" in reviewing.text())
    storage_of_others = here / "review-data/served/theirs"
    storage_of_others.mkdir()
    client = client_of(installation)
    (project,) = client.projects(PROJECT)
    client.write_folder(project, "theirs", str(storage_of_others.resolve()))
    (ours,) = [one for one in client.folders(project) if one.title == "pictures"]
    server = installation.running()
    assert server is not None
    os.killpg(server.pid, signal.SIGKILL)
    assert reviewing.process.wait(60) == 1
    log = installation.log.read_text()
    assert "Label Studio ended by itself" in reviewing.text() and log.splitlines()[-1] in reviewing.text()

    folder = here.with_name("moved")
    here.rename(folder)
    again = Reviewing(folder)
    try:
        assert (folder / "review-data/server.1.log").read_text() == log
        moved = client_of(Installation(folder / "review-data"))
        paths = {one.title: (one.id, one.path) for one in moved.folders(project)}
        assert paths["pictures"] == (ours.id, str((folder / "review-data/served/pictures").resolve()))
        assert paths["theirs"][1] == str(storage_of_others), "that of others is left alone"
        lost = next((folder / "review-data/served/pictures").glob("*-outline.jpg"))
        lost.unlink()
        shutil.rmtree(folder / "data")
        said = annotations(folder, "review")
        assert f"Look: 1 tasks have lost their pictures (expected {lost.name}" in said
    finally:
        again.interrupt()


def damaged_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status --check` on a server that lost a task, has another twice, another's picture gone, a changed config."""
    monkeypatch.chdir(folder)
    session = open_session(folder / "review-data")
    project = the_project(session)
    client = session.client
    untouched = [head for head in client.heads(project) if not head.touched]
    client.delete_task(untouched[0].id)
    written = {task["data"]["version"]: task for task in read_tasks(folder / "data/push")}
    client.import_tasks(project, next(task_batches([written[untouched[1].version]])))
    (session.installation.pictures / f"{untouched[1].version}-image.jpg").unlink()
    client.set_label_config(project, project.label_config.replace("rule_missing", "other"))
    state = annotations(folder, "status", "--check", code=1)
    assert "1 tasks of data/push are not on the server" in state
    assert "1 tasks are there more than once" in state
    assert "1 tasks have lost their pictures" in state
    assert "labelling interface is not annotations/tasks/label_config.xml" in state
