"""A real Label Studio takes what the push stage wrote, once: tasks, masks, scores and pictures."""

import gzip
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from annotations.errors import ReviewError
from annotations.ledger.judgements import JudgedTask, read_judgements
from annotations.ledger.takedowns import TakenDown, write_takedowns
from annotations.masks.brush import regions_to_mask
from annotations.server.client import Client, Project, ServerError
from annotations.server.import_files import read_tasks, served
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.send import find_project, push
from annotations.server.session import Session, open_session, send_tasks, the_project
from annotations.settings import SECOND_LOOK_FILES, SHELF
from annotations.tasks.task import LABEL_CONFIG, MODEL_VERSION, Proposal
from pipeline.core.params import load_params
from pipeline.core.store import Store
from pipeline.review.import_folder import Candidate, write_import_folder
from sinet.images.decode import Array, decode_image, read_image, read_mask
from tests.annotations.conftest import client_of, invited, judge
from tests.annotations.exports import moved, said

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]


def sent_tasks(session: Session) -> list[dict[str, Any]]:
    """The tasks as the server has them, in the order of their import."""
    heads = session.client.heads(the_project(session))
    return [session.client.task(head.id) for head in heads]


def shown(task: dict[str, Any]) -> Array:
    """The mask that a task proposes."""
    (prediction,) = task["predictions"]
    return regions_to_mask(prediction["result"], task["data"]["height"], task["data"]["width"])


def browser(installation: Installation) -> httpx.Client:
    """What fetches as a logged-in curator."""
    return httpx.Client(headers={"Authorization": f"Token {installation.secrets().api_key}"}, timeout=60)


def test_every_task_arrives_once_as_it_was_written(installation: Installation, work: Path):
    session = open_session(installation.folder)
    project, sent = send_tasks(session)
    assert (sent.wanted, sent.there_before, sent.sent, sent.removed) == (6, 0, 6, 0)
    written = list(read_tasks(work / "data/push"))
    tasks = sent_tasks(session)
    assert [task["data"]["version"] for task in tasks] == [task["data"]["version"] for task in written]
    scores = []
    for task, before in zip(tasks, written, strict=True):
        mask = read_mask(work / f"data/pseudo/masks/{task['data']['id']}.png")
        (prediction,) = task["predictions"]
        assert np.array_equal(regions_to_mask(prediction["result"], *mask.shape), mask)
        assert prediction["model_version"] == MODEL_VERSION and task["data"] == {
            **before["data"],
            **served(before),
        }
        assert len(prediction["result"]) == int(mask.any())
        scores.append(prediction["score"])
    assert scores == sorted(scores) and len(set(scores)) == 6
    again = send_tasks(open_session(installation.folder))
    assert again[0].id == project.id and (again[1].there_before, again[1].sent) == (6, 0)


def test_pictures_and_guidelines_are_served_after_data_push_is_gone(installation: Installation, work: Path):
    session = open_session(installation.folder)
    send_tasks(session)
    originals = {path.stem: read_image(path) for path in (work / "data/pseudo/images").iterdir()}
    (work / "data/push").rename(work / "data/gone")
    with browser(installation) as http:
        for task in sent_tasks(session):
            original = originals[task["data"]["id"]].astype(int)
            shown = {}
            for name in ("image", "outline", "cutout"):
                answer = http.get(session.client.url + task["data"][name])
                assert answer.status_code == 200, (name, answer.status_code)
                shown[name] = decode_image(answer.content)
                assert shown[name].shape == original.shape
            assert np.abs(shown["image"] - original).mean() < 5
        answer = http.get(session.client.url + task["data"]["guidelines"])
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "What is person" in answer.text


def test_the_server_serves_nothing_but_pictures(installation: Installation, work: Path):
    session = open_session(installation.folder)
    send_tasks(session)
    with browser(installation) as http:
        for place in ("../secrets.json", "pictures/../../secrets.json", "../database/.env"):
            answer = http.get(f"{session.client.url}/data/local-files/?d={place}")
            assert answer.status_code >= 400 and installation.secrets().password not in answer.text


