"""A Label Studio of one's own on this machine: its folder, its secrets, its process on loopback.

review-data/ holds database/ (the server's), served/pictures/ (what tasks show), secrets.json (mode 0600),
exports/ (what every pull saw), second-round/ (tasks in conflict), server.log with the logs of earlier runs
(server.1.log is the last one), and server.json while a server runs.
"""

import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from annotations.errors import ReviewError
from annotations.server.client import healthy
from sinet.core.atomic import PRIVATE, write_atomic

# The first start makes the database: under a minute on an idle machine, many on a busy one.
START_SECONDS = 900
STOP_SECONDS = 20
LOGS = 5  # of earlier runs, that are kept
_OTHER_PORTS = 3  # that are tried where the first is taken while the server starts

log = logging.getLogger("annotations")

_SILENT = (
    "SENTRY_DSN",
    "LABEL_STUDIO_SENTRY_DSN",
    "FRONTEND_SENTRY_DSN",
    "LABEL_STUDIO_FRONTEND_SENTRY_DSN",
)

# When a task opens no region is selected, and a stroke of brush or eraser goes nowhere. So B and E, which take up the
# tools, here also select the mask, as Alt+. does. `any` is no key: it sets our B and E apart from the tools' own,
# which the editor unbinds at each new task.
KEYMAP = {"region:cycle": {"key": "alt+.,any+b,any+e", "description": "Select the mask"}}

# What puts our scripts into its pages, so that outline view and cut-out follow the mask.
_WITH_VIEWS = {
    "DJANGO_SETTINGS_MODULE": "review_page",
    "PYTHONPATH": str(Path(__file__).with_name("page").absolute()),
    "REVIEW_SCRIPTS": "pictures.js views.js",
}

# And what lets it ask a backend on loopback, slow as a busy machine may be, about clicks. Its SSRF_PROTECTION_ENABLED
# stays on: without, each event of the project would go to the backend.
_WITH_CLICKS = {
    **_WITH_VIEWS,
    "ML_BLOCK_LOCAL_IP": "false",
    "ML_CONNECTION_TIMEOUT": "10",
    "ML_TIMEOUT_HEALTH": "30",
    "ML_TIMEOUT_SETUP": "30",
    "REVIEW_SCRIPTS": "pictures.js views.js clicks.js",
}


@dataclass(frozen=True)
class Secrets:
    """The log-in and the API key, made once per installation."""

    email: str
    password: str
    api_key: str

    def __repr__(self) -> str:
        return f"Secrets(email={self.email!r}, ...)"


@dataclass(frozen=True)
class Running:
    """A server that runs: its process and its address."""

    pid: int
    url: str
    stopping: bool = False  # somebody wants it to end
    clicks: bool = False  # its pages send clicks


