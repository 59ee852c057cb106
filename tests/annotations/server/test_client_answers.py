"""What a client makes of a server's answers, those too that a real one does not give when asked."""

import json
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from annotations.server.client import (
    BucketAccess,
    Client,
    DoubtfulError,
    Project,
    Served,
    ServerError,
    TaskHead,
    healthy,
    on_this_machine,
)

KEY = "0123456789abcdef" * 2 + "01234567"
PORTRAITS = Project(1, "portraits", "<View/>")


@dataclass
class Answers:
    """A server on loopback that gives one answer to everything; None hangs up."""

    status: int | None
    body: Any
    url: str = ""
    asked: list[str] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)  # what JSON came with each


@contextmanager
def server(status: int | None, body: Any) -> Iterator[Answers]:
    answers = Answers(status, body)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            came = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answers.told.append(json.loads(came) if came.startswith(b"{") else {})
            answers.asked.append(f"{self.command} {self.path}")
            if answers.status is None:
                self.close_connection = True
                return
            status, body = answers.status, answers.body
            if (
                isinstance(body, dict) and "results" in body and "page=2" in self.path
            ):  # as the real one answers after the last page
                status, body = 404, {"detail": "Invalid page."}
            if "/predictions/" in self.path:
                body = []
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Set-Cookie", "sessionid=cookie-of-somebody")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815 (the base class asks for them)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    answers.url = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    yield answers
    http.shutdown()
    http.server_close()


def asked(client: Client, action: str) -> object:
    actions: dict[str, Any] = {
        "list": lambda: client.all_projects(),
        "import": lambda: client.import_tasks(PORTRAITS, b"[]"),
        "upload": lambda: client.upload(PORTRAITS, "a.jpg", b"picture"),
        "export": lambda: client.export(PORTRAITS),
        "delete": lambda: client.delete_task(7),
        "head": lambda: client.head(7),
    }
    return actions[action]()


ACTIONS = ("list", "import", "upload", "export", "delete", "head")


@pytest.mark.parametrize(
    ("status", "detail", "doubtful", "said"),
    [
        (400, "no such field", False, r"answered 400 \(no such field\)$"),
        (401, "Invalid token", False, r"answered 401 .*LABEL_STUDIO_API_KEY is wrong, expired or revoked"),
        (403, "Forbidden", False, r"answered 403 .*LABEL_STUDIO_API_KEY is wrong"),
        (403, "resolves to a reserved network address", False, r"answered 403 \([^)]*address\)$"),
        (408, "slow", True, "the server failed, and its log says why"),
        (409, "database is locked", True, "the server failed"),
        (429, "too many", True, "the server failed"),
        (500, "Disk I/O Error", True, "the server cannot write: look at the space on its disk"),
        (500, "no", True, "the server failed"),
        (503, "no", True, "the server failed"),
    ],
)
def test_an_answer_is_a_sentence_and_never_asked_for_twice(
    status: int, detail: str, doubtful: bool, said: str
):
    """Whether it may have been carried out all the same decides whether a push looks again or stops."""
    with server(status, {"detail": detail, "exc_info": f"{KEY} cookie"}) as answers:
        client = Client(answers.url, KEY)
        for number, action in enumerate(ACTIONS, start=1):
            with pytest.raises(ServerError, match=said) as caught:
                asked(client, action)
            assert len(answers.asked) == number
            error = caught.value
            assert isinstance(error, DoubtfulError) is doubtful, action
            assert error.__cause__ is None and error.__suppress_context__, "the SDK's error holds it all"
            for secret in (KEY, "cookie", "sessionid", "exc_info"):
                assert secret not in str(error).lower()


@pytest.mark.parametrize("body", [b"<html>cookie</html>", b"", [1], {"message": "cookie"}, "cookie"])
def test_an_answer_without_a_detail_shows_nothing_of_itself(body: Any):
    with server(502, body) as answers:
        for action in ("list", "import", "upload"):
            with pytest.raises(DoubtfulError, match=r"answered 502 \(no detail\)") as caught:
                asked(Client(answers.url, KEY), action)
            assert "cookie" not in str(caught.value)


READS = (
    lambda client: client.all_projects(),
    lambda client: client.create_project("portraits", "<View/>", "Accept ..."),
    lambda client: client.serving(PORTRAITS),
    lambda client: client.heads(PORTRAITS),
    lambda client: client.scores(PORTRAITS),
    lambda client: client.head(7),
    lambda client: client.task(7),
    lambda client: client.next_task(PORTRAITS),
)
LISTS = (
    lambda client: client.folders(PORTRAITS),
    lambda client: client.bucket_storages(PORTRAITS),
    lambda client: client.uploads(PORTRAITS),
    lambda client: client.people(),
)


