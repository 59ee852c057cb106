"""The only file that speaks HTTP: a Label Studio server by way of label-studio-sdk, which repeats no request.

Some requests go around the SDK: the import, which costs it more than twice the time of a plain POST, and those for
which it has no call (the upload of a file, the next task, a picture).
Errors carry the status code and the server's `detail`: an ApiError's text can hold a cookie and a whole page.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from annotations.errors import ReviewError

TIMEOUT = 60.0  # seconds, of everything but the next two
IMPORT_TIMEOUT = 300.0
EXPORT_TIMEOUT = 900.0
_PAGE = 500  # tasks of one listing
# What a listing has to say of a task: asked for all that it knows, the server takes three times as long.
_HEAD_FIELDS = "id,data,total_annotations,cancelled_annotations,total_predictions,drafts"
# A score is told only where a filter asks for it.
_HAS_SCORE = {
    "filter": "filter:tasks:predictions_score",
    "operator": "empty",
    "type": "Number",
    "value": False,
}
_WITH_SCORE = json.dumps({"filters": {"conjunction": "and", "items": [_HAS_SCORE]}})

# Addresses of a bucket as a task names them, not as the server shows them.
_AS_SENT: Any = {"additional_query_parameters": {"resolve_uri": "false"}}

LOWEST_FIRST = "Uncertainty sampling"  # what the server calls it
_HELD = "Task lock"  # its word for a task that stands open in the asking person's browser

# What a server says whose disk is full: SQLite, PostgreSQL and Linux; or whose quota or limit of a file is used up.
_FULL = (
    "disk is full",
    "disk i/o error",
    "no space left",
    "could not extend file",
    "quota exceeded",
    "file too large",
)

KEY_NAME = "LABEL_STUDIO_API_KEY"  # the environment's name for the key of a server that is not our own

# What it says of an address inside a private network, whatever the key.
_PRIVATE = ("resolves to a reserved network address", "URL was not allowed")


class ServerError(ReviewError):
    """The server refused, failed or was not reached."""


class DoubtfulError(ServerError):
    """The request may have been carried out all the same (timeout, disconnect, 5xx): list before sending again."""


@dataclass(frozen=True)
class Project:
    """A project as far as a review needs it."""

    id: int
    title: str
    label_config: str


@dataclass(frozen=True)
class Serving:
    """How a project shows predictions and which task it serves next."""

    model_version: str  # only predictions of this one are shown, and only their tasks are ordered
    sampling: str
    prefilled: bool  # a task opens with its prediction as the annotation to start from

    def __str__(self) -> str:
        shown = f"predictions of '{self.model_version}'" if self.prefilled else "no predictions"
        return f"{self.sampling} with {shown}"


@dataclass(frozen=True)
class TaskHead:
    """A task without its masks: what a sender recognises it by, and whether a person was there."""

    id: int
    key: str  # of the review; several versions may share it
    version: str
    touched: bool  # it has an annotation, a skip or a draft
    predictions: int  # of any version, shown or not
    shows: tuple[str, ...] = ()  # the addresses of its pictures and of the guidelines
    parent_sha256: str = ""  # of the photograph's file


@dataclass(frozen=True)
class Served:
    """What Label All Tasks gives a curator next, as the browser gets it."""

    id: int
    data: dict[str, Any]
    predictions: list[dict[str, Any]]
    held: bool  # it stood open in this person's browser already, and comes first whatever its score


@dataclass(frozen=True)
class Folder:
    """A local files storage of a project: a folder of the server's machine that it may show."""

    id: int
    title: str
    path: str


@dataclass(frozen=True)
class BucketAccess:
    """A folder of a bucket and the keys to it, as a server is told them."""

    bucket: str
    prefix: str  # the folder, without a slash at its ends; "" for the bucket itself
    region: str  # "" for the server's default
    endpoint: str  # "" for Amazon's own
    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(repr=False)  # of keys for a while; "" for lasting ones


@dataclass(frozen=True)
class BucketStorage:
    """A source storage of a project, as far as it can be recognised; a server tells nobody its keys."""

    id: int
    title: str
    bucket: str


