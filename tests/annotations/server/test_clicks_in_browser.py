"""A curator repairs masks with clicks in a real Label Studio: what was on the screen is what pull brings home."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
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
# On a busy machine Label Studio gives what a click made its label a moment after its pixels.
_LABELLED = """() => Htx.annotationStore.selected.serializeAnnotation().every(
    one => one.value.format !== 'rle' || one.value.brushlabels)"""


@pytest.fixture
def with_clicks(python: Path, template: Path, tmp_path: Path) -> Iterator[Installation]:
    shutil.copytree(template, tmp_path / "review-data")
    installation = Installation(tmp_path / "review-data")
    installation.start(python, 0, clicks=True)
    yield installation
    installation.stop()


class Clicker(Curator):
    """Who repairs with clicks."""

    size = WIDTH, HEIGHT

    def click(self, x: int, y: int) -> None:
        """Ctrl+click on a pixel of the picture, and wait for what comes of it."""
        with self.page.expect_response(lambda answer: "/interactive-annotating" in answer.url):
            self.press(x, y)
        self.page.wait_for_timeout(1000)
        self.page.wait_for_function(_LABELLED)

    def press(self, x: int, y: int) -> None:
        """Ctrl+click on a pixel of the picture."""
        self.page.keyboard.down("Control")
        self.page.mouse.click(*self.place(x, y))
        self.page.keyboard.up("Control")

    def place(self, x: int, y: int) -> tuple[float, float]:
        """Where a pixel of the picture is on the page."""
        box, (width, height) = self.picture.bounding_box(), self.size
        return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height

    def zoom(self, steps: int) -> None:
        """Ctrl+wheel where the pointer is; out again where `steps` is negative."""
        self.page.keyboard.down("Control")
        for _ in range(abs(steps)):
            self.page.mouse.wheel(0, -100 if steps > 0 else 100)
            self.page.wait_for_timeout(100)
        self.page.keyboard.up("Control")

    def seen(self) -> list[dict[str, Any]]:
        """The regions in the editor: type, id and how many numbers."""
        said: list[dict[str, Any]] = self.page.evaluate("Htx.annotationStore.selected.serializeAnnotation()")
        return said


def wrong_masks(
    width: int = WIDTH, height: int = HEIGHT
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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


def ask_for_clicks(work: Path) -> None:
    params = yaml.safe_load((work / "params.yaml").read_text())
    params["label_studio"]["clicks"] = True
    (work / "params.yaml").write_text(yaml.safe_dump(params))


def sent(
    installation: Installation, rgb: np.ndarray, masks: Sequence[np.ndarray], clicks: bool = True
) -> tuple[Project, list[str], dict[str, int]]:
    """The project with a task a mask, their keys, and their numbers there."""
    session = open_session(installation.folder)
    project = find_project(session.client, PROJECT, labelling_interface(clicks))
    show_pictures(session, project)
    tasks = [a_task(installation.pictures, place, rgb, mask) for place, mask in enumerate(masks)]
    push(session.client, project, tasks)
    numbers = {head.key: head.id for head in session.client.heads(project)}
    return project, [task["data"]["key"] for task in tasks], numbers


def test_a_chunk_goes_a_shoulder_comes_and_nothing_that_was_drawn_is_lost(
    with_clicks: Installation, work: Path, root: Path, page: Any, tmp_path: Path
):
    ask_for_clicks(work)
    rgb, right, chunk, bare = wrong_masks()
    project, keys, numbers = sent(with_clicks, rgb, (chunk, bare, bare))
    shots = Path(os.environ.get("SCREENSHOTS", str(tmp_path)))
    page.set_viewport_size({"width": 1440, "height": 900})
    curator = Clicker(page, with_clicks, project.id)

    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        curator.open(numbers[keys[0]])
        page.screenshot(path=shots / "chunk before.png")
        page.keyboard.press("b")
        curator.drag((30, 40), (90, 40))
        page.wait_for_timeout(300)
        page.keyboard.press("m")
        curator.click(40, 250)
        page.screenshot(path=shots / "chunk after.png")
        page.keyboard.press("f")
        curator.submit()

        curator.open(numbers[keys[1]])
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

    curator.open(numbers[keys[2]])
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


def test_a_slow_answer_costs_no_click_no_stroke_and_no_mask(
    with_clicks: Installation, work: Path, root: Path, page: Any, monkeypatch: pytest.MonkeyPatch
):
    ask_for_clicks(work)
    rgb, right, chunk, _ = wrong_masks()
    both = chunk.copy()
    both[360:, 230:] = 0
    project, keys, numbers = sent(with_clicks, rgb, (chunk, both, chunk, chunk))
    page.set_viewport_size({"width": 1440, "height": 900})
    curator, wait, answer = Clicker(page, with_clicks, project.id), [0.0], clicks.answered

    def slowly(*asked: Any) -> dict[str, Any]:
        time.sleep(wait[0])
        return answer(*asked)

    def refused() -> str:
        box = page.locator(".ant-modal-confirm-content")
        box.wait_for()
        said = str(box.inner_text())
        page.locator(".ant-modal-confirm-btns button").click()
        box.wait_for(state="detached")
        return said

    monkeypatch.setattr(clicks, "answered", slowly)
    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        curator.open(numbers[keys[0]])  # Ctrl+Z just before a click
        page.keyboard.press("b")
        curator.drag((30, 40), (90, 40))
        page.keyboard.press("Control+z")
        page.keyboard.press("m")
        curator.click(40, 250)
        page.keyboard.press("f")
        curator.submit()

        wait[0] = 1.5
        curator.open(numbers[keys[1]])  # two clicks before either is answered
        page.keyboard.press("m")
        curator.press(40, 250)
        page.wait_for_timeout(300)
        curator.press(262, 440)
        page.wait_for_timeout(6000)
        page.keyboard.press("f")
        curator.submit()

        wait[0] = 2.5
        curator.open(numbers[keys[2]])  # a stroke that is being drawn when the answer comes
        page.keyboard.press("m")
        box = curator.picture.bounding_box()
        with page.expect_response(lambda told: "/interactive-annotating" in told.url):
            curator.press(40, 250)
            page.keyboard.press("b")
            page.mouse.move(box["x"] + box["width"] * 30 / WIDTH, box["y"] + box["height"] * 40 / HEIGHT)
            page.mouse.down()
            page.mouse.move(
                box["x"] + box["width"] * 60 / WIDTH, box["y"] + box["height"] * 40 / HEIGHT, steps=6
            )
        page.wait_for_timeout(1000)
        page.mouse.move(box["x"] + box["width"] * 90 / WIDTH, box["y"] + box["height"] * 40 / HEIGHT, steps=6)
        page.mouse.up()
        page.wait_for_timeout(1000)
        page.keyboard.press("f")
        curator.submit()

        wait[0] = 12
        curator.open(numbers[keys[3]])  # an answer that is too late
        before = curator.seen()
        page.keyboard.press("m")
        curator.press(40, 250)
        late = refused()
        page.wait_for_timeout(3000)
        assert curator.seen() == before, "neither point nor repair"
        page.keyboard.press("a")
        curator.submit()

    pull(open_session(with_clicks.folder))
    lock = {entry.key: entry for entry in read_lock(work / "reviews")}
    undone, two, drawn, same = (lock[key].mask_array() for key in keys)
    assert not undone[40, 30:90].any() and not undone[210:290, 10:80].any()
    assert mask_iou(two, right) > 0.985
    assert drawn[40, 32:88].all() and not drawn[210:290, 10:80].any()
    assert "in time" in late and np.array_equal(same, chunk)


def test_an_answer_that_is_sent_while_a_click_waits_leaves_no_point_and_clicks_can_be_switched_off(
    with_clicks: Installation, work: Path, root: Path, page: Any, monkeypatch: pytest.MonkeyPatch
):
    ask_for_clicks(work)
    rgb, _, chunk, _ = wrong_masks()
    project, keys, numbers = sent(with_clicks, rgb, (chunk,))
    curator, answer = Clicker(page, with_clicks, project.id), clicks.answered

    def slowly(*asked: Any) -> dict[str, Any]:
        time.sleep(2)
        return answer(*asked)

    monkeypatch.setattr(clicks, "answered", slowly)
    page.set_viewport_size({"width": 1440, "height": 900})
    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        curator.open(numbers[keys[0]])
        page.keyboard.press("a")
        page.keyboard.press("m")
        curator.press(40, 250)
        page.wait_for_timeout(300)
        curator.submit()
        page.wait_for_timeout(3000)
    client = open_session(with_clicks.folder).client
    assert b"keypoint" not in client.export(project)
    find_project(client, PROJECT, labelling_interface(clicks=False), update_config=True)


def test_undo_a_zoomed_picture_of_odd_size_and_a_review_begun_anew_under_an_open_page(
    with_clicks: Installation, work: Path, root: Path, page: Any
):
    ask_for_clicks(work)
    rgb, _, chunk, _ = wrong_masks(359, 477)
    project, keys, numbers = sent(with_clicks, rgb, (chunk,))
    page.set_viewport_size({"width": 1440, "height": 900})
    curator = Clicker(page, with_clicks, project.id)
    curator.size = 359, 477

    def values() -> list[Any]:
        page.wait_for_timeout(500)
        return [one["value"] for one in curator.seen()]

    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        curator.open(numbers[keys[0]])
        start = values()
        page.keyboard.press("m")
        curator.click(40, 250)
        repaired = values()
        assert repaired != start
        page.keyboard.press("Control+z")
        assert values() == start, "undo"
        page.keyboard.press("Control+Shift+z")
        assert values() == repaired, "redo"
        curator.click(40, 250)
        assert values() == start, "what is shown after a redo is known, and taken back"
        page.mouse.move(*curator.place(40, 250))
        curator.zoom(4)
        assert curator.picture.bounding_box()["width"] > 359 * 2, "it is zoomed"
        curator.click(40, 250)
        assert values() == repaired, "the same pixel on a zoomed picture"

    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        curator.click(40, 250)
        assert page.get_by_text("Nothing was changed").count() == 0 and values() != repaired