@pytest.mark.parametrize(
    "body", [b"<html>cookie</html>", b"", b"\xff\xfe", [], None, [7], "cookie", b"[" * 100_000]
)
def test_an_answer_that_is_none_of_label_studios_is_a_sentence(body: Any):
    """A page to log in, or a proxy's, with 200; of the lists an empty one may be right."""
    with server(200, body) as answers:
        client = Client(answers.url, KEY)
        for ask in (*READS, *(LISTS if body not in ([], "cookie") else ())):
            with pytest.raises(DoubtfulError, match="is nothing that Label Studio says") as caught:
                ask(client)
            assert "cookie" not in str(caught.value) and caught.value.__suppress_context__


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", " secret", "", "se cret"])
def test_a_key_that_no_header_can_hold_is_named_and_not_shown(key: str):
    with pytest.raises(ServerError, match="the key in LABEL_STUDIO_API_KEY is none") as caught:
        Client("http://127.0.0.1:9", key)
    assert not key or key.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://127.0.0.1:abc/a.jpg", "http://127.0.0.1:99999/a.jpg"]
)
def test_an_address_of_a_picture_that_is_none_is_a_trouble(address: str):
    with server(200, {}) as answers:
        assert "does not answer" in Client(answers.url, KEY).trouble_with(address, "image")


def test_a_page_in_place_of_a_detail_is_cut():
    with server(400, {"detail": "x" * 10_000}) as answers, pytest.raises(ServerError) as caught:
        Client(answers.url, KEY).all_projects()
    assert len(str(caught.value)) < 400


def test_a_line_that_is_cut_leaves_doubt():
    with server(None, b"") as answers:
        for number, action in enumerate(ACTIONS, start=1):
            with pytest.raises(DoubtfulError, match="it may be busy or have stopped"):
                asked(Client(answers.url, KEY), action)
            assert len(answers.asked) == number


def test_where_nothing_answers_nothing_was_carried_out():
    with server(200, {}) as answers:
        url = answers.url
    with pytest.raises(ServerError, match=f"nothing answers at {url}") as caught:
        Client(url, KEY).import_tasks(PORTRAITS, b"[]")
    assert not isinstance(caught.value, DoubtfulError)


def test_a_task_that_is_gone_is_no_error():
    with server(404, {"detail": "Not found."}) as answers:
        client = Client(answers.url, KEY)
        assert client.head(7) is None
        client.delete_task(7)
        with pytest.raises(ServerError, match="answered 404"):
            client.import_tasks(PORTRAITS, b"[]")


@pytest.mark.parametrize(
    ("queue", "held"), [("Task lock", True), ("Uncertainty sampling", False), (None, False)]
)
def test_the_next_task_is_given_back_unless_it_stood_open_already(queue: str | None, held: bool):
    """A skip and its removal give it back; of one that a curator has open that would end the work on it."""
    data, predictions = {"key": "k"}, [{"score": 0.5}]
    with server(200, {"id": 7, "data": data, "predictions": predictions, "queue": queue}) as answers:
        assert Client(answers.url, KEY).next_task(PORTRAITS) == Served(7, data, predictions, held)
        given_back = ["POST /api/tasks/7/annotations/", "DELETE /api/annotations/7/"]
        assert answers.asked[1:] == ([] if held else given_back)


def test_a_server_without_a_next_task_is_no_error():
    with server(404, {"detail": "Not found."}) as answers:
        client = Client(answers.url, KEY)
        assert client.next_task(PORTRAITS) is None
        answers.status = 405
        with pytest.raises(ServerError, match=r"could not ask for the next task: .* answered 405"):
            client.next_task(PORTRAITS)


def test_what_keeps_a_browser_from_showing_a_picture_is_said():
    with server(200, {"a": "picture, of the only kind that this server sends"}) as answers:
        client = Client(answers.url, KEY)
        assert client.trouble_with("/a.jpg", "application/json") == ""
        assert client.trouble_with("/a.jpg", "image") == "is no image, but 'application/json'"
        answers.body = b""
        assert "is no application/json" in client.trouble_with("/a.jpg", "application/json"), "an empty file"
        answers.status = 404
        assert client.trouble_with("/a.jpg", "application/json") == "answered 404"


@pytest.mark.parametrize(
    ("counts", "touched"),
    [
        ({}, False),
        ({"total_annotations": 1}, True),
        ({"cancelled_annotations": 1}, True),
        ({"drafts": [{"id": 4}]}, True),
        ({"total_annotations": 0, "cancelled_annotations": 0, "drafts": []}, False),
    ],
)
def test_what_somebody_did_to_a_task_is_seen(counts: dict[str, Any], touched: bool):
    """An answer, a skip, or a draft: none of them may be removed with the task."""
    data = {"key": "k", "version": "v"}
    with server(200, {"id": 7, "data": data, "total_predictions": 1, **counts}) as answers:
        assert Client(answers.url, KEY).head(7) == TaskHead(7, "k", "v", touched, 1)


