"""Pictures in S3-compatible storage: a real server of it on loopback, behind push and behind a real Label Studio."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from annotations.errors import ReviewError
from annotations.ledger.lock import read_lock
from annotations.server.bucket import STORAGE_TITLE, Bucket, add_storage, open_bucket
from annotations.server.client import BucketAccess, BucketStorage, Project
from annotations.server.client import _refused as server_refused
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.session import Session, open_session, send_tasks, the_project
from sinet.images.decode import decode_image, read_image, read_mask
from tests.annotations.conftest import client_of
from tests.annotations.server.test_browser import Curator
from tests.annotations.storage import Storage

BUCKET, ROOT = "portraits", "s3://portraits/review/one"


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """A storage with an empty bucket; its address and keys are told by `keys`."""
    pytest.importorskip("moto", reason="moto: `make install` installs the storage that this test needs")
    with Storage(BUCKET) as made:
        yield made


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings for AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def keys(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Keys that are good, in the environment."""
    pair = storage.new_keys()
    tell(monkeypatch, storage.url, *pair)
    for key in storage.names():
        storage.delete(key)
    return pair


def tell(monkeypatch: pytest.MonkeyPatch, url: str, key_id: str, secret: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)


def test_what_is_put_is_listed_under_its_address(storage: Storage, keys: tuple[str, str]):
    bucket = open_bucket(ROOT)
    assert bucket.files() == {}
    bucket.put("a.jpg", b"picture")
    bucket.put("guidelines.txt", b"What is person")
    assert bucket.files() == {name: f"{ROOT}/{name}" for name in ("a.jpg", "guidelines.txt")}
    assert sorted(storage.names()) == ["review/one/a.jpg", "review/one/guidelines.txt"]
    top = open_bucket(f"s3://{BUCKET}")
    top.put("b.jpg", b"picture")
    assert top.files() == {"b.jpg": f"s3://{BUCKET}/b.jpg"}, "not what lies in folders"
    assert bucket.access.endpoint == storage.url and keys[1] == bucket.access.secret
    assert not any(secret in repr(bucket) for secret in keys)


def test_a_bucket_of_many_pages_is_listed_whole(keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch):
    bucket = open_bucket(ROOT)
    for number in range(7):
        bucket.put(f"{number}.jpg", b"picture")
    pages = bucket._client.get_paginator("list_objects_v2")
    whole = pages.paginate
    pages.paginate = lambda **asked: whole(**asked, PaginationConfig={"PageSize": 3})
    monkeypatch.setattr(bucket._client, "get_paginator", lambda name: pages)
    assert len(bucket.files()) == 7


def test_amazons_own_address_is_not_told_to_the_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for-an-hour")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    access = open_bucket("s3://portraits").access
    assert access == BucketAccess("portraits", "", "eu-central-1", "", "id", "secret", "for-an-hour")


def test_an_address_that_only_looks_like_amazons_is_told(monkeypatch: pytest.MonkeyPatch):
    tell(monkeypatch, "https://s3.amazonaws.com.example.org", "id", "secret")
    assert open_bucket("s3://portraits").access.endpoint == "https://s3.amazonaws.com.example.org"


def test_a_browser_is_told_what_a_file_is(keys: tuple[str, str]):
    bucket = open_bucket(ROOT)
    for name, kind in (("a.jpg", "image/jpeg"), ("guidelines.html", "text/html; charset=utf-8")):
        bucket.put(name, b"content")
        there = bucket._client.head_object(Bucket=BUCKET, Key=f"review/one/{name}")
        assert there["ContentType"] == kind


