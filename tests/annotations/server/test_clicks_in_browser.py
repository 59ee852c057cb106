"""A curator repairs masks with clicks in a real Label Studio: what was on the screen is what pull brings home."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from annotations.ledger.lock import read_lock, review_key
from annotations.masks.overlap import mask_iou
from annotations.server import clicks
from annotations.server.clicks import answering_clicks
from annotations.server.client import Project
from annotations.server.import_files import SERVED_ROOT, picture_name
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.review import connect
from annotations.server.send import find_project, push
from annotations.server.session import PROJECT, open_session, show_pictures
from annotations.tasks.task import (
    Proposal,
    TaskPictures,
    build_task,
    cutout,
    encode_jpeg,
    labelling_interface,
    outline_view,
)
from tests.annotations.conftest import HEIGHT, WIDTH
from tests.annotations.drawn import TEACHER, person
from tests.annotations.server.test_browser import Curator

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SEED = 1


@pytest.fixture(scope="module")
def with_clicks(
    python: Path, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("clicks") / "review-data"
    shutil.copytree(template, folder)
    installation = Installation(folder)
    installation.start(python, 0, clicks=True)
    yield installation
    installation.stop()


@pytest.fixture
def project(with_clicks: Installation, work: Path) -> Project:
    """A project with the tool of clicks and without tasks, in whose current folder params.yaml says so."""
    params = yaml.safe_load((work / "params.yaml").read_text())
    params["label_studio"]["clicks"] = True
    (work / "params.yaml").write_text(yaml.safe_dump(params))
    session = open_session(with_clicks.folder)
    for earlier in session.client.all_projects():
        session.client.delete_project(earlier)
    made = find_project(session.client, PROJECT, labelling_interface(clicks=True))
    show_pictures(session, made)
    return made


class Clicker(Curator):
    """Who repairs with clicks."""

    size = WIDTH, HEIGHT

    def click(self, x: int, y: int) -> None:
        """Ctrl+click on a pixel of the picture, and wait for what comes of it."""
        with self.page.expect_response(lambda answer: "/interactive-annotating" in answer.url):
            self.set(x, y)
        self.page.wait_for_timeout(1000)

    def set(self, x: int, y: int) -> None:
        self.page.keyboard.down("Control")
        self.page.mouse.click(*self.place(x, y))
        self.page.keyboard.up("Control")

    def place(self, x: int, y: int) -> tuple[float, float]:
        """Where a pixel of the picture is on the page."""
        box, (width, height) = self.picture.bounding_box(), self.size
        return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height

    def zoom(self, steps: int) -> None:
        """Ctrl+wheel where the pointer is."""
        self.page.keyboard.down("Control")
        for _ in range(steps):
            self.page.mouse.wheel(0, -100)
            self.page.wait_for_timeout(100)
        self.page.keyboard.up("Control")

    def seen(self) -> list[dict[str, Any]]:
        """The regions in the editor: type, id and how many numbers."""
        said: list[dict[str, Any]] = self.page.evaluate("Htx.annotationStore.selected.serializeAnnotation()")
        return said

    def values(self) -> list[Any]:
        """What is drawn: masks, and points where there are any."""
        return [one["value"] for one in self.seen() if one["type"] != "choices"]


def wrong_masks(width: int = WIDTH, height: int = HEIGHT) -> tuple[np.ndarray, ...]:
    """A drawn person with the right mask, one with a chunk of background and one without a shoulder."""
    rgb, right = person(SEED, width, height)
    chunk, bare = right.copy(), right.copy()
    chunk[200:300, 0:110] = 1
    bare[360:, 230:] = 0
    return rgb, right, chunk, bare


def a_task(pictures: Path, place: int, rgb: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    version = f"{place:016x}"
    for kind, pixels in (("image", rgb), ("outline", outline_view(rgb, mask)), ("cutout", cutout(rgb, mask))):
        (pictures / picture_name(version, kind)).write_bytes(encode_jpeg(pixels))
    parent, box = f"{place:064x}", f"0,0,{mask.shape[1]},{mask.shape[0]}"
    key = review_key(parent, box)
    candidate = Proposal(key, parent, box, f"{place:016x}", TEACHER, 0.5, "", place / 10)
    names = [f"{SERVED_ROOT}/{picture_name(version, kind)}" for kind in ("image", "outline", "cutout")]
    return build_task(candidate, mask, TaskPictures(*names, guidelines="/g"), version)


def push_masks(
    installation: Installation, project: Project, rgb: np.ndarray, *masks: np.ndarray
) -> tuple[list[str], list[int]]:
    """Send a task a mask; their keys and the server's numbers."""
    tasks = [a_task(installation.pictures, place, rgb, mask) for place, mask in enumerate(masks)]
    client = open_session(installation.folder).client
    push(client, project, tasks)
    numbers = {head.key: head.id for head in client.heads(project)}
    keys = [task["data"]["key"] for task in tasks]
    return keys, [numbers[key] for key in keys]


