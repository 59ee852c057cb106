"""Which server and which key: from params.yaml, the environment and the installation, without a server."""

import gzip
import hashlib
import json
import socket
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from annotations.__main__ import app
from annotations.errors import ReviewError
from annotations.ledger.exported import read_export
from annotations.ledger.settle import Conflict
from annotations.server import installation as installations
from annotations.server import review as reviews
from annotations.server.client import Client, Project
from annotations.server.import_files import publish_tasks, served, with_addresses
from annotations.server.installation import Installation, Running, free_port
from annotations.server.pull import round_version, save_export, second_round_task, write_second_round
from annotations.server.send import Sent, find_project
from annotations.server.session import Outgoing, open_session, second_round, sources
from annotations.settings import IMPORT_FILES, SECOND_LOOK_FILES, read_settings
from annotations.tasks.task import TaskPictures, build_task
from tests.annotations.drawn import person
from tests.annotations.exports import export, said, task
from tests.annotations.tasks.test_tasks import CANDIDATE


@pytest.fixture
def params(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with params.yaml of a team's server."""
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["label_studio"]["url"] = "https://labels.example.org/"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    return tmp_path


def test_a_teams_server_needs_a_key_from_the_environment(params: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        ReviewError, match=r"expected an API key for https://labels\.example\.org in LABEL_STUDIO"
    ):
        open_session()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "ab" * 20)
    session = open_session()
    assert session.client.url == "https://labels.example.org" and not session.own_server
    assert "ab" * 20 not in repr(session)


@pytest.mark.parametrize("command", ["push", "pull", "status", "review", "review --ready"])
def test_a_password_in_the_address_is_named_and_not_shown(
    params: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    content = yaml.safe_load((params / "params.yaml").read_text())
    content["label_studio"]["url"] = "http://ann:hunter2@127.0.0.1:9"
    (params / "params.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "ab" * 20)
    asked = CliRunner().invoke(app, command.split())
    assert isinstance(asked.exception, ReviewError) and "no plain address" in str(asked.exception)
    assert "hunter2" not in asked.output + "".join(traceback.format_exception(asked.exception))


def test_a_missing_parameter_is_named(params: Path):
    (params / "params.yaml").write_text("label_studio: {url: 'http://127.0.0.1:8080', picture_root: upload}")
    with pytest.raises(ReviewError, match=r"reviews\.path is missing"):
        read_settings()
    (params / "params.yaml").unlink()
    with pytest.raises(ReviewError, match="run from the folder of dvc"):
        read_settings()


@pytest.mark.parametrize(
    ("section", "name", "value", "found"),
    [
        ("reviews", "path", None, r"expected reviews\.path as a text, found None; write one there"),
        ("label_studio", "url", 8080, r"expected label_studio\.url as a text, found 8080; write"),
        (
            "queue",
            "random_share",
            "x",
            r"expected queue\.random_share as a number from 0 to 1, found 'x'; write",
        ),
        ("queue", "random_share", None, "as a number from 0 to 1, found None"),
        ("queue", "random_share", True, "as a number from 0 to 1, found True"),
        ("queue", "random_share", 10, "as a number from 0 to 1, found 10"),
        ("queue", "random_share", float("nan"), "as a number from 0 to 1, found nan"),
    ],
)
def test_a_parameter_of_no_use_is_named(params: Path, section: str, name: str, value: object, found: str):
    content = yaml.safe_load((params / "params.yaml").read_text())
    content[section][name] = value
    (params / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ReviewError, match=rf"params\.yaml: .*{found}"):
        read_settings()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"reviews: {path: M\xfcnchen}", b"reviews: ["])
def test_parameters_that_are_no_text_are_named(params: Path, content: bytes):
    (params / "params.yaml").write_bytes(content)
    with pytest.raises(
        ReviewError, match=r"expected YAML in UTF-8 in params\.yaml, found none .*mend the file"
    ):
        read_settings()