@pytest.mark.parametrize(
    ("root", "changed", "said"),
    [
        pytest.param(
            "s3://elsewhere/x", {}, r"404 \(NoSuchBucket\): it has no bucket 'elsewhere'", id="no bucket"
        ),
        pytest.param(
            ROOT,
            {"AWS_ACCESS_KEY_ID": "AKIA0"},
            r"403 \(InvalidAccessKeyId\): the keys in AWS_",
            id="unknown key",
        ),
        pytest.param(
            ROOT,
            {"AWS_SECRET_ACCESS_KEY": "other-secret"},
            r"403 \(SignatureDoesNotMatch\): the keys in AWS_.* are wrong or expired",
            id="wrong secret",
        ),
        pytest.param(
            ROOT,
            {"AWS_ENDPOINT_URL": "http://u:pass-word@127.0.0.1:9"},
            r"http://127\.0\.0\.1:9 does not answer .*is AWS_ENDPOINT_URL its address",
            id="down",
        ),
        pytest.param(ROOT, {"AWS_ENDPOINT_URL": "minio:9000"}, r"look at AWS_ENDPOINT_URL", id="no address"),
        pytest.param("s3://No Bucket/x", {}, r"'No Bucket' is no name of a bucket", id="no name"),
        pytest.param(ROOT, {"AWS_ACCESS_KEY_ID": ""}, r"expected .*AWS_SECRET_ACCESS_KEY", id="no key"),
        pytest.param(ROOT, {"AWS_PROFILE": "nobody"}, r"ProfileNotFound.* AWS_PROFILE", id="no profile"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_without_secrets(
    keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch, root: str, changed: dict[str, str], said: str
):
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    for attempt in (lambda: open_bucket(root).files(), lambda: open_bucket(root).put("a.jpg", b"content")):
        with pytest.raises(ReviewError, match=said) as caught:
            attempt()
        error = caught.value
        assert error.__cause__ is None and (error.__suppress_context__ or error.__context__ is None)
        for secret in (*keys, "other-secret", "pass-word", "content"):
            assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "AccessDenied", "may not list, read and write in bucket 'portraits'"),
        (400, "ExpiredToken", "are wrong or expired"),
        (400, "AuthorizationHeaderMalformed", "set AWS_DEFAULT_REGION"),
        (301, "PermanentRedirect", "set AWS_DEFAULT_REGION"),
        (507, "XMinioStorageFull", r"507 \(XMinioStorageFull\); push again"),
    ],
)
def test_refusals_that_other_storages_give(
    keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch, status: int, code: str, said: str
):
    """As MinIO and Amazon answer: botocore's shape of it."""
    exceptions = pytest.importorskip("botocore.exceptions")
    shape = {
        "Error": {"Code": code, "Message": "The key AKIA0 ..."},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    bucket = open_bucket(ROOT)

    def refuse(**told: Any) -> None:
        raise exceptions.ClientError(shape, "PutObject")

    monkeypatch.setattr(bucket._client, "put_object", refuse)
    with pytest.raises(ReviewError, match=said) as caught:
        bucket.put("a.jpg", b"picture")
    assert "AKIA0" not in str(caught.value)


@pytest.mark.parametrize("address", ["s3://id:se/cret@b/p", "s3://id:secret@b", "s3://b/p?sig=secret"])
def test_keys_in_the_address_of_a_bucket_are_refused_and_not_shown(address: str):
    with pytest.raises(ReviewError, match="no plain s3://BUCKET/FOLDER") as caught:
        open_bucket(address)
    assert "cret" not in str(caught.value)


def test_without_boto3_push_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReviewError, match=r"pip install -e '\.\[s3\]'"):
        open_bucket(ROOT)


class Shown:
    """What Label Studio has of source storages, and how it answers a new one."""

    url = "https://labels.example.org"

    def __init__(self, *storages: BucketStorage, refusal: tuple[int, str] | None = None) -> None:
        self.storages, self.refusal = storages, refusal
        self.written: list[int | None] = []

    def bucket_storages(self, project: Project) -> list[BucketStorage]:
        return list(self.storages)

    def write_bucket_storage(
        self, project: Project, title: str, access: BucketAccess, storage: int | None
    ) -> None:
        if self.refusal:
            status, detail = self.refusal
            raise server_refused("add the source storage", self.url, status, {"detail": detail})
        self.written.append(storage)


PORTRAITS = Project(1, "SINet portraits", "")
ACCESS = BucketAccess(BUCKET, "review", "", "http://10.0.0.7:9000", "key-id", "secret", "")
PICTURES = Bucket(ACCESS, "s3://portraits/review at http://10.0.0.7:9000", None)