def test_a_chunk_goes_a_shoulder_comes_and_nothing_that_was_drawn_is_lost(
    with_clicks: Installation, project: Project, work: Path, page: Any, tmp_path: Path
):
    rgb, right, chunk, bare = wrong_masks()
    keys, numbers = push_masks(with_clicks, project, rgb, chunk, bare, bare)
    shots = Path(os.environ.get("SCREENSHOTS", str(tmp_path)))
    page.set_viewport_size({"width": 1440, "height": 900})
    curator = Clicker(page, with_clicks, project.id)

    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        curator.open(numbers[0])
        page.screenshot(path=shots / "chunk before.png")
        page.keyboard.press("b")
        curator.drag((30, 40), (90, 40))
        page.wait_for_timeout(300)
        page.keyboard.press("m")
        curator.click(40, 250)
        page.screenshot(path=shots / "chunk after.png")
        page.keyboard.press("f")
        curator.submit()

        curator.open(numbers[1])
        page.screenshot(path=shots / "shoulder before.png")
        page.keyboard.press("m")
        curator.click(262, 440)
        once = curator.seen()
        curator.click(262, 440)
        page.screenshot(path=shots / "shoulder taken back.png")
        curator.click(262, 440)
        assert [one["value"] for one in curator.seen()] == [one["value"] for one in once]
        page.screenshot(path=shots / "shoulder after.png")
        page.keyboard.press("f")
        curator.submit()

    curator.open(numbers[2])
    before = curator.seen()
    page.keyboard.press("m")
    curator.click(262, 440)
    page.screenshot(path=shots / "backend gone.png")
    assert page.get_by_text("Nothing was changed").is_visible()
    assert curator.seen() == before
    page.locator(".ant-modal-confirm-btns button").click()
    page.keyboard.press("a")
    curator.submit()

    pull(open_session(with_clicks.folder))
    lock = {entry.key: entry for entry in read_lock(work / "reviews")}
    assert [lock[key].verdict for key in keys] == ["fix", "fix", "accept"]
    gone, come, same = (lock[key].mask_array() for key in keys)
    assert gone[40, 30:90].all() and not gone[210:290, 10:80].any()
    gone[20:60] = right[20:60]
    assert mask_iou(gone, right) > 0.985 and mask_iou(come, right) > 0.985
    assert np.array_equal(same, bare)


def test_undo_zoom_and_a_late_answer_leave_mask_and_page_in_order(
    with_clicks: Installation, project: Project, page: Any, monkeypatch: pytest.MonkeyPatch
):
    rgb, _, chunk, bare = wrong_masks(359, 477)
    _, numbers = push_masks(with_clicks, project, rgb, chunk, bare, bare)
    page.set_viewport_size({"width": 1440, "height": 900})
    curator = Clicker(page, with_clicks, project.id)
    curator.size = 359, 477
    message = page.get_by_text("Nothing was changed")

    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        curator.open(numbers[0])
        start = curator.values()
        page.keyboard.press("m")
        curator.click(40, 250)
        repaired = curator.values()
        assert repaired != start
        page.keyboard.press("Control+z")
        page.wait_for_timeout(500)
        assert curator.values() == start, "undo"
        page.keyboard.press("Control+Shift+z")
        page.wait_for_timeout(500)
        assert curator.values() == repaired, "redo"
        curator.click(40, 250)
        assert curator.values() == start, "what is shown after a redo is known, and taken back"
        page.mouse.move(*curator.place(40, 250))
        curator.zoom(4)
        assert curator.picture.bounding_box()["width"] > 359 * 2, "it is zoomed"
        curator.click(40, 250)
        assert curator.values() == repaired, "the same pixel on a zoomed picture"

    with answering_clicks(
        with_clicks.pictures
    ) as backend:  # `make review` anew, under a page that stayed open
        connect(with_clicks, backend)
        curator.click(40, 250)
        assert message.count() == 0 and curator.values() != repaired
        now = curator.values()

        late, usual = threading.Event(), clicks.answered

        def slowly(*asked: Any) -> dict[str, Any]:
            late.wait(30)
            return usual(*asked)

        monkeypatch.setattr(clicks, "answered", slowly)
        curator.set(40, 250)
        page.keyboard.press("f")
        page.wait_for_timeout(500)
        assert page.locator("input[name=fix]").is_checked(), "the page goes on meanwhile"
        message.wait_for(timeout=20_000)
        late.set()
        page.wait_for_timeout(1000)
        assert curator.values() == now, "neither the late answer nor the point is there"
        page.locator(".ant-modal-confirm-btns button").click()
        monkeypatch.setattr(clicks, "answered", usual)

        waiting: list[Any] = []
        page.route("**/interactive-annotating*", lambda route: waiting.append(route))
        page.goto(f"{curator.url}/projects/{project.id}/data?task={numbers[1]}&labeling=1")
        page.wait_for_selector('[data-testid="bottombar-submit-button"]')
        page.wait_for_timeout(2000)
        page.keyboard.press("m")
        curator.set(262, 440)
        page.keyboard.press("a")
        curator.submit()
        page.wait_for_timeout(2000)
        shown = curator.values()
        assert waiting, "the click was on its way"
        waiting[0].abort()
        page.wait_for_timeout(500)
        assert message.count() == 0 and curator.values() == shown, "the next task hears nothing of it"
