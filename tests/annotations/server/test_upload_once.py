"""Pictures on their way to a server: each once, under a name that says which, and none missing unsaid."""

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from annotations.errors import ReviewError
from annotations.server.client import Project
from annotations.server.import_files import publish_tasks, read_tasks
from annotations.server.installation import Installation, Running
from annotations.server.session import Session, alone, open_session, the_project
from annotations.server.upload import upload_pictures
from annotations.settings import PROJECT, ReviewSettings, server_python
from tests.annotations.server.test_session import params
from tests.killed import kill_at_write

__all__ = ["params"]  # the fixture
KINDS = ("image", "outline", "cutout")


class Shelf:
    """A place for files, which may lose some of them."""

    where = "a shelf"

    def __init__(self, loses: str = "") -> None:
        self.there: dict[str, bytes] = {}
        self.loses, self.puts = loses, 0

    def files(self) -> dict[str, str]:
        return {name: f"/shelf/{name}" for name in self.there}

    def put(self, name: str, content: bytes) -> None:
        self.puts += 1
        if name != self.loses:
            self.there[name] = content


def task(version: str) -> dict[str, Any]:
    shown = {kind: f"/written/{version}-{kind}.jpg" for kind in KINDS}
    return {"data": {"version": version, "guidelines": "/written/guidelines.html", **shown}}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("guidelines.html", *(f"{version}-{kind}.jpg" for version in "ab" for kind in KINDS)):
        (folder / name).write_text(name)
    return folder


def test_each_file_is_uploaded_once_and_found_by_its_task(written: Path):
    shelf = Shelf()
    addresses = upload_pictures(shelf, [task("a")], written)
    assert shelf.puts == 4
    addresses |= upload_pictures(shelf, [task("a"), task("b")], written)
    assert shelf.puts == 7 and len(shelf.there) == 7, "the guidelines are the same for all tasks"
    for version in "ab":
        for kind in KINDS:
            name = addresses[version][kind].removeprefix("/shelf/")
            assert shelf.there[name] == f"{version}-{kind}.jpg".encode()
        name = addresses[version]["guidelines"].removeprefix("/shelf/")
        assert shelf.there[name] == b"guidelines.html"


def test_newer_guidelines_go_beside_the_older_ones(written: Path):
    shelf = Shelf()
    before = upload_pictures(shelf, [task("a")], written)["a"]["guidelines"]
    (written / "guidelines.html").write_text("newer")
    after = upload_pictures(shelf, [task("a")], written)["a"]["guidelines"]
    assert before != after and shelf.there[after.removeprefix("/shelf/")] == b"newer" and shelf.puts == 5


def test_a_picture_that_did_not_arrive_or_is_not_here_is_named(written: Path):
    with pytest.raises(ReviewError, match=r"1 of 4 pictures did not arrive at a shelf \(a-cutout\.jpg"):
        upload_pictures(Shelf(loses="a-cutout.jpg"), [task("a")], written)
    (written / "a-outline.jpg").unlink()
    shelf = Shelf()
    with pytest.raises(ReviewError, match=r"expected the picture .*a-outline\.jpg, found none"):
        upload_pictures(shelf, [task("a")], written)
    assert shelf.puts == 0


def test_a_publish_that_is_killed_shows_no_half_of_a_picture(written: Path, tmp_path: Path):
    served = tmp_path / "served"
    child = os.fork()
    if child == 0:
        kill_at_write(2)
        try:
            publish_tasks([task("a")], written, served)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert sorted(path.name for path in served.glob("*.jpg")) == ["a-image.jpg", "a-outline.jpg"]


def receipt(folder: Path, names: list[str]) -> None:
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "receipt.json").write_text(json.dumps({"files": hashes}))


def test_import_files_are_read_in_the_order_of_their_numbers_and_nothing_else_is_a_task(tmp_path: Path):
    for name, version in (("tasks-0001.json", "1"), ("tasks-0002.json", "2"), ("summary.json", "none")):
        (tmp_path / name).write_text(json.dumps([{"data": {"version": version}}]))
    receipt(tmp_path, ["tasks-0002.json", "summary.json", "tasks-0001.json"])
    assert [one["data"]["version"] for one in read_tasks(tmp_path)] == ["1", "2"]
    (tmp_path / "receipt.json").unlink()
    with pytest.raises(ReviewError, match=r"expected .*receipt\.json, found none; run `dvc repro push`"):
        list(read_tasks(tmp_path))


@pytest.mark.parametrize(
    "content", [b"{", b"", b"\xff", b"[]", b"{}", b"null", b'{"files": 5}', b'{"files": ["a"]}']
)
def test_a_damaged_receipt_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "receipt.json").write_bytes(content)
    with pytest.raises(ReviewError, match=r"receipt\.json is damaged; run `dvc repro --force push`"):
        list(read_tasks(tmp_path))


@pytest.mark.parametrize("titles", [[], [PROJECT, PROJECT]])
def test_a_project_that_is_not_the_only_one_is_not_guessed(tmp_path: Path, titles: list[str]):
    class Server:
        url = "http://127.0.0.1:1"

        def projects(self, title: str) -> list[Project]:
            return [Project(number, title, "") for number, title in enumerate(titles)]

    server: Any = Server()
    session = Session(ReviewSettings("", "", tmp_path, 0.1, False), Installation(tmp_path), server, True)
    with pytest.raises(
        ReviewError, match=f"expected one project .* found {len(titles)}; (push first|rename)"
    ):
        the_project(session)


def test_this_machines_own_server_is_asked_with_its_own_key(params: Path, monkeypatch: pytest.MonkeyPatch):
    """A key in the environment may be of a team's server, and would be told to nobody else."""
    text = (
        (params / "params.yaml").read_text().replace("https://labels.example.org/", "http://127.0.0.1:8080")
    )
    (params / "params.yaml").write_text(text)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "ab" * 20)
    made = Installation(params / "review-data").prepare()
    monkeypatch.setattr(Installation, "answering", lambda self: Running(1, "http://127.0.0.1:8099"))
    session = open_session(params / "review-data")
    assert session.own_server and session.client.url == "http://127.0.0.1:8099"
    assert session.client._authorization()["Authorization"] == f"Token {made.api_key}"


def test_an_environment_without_the_server_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    monkeypatch.setenv("LABEL_STUDIO_PYTHON", str(python))
    assert server_python() is None
    python.with_name("label-studio").touch()
    assert server_python() == python


def test_a_second_push_on_this_machine_waits_for_the_first(tmp_path: Path):
    ended = threading.Event()

    def second() -> None:
        with alone(tmp_path):
            ended.set()

    waiting = threading.Thread(target=second)
    with alone(tmp_path):
        waiting.start()
        assert not ended.wait(0.3)
    assert ended.wait(10)
    waiting.join()