@pytest.mark.parametrize(
    ("there", "written"),
    [
        pytest.param([], [None], id="added"),
        pytest.param([BucketStorage(4, STORAGE_TITLE, BUCKET)], [4], id="renewed"),
        pytest.param([BucketStorage(4, "mine", BUCKET)], [], id="somebody else's stays"),
        pytest.param(
            [BucketStorage(4, "mine", BUCKET), BucketStorage(5, STORAGE_TITLE, BUCKET)],
            [5],
            id="ours beside it",
        ),
        pytest.param([BucketStorage(4, STORAGE_TITLE, "earlier")], [None], id="another bucket needs its own"),
    ],
)
def test_a_bucket_has_one_source_storage(there: list[BucketStorage], written: list[int | None]):
    server: Any = Shown(*there)
    add_storage(server, PORTRAITS, PICTURES)
    assert server.written == written


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (
            403,
            "URL resolves to a reserved network address (block: 127.0.0.0/8)",
        ),
        (
            500,
            "Debugging info is not available for s3 endpoints on domain: . Please contact your Label Studio devops "
            "team if you require detailed error reporting for this domain.",
        ),
    ],
)
def test_a_server_that_cannot_read_the_bucket(status: int, detail: str):
    """As Label Studio 1.23.2 answers."""
    server: Any = Shown(refusal=(status, detail))
    with pytest.raises(
        ReviewError, match=rf"cannot show them .*answered {status}.*SSRF_PROTECTION"
    ) as caught:
        add_storage(server, PORTRAITS, PICTURES)
    assert "secret" not in str(caught.value) and "LABEL_STUDIO_API_KEY" not in str(caught.value)