def test_a_line_that_is_no_yaml_is_not_shown(params: Path):
    (params / "params.yaml").write_text("label_studio: {url: http://ann:hunter2@server\n  picture_root: ]")
    with pytest.raises(ReviewError, match=r"found none .line 2") as refused:
        read_settings()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("more", [[], ["--update-config"]])
def test_a_half_done_review_takes_up_a_newer_interface_where_asked(
    params: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
):
    """`make review` stops its server when the push fails, so that `push --update-config` finds none."""
    content = yaml.safe_load((params / "params.yaml").read_text())
    content["label_studio"]["url"] = "http://127.0.0.1:8080"
    (params / "params.yaml").write_text(yaml.safe_dump(content))
    IMPORT_FILES.mkdir(parents=True)
    (IMPORT_FILES / "receipt.json").write_text("{}")
    asked: list[bool] = []

    def send(session: object, update_config: bool = False) -> tuple[Project, Sent]:
        asked.append(update_config)
        return Project(1, "portraits", ""), Sent(0, 0, 0, 0)

    monkeypatch.setattr(Installation, "running", lambda self: Running(1, "http://127.0.0.1:8080"))
    monkeypatch.setattr(installations, "healthy", lambda url: True)
    monkeypatch.setattr(Client, "heads", lambda self, project: [])
    monkeypatch.setattr(reviews, "send_tasks", send)
    done = CliRunner().invoke(app, ["review", *more])
    assert done.exit_code == 0, done.output
    assert asked == [bool(more)]


@pytest.mark.parametrize(("asked", "started"), [(True, False), (False, True)])
def test_clicks_are_told_of_where_the_running_server_has_them(
    params: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: bool,
    started: bool,
):
    """A server takes up label_studio.clicks when it starts, not when another command reads it."""
    content = yaml.safe_load((params / "params.yaml").read_text())
    content["label_studio"] |= {"url": "http://127.0.0.1:8080", "clicks": asked}
    (params / "params.yaml").write_text(yaml.safe_dump(content))
    Installation(params / "review-data").prepare()
    server = Running(1, "http://127.0.0.1:8080", clicks=started)
    monkeypatch.setattr(Installation, "answering", lambda self: server)
    assert open_session(params / "review-data").clicks is started
    assert f"clicks is {str(asked).lower()}" in caplog.text and "make review-stop" in caplog.text


def test_nothing_is_installed_for_a_review_that_is_elsewhere_or_empty(params: Path):
    asked = CliRunner().invoke(app, ["review", "--ready"])
    assert "which is not this machine: `python -m annotations push`" in str(asked.exception)
    text = (params / "params.yaml").read_text()
    (params / "params.yaml").write_text(text.replace("https://labels.example.org/", "http://127.0.0.1:8080"))
    asked = CliRunner().invoke(app, ["review", "--ready"])
    assert "nothing to review yet" in str(asked.exception)
    IMPORT_FILES.mkdir(parents=True)
    (IMPORT_FILES / "receipt.json").write_text("{}")
    assert CliRunner().invoke(app, ["review", "--ready"]).exit_code == 0
    assert not Path("review-data").exists()


def test_another_interface_on_the_server_says_how_it_is_replaced():
    class Server:
        url = "http://127.0.0.1:8080"

        def projects(self, title: str) -> list[Project]:
            return [Project(1, title, "<View/>")]

    server: Any = Server()
    with pytest.raises(ReviewError, match=r"push --update-config` .*annotations review --update-config`"):
        find_project(server, "portraits", "<View><Image/></View>")


def test_second_looks_are_sent_where_there_are_any(params: Path):
    assert sources() == [IMPORT_FILES]
    SECOND_LOOK_FILES.mkdir(parents=True)
    assert sources() == [IMPORT_FILES, SECOND_LOOK_FILES]