def test_two_pushes_at_once_leave_one_task_of_each(
    installation: Installation, work: Path, monkeypatch: pytest.MonkeyPatch
):
    """As from two machines: without the lock that one machine's pushes share, and meeting at every request."""
    both = threading.Barrier(2, timeout=60)
    before = Client.import_tasks

    def together(self: Client, *arguments: Any) -> None:
        both.wait()
        before(self, *arguments)

    session = open_session(installation.folder)
    project, _ = send_tasks(session)  # makes the project
    for head in session.client.heads(project):
        session.client.delete_task(head.id)
    monkeypatch.setattr(Client, "import_tasks", together)
    tasks = list(read_tasks(work / "data/push"))
    failures: list[BaseException] = []

    def one() -> None:
        try:
            push(client_of(installation), project, tasks)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    heads = session.client.heads(project)
    assert sorted(head.version for head in heads) == sorted(task["data"]["version"] for task in tasks)


def test_two_pushes_on_one_machine_wait_for_each_other(installation: Installation, work: Path):
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(send_tasks(open_session(installation.folder))[1].sent))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 6]
    assert len(client_of(installation).all_projects()) == 1


def test_a_wrong_key_is_named_without_being_shown(installation: Installation):
    url = client_of(installation).url
    key = "0123456789abcdef" * 2 + "01234567"
    with pytest.raises(ServerError, match=r"answered 401 .*LABEL_STUDIO_API_KEY is wrong") as caught:
        Client(url, key).all_projects()
    assert key not in str(caught.value) and caught.value.__cause__ is None
    for ending in ("cookie", "html", "sessionid"):
        assert ending not in str(caught.value).lower()


def test_a_personal_access_token_serves_until_it_is_revoked(installation: Installation, work: Path):
    url = client_of(installation).url
    with browser(installation) as http:
        made = http.post(f"{url}/api/token/")
        assert made.status_code == 201
        token = made.json()["token"]
        client = Client(url, token)
        project = find_project(client, "portraits", LABEL_CONFIG.read_text())
        assert push(client, project, list(read_tasks(work / "data/push"))).sent == 6
        revoked = http.post(f"{url}/api/token/blacklist/", json={"refresh": token})
        assert revoked.status_code in (200, 204)
    with pytest.raises(ServerError, match="LABEL_STUDIO_API_KEY is wrong, expired or revoked") as caught:
        Client(url, token).heads(project)
    assert token not in str(caught.value)


def test_a_config_changed_on_the_server_is_not_overwritten_unasked(installation: Installation, work: Path):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    session.client.set_label_config(project, LABEL_CONFIG.read_text().replace("rule_missing", "other"))
    with pytest.raises(ReviewError, match=r"is not annotations/tasks/label_config\.xml"):
        send_tasks(session)
    send_tasks(session, update_config=True)
    send_tasks(session)


def test_a_new_mask_replaces_the_task_that_nobody_touched(installation: Installation, work: Path):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    tasks = list(read_tasks(work / "data/push"))
    tasks[0]["data"]["version"] = "f" * 16
    begun = session.client.heads(project)[1]  # somebody has drawn on it and not submitted
    with browser(installation) as http:
        draft = {"result": [], "lead_time": 1.0}
        assert http.post(f"{session.client.url}/api/tasks/{begun.id}/drafts", json=draft).status_code == 201
    tasks[1]["data"]["version"] = "e" * 16
    sent = push(session.client, project, tasks)
    assert (sent.sent, sent.removed) == (2, 1)
    assert {head.version for head in session.client.heads(project)} == {
        begun.version,
        *(task["data"]["version"] for task in tasks),
    }


@pytest.fixture
def team(installation: Installation, work: Path) -> Session:
    """The server as a team's one, which sees no folder of this machine."""
    session = open_session(installation.folder)
    return replace(session, own_server=False, settings=replace(session.settings, picture_root="upload"))