def test_projects_are_found_by_their_whole_title_the_oldest_first():
    titles = {9: "portraits", 3: "portraits", 4: "portraits of others", 5: "Portraits"}
    found = [{"id": number, "title": title, "label_config": "<View/>"} for number, title in titles.items()]
    with server(200, {"count": 4, "next": None, "previous": None, "results": found}) as answers:
        client = Client(answers.url, KEY)
        assert [project.id for project in client.projects("portraits")] == [3, 9]
        assert [project.id for project in client.all_projects()] == [3, 4, 5, 9]


def test_an_uploaded_file_is_found_by_the_name_that_it_was_given():
    found = [{"id": 1, "file": f"upload/1/0123abcd-{name}"} for name in ("v-image.jpg", "guidelines-77.html")]
    with server(200, found) as answers:
        assert Client(answers.url, KEY).uploads(PORTRAITS) == {
            "v-image.jpg": "/data/upload/1/0123abcd-v-image.jpg",
            "guidelines-77.html": "/data/upload/1/0123abcd-guidelines-77.html",
        }
        assert "all=true" in answers.asked[-1].lower(), "else the server lists none of them"


def test_the_keys_of_a_bucket_are_not_shown():
    access = BucketAccess("b", "p", "r", "http://e", "key-id", "a-secret", "a-token")
    assert not any(word in repr(access) for word in ("key-id", "a-secret", "a-token"))


def test_what_a_request_asks_for():
    """Served by doubt with the mask to start from; all tasks, with addresses as sent; files that make no task."""
    access = BucketAccess("b", "p", "", "", "key-id", "a-secret", "")
    with server(200, {"id": 7, "data": {}, "predictions": [], "title": "portraits"}) as answers:
        client = Client(answers.url, KEY)
        client.create_project("portraits", "<View/>", "Accept ...")
        made = answers.told[-1]
        assert made["sampling"] == "Uncertainty sampling" and made["show_collab_predictions"] is True
        assert made["show_instruction"] is False, "it would lie before every curator's first task"
        client.set_label_config(PORTRAITS, "<View><Image/></View>")
        assert answers.asked[-1].startswith("PATCH /api/projects/1")
        assert answers.told[-1] == {"label_config": "<View><Image/></View>"}
        client.task(7)
        assert "resolve_uri=false" in answers.asked[-2] and "/predictions/?task=7" in answers.asked[-1]
        client.upload(PORTRAITS, "a.jpg", b"picture")
        assert "commit_to_project=false" in answers.asked[-1]
        client.export(PORTRAITS)
        assert "download_all_tasks=true" in answers.asked[-1].lower()
        client.write_bucket_storage(PORTRAITS, "ours", access)
        storage = answers.told[-1]
        assert (storage["presign"], storage["synchronizable"], storage["use_blob_urls"]) == (
            False,
            False,
            True,
        )
        assert answers.asked[-1].startswith("POST")
        client.write_bucket_storage(PORTRAITS, "ours", access, 4)
        assert answers.asked[-1].startswith("PATCH") and "/4" in answers.asked[-1]
        assert answers.told[-1]["presign"] is False


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost", True),
        ("http://[::1]:8080/", True),
        ("https://localhost.example.org", False),
        ("https://labels.example.org/127.0.0.1", False),
        ("http://10.0.0.7:8080", False),
    ],
)
def test_which_address_is_this_machine(url: str, here: bool):
    assert on_this_machine(url) is here


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:hunter2@127.0.0.1:9",
        "https://hunter2@labels.example.org",
        "https://labels.example.org/?token=hunter2",
        "https://labels.example.org/#hunter2",
        "https://ann:hunter2@[::1",
        "labels.example.org",
        "",
        "None",
        "ftp://labels.example.org",
        "http://127.0.0.1:abc",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://xn--a",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_showing_it(url: str):
    for ask in (lambda: Client(url, KEY), lambda: on_this_machine(url)):
        with pytest.raises(
            ServerError, match=r"label_studio\.url in params\.yaml is no plain address"
        ) as caught:
            ask()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch):
    with server(200, {"count": 0, "next": None, "previous": None, "results": []}) as answers:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert Client(answers.url, KEY).all_projects() == []
        assert healthy(answers.url)
        answers.status = 500
        assert not healthy(answers.url)
    assert not healthy(answers.url)