def test_a_published_task_names_its_own_pictures(tmp_path: Path):
    root = "/data/local-files/?d=data/push/images"
    names = ("k-image.jpg", "k-outline.jpg", "k-cutout.jpg", "guidelines.html")
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name).write_text(name)
    written = build_task(
        CANDIDATE, person(1)[1], TaskPictures(*(f"{root}/{name}" for name in names)), "v" * 16
    )
    publish_tasks([written], tmp_path / "images", tmp_path / "served")
    published = with_addresses(written, served(written))
    assert published["data"]["image"] == f"/data/local-files/?d=pictures/{'v' * 16}-image.jpg"
    assert (tmp_path / "served" / f"{'v' * 16}-cutout.jpg").read_text() == "k-cutout.jpg"
    assert published["data"]["guidelines"] == "/data/local-files/?d=pictures/guidelines.html"
    assert "data/push" not in str(published["data"])
    (tmp_path / "images" / "guidelines.html").write_text("newer")
    (tmp_path / "images" / "k-image.jpg").write_text("of another mask")
    publish_tasks([written], tmp_path / "images", tmp_path / "served")
    assert (tmp_path / "served" / "guidelines.html").read_text() == "newer"
    assert (tmp_path / "served" / f"{'v' * 16}-image.jpg").read_text() == "k-image.jpg"
    (tmp_path / "images" / "k-outline.jpg").unlink()
    with pytest.raises(ReviewError, match="expected the picture"):
        publish_tasks([written], tmp_path / "images", tmp_path / "elsewhere")


def test_import_files_are_read_one_at_a_time_and_anew_each_time(tmp_path: Path):
    files = {"tasks-0001.json": [1, 2], "tasks-0002.json": [3]}
    for name, numbers in files.items():
        (tmp_path / name).write_text(json.dumps([{"data": {"version": str(number)}} for number in numbers]))
    hashes = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in files}
    (tmp_path / "receipt.json").write_text(json.dumps({"files": hashes}))
    second = [{"data": {"version": "second round"}}]
    outgoing = Outgoing({tmp_path: lambda task: {"image": f"/{task['data']['version']}.jpg"}}, second)
    for _ in range(2):
        assert [task["data"].get("image") for task in outgoing] == ["/1.jpg", "/2.jpg", "/3.jpg", None]
    (tmp_path / "tasks-0002.json").write_text("[]")
    reading = iter(outgoing)
    assert [next(reading)["data"]["version"] for _ in range(2)] == ["1", "2"]
    with pytest.raises(ReviewError, match=r"tasks-0002\.json is not what the receipt beside it says"):
        next(reading)


class OneTask:
    """Gives the task that a conflict is about, as `Client.task` does."""

    def task(self, number: int) -> dict[str, object]:
        return {
            "data": {"about": "doubt 0.5"},
            "predictions": [{"model_version": "t", "score": 0.4, "result": []}],
        }


def test_a_conflict_becomes_one_task_and_goes_when_it_is_settled(tmp_path: Path):
    def conflict(*minutes: int) -> Conflict:
        voices = [said("accept", by=n, number=n, minute=minute) for n, minute in enumerate(minutes)]
        return Conflict("k", tuple(read_export(export(task(1, *voices))).reviews), "why")

    installation = Installation(tmp_path)
    for _ in range(2):
        write_second_round(OneTask(), installation, [conflict(1, 2)])
        (found,) = second_round(installation)
        assert found["data"]["about"] == "second round, 2 reviews · doubt 0.5"
        assert found["predictions"][0]["score"] == 0.0
        assert found["data"]["version"] == round_version(conflict(1, 2)) != round_version(conflict(1, 3))
    third = second_round_task(found, "x", conflict(1, 2, 3))
    assert third["data"]["about"] == "second round, 3 reviews · doubt 0.5"
    write_second_round(OneTask(), installation, [])
    assert second_round(installation) == []


def test_every_export_is_kept(tmp_path: Path):
    moment = datetime(2025, 1, 31, 12, tzinfo=UTC)
    path = save_export(tmp_path / "exports", b"[]", moment)
    assert path.name == "20250131T120000000000Z.json.gz" and gzip.decompress(path.read_bytes()) == b"[]"


def test_a_busy_port_is_not_taken():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        assert free_port(busy.getsockname()[1]) != busy.getsockname()[1]