class Installation:
    """The folder of one Label Studio; making the object touches nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "database"
        self.served = folder / "served"
        self.pictures = self.served / "pictures"
        self.exports = folder / "exports"
        self.second_round = folder / "second-round"
        self.log = folder / "server.log"
        self._secrets = folder / "secrets.json"
        self._running = folder / "server.json"

    def prepare(self) -> Secrets:
        """Make the folders and, once, the secrets; return these."""
        for place in (self.folder, self.database, self.served, self.pictures):
            place.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not self._secrets.exists():
            made = Secrets("curator@example.org", secrets.token_urlsafe(9), secrets.token_hex(20))
            write_atomic(self._secrets, f"{json.dumps(asdict(made), indent=2)}\n".encode(), PRIVATE)
        return self.secrets()

    def secrets(self) -> Secrets:
        """The secrets of this installation; ReviewError where there are none."""
        try:
            made = Secrets(**json.loads(self._secrets.read_text()))
            if not all(isinstance(one, str) for one in asdict(made).values()):
                raise TypeError("expected texts")
            return made
        except FileNotFoundError as error:
            raise ReviewError(
                f"expected {self._secrets}, found none; `make review` makes this machine's Label Studio"
            ) from error
        except (ValueError, TypeError) as error:
            raise ReviewError(
                f"{self._secrets} is damaged; restore it from a backup (make review-restore FILE=...)"
            ) from error

    def running(self) -> Running | None:
        """The server that runs on this folder now, if one does."""
        noted = self._noted()
        return noted if noted is not None and self._is_ours(noted.pid) else None

    def answering(self) -> Running | None:
        """The server of this folder once it answers, which a starting one does after a while; None where none runs."""
        deadline, waiting = time.monotonic() + START_SECONDS, False
        while (running := self.running()) is not None and not running.stopping:
            if self._answers(running):
                return running
            if time.monotonic() > deadline:
                raise ReviewError(
                    f"Label Studio runs, and has not answered at {running.url} for {START_SECONDS} s; {self.log} says "
                    "why, `make review-stop` ends it"
                )
            if not waiting:
                log.info("Label Studio is starting, or busy; waiting until it answers ...")
            waiting = True
            time.sleep(0.5)
        return None

    def ended_by_itself(self) -> bool:
        """Whether a server ran here that nobody stopped, and runs no more."""
        noted = self._noted()
        return noted is not None and not noted.stopping and not self._is_ours(noted.pid)

    def last_words(self, lines: int = 12) -> str:
        """The end of the server's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def start(self, python: Path, port: int, clicks: bool = False) -> Running:
        """Start the server, wait until it answers, and write down its process id and address.

        With `clicks` its pages send the mask on the screen along with each click, to a backend on this machine.

        The port is another one where somebody listens at `port`, or takes it before this server is up.
        """
        made = self.prepare()
        for wanted in (port, *[0] * _OTHER_PORTS):
            running = self._started(python, made, free_port(wanted), clicks)
            if running is not None:
                return running
        raise ReviewError(f"{1 + _OTHER_PORTS} ports were taken while Label Studio started; start it again")

    def stop(self) -> bool:
        """End the server of this folder with its children, and nothing else; False where none runs."""
        running = self.running()
        if running is not None:
            self._note(replace(running, stopping=True))
            _signal_group(running.pid, signal.SIGTERM)
            if not _wait_for(lambda: not _alive(running.pid), STOP_SECONDS):
                _signal_group(running.pid, signal.SIGKILL)
                _wait_for(lambda: not _alive(running.pid), STOP_SECONDS)
        self._running.unlink(missing_ok=True)
        return running is not None

    def _started(self, python: Path, made: Secrets, port: int, clicks: bool) -> Running | None:
        """The server at that port, once it answers there; None where somebody else took the port meanwhile."""
        url = f"http://127.0.0.1:{port}"
        command = [
            str(python.with_name("label-studio").absolute()),
            *("start", "--no-browser", "--data-dir", str(self.database.resolve())),
            *("--internal-host", "127.0.0.1", "--port", str(port), "--enable-legacy-api-token"),
        ]
        self._keep_logs()
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                command,
                env=_environment(made, url, self.served.resolve())
                | (_WITH_CLICKS if clicks else _WITH_VIEWS),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        running = Running(process.pid, url, clicks=clicks)
        self._note(running)
        try:
            answers = self._wait_until_it_answers(process, running)
        except BaseException:
            self.stop()
            raise
        if not answers:
            self.stop()
            return None
        return running

    def _note(self, running: Running) -> None:
        write_atomic(self._running, f"{json.dumps(asdict(running))}\n".encode(), PRIVATE)

    def _noted(self) -> Running | None:
        """The server that was last noted as running, whether it still does."""
        try:
            return Running(**json.loads(self._running.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _keep_logs(self) -> None:
        """Make room for a new log: server.log becomes server.1.log, and so on; the oldest goes."""
        names = [self.log, *(self.log.with_suffix(f".{number}.log") for number in range(1, LOGS + 1))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], running: Running) -> bool:
        """Wait until the server answers; False where somebody else does at its address.

        Label Studio takes the next port where its own is taken, and ends where that happens at the last moment.
        """
        port = _port(running.url)
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._answers(running):
                return True
            if self._elsewhere(running):
                return False
            time.sleep(0.5)
        if process.poll() is None:
            why = f"did not answer within {START_SECONDS} s"
        elif free_port(port) != port:
            return False
        else:
            why = "ended"
        raise ReviewError(f"Label Studio {why}; {self.log} says why:\n{self.last_words()}")

    @staticmethod
    def _elsewhere(running: Running) -> bool:
        """Whether this server listens at another port than it was to have."""
        with suppress(psutil.AccessDenied):
            return bool(_listens(running.pid) - {_port(running.url)})
        return False

    @staticmethod
    def _answers(running: Running) -> bool:
        """Whether this server answers, and not another one at the address that this was to have."""
        try:
            return _port(running.url) in _listens(running.pid) and healthy(running.url)
        except psutil.AccessDenied:  # a machine that does not tell what a process has open
            return healthy(running.url)

    def _is_ours(self, pid: int) -> bool:
        """Whether the process is a server on this folder: a process id may since have gone to another."""
        try:
            process = psutil.Process(pid)
            return (
                process.status() != psutil.STATUS_ZOMBIE and str(self.database.resolve()) in process.cmdline()
            )
        except (psutil.Error, TypeError, ValueError, OverflowError):  # all but the first of a damaged note
            return False


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _listens(pid: int) -> set[int]:
    """The ports at which the process, or a child of it, listens."""
    found: set[int] = set()
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(pid)
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                listening = process.net_connections("inet")
                found |= {one.laddr.port for one in listening if one.status == psutil.CONN_LISTEN}
    return found


def free_port(wanted: int) -> int:
    """`wanted` where nothing listens there, else one that is free: a busy one sends Label Studio elsewhere."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ReviewError("no port of 127.0.0.1 is free")


def _environment(made: Secrets, url: str, served: Path) -> dict[str, str]:
    """What the server is started with: nothing phones home, no sign-up, pictures from `served` only."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {
        **inherited,
        **dict.fromkeys(_SILENT, ""),
        "LABEL_STUDIO_USERNAME": made.email,
        "LABEL_STUDIO_PASSWORD": made.password,
        "LABEL_STUDIO_USER_TOKEN": made.api_key,
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_HOST": url,
        "EDITOR_KEYMAP": json.dumps(KEYMAP),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(served),
    }


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _alive(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            process.wait(1)  # where it is our child it goes now, not with us
            return False
    except (psutil.Error, OSError):
        return False
    return True


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