def test_a_teams_server_gets_the_pictures_by_upload_once(team: Session, work: Path):
    project, sent = send_tasks(team)
    assert sent.sent == 6 and team.client.folders(project) == []
    (shelf,) = team.client.projects(SHELF)
    files = team.client.uploads(shelf)
    assert len(files) == 6 * 3 + 1, "three pictures a task, and the guidelines"
    originals = {path.stem: read_image(path) for path in (work / "data/pseudo/images").iterdir()}
    with browser(team.installation) as http:
        for task in sent_tasks(team):
            shown = decode_image(http.get(team.client.url + task["data"]["image"]).content)
            assert np.abs(shown.astype(int) - originals[task["data"]["id"]]).mean() < 5
            for name in ("outline", "cutout", "guidelines"):
                assert http.get(team.client.url + task["data"][name]).status_code == 200
                assert httpx.get(team.client.url + task["data"]["image"]).status_code in (302, 401, 403), (
                    "not for all"
                )
    assert send_tasks(team)[1].sent == 0
    assert team.client.uploads(shelf) == files and team.client.heads(shelf) == []
    assert len(team.client.heads(project)) == 6


@pytest.mark.parametrize("own", [True, False], ids=["own server", "team's server"])
def test_what_is_taken_out_leaves_the_server_with_its_pictures_and_all_that_was_said(
    team: Session, work: Path, own: bool, caplog: pytest.LogCaptureFixture
):
    session = replace(team, own_server=own)
    project, _ = send_tasks(session)
    first, second = session.client.heads(project)[:2]
    data = session.client.task(first.id)["data"]
    judge(
        team.installation, first.id, said("accept", read_mask(work / f"data/pseudo/masks/{data['id']}.png"))
    )
    assert len(pull(session).entries) == 1
    with browser(team.installation) as http:
        pictures = [team.client.url + data[name] for name in ("image", "outline", "cutout")]
        kept = team.client.url + session.client.task(second.id)["data"]["image"]
        assert {http.get(address).status_code for address in (*pictures, kept)} == {200}
        write_takedowns([TakenDown(key=data["id"], date="2026-11-29", files=(data["parent_sha256"],))])
        again = send_tasks(session)[1]
        assert (again.wanted, again.there_before, again.sent) == (5, 5, 0)
        assert first.key not in {head.key for head in session.client.heads(project)}
        # Label Studio fails over a file that it has forgotten.
        assert {http.get(address).status_code for address in pictures} == {404 if own else 500}
        assert http.get(kept).status_code == 200
    told = [line for line in caplog.messages if "leaves their files on its disk" in line]
    assert len(told) == (not own) and all(f"{first.version}-cutout.jpg" in line for line in told)
    pull(session)
    newest = gzip.decompress(max(team.installation.exports.iterdir()).read_bytes())
    assert second.key.encode() in newest and first.key.encode() not in newest


def test_an_upload_that_breaks_off_goes_on_where_it_stopped(
    team: Session, work: Path, monkeypatch: pytest.MonkeyPatch
):
    before, sent = Client.upload, []

    def failing(self: Client, project: Project, name: str, content: bytes) -> None:
        if len(sent) == 5:
            raise ServerError("the line is cut")
        sent.append(name)
        before(self, project, name, content)

    monkeypatch.setattr(Client, "upload", failing)
    with pytest.raises(ServerError, match="the line is cut"):
        send_tasks(team)
    project, (shelf,) = the_project(team), team.client.projects(SHELF)
    assert len(team.client.uploads(shelf)) == 5 and team.client.heads(project) == []
    monkeypatch.setattr(Client, "upload", before)
    assert send_tasks(team)[1].sent == 6
    assert len(team.client.uploads(shelf)) == 19
    (work / "data/push/images").rename(work / "data/gone")
    for head in team.client.heads(project):
        team.client.delete_task(head.id)
    with pytest.raises(ReviewError, match=r"expected the picture .*dvc repro --force push"):
        send_tasks(team)


