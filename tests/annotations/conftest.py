"""A real Label Studio for the tests: installed by `make label-studio`, its first database kept between runs."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from filelock import FileLock

from annotations.server.client import Client
from annotations.server.installation import Installation
from annotations.settings import server_python
from pipeline.core.records import make_records
from tests.annotations.drawn import write_pseudo
from tests.pipeline.dataset_inputs import write_source

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 360, 480  # of the drawn pictures


@pytest.fixture(scope="session")
def python(root: Path) -> Path:
    """The interpreter of the environment with label-studio."""
    named = os.environ.get("LABEL_STUDIO_PYTHON", str(root / ".cache/label-studio-venv/bin/python"))
    if not Path(named).with_name("label-studio").is_file():
        pytest.skip("label_studio: `make label-studio` installs the server that this test needs")
    os.environ["LABEL_STUDIO_PYTHON"] = named
    assert server_python() == Path(named)
    return Path(named)


@pytest.fixture(scope="session")
def template(root: Path, python: Path) -> Path:
    """An installation that has been started once: making the database takes a minute."""
    pins = (root / "annotations/server/constraints.txt").read_bytes()
    folder = root / ".cache" / f"label-studio-{hashlib.sha256(pins).hexdigest()[:12]}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        _make_once(folder, python)
    return folder


def _make_once(folder: Path, python: Path) -> None:
    if not folder.is_dir():
        making = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        installation = Installation(making)
        installation.start(python, 0)
        installation.stop()
        making.rename(folder)


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A project's folder with data/push for 6 drawn pictures, made by the stages themselves."""
    folder = tmp_path_factory.mktemp("pushed")
    write_pseudo(folder, 6, empty=2, width=WIDTH, height=HEIGHT)
    write_source(folder / "data/ingest/crawl/crawl", make_records([]))
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["reviews"] = {"path": "reviews"}
    params["queue"] |= {"double_share": 0.0, "gold_share": 0.0}  # one task a picture, and no dataset beside
    (folder / "reviews").mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for stage in ("queue", "push"):
        subprocess.run([sys.executable, "-m", f"pipeline.{stage}"], cwd=folder, check=True, env=environment())
    return folder


@pytest.fixture(scope="session")
def running(python: Path, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server that runs as long as the tests do."""
    folder = tmp_path_factory.mktemp("label-studio") / "review-data"
    shutil.copytree(template, folder)
    installation = Installation(folder)
    installation.start(python, 0)
    yield installation
    installation.stop()


@pytest.fixture
def installation(running: Installation) -> Installation:
    """The running server without projects, and without anything of an earlier test beside it."""
    client = client_of(running)
    for project in client.all_projects():
        client.delete_project(project)
    for folder in (running.pictures, running.exports, running.second_round):
        shutil.rmtree(folder, ignore_errors=True)
    running.pictures.mkdir(parents=True)
    return running


@pytest.fixture
def work(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of the pushed project, with an empty lock."""
    folder = tmp_path / "work"
    shutil.copytree(pushed, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    return folder


def environment() -> dict[str, str]:
    """This checkout's modules, in another folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def judge(
    installation: Installation, task: int, annotation: dict[str, Any], curator: httpx.Client | None = None
) -> None:
    """Submit what a curator says of a task, as the editor does; the one whose installation it is unless named."""
    address = f"{client_of(installation).url}/api/tasks/{task}/annotations/"
    content = {"result": annotation["result"], "lead_time": 4.0}
    http = curator or httpx.Client(headers={"Authorization": f"Token {installation.secrets().api_key}"})
    answer = http.post(address, json=content, timeout=60)
    assert answer.status_code == 201, answer.text


def invited(installation: Installation, email: str) -> httpx.Client:
    """Another curator, who followed the invitation's link and signed up, logged in as a browser is."""
    server = installation.running()
    assert server is not None
    key = {"Authorization": f"Token {installation.secrets().api_key}"}
    link = httpx.get(f"{server.url}/api/invite", headers=key, timeout=60).json()["invite_url"]
    http = httpx.Client(base_url=server.url, follow_redirects=True, timeout=60)
    http.get(link)
    form = {"email": email, "password": "a long password", "csrfmiddlewaretoken": http.cookies["csrftoken"]}
    http.post(link, data=form).raise_for_status()
    http.headers["X-CSRFToken"] = http.cookies["csrftoken"]
    assert http.get("/api/current-user/whoami").json()["email"] == email
    return http


def client_of(installation: Installation) -> Client:
    """A client of the installation's running server."""
    server = installation.running()
    assert server is not None
    return Client(server.url, installation.secrets().api_key)