class Client:
    """A server at `url`; `api_key` is a personal access token or the older kind of key."""

    def __init__(self, url: str, api_key: str, timeout: float = TIMEOUT, key_from: str = KEY_NAME) -> None:
        self.url = url
        self._key_from = key_from  # for a message
        if not re.fullmatch("[!-~]+", api_key):
            raise ServerError(
                f"the key in {key_from} is none: expected letters, digits and signs of ASCII alone"
            )
        proxies = not on_this_machine(url)  # a proxy of the environment does not lead to this machine
        self._http = httpx.Client(timeout=timeout, follow_redirects=True, trust_env=proxies)
        with self._asking("read the API key"):
            sdk: Any = LabelStudio  # its constructor and its pages are untyped
            self._sdk = sdk(base_url=url, api_key=api_key, max_retries=0, httpx_client=self._http)

    def projects(self, title: str) -> list[Project]:
        """The projects of exactly this title, oldest first."""
        return [project for project in self.all_projects() if project.title == title]

    def all_projects(self) -> list[Project]:
        """All projects that the key may see, oldest first."""
        with self._asking("list the projects"):
            found = self._sdk.projects.list()
            projects = [Project(int(one.id), str(one.title), str(one.label_config or "")) for one in found]
        return sorted(projects, key=lambda project: project.id)

    def create_project(self, title: str, label_config: str, instruction: str) -> Project:
        """A project that serves the lowest score first and shows the prediction to start from."""
        with self._asking("create the project"):
            made = self._sdk.projects.create(
                title=title,
                label_config=label_config,
                expert_instruction=instruction,
                show_instruction=False,
                sampling=LOWEST_FIRST,
                show_collab_predictions=True,
                maximum_annotations=1,
            )
            return Project(int(made.id), title, label_config)

    def set_label_config(self, project: Project, label_config: str) -> None:
        """Replace the labelling interface; the server refuses one that existing annotations do not fit."""
        with self._asking("change the labelling interface"):
            self._sdk.projects.update(id=project.id, label_config=label_config)

    def delete_project(self, project: Project) -> None:
        """Delete a project with all that is in it."""
        with self._asking("delete the project"):
            self._sdk.projects.delete(id=project.id)

    def serving(self, project: Project) -> Serving:
        """How the project shows predictions and orders its tasks now."""
        with self._asking("read the project"):
            found = self._sdk.projects.get(id=project.id)
            return Serving(
                str(found.model_version or ""), str(found.sampling), bool(found.show_collab_predictions)
            )

    def set_serving(self, project: Project, serving: Serving) -> None:
        """Change that; the server refuses a version of which it has no prediction."""
        with self._asking("change how the project serves its tasks"):
            self._sdk.projects.update(
                id=project.id,
                model_version=serving.model_version,
                sampling=serving.sampling,
                show_collab_predictions=serving.prefilled,
            )

    def folders(self, project: Project) -> list[Folder]:
        """The project's local files storages."""
        with self._asking("list the storages"):
            found = self._sdk.import_storage.local.list(project=project.id)
            return [Folder(int(one.id), str(one.title), str(one.path)) for one in found]

    def write_folder(self, project: Project, title: str, path: str, storage: int | None = None) -> None:
        """Let the project show files of the server's folder `path`; nothing is imported from it.

        `storage` names the one that is changed, else it is a new one.
        """
        told = {"project": project.id, "title": title, "path": path, "use_blob_urls": True}
        with self._asking("write the local files storage"):
            if storage is None:
                self._sdk.import_storage.local.create(**told)
            else:
                self._sdk.import_storage.local.update(id=storage, **told)

    def bucket_storages(self, project: Project) -> list[BucketStorage]:
        """The project's source storages in buckets."""
        with self._asking("list the source storages"):
            found = self._sdk.import_storage.s3.list(project=project.id)
            return [BucketStorage(int(one.id), str(one.title), str(one.bucket)) for one in found]

    def write_bucket_storage(
        self, project: Project, title: str, access: BucketAccess, storage: int | None = None
    ) -> None:
        """Let the project show a bucket's files: a new storage, or all of an earlier one anew.

        The server looks into the folder first, and refuses one that it cannot read or that is empty. Nothing is
        imported from there, and the files come through the server (no `presign`), for who is logged in.
        """
        told = {
            "title": title,
            "bucket": access.bucket,
            "prefix": access.prefix,
            "region_name": access.region,
            "s3endpoint": access.endpoint,
            "aws_access_key_id": access.key_id,
            "aws_secret_access_key": access.secret,
            "aws_session_token": access.token,
            "use_blob_urls": True,
            "presign": False,
            "synchronizable": False,
        }
        storages = self._sdk.import_storage.s3
        with self._asking("add the source storage" if storage is None else "renew the source storage"):
            if storage is None:
                storages.create(project=project.id, **told)
            else:
                storages.update(id=storage, project=project.id, **told)

    def set_backend(self, project: Project, title: str, told: Mapping[str, Any] | None) -> None:
        """Make the project ask the interactive backend that is `told` (url, access), and no earlier one of this title.

        An earlier one keeps its number, by which pages that are open ask it. To a new one on loopback the server
        answers 403, since it would not send it the project's events, and keeps it.
        """
        with self._asking("connect what answers clicks"):
            numbers = self._backends(project, title)
            kept = 0 if told is None else 1
            for number in numbers[kept:]:
                self._request("DELETE", f"/api/ml/{number}")
            if told is None:
                return
            content = {**told, "project": project.id, "title": title, "is_interactive": True}
            if numbers:
                self._request("PATCH", f"/api/ml/{numbers[0]}", json=content)
                return
            try:
                self._request("POST", "/api/ml/", json=content)
            except ApiError as error:
                if error.status_code != 403 or not self._backends(project, title):
                    raise

    def _backends(self, project: Project, title: str) -> list[int]:
        listed = self._request("GET", "/api/ml/", params={"project": project.id}).json()
        return [int(one["id"]) for one in listed if one["title"] == title]

    def uploads(self, project: Project) -> dict[str, str]:
        """The files that this key's user uploaded into the project: address by the name that they were given."""
        return {_given_name(path): f"/data/{path}" for _, path in self._uploaded(project)}

    def delete_uploads(self, project: Project, names: Collection[str]) -> list[str]:
        """Delete the files that were uploaded under these names; the paths that the server leaves on its disk.

        It forgets them and shows them to nobody any more, but removes no file.
        """
        there = [(number, path) for number, path in self._uploaded(project) if _given_name(path) in names]
        for number, _ in there:
            with self._asking(f"delete the uploaded file {number}"):
                self._sdk.files.delete(id=number)
        return [path for _, path in there]

    def _uploaded(self, project: Project) -> list[tuple[int, str]]:
        with self._asking("list the uploaded files"):
            return [(int(one.id), str(one.file)) for one in self._sdk.files.list(id=project.id, all_=True)]

    def upload(self, project: Project, name: str, content: bytes) -> None:
        """Upload a file into the project without making a task of it. The SDK has no call for it."""
        with self._asking(f"upload {name}"):
            self._request(
                "POST",
                f"/api/projects/{project.id}/import",
                params={"commit_to_project": "false"},
                files={"file": (name, content)},
            )

    def heads(self, project: Project) -> list[TaskHead]:
        """All tasks of the project, oldest first."""
        with self._asking("list the tasks"):
            pages = self._sdk.tasks.list(
                project=project.id,
                fields="task_only",
                include=_HEAD_FIELDS,
                page_size=_PAGE,
                request_options=_AS_SENT,
            )
            return sorted((_head(task) for task in pages), key=lambda head: head.id)

    def scores(self, project: Project) -> dict[int, float]:
        """By which score the server orders each task: that of its prediction of the project's `model_version`.

        A task that is not in it is shown without a mask, and served at random after the others.
        """
        with self._asking("list the scores"):
            pages = self._sdk.tasks.list(
                project=project.id,
                fields="task_only",
                include="id,predictions_score",
                query=_WITH_SCORE,
                page_size=_PAGE,
            )
            return {int(one.id): float(one.predictions_score) for one in pages}

    def head(self, task: int) -> TaskHead | None:
        """One task as it is now; None where it is gone."""
        with self._asking(f"read task {task}"):
            try:
                return _head(self._sdk.tasks.get(id=str(task)))
            except ApiError as error:
                if error.status_code == 404:
                    return None
                raise

    def task(self, task: int) -> dict[str, Any]:
        """One task's `data` and `predictions`, as they were sent: with s3:// addresses where it has some."""
        with self._asking(f"read task {task}"):
            found = self._sdk.tasks.get(id=str(task), request_options=_AS_SENT)
            data = dict(found.data)
        return {"data": data, "predictions": self.predictions(task)}

    def predictions(self, task: int) -> list[dict[str, Any]]:
        """All predictions of a task. With the task itself the server gives only those that the project shows."""
        with self._asking(f"read the predictions of task {task}"):
            return [one.model_dump(mode="json") for one in self._sdk.predictions.list(task=task)]

    def add_prediction(self, task: int, prediction: dict[str, Any]) -> None:
        """Give a task that is there a prediction."""
        with self._asking(f"add the prediction of task {task}"):
            self._sdk.predictions.create(task=task, **prediction)

    def change_prediction(self, number: int, model_version: str, score: float | None) -> None:
        """Change what a prediction is shown and ordered by; its mask stays."""
        with self._asking(f"change prediction {number}"):
            self._sdk.predictions.update(id=number, model_version=model_version, score=score)

    def next_task(self, project: Project) -> Served | None:
        """Ask for the next task as Label All Tasks does; None where the server has none for this key's user.

        The server locks what it serves for the asker, so that it is given back at once, which it does only where a
        task is answered: it gets a skip, and loses it again. What stays is that this key's user wrote it last.
        """
        with self._asking("ask for the next task"):
            try:
                found = self._request(
                    "POST",
                    "/api/dm/actions",
                    params={"id": "next_task", "project": project.id},
                    json={"project": str(project.id)},
                ).json()
            except ApiError as error:
                if error.status_code == 404:
                    return None
                raise
            served = Served(
                int(found["id"]),
                dict(found["data"]),
                list(found["predictions"]),
                _HELD in str(found.get("queue")),
            )
        if not served.held:
            self._give_back(served.id)
        return served

    def _give_back(self, task: int) -> None:
        skip = {"result": [], "was_cancelled": True, "lead_time": 0}
        with self._asking(f"give task {task} back after asking for it (a skip of it may have stayed)"):
            made = self._request("POST", f"/api/tasks/{task}/annotations/", json=skip).json()
            self._request("DELETE", f"/api/annotations/{made['id']}/")

    def people(self) -> int:
        """How many people the server knows: each of the others may have a task open, which nobody else is served."""
        with self._asking("list the users"):
            return len(list(self._sdk.users.list()))

    def trouble_with(self, address: str, kind: str) -> str:
        """What keeps a browser from showing what a task names, as "answered 404"; "" where it comes.

        `kind` is what it is to be, "image" or "text". The key is told to nobody but this server.
        """
        try:
            url = urljoin(f"{self.url}/", address)
            ours = urlsplit(url)[:2] == urlsplit(self.url)[:2]
            answer = self._http.get(url, headers=self._authorization() if ours else None)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return f"does not answer ({type(error).__name__})"
        if answer.status_code != 200:
            return f"answered {answer.status_code}"
        found = answer.headers.get("content-type", "")
        return "" if found.startswith(kind) and answer.content else f"is no {kind}, but '{found}'"

    def delete_task(self, task: int) -> None:
        """Delete a task with all that people did to it; one that is gone already is no error."""
        with self._asking(f"delete task {task}"):
            try:
                self._sdk.tasks.delete(id=str(task))
            except ApiError as error:
                if error.status_code != 404:
                    raise

    def import_tasks(self, project: Project, content: bytes) -> None:
        """POST a JSON list of tasks, once. DoubtfulError where it is unknown whether the server took it."""
        with self._asking("import tasks"):
            self._request(
                "POST",
                f"/api/projects/{project.id}/import",
                content=content,
                headers={"Content-Type": "application/json"},
                timeout=IMPORT_TIMEOUT,
            )

    def export(self, project: Project) -> bytes:
        """All tasks with annotations, skips, drafts and predictions, as the server's JSON."""
        with self._asking("export the reviews"):
            parts = self._sdk.projects.exports.download_sync(
                id=project.id,
                export_type="JSON",
                download_all_tasks=True,
                download_resources=False,
                request_options={"timeout_in_seconds": int(EXPORT_TIMEOUT), "max_retries": 0},
            )
            return b"".join(parts)

    def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """A request around the SDK, sent once; ApiError, as the SDK raises it, where the server refuses it."""
        answer = self._http.request(
            method, f"{self.url}{path}", headers={**self._authorization(), **(headers or {})}, **more
        )
        if answer.status_code >= 300:
            raise ApiError(status_code=answer.status_code, body=_body(answer))
        return answer

    def _authorization(self) -> dict[str, str]:
        """The header that the SDK would send; it refreshes a personal access token by itself."""
        return {"Authorization": self._sdk._client_wrapper.get_headers()["Authorization"]}

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn what goes wrong in `what` into a sentence without secrets."""
        try:
            yield
        except ApiError as error:
            raise _refused(what, self.url, error.status_code, error.body, self._key_from) from None
        except httpx.ConnectError:
            advice = (
                "start it (`make review` starts this machine's), or mend label_studio.url in params.yaml"
                if on_this_machine(self.url)
                else "is it up, can this machine reach it, and is label_studio.url in params.yaml its address?"
            )
            raise ServerError(f"could not {what}: nothing answers at {self.url}; {advice}") from None
        except httpx.HTTPError as error:
            raise DoubtfulError(
                f"could not {what}: {type(error).__name__} from {self.url}; it may be busy or have stopped"
            ) from None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise _strange(what, self.url) from None


def on_this_machine(url: str) -> bool:
    """Whether an address is loopback; ServerError, which does not show it, where it is none or may hold a secret."""
    try:
        parts = httpx.URL(url)
        port = 80 if parts.port is None else parts.port
        plain = parts.scheme in ("http", "https") and parts.host and 0 < port < 2**16
    except (httpx.InvalidURL, ValueError):
        plain = False
    if not plain or any(mark in url for mark in "@?#"):
        raise ServerError(
            "label_studio.url in params.yaml is no plain address: expected http://HOST or https://HOST:PORT, without a "
            f"user, a password or a query, as messages show it; the key goes into {KEY_NAME}"
        )
    return parts.host in ("127.0.0.1", "localhost", "::1")


def healthy(url: str) -> bool:
    """Whether a Label Studio of this machine answers at `url`."""
    try:  # without verify=False each question would read all certificates, to speak plain HTTP
        return httpx.get(f"{url}/health", timeout=5, verify=False, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _given_name(path: str) -> str:
    """The name that a file was uploaded under: the server has it as upload/PROJECT/8 hex digits-NAME."""
    return path.rpartition("/")[2].partition("-")[2]


def _head(task: Any) -> TaskHead:
    data = task.data if isinstance(task.data, dict) else {}
    touched = (task.total_annotations or 0) + (task.cancelled_annotations or 0) > 0 or bool(task.drafts)
    return TaskHead(
        id=int(task.id),
        key=str(data.get("key", "")),
        version=str(data.get("version", "")),
        touched=touched,
        predictions=int(task.total_predictions or 0),
        shows=tuple(str(data[name]) for name in ("image", "outline", "cutout", "guidelines") if name in data),
        parent_sha256=str(data.get("parent_sha256", "")),
    )


def _body(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _strange(what: str, url: str) -> DoubtfulError:
    return DoubtfulError(
        f"could not {what}: what {url} answered is nothing that Label Studio says; is a page to log in before it, and "
        "is label_studio.url in params.yaml its address?"
    )


def _refused(what: str, url: str, status: int | None, body: Any, key_from: str = KEY_NAME) -> ServerError:
    if status is not None and status < 300:  # of an answer that is no JSON
        return _strange(what, url)
    detail = str(body["detail"])[:200] if isinstance(body, dict) and "detail" in body else "no detail"
    said = f"could not {what}: {url} answered {status} ({detail})"
    if status == 403 and any(words in detail for words in _PRIVATE):
        return ServerError(said)
    if status in (401, 403) and key_from != KEY_NAME:
        return ServerError(
            f"{said}; the key in {key_from} is not this server's: restore the review from a backup"
        )
    if status in (401, 403):
        return ServerError(
            f"{said}; the key in {KEY_NAME} is wrong, expired or revoked, or may not do this: make a new one in "
            "Label Studio under Account & Settings, Personal Access Token"
        )
    if any(words in detail.lower() for words in _FULL):
        return DoubtfulError(
            f"{said}; the server cannot write: look at the space on its disk, and make some before you go on"
        )
    if status is None or status >= 500 or status in (408, 409, 429):
        return DoubtfulError(f"{said}; the server failed, and its log says why")
    return ServerError(said)