def test_a_second_look_is_sent_beside_the_queue_and_its_answer_replaces_the_first(
    installation: Installation, work: Path
):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    data = sent_tasks(session)[0]["data"]
    mask = read_mask(work / f"data/pseudo/masks/{data['id']}.png")
    judge(installation, session.client.heads(project)[0].id, said("accept", mask))
    (entry,) = pull(session).entries
    assert entry.verdict == "accept"

    known = {name: str(data[name]) for name in ("key", "parent_sha256", "crop_box", "id", "teacher")}
    candidate = Proposal(**known, uncertainty=0.3, flags="", score=-1.0)
    paths = (work / f"data/pseudo/{kind}/{data['id']}.png" for kind in ("images", "masks"))
    params = load_params().label_studio
    write_import_folder(SECOND_LOOK_FILES, [Candidate(candidate, *paths, "student")], params, Store("push"))
    _, sent = send_tasks(session)
    assert (sent.wanted, sent.there_before, sent.sent, sent.removed) == (7, 6, 1, 0)
    again = sent_tasks(session)[-1]["data"]
    assert again["key"] == entry.key and again["version"] != data["version"]
    with browser(installation) as http:
        for name in ("image", "outline", "cutout"):
            assert http.get(session.client.url + again[name]).status_code == 200

    better = moved(mask, 4)
    judge(installation, session.client.heads(project)[-1].id, said("fix", better))
    drift = pull(session)
    assert drift.updated == [entry.key]
    assert drift.entries[0].verdict == "fix" and np.array_equal(drift.entries[0].mask_array(), better)
    purposes = {task.purpose for task in read_judgements(session.settings.lock)}
    assert purposes == {"review", "student"}
    assert send_tasks(session)[1].sent == 0


def test_two_curators_agree_on_one_mask_and_not_on_another(installation: Installation, work: Path):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    first, second = session.client.heads(project)[:2]
    mask, refused = (shown(session.client.task(head.id)) for head in (first, second))
    other = invited(installation, "second@example.org")
    judge(installation, first.id, said("accept", mask))
    judge(installation, first.id, said("accept", mask), other)
    judge(installation, second.id, said("accept", refused))
    judge(installation, second.id, said("reject", None, reasons=("no_person",)), other)
    drift = pull(session)
    (entry,) = drift.entries
    assert entry.key == first.key and entry.verdict == "accept"
    spoke = {word.reviewer for task in read_judgements(session.settings.lock) for word in task.opinions}
    assert len(spoke) == 2
    _, sent = send_tasks(session)
    assert (sent.wanted, sent.sent) == (7, 1)
    again = session.client.heads(project)[-1]
    assert again.key == second.key and session.client.task(again.id)["data"]["round"] == 2
    judge(installation, again.id, said("reject", None, reasons=("no_person",)))  # the first one comes round
    assert {entry.verdict for entry in pull(session).entries} == {"accept", "reject"}


def test_a_damaged_import_file_is_not_sent(installation: Installation, work: Path):
    path = work / "data/push/tasks-0001.json"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ReviewError, match="is not what the receipt beside it says"):
        send_tasks(open_session(installation.folder))
    assert client_of(installation).all_projects() == []


def changed(http: httpx.Client, annotation: int, result: list[dict[str, Any]]) -> None:
    """A colleague opens somebody's answer and updates it."""
    http.patch(f"/api/annotations/{annotation}/", json={"result": result}).raise_for_status()


def annotations_of(session: Session) -> dict[str, dict[str, Any]]:
    """The only annotation of each key, as the export gives it."""
    tasks = json.loads(session.client.export(the_project(session)))
    return {task["data"]["key"]: task["annotations"][0] for task in tasks if task["annotations"]}


