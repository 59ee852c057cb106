"""What goes wrong between a push and a real server: nothing is sent twice, nothing is missing, nothing leaks."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from annotations import client as clients
from annotations import push as pushes
from annotations.client import Client, Project, ServerError
from annotations.errors import ReviewError
from annotations.import_files import read_tasks
from annotations.installation import Installation, free_port
from annotations.push import find_project, push
from annotations.tasks import LABEL_CONFIG
from tests.annotations.conftest import client_of
from tests.annotations.proxy import Fault, Proxy

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
    tasks = read_tasks(work / "data/push")
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
            push(Client(proxy.url, key), project, read_tasks(work / "data/push"))
    for secret in (key, "html", "cookie"):
        assert secret not in str(caught.value).lower()


def test_a_server_killed_in_mid_push_gets_the_rest_when_it_is_back(
    python: Path, template: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pushes, "DOUBT_SECONDS", 3.0)
    shutil.copytree(template, tmp_path / "review-data")
    installation = Installation(tmp_path / "review-data")
    running = installation.start(python, free_port(0))
    try:
        client = client_of(installation)
        project = find_project(client, "portraits", LABEL_CONFIG.read_text())
        tasks = read_tasks(work / "data/push")

        def kill(forward: Forward) -> tuple[int, bytes] | None:
            os.killpg(running.pid, signal.SIGKILL)
            return forward()

        with Proxy(running.url) as proxy:
            proxy.faults = [lambda forward: forward(), kill]
            with pytest.raises(ReviewError, match=r"run push again|nothing answers"):
                push(Client(proxy.url, installation.secrets().api_key), project, tasks, batch=2)
        with pytest.raises(ServerError, match=r"nothing answers at http://127\.0\.0\.1"):
            client.heads(project)
        installation.start(python, free_port(0))
        client = client_of(installation)
        sent = push(client, project, tasks, batch=2)
        assert 2 <= sent.there_before <= 4 and sent.there_before + sent.sent == 6
        assert versions(client, project) == sorted(task["data"]["version"] for task in tasks)
    finally:
        installation.stop()


def versions(client: Client, project: Project) -> list[str]:
    return sorted(head.version for head in client.heads(project))