@pytest.fixture(scope="module")
def team_server(
    python: Path, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A server that may reach private addresses, where a team's own storage is; it knows no keys of it."""
    folder = tmp_path_factory.mktemp("team") / "review-data"
    shutil.copytree(template, folder)
    installation = Installation(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("SSRF_PROTECTION_ENABLED", "false")
        installation.start(python, 0)
    yield installation
    installation.stop()


@pytest.fixture
def team(team_server: Installation, work: Path, keys: tuple[str, str]) -> Session:
    """The team's server without projects, told to show pictures from the bucket."""
    client = client_of(team_server)
    for project in client.all_projects():
        client.delete_project(project)
    shutil.rmtree(team_server.second_round, ignore_errors=True)
    return of_team(team_server)


def of_team(installation: Installation) -> Session:
    session = open_session(installation.folder)
    return replace(session, own_server=False, settings=replace(session.settings, picture_root=ROOT))


def data_of(session: Session) -> list[dict[str, Any]]:
    """The tasks' data, as they were sent."""
    return [session.client.task(head.id)["data"] for head in session.client.heads(the_project(session))]


def fetched(session: Session, log_in: bool = True) -> list[dict[str, httpx.Response]]:
    """What a curator's browser gets of each task, by the addresses that the editor is told."""
    key = session.installation.secrets().api_key
    headers = {"Authorization": f"Token {key}"}
    answers = []
    with httpx.Client(headers=headers, timeout=60) as http, httpx.Client(timeout=60) as stranger:
        for head in session.client.heads(the_project(session)):
            data = http.get(f"{session.client.url}/api/tasks/{head.id}").json()["data"]
            who = http if log_in else stranger
            answers.append(
                {kind: who.get(data[kind]) for kind in ("image", "outline", "cutout", "guidelines")}
            )
    return answers


@pytest.mark.slow
@pytest.mark.label_studio
def test_push_puts_the_pictures_there_once_and_the_server_shows_them(
    team: Session, work: Path, storage: Storage
):
    project, sent = send_tasks(team)
    assert sent.sent == 6
    assert len(storage.names()) == 6 * 3 + 1, "three pictures a task, and the guidelines"
    tasks = data_of(team)
    for data in tasks:
        assert data["image"] == f"{ROOT}/{data['version']}-image.jpg", "as a second round will send it again"
    originals = {path.stem: read_image(path) for path in (work / "data/pseudo/images").iterdir()}
    for data, answers in zip(tasks, fetched(team), strict=True):
        assert {answer.status_code for answer in answers.values()} == {200}
        shown = decode_image(answers["image"].content)
        assert np.abs(shown.astype(int) - originals[data["id"]]).mean() < 5
        assert answers["guidelines"].headers["content-type"] == "text/html; charset=utf-8"
        assert "What is person" in answers["guidelines"].text
    for answers in fetched(team, log_in=False):
        assert {answer.status_code for answer in answers.values()} == {401}, "not for all"
    before = client_of(team.installation).bucket_storages(project)
    storage.delete(storage.names()[0])
    assert send_tasks(team)[1].sent == 0
    assert client_of(team.installation).bucket_storages(project) == before and len(before) == 1
    assert len(storage.names()) == 19, "what is missing in the bucket comes back"


@pytest.mark.slow
@pytest.mark.label_studio
def test_new_keys_reach_the_server_with_the_next_push(
    team: Session,
    storage: Storage,
    keys: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
):
    project, _ = send_tasks(team)
    before = team.client.bucket_storages(project)
    storage.revoke(keys[0])
    assert {answers["image"].status_code for answers in fetched(team)} == {424}
    with pytest.raises(ReviewError, match="the keys in AWS_ACCESS_KEY_ID"):
        send_tasks(team)
    tell(monkeypatch, storage.url, *storage.new_keys())
    assert send_tasks(team)[1].sent == 0
    assert team.client.bucket_storages(project) == before
    assert {answers["image"].status_code for answers in fetched(team)} == {200}


@pytest.mark.slow
@pytest.mark.label_studio
def test_a_curator_sees_the_picture_under_the_mask(team: Session, work: Path, page: Any, tmp_path: Path):
    project, _ = send_tasks(team)
    client = team.client
    head = next(one for one in client.heads(project) if client.task(one.id)["predictions"][0]["result"])
    data = client.task(head.id)["data"]
    mask = read_mask(work / f"data/pseudo/masks/{data['id']}.png")
    curator = Curator(page, team.installation, project.id)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    curator.open(head.id)
    page.screenshot(path=Path(os.environ.get("SCREENSHOTS", str(tmp_path))) / "bucket.png")
    shown = page.locator("img[alt=image]").evaluate_all(
        "all => all.map(one => [one.naturalWidth, one.naturalHeight])"
    )
    assert shown == [[mask.shape[1], mask.shape[0]]] * 3, "picture, outline and cut-out are there"
    assert all(url.startswith((client.url, "data:", "blob:")) for url in asked), "only Label Studio is asked"
    until = time.monotonic() + 60
    while overlap(page, mask) <= 0.9 and time.monotonic() < until:
        page.wait_for_timeout(500)  # on a busy machine the mask is drawn long after the canvas is there
    assert overlap(page, mask) > 0.9

    page.keyboard.press("a")
    curator.submit()
    pull(team)
    (entry,) = read_lock(work / "reviews")
    assert entry.verdict == "accept" and np.array_equal(entry.mask_array(), mask)


def overlap(page: Any, mask: Any) -> float:
    """The IoU of what the editor has painted over its picture with the mask laid over the same picture."""
    box = page.locator("img[alt=image]").last.bounding_box()
    best = 0.0
    for canvas in page.locator(".konvajs-content canvas").all():
        place = canvas.bounding_box()
        numbers = canvas.evaluate(
            "c => [c.width, c.height, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
            ".filter((_, i) => i % 4 == 3)]"
        )
        width, height, alpha = numbers
        painted = np.array(alpha, np.uint8).reshape(height, width) > 0
        scale = width / place["width"]
        moved = np.array(
            [
                [box["width"] / mask.shape[1] * scale, 0, (box["x"] - place["x"]) * scale],
                [0, box["height"] / mask.shape[0] * scale, (box["y"] - place["y"]) * scale],
            ]
        )
        laid = cv2.warpAffine(mask, moved, (width, height)) > 0
        best = max(best, (painted & laid).sum() / max(1, (painted | laid).sum()))
    return float(best)


@pytest.mark.slow
@pytest.mark.label_studio
def test_a_server_that_refuses_private_addresses_says_what_to_start_it_with(
    installation: Installation, work: Path, keys: tuple[str, str]
):
    session = of_team(installation)
    with pytest.raises(ReviewError, match=r"answered 403 .*SSRF_PROTECTION_ENABLED=false") as caught:
        send_tasks(session)
    assert not any(key in str(caught.value) for key in keys) and "LABEL_STUDIO_API_KEY" not in str(
        caught.value
    )
    assert session.client.heads(the_project(session)) == [], "no task without its pictures"