def test_nobodys_word_is_lost_to_a_colleague_or_with_an_account(installation: Installation, work: Path):
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    masks = {head: shown(session.client.task(head.id)) for head in session.client.heads(project)}
    one, two, three, four = [head for head, mask in masks.items() if mask.any()][:4]
    colleague, leaver = (invited(installation, f"{name}@example.org") for name in ("colleague", "leaver"))
    owner = browser(installation)
    owner.base_url = session.client.url
    refused = said("reject", None, reasons=("no_person",))

    judge(installation, one.id, said("accept", masks[one]))  # a colleague changes it after a pull
    judge(installation, two.id, said("accept", masks[two]))  # and this one before any
    changed(colleague, annotations_of(session)[two.key]["id"], refused["result"])
    judge(installation, three.id, said("accept", masks[three]), colleague)  # these two leave
    judge(installation, three.id, refused, leaver)
    judge(installation, four.id, said("accept", masks[four]))
    heard = {entry.key: (entry.reviewer, entry.verdict) for entry in pull(session).entries}
    me, they = (f"curator-{http.get('/api/current-user/whoami').json()['id']}" for http in (owner, colleague))
    assert heard == {
        one.key: (me, "accept"),
        two.key: (they, "reject"),
        four.key: (me, "accept"),
    }

    changed(colleague, annotations_of(session)[one.key]["id"], refused["result"])
    # An administrator marks an answer, which changes none of its words.
    star = annotations_of(session)[four.key]["id"]
    colleague.patch(f"/api/annotations/{star}/", json={"ground_truth": True}).raise_for_status()
    now = annotations_of(session)
    assert f"curator-{now[one.key]['completed_by']}" == f"curator-{now[four.key]['completed_by']}" == me
    assert f"curator-{now[one.key]['updated_by']}" == f"curator-{now[four.key]['updated_by']}" == they
    drift = pull(session)
    assert drift.held == [one.key] and four.key in drift.unchanged and two.key in drift.unchanged
    words = {task.key: {word.reviewer: word.said for word in task.opinions} for task in judged(session)}
    assert words[one.key] == {me: "accept", they: "reject"} and words[four.key] == {me: "accept"}
    before = {entry.key: entry for entry in drift.entries}

    for http in (colleague, leaver):
        number = http.get("/api/current-user/whoami").json()["id"]
        assert owner.delete(f"/api/users/{number}/").status_code == 204
    gone = annotations_of(session)[three.key]
    assert gone["completed_by"] is None and gone["updated_by"] is None
    drift = pull(session)
    assert {entry.key: entry for entry in drift.entries} == before, "who has left has still spoken"
    shutil.rmtree(session.settings.lock / "judgements")
    with pytest.raises(ReviewError, match=f"no review any more of who gave them: {one.key}"):
        pull(session)
    drift = pull(session, keep=True)
    assert three.key not in {entry.key for entry in drift.entries}, "two answers, whoever gave them"
    (three_words,) = (task.opinions for task in judged(session) if task.key == three.key)
    assert sorted(word.said for word in three_words) == ["accept", "reject"]
    assert all(word.reviewer.startswith("curator-gone-") for word in three_words)


def judged(session: Session) -> list[JudgedTask]:
    return read_judgements(session.settings.lock)


def test_answers_of_an_import_are_the_importers(installation: Installation, work: Path):
    """The server writes no `updated_by` for them."""
    session = open_session(installation.folder)
    project, _ = send_tasks(session)
    task = sent_tasks(session)[0]
    mine = {"result": said("accept", shown(task))["result"], "completed_by": {"email": "curator@example.org"}}
    session.client.delete_task(session.client.heads(project)[0].id)
    session.client.import_tasks(project, json.dumps([{**task, "annotations": [mine]}]).encode())
    (annotation,) = annotations_of(session).values()
    (entry,) = pull(session).entries
    assert entry.verdict == "accept" and entry.reviewer == f"curator-{annotation['completed_by']}"
