"""What goes wrong between push, pull and a real server: nothing is sent twice, missing or lost, nothing leaks."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from annotations.errors import ReviewError
from annotations.server import client as clients
from annotations.server import send as pushes
from annotations.server.client import Client, Project, ServerError
from annotations.server.import_files import read_tasks
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.send import find_project, push
from annotations.server.session import Session, open_session, send_tasks, the_project
from annotations.server.upload import SHELF_CONFIG
from annotations.settings import PROJECT, SHELF
from annotations.tasks.task import LABEL_CONFIG
from sinet.images.decode import read_mask
from tests.annotations.conftest import client_of, judge
from tests.annotations.exports import said
from tests.annotations.proxy import Fault, Proxy
from tests.killed import kill_at_write
from tests.project import digest

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

Forward = Callable[[], tuple[int, bytes]]


def bad_gateway_after(forward: Forward) -> tuple[int, bytes] | None:
    forward()
    return 502, b"<html>Bad gateway</html>"


def bad_gateway_before(forward: Forward) -> tuple[int, bytes] | None:
    return 502, b"<html>Bad gateway</html>"


def hang_up_after(forward: Forward) -> tuple[int, bytes] | None:
    forward()
    return None


def slow(forward: Forward) -> tuple[int, bytes] | None:
    time.sleep(3)
    return forward()


@pytest.mark.parametrize("fault", [bad_gateway_after, bad_gateway_before, hang_up_after, slow])
def test_after_a_doubt_every_task_is_there_once(
    installation: Installation, work: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
):
    monkeypatch.setattr(pushes, "QUIET_SECONDS", 0.5)
    if fault is slow:
        monkeypatch.setattr(clients, "IMPORT_TIMEOUT", 1.0)
        monkeypatch.setattr(pushes, "QUIET_SECONDS", 4.0)
    tasks = list(read_tasks(work / "data/push"))
    direct = client_of(installation)
    project = find_project(direct, "portraits", LABEL_CONFIG.read_text())
    with Proxy(direct.url) as proxy:
        proxy.faults = [fault]
        sent = push(Client(proxy.url, installation.secrets().api_key), project, tasks, batch=2)
    assert sent.sent == 6 and sent.removed == 0
    assert versions(direct, project) == sorted(task["data"]["version"] for task in tasks)
    assert proxy.imports == (4 if fault is bad_gateway_before else 3), "no batch was sent twice for nothing"


def test_a_gateway_that_stays_bad_is_said_in_one_sentence(
    installation: Installation, work: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pushes, "QUIET_SECONDS", 0.1)
    direct = client_of(installation)
    project = find_project(direct, "portraits", LABEL_CONFIG.read_text())
    key = installation.secrets().api_key
    with Proxy(direct.url) as proxy:
        proxy.faults = [bad_gateway_before] * 9
        with pytest.raises(ReviewError, match=r"6 of 6 tasks did not arrive .*502.*run push again") as caught:
            push(Client(proxy.url, key), project, list(read_tasks(work / "data/push")))
    for secret in (key, "html", "cookie"):
        assert secret not in str(caught.value).lower()


def test_a_server_killed_in_mid_push_gets_the_rest_when_it_is_back(
    python: Path, template: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pushes, "DOUBT_SECONDS", 3.0)
    shutil.copytree(template, tmp_path / "review-data")
    installation = Installation(tmp_path / "review-data")
    running = installation.start(python, 0)
    try:
        client = client_of(installation)
        project = find_project(client, "portraits", LABEL_CONFIG.read_text())
        tasks = list(read_tasks(work / "data/push"))

        def kill(forward: Forward) -> tuple[int, bytes] | None:
            os.killpg(running.pid, signal.SIGKILL)
            return forward()

        with Proxy(running.url) as proxy:
            proxy.faults = [lambda forward: forward(), kill]
            with pytest.raises(ReviewError, match=r"run push again|nothing answers"):
                push(Client(proxy.url, installation.secrets().api_key), project, tasks, batch=2)
        with pytest.raises(ServerError, match=r"nothing answers at http://127\.0\.0\.1"):
            client.heads(project)
        installation.start(python, 0)
        client = client_of(installation)
        sent = push(client, project, tasks, batch=2)
        assert 2 <= sent.there_before <= 4 and sent.there_before + sent.sent == 6
        assert versions(client, project) == sorted(task["data"]["version"] for task in tasks)
    finally:
        installation.stop()


def half_of_it(forward: Forward) -> tuple[int, bytes] | None:
    status, content = forward()
    return status, content[: len(content) // 2]


@pytest.fixture
def reviewed(installation: Installation, work: Path) -> Session:
    """A server with six tasks of which three were judged, one of them in the lock already."""
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    heads = session.client.heads(project)
    for number, verdict in enumerate(("accept", "fix", "reject")):
        data = session.client.task(heads[number].id)["data"]
        mask = np.roll(
            read_mask(work / f"data/pseudo/masks/{data['id']}.png"), 5 * (verdict == "fix"), axis=1
        )
        kept = mask if mask.any() else np.ones_like(mask)
        judge(installation, heads[number].id, said(verdict, None if verdict == "reject" else kept))
        if number == 0:
            pull(session)
    return session


@pytest.mark.parametrize("fault", [bad_gateway_before, hang_up_after, half_of_it])
def test_a_pull_that_breaks_off_changes_nothing(reviewed: Session, fault: Fault):
    before = digest(reviewed.settings.lock)
    key = reviewed.installation.secrets().api_key
    with Proxy(reviewed.client.url) as proxy:
        proxy.faults = [fault]
        broken = replace(reviewed, client=Client(proxy.url, key))
        with pytest.raises(ReviewError) as caught:
            pull(broken)
        assert key not in str(caught.value) and "cookie" not in str(caught.value).lower()
        assert digest(reviewed.settings.lock) == before
        assert len(pull(broken).entries) == 3


def test_a_server_killed_in_mid_pull_loses_nothing(python: Path, template: Path, work: Path, tmp_path: Path):
    shutil.copytree(template, tmp_path / "review-data")
    installation = Installation(tmp_path / "review-data")
    running = installation.start(python, 0)
    try:
        session = open_session(installation.folder)
        project, _ = send_tasks(session)
        task = session.client.heads(project)[0].id
        judge(installation, task, said("reject", None))

        def kill(forward: Forward) -> tuple[int, bytes] | None:
            os.killpg(running.pid, signal.SIGKILL)
            return forward()

        with Proxy(running.url) as proxy:
            proxy.faults = [kill]
            with pytest.raises(ReviewError, match=r"could not export the reviews"):
                pull(replace(session, client=Client(proxy.url, installation.secrets().api_key)))
        assert digest(session.settings.lock) == {}
        installation.start(python, 0)
        assert [entry.verdict for entry in pull(open_session(installation.folder)).entries] == ["reject"]
    finally:
        installation.stop()


@contextmanager
def full_disk(installation: Installation) -> Iterator[None]:
    """The server cannot write a byte, neither into its database nor beside it, as on a disk without space."""
    server = installation.running()
    assert server is not None
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


def fails_for_want_of_space(session: Session, action: Callable[[], object]) -> None:
    """The action stops with a sentence that says what to do, and no secret."""
    with pytest.raises(
        ReviewError, match=r"the server cannot write: look at the space on its disk"
    ) as caught:
        action()
    made = session.installation.secrets()
    for secret in (made.api_key, made.password, "cookie", "html", "traceback"):
        assert secret.lower() not in str(caught.value).lower()


def test_a_push_to_a_full_disk_says_so_and_sends_the_rest_when_there_is_space(
    installation: Installation, work: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pushes, "QUIET_SECONDS", 0.1)
    session = open_session(installation.folder)
    with full_disk(installation):
        fails_for_want_of_space(session, lambda: send_tasks(session))
    assert session.client.all_projects() == []

    tasks = list(read_tasks(work / "data/push"))
    project = find_project(session.client, PROJECT, LABEL_CONFIG.read_text())
    assert push(session.client, project, tasks[:2]).sent == 2
    with full_disk(installation):
        fails_for_want_of_space(session, lambda: push(session.client, project, tasks, batch=2))
    assert len(versions(session.client, project)) == 2
    _, sent = send_tasks(session)
    assert (sent.there_before, sent.sent, sent.removed) == (2, 4, 0)
    assert versions(session.client, project) == sorted(task["data"]["version"] for task in tasks)


def test_an_upload_to_a_full_disk_says_so_and_goes_on_when_there_is_space(
    installation: Installation, work: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pushes, "QUIET_SECONDS", 0.1)
    mine = open_session(installation.folder)
    team = replace(mine, own_server=False, settings=replace(mine.settings, picture_root="upload"))
    find_project(team.client, PROJECT, LABEL_CONFIG.read_text())
    shelf = find_project(team.client, SHELF, SHELF_CONFIG)
    with full_disk(installation):
        fails_for_want_of_space(team, lambda: send_tasks(team))
    assert team.client.uploads(shelf) == {}
    assert send_tasks(team)[1].sent == 6
    assert len(team.client.uploads(shelf)) == 6 * 3 + 1


def test_a_pull_from_a_full_disk_changes_nothing(reviewed: Session):
    before = digest(reviewed.settings.lock)
    with full_disk(reviewed.installation):
        fails_for_want_of_space(reviewed, lambda: pull(reviewed))
    assert digest(reviewed.settings.lock) == before
    assert len(pull(reviewed).entries) == 3


def test_a_review_submitted_to_a_full_disk_fails_there_and_costs_no_earlier_one(reviewed: Session):
    project = the_project(reviewed)
    head = next(head for head in reviewed.client.heads(project) if not head.touched)
    address = f"{reviewed.client.url}/api/tasks/{head.id}/annotations/"
    headers = {"Authorization": f"Token {reviewed.installation.secrets().api_key}"}
    with full_disk(reviewed.installation):
        answer = httpx.post(
            address, json={"result": said("reject", None)["result"]}, headers=headers, timeout=60
        )
        assert answer.status_code == 500, "the editor must not take it for saved"
    assert len(pull(reviewed).entries) == 3
    judge(reviewed.installation, head.id, said("reject", None))
    drift = pull(reviewed)
    assert (len(drift.added), len(drift.unchanged)) == (1, 3)


def test_a_pull_killed_at_any_of_its_writes_is_made_good_by_the_next(reviewed: Session, tmp_path: Path):
    lock, home = reviewed.settings.lock, reviewed.installation.second_round.parent
    before = tmp_path / "before"
    shutil.copytree(lock, before)
    pull(reviewed)
    wanted = digest(lock)
    assert len(wanted) > len(digest(before))
    killed = 0
    while True:
        shutil.rmtree(lock)
        shutil.copytree(before, lock)
        child = os.fork()
        if child == 0:  # killed when it is about to give its file number `killed` the right name
            kill_at_write(killed)
            try:
                pull(reviewed)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        now = {name: content for name, content in digest(lock).items() if not name.endswith(".tmp")}
        assert all(content in (wanted.get(name), digest(before).get(name)) for name, content in now.items())
        assert len(pull(reviewed).entries) == 3
        assert {name: one for name, one in digest(lock).items() if not name.endswith(".tmp")} == wanted
        if not os.WIFSIGNALED(status):
            break
        killed += 1
    assert killed >= 4, "the export, two shards of the lock, and judgements"
    assert not list(home.glob("exports/*.json.gz.tmp"))


def versions(client: Client, project: Project) -> list[str]:
    return sorted(head.version for head in client.heads(project))
