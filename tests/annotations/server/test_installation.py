"""The process of a server: its logs, its end, the time until it answers; with a small program in its place."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from annotations.errors import ReviewError
from annotations.server import installation as installations
from annotations.server.client import Client, ServerError
from annotations.server.installation import LOGS, Installation, free_port

SERVER = """#!/usr/bin/env python3
import http.server, socket, sys, time
print("starting with", *sys.argv[1:], flush=True)
if "%(does)s" == "fail":
    sys.exit("no space left on device")
time.sleep(%(after)s)
port = int(sys.argv[sys.argv.index("--port") + 1])
if "%(does)s" == "move":
    while not socket.socket().connect_ex(("127.0.0.1", port)):
        port += 1
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def program(folder: Path, does: str = "serve", after: float = 0) -> Path:
    """The python of an environment whose label-studio is SERVER."""
    (folder / "bin").mkdir(exist_ok=True)
    server = folder / "bin/label-studio"
    server.write_text(SERVER % {"does": does, "after": after})
    server.chmod(0o755)
    return folder / "bin/python"


def test_a_server_that_cannot_start_shows_the_end_of_its_log_and_earlier_logs_are_kept(tmp_path: Path):
    installation = Installation(tmp_path / "review-data")
    python = program(tmp_path, "fail")
    for _ in range(LOGS + 3):
        with pytest.raises(
            ReviewError, match=r"ended; .*server\.log says why:\nstarting with (.|\n)*no space left"
        ):
            installation.start(python, 0)
        with installation.log.open("a") as log:
            log.write(f"run {_}")
    kept = [installation.log.with_suffix(f".{number}.log").read_text() for number in range(1, LOGS + 1)]
    runs = [text.splitlines()[-1] for text in [installation.log.read_text(), *kept]]
    assert runs == [f"run {number}" for number in range(LOGS + 2, 1, -1)]
    assert len(list(installation.folder.glob("server*.log"))) == LOGS + 1


def test_who_asks_while_a_server_starts_waits_for_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "annotations")
    installation = Installation(tmp_path / "review-data")
    starting = threading.Thread(
        target=installation.start, args=(program(tmp_path, after=1.5), 0), daemon=True
    )
    assert installation.answering() is None
    starting.start()
    while installation.running() is None:
        time.sleep(0.01)
    assert installation.answering() == installation.running() is not None
    assert "is starting, or busy; waiting" in caplog.text
    starting.join()
    caplog.clear()
    assert installation.answering() is not None and caplog.text == ""
    assert installation.stop()


@pytest.mark.parametrize("does", ["move", "serve"])
def test_a_port_that_another_server_takes_during_the_start_is_left_to_it(
    tmp_path: Path, does: str, monkeypatch: pytest.MonkeyPatch
):
    """Label Studio goes to the next port ("move"), or ends: either way the address would be the other's."""
    (tmp_path / "others").mkdir()
    other = Installation(tmp_path / "others/review-data")
    taken = other.start(program(tmp_path / "others"), 0)
    port = int(taken.url.rpartition(":")[2])
    free = iter([port])
    monkeypatch.setattr(installations, "free_port", lambda wanted: next(free, None) or free_port(wanted))
    installation = Installation(tmp_path / "review-data")
    running = installation.start(program(tmp_path, does), port)
    assert running == installation.answering() and running.url != taken.url
    assert other.answering() == taken
    assert installation.stop() and other.stop()


def test_a_server_of_which_another_has_the_address_does_not_answer(tmp_path: Path):
    """Who asks while it starts gets that server, not the one that answers there."""
    (tmp_path / "others").mkdir()
    other = Installation(tmp_path / "others/review-data")
    taken = other.start(program(tmp_path / "others"), 0)
    installation = Installation(tmp_path / "review-data")
    running = installation.start(program(tmp_path), 0)
    noted = tmp_path / "review-data/server.json"
    noted.write_text(noted.read_text().replace(running.url, taken.url))
    asked = threading.Thread(target=installation.answering, daemon=True)
    asked.start()
    asked.join(1.5)
    assert asked.is_alive()
    assert installation.stop() and other.stop()
    asked.join()


def test_where_the_machine_does_not_tell_what_a_process_has_open_an_answer_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(process: psutil.Process, kind: str) -> None:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "net_connections", refused)
    installation = Installation(tmp_path / "review-data")
    running = installation.start(program(tmp_path), 0)
    assert installation.answering() == running and installation.stop()


def test_a_server_that_never_answers_is_no_reason_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    installation = Installation(tmp_path / "review-data")
    running = installation.start(program(tmp_path), 0)
    os.killpg(running.pid, signal.SIGSTOP)
    monkeypatch.setattr(installations, "START_SECONDS", 0)
    with pytest.raises(ReviewError, match=r"runs, and has not answered .*make review-stop` ends it"):
        installation.answering()
    os.killpg(running.pid, signal.SIGKILL)


def test_a_server_that_ended_by_itself_is_told_from_one_that_was_stopped(tmp_path: Path):
    installation = Installation(tmp_path / "review-data")
    python = program(tmp_path)
    assert not installation.ended_by_itself()
    running = installation.start(python, 0)
    assert not installation.ended_by_itself()
    assert installation.stop() and not installation.ended_by_itself()
    running = installation.start(python, 0)
    os.killpg(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)
    assert installation.running() is None and installation.ended_by_itself()
    assert "starting with start --no-browser" in installation.last_words()
    assert not installation.stop()


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("127.0.0.1", "start it (`make review` starts this machine's)"),
        ("127.0.0.2", "can this machine reach it"),
    ],
)
def test_only_a_server_of_this_machine_can_be_started_here(host: str, advice: str):
    with pytest.raises(ServerError, match="nothing answers at") as caught:
        Client(f"http://{host}:{free_port(0)}", "ab" * 20).all_projects()
    assert advice in str(caught.value)
    assert ("make review" in str(caught.value)) == (host == "127.0.0.1")


@pytest.mark.parametrize(
    "note", [b"{", b"[]", *(b'{"pid": %s, "url": ""}' % pid for pid in (b'"x"', b"-1", b"1e99", b"9" * 30))]
)
def test_a_damaged_note_of_the_server_is_no_server(tmp_path: Path, note: bytes):
    (tmp_path / "server.json").write_bytes(note)
    assert Installation(tmp_path).running() is None


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"email": "a", "password": "b", "api_key": 5}'])
def test_damaged_secrets_are_named(tmp_path: Path, content: bytes):
    (tmp_path / "secrets.json").write_bytes(content)
    with pytest.raises(ReviewError, match=r"secrets\.json is damaged"):
        Installation(tmp_path).secrets()
