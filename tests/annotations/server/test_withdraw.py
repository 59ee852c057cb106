"""What people asked to have taken out leaves a server and this machine's review; all else stays."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from annotations.ledger.takedowns import Takedowns, TakenDown
from annotations.server.client import Project, TaskHead
from annotations.server.installation import Installation
from annotations.server.session import Session, fetch_export
from annotations.server.withdraw import clear_pictures, clear_second_round, wanted_tasks, withdraw_tasks
from annotations.settings import read_settings

PROJECT = Project(1, "portraits", "<View/>")
GONE = TakenDown(key="a" * 16, date="2026-11-29", files=("f" * 64,), reviews=("9" * 16,))


class Ledger:
    """A server's tasks, and what was asked of it, in order."""

    def __init__(self, *tasks: TaskHead) -> None:
        self.tasks = {task.id: task for task in tasks}
        self.asked: list[object] = []

    def heads(self, project: Project) -> list[TaskHead]:
        return list(self.tasks.values())

    def delete_task(self, task: int) -> None:
        self.asked.append(task)
        del self.tasks[task]

    def files(self) -> dict[str, str]:
        versions = (*self.tasks, 7, 8, 9)
        named = [f"{n:016x}-{kind}.jpg" for n in versions for kind in ("cutout", "image", "outline")]
        return dict.fromkeys([*named, "guidelines-0123456789ab.html", "mine.jpg"], "address")

    def remove(self, names: list[str]) -> None:
        self.asked.append(sorted(names))


def head(number: int, key: str = "", parent: str = "e" * 64) -> TaskHead:
    return TaskHead(number, key or f"{number:016d}", f"{number:016x}", True, 1, (), parent)


def task(key: str, parent: str) -> dict[str, Any]:
    return {"data": {"key": key, "parent_sha256": parent, "version": "v"}, "predictions": []}


def test_the_pictures_go_before_the_tasks_that_name_them() -> None:
    """And those of a task that a newer mask replaced (7); a second round shows the first one's (9)."""
    shows = (f"/data/upload/4/0123abcd-{9:016x}-image.jpg",)
    server: Any = Ledger(replace(head(1), shows=shows), head(2, parent="f" * 64), head(3, key="9" * 16))
    on_their_way = (f"{8:016x}",)
    gone, stay = withdraw_tasks(server, [PROJECT], Takedowns([GONE]), server, on_their_way)
    assert ([one.id for one in gone], [one.id for one in stay], list(server.tasks)) == ([2, 3], [1], [1])
    names = [f"{n:016x}-{kind}.jpg" for n in (2, 3, 7) for kind in ("cutout", "image", "outline")]
    assert server.asked == [names, 2, 3]
    withdraw_tasks(server, [PROJECT], Takedowns([GONE]), server, on_their_way)
    assert server.asked[3:] == [names[6:]]  # also where no task is left


def test_what_is_named_is_not_sent_again(tmp_path: Path) -> None:
    other, named = task("1" * 16, "e" * 64), task("2" * 16, "f" * 64)
    assert list(wanted_tasks([other, named], Takedowns([GONE]))) == [other]
    installation = Installation(tmp_path)
    installation.second_round.mkdir()
    for name, content in (("other", json.dumps(other)), ("named", json.dumps(named)), ("damaged", "{")):
        (installation.second_round / f"{name}.json").write_text(content)
    clear_second_round(installation, Takedowns([GONE]))
    assert sorted(path.stem for path in installation.second_round.iterdir()) == ["damaged", "other"]


def test_served_pictures_of_tasks_that_are_gone_go_too(tmp_path: Path) -> None:
    """Also those of a task that a newer mask replaced, whose version no server knows any more."""
    for name in (
        f"{1:016x}-image.jpg",
        f"{2:016x}-image.jpg",
        f"{7:016x}-cutout.jpg",
        "guidelines.html",
        "mine.jpg",
    ):
        (tmp_path / name).touch()
    clear_pictures(tmp_path, [head(1)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{1:016x}-image.jpg",
        "guidelines.html",
        "mine.jpg",
    ]


@pytest.mark.parametrize("own", [True, False])
def test_this_machines_server_keeps_no_copy_of_an_export(tmp_path: Path, own: bool) -> None:
    installation = Installation(tmp_path)
    (installation.database / "export").mkdir(parents=True)
    copy = installation.database / "export" / "project-1-at-2026-11-29-23-00-0123abcd.json"
    (other := copy.with_name("mine.json")).touch()

    class Exporting:
        def export(self, project: Project) -> bytes:
            copy.write_text("[]")
            return b"[]"

    server: Any = Exporting()
    session = Session(read_settings(), installation, server, own)
    assert fetch_export(session, PROJECT) == b"[]"
    assert copy.exists() == (not own) and other.exists()
