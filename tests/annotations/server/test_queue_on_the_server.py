"""The next task on a real server, through every state that a review goes through: its mask, its rank, its pictures."""

import json
from pathlib import Path
from typing import Any

import pytest

from annotations.server.client import Client, Project, Serving
from annotations.server.import_files import TaskContent, read_tasks, served, with_addresses
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.send import SERVING, find_project
from annotations.server.served import look
from annotations.server.session import Session, open_session, second_round, send_tasks
from annotations.settings import IMPORT_FILES, PROJECT, SECOND_LOOK_FILES
from annotations.tasks.task import LABEL_CONFIG, task_batches
from tests.annotations.conftest import invited, judge
from tests.annotations.exports import said
from tests.annotations.queues import another_teacher, write_state

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]


@pytest.fixture
def state(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    write_state(root, tmp_path)
    return tmp_path


def begun_before(session: Session) -> tuple[Project, list[TaskContent]]:
    """A project as it was sent while the model version was the teacher's: that of the last task is shown."""
    project = find_project(session.client, PROJECT, LABEL_CONFIG.read_text())
    tasks = [
        with_addresses(task, served(task))
        for folder in (IMPORT_FILES, SECOND_LOOK_FILES)
        for task in read_tasks(folder)
    ]
    for number, task in enumerate(tasks):
        teacher = "" if number >= len(tasks) - 2 else task["data"]["teacher"]
        task["predictions"][0]["model_version"] = teacher or "0123456789abcdef"
    for content in task_batches(tasks):
        session.client.import_tasks(project, content)
    return project, tasks


def test_a_review_begun_with_the_teachers_version_shows_its_masks_after_the_next_push(
    installation: Installation, state: Path
):
    session = open_session(installation.folder)
    client = session.client
    project, tasks = begun_before(session)
    heads = client.heads(project)
    judge(installation, heads[0].id, said("reject", None, reasons=("no_person",)))
    found = "\n".join(look(client, project, client.heads(project)))
    assert "the project serves its tasks by" in found and "waiting tasks show no mask" in found
    assert "cannot show its image" in found, "nothing was published yet"

    assert send_tasks(session)[1].sent == 0
    assert client.serving(project) == SERVING
    assert look(client, project, client.heads(project)) == []
    assert [head.id for head in client.heads(project)] == [head.id for head in heads], "the same tasks"
    assert client.head(heads[0].id).touched
    scores = {task["data"]["version"]: task["predictions"][0]["score"] for task in tasks}
    assert client.scores(project) == {head.id: scores[head.version] for head in heads}
    assert [entry.verdict for entry in pull(session).entries] == ["reject"]


def test_a_look_changes_nothing_and_keeps_no_task_from_others(installation: Installation, state: Path):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    other = invited(installation, "looks@example.org")
    before = exported(session.client, project)
    assert look(session.client, project, session.client.heads(project)) == []
    assert exported(session.client, project) == before
    first = lowest(session.client, project)
    address, asked = f"/api/dm/actions?id=next_task&project={project.id}", {"project": str(project.id)}
    assert other.post(address, json=asked).json()["id"] == first, "it is locked for nobody"
    assert look(session.client, project, session.client.heads(project)) == [], (
        "the first is with somebody else"
    )


@pytest.mark.parametrize(
    ("serving", "named"),
    [
        (Serving(SERVING.model_version, "Uniform sampling", prefilled=True), "by Uniform sampling with"),
        (Serving(SERVING.model_version, SERVING.sampling, prefilled=False), "opens without its mask"),
    ],
)
def test_a_project_that_was_set_otherwise_is_named_and_set_right(
    installation: Installation, state: Path, serving: Serving, named: str
):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    session.client.set_serving(project, serving)
    assert named in "\n".join(look(session.client, project, session.client.heads(project)))
    send_tasks(session)
    assert session.client.serving(project) == SERVING
    assert look(session.client, project, session.client.heads(project)) == []


def test_a_task_that_lost_its_mask_gets_it_back_and_a_queue_ranked_anew_its_order(
    installation: Installation, state: Path
):
    session = open_session(installation.folder)
    client = session.client
    project, _ = send_tasks(session)
    heads = client.heads(project)
    first = next(head for head in heads if head.id == lowest(client, project))
    (prediction,) = client.predictions(first.id)
    client._sdk.predictions.delete(id=prediction["id"])
    last = max(client.scores(project).items(), key=lambda pair: pair[1])[0]
    (moved,) = client.predictions(last)
    client.change_prediction(moved["id"], SERVING.model_version, -7.0)
    assert "show no mask" in "\n".join(look(client, project, client.heads(project)))
    send_tasks(session)
    assert look(client, project, client.heads(project)) == [] and lowest(client, project) == first.id
    assert client.predictions(first.id)[0]["result"] == prediction["result"]
    assert [head.id for head in client.heads(project)] == [head.id for head in heads]


def test_a_second_round_has_its_mask_whatever_the_project_shows(installation: Installation, state: Path):
    session = open_session(installation.folder)
    project, _ = begun_before(session)
    task = session.client.heads(project)[0]
    other = invited(installation, "rejects@example.org")
    for curator in (None, other):
        mask = None if curator else said_mask(session.client, task.id)
        judge(installation, task.id, said("reject" if curator else "accept", mask), curator)
    pull(session)
    (again,) = second_round(session.installation)
    assert again["predictions"][0]["result"]
    path = next(session.installation.second_round.glob("*.json"))
    path.write_text(json.dumps({**again, "predictions": []}))  # as an earlier version wrote it, and sent it
    send_tasks(session)
    pull(session)
    send_tasks(session)
    assert look(session.client, project, session.client.heads(project)) == []
    sent = next(head for head in session.client.heads(project) if head.version == again["data"]["version"])
    assert session.client.predictions(sent.id)[0]["result"] == again["predictions"][0]["result"]


def test_masks_of_another_teacher_show_and_come_in_their_order(installation: Installation, state: Path):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    another_teacher(state)
    _, sent = send_tasks(session)
    assert sent.sent > 0 and sent.sent == sent.removed
    assert look(session.client, project, session.client.heads(project)) == []


def said_mask(client: Client, task: int) -> Any:
    from annotations.masks.brush import regions_to_mask

    found = client.task(task)
    regions = found["predictions"][0]["result"]
    return regions_to_mask(regions, found["data"]["height"], found["data"]["width"])


def lowest(client: Client, project: Project) -> int:
    return min(client.scores(project).items(), key=lambda pair: pair[1])[0]


def exported(client: Client, project: Project) -> list[dict[str, Any]]:
    """All that the server has of the tasks, but for when it last wrote them, and for whom."""
    tasks = json.loads(client.export(project))
    return [{**task, "updated_at": "", "updated_by": ""} for task in tasks]
