"""What a curator sees of the whole queue: Label All Tasks shows one task after the other, each with its mask."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from annotations.masks.brush import regions_to_mask
from annotations.server.backup import backup, restore
from annotations.server.client import Client, Project
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.session import open_session, send_tasks, show_pictures, the_project
from sinet.images.decode import decode_image, read_image
from tests.annotations.conftest import HEIGHT, WIDTH, invited, judge
from tests.annotations.exports import said
from tests.annotations.queues import another_teacher, write_state
from tests.annotations.server.test_browser import Curator

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

COLOUR = (230, 0, 126)  # of a mask in label_config.xml
NEXT = "id=next_task"


class Stream(Curator):
    """Label All Tasks; `served` is what the server gave it last."""

    served: dict[str, Any]

    def begin(self) -> None:
        self.page.goto(f"{self.url}/projects/{self.project}/data")
        with self.page.expect_response(lambda answer: NEXT in answer.url) as answer:
            self.page.get_by_text("Label All Tasks").first.click()
        self._drawn(answer.value)

    def accept(self) -> None:
        self.page.keyboard.press("a")
        with self.page.expect_response(lambda answer: NEXT in answer.url) as answer:
            self.submit()
        self._drawn(answer.value)

    def seen(self) -> NDArray[np.float64]:
        """How strongly the mask's colour lies on each pixel of the picture, 0 to 1, at the picture's own size."""
        self.picture.scroll_into_view_if_needed()
        shot = decode_image(self.page.screenshot(clip=self.picture.bounding_box())).astype(np.float64)
        shot = cv2.resize(shot, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        name = self.served["data"]["image"].rpartition("/")[2]
        plain = read_image(self.pictures / name).astype(np.float64)
        towards = np.array(COLOUR, np.float64) - plain
        return ((shot - plain) * towards).sum(2) / np.maximum(np.square(towards).sum(2), 1)

    def shows_its_mask(self) -> bool:
        """Colour lies on the person and nowhere else, within a minute: a busy machine draws it late."""
        until = time.monotonic() + 60
        while not (shown := self._shows_its_mask()) and time.monotonic() < until:
            self.page.wait_for_timeout(500)
        return shown

    def _shows_its_mask(self) -> bool:
        """But for a few pixels along the edge."""
        data = self.served["data"]
        mask = regions_to_mask(self.served["predictions"][0]["result"], data["height"], data["width"])
        inside = cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0
        outside = cv2.dilate(mask, np.ones((9, 9), np.uint8)) == 0
        seen = self.seen()
        return bool(inside.any() and np.median(seen[inside]) > 0.25 and np.median(seen[outside]) < 0.05)

    def shoot(self, name: str) -> None:
        if "SCREENSHOTS" in os.environ:
            self.page.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}.png")

    pictures: Path

    def _drawn(self, answer: Any) -> None:
        self.served = answer.json()
        self.page.wait_for_selector('[data-testid="bottombar-submit-button"]')
        self.page.wait_for_function("document.querySelectorAll('.konvajs-content canvas').length > 0")
        self.page.wait_for_timeout(2000)  # the mask is drawn a moment after the canvas is there


def stream(page: Any, installation: Installation, project: Project) -> Stream:
    curator = Stream(page, installation, project.id)
    curator.pictures = installation.pictures
    return curator


def ranked(client: Client, project: Project) -> list[int]:
    """The waiting tasks as they are to come."""
    scores = client.scores(project)
    waiting = [head.id for head in client.heads(project) if not head.touched]
    return sorted(waiting, key=lambda task: scores[task])


def test_label_all_tasks_shows_every_mask_and_the_first_of_those_that_wait(
    installation: Installation,
    python: Path,
    root: Path,
    tmp_path: Path,
    page: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    write_state(root, tmp_path)
    session = open_session(installation.folder)
    client = session.client
    project, _ = send_tasks(session)
    order = ranked(client, project)
    curator = stream(page, installation, project)
    for number, name in enumerate(("second look", "the other second look", "the queue's first")):
        curator.begin() if number == 0 else curator.accept()
        curator.shoot(name)
        assert curator.served["id"] == order[number], name
        assert curator.shows_its_mask(), name

    another_teacher(tmp_path)
    send_tasks(session)
    order = ranked(client, project)
    curator.begin()
    curator.shoot("another teacher")
    assert curator.served["id"] == order[0] and curator.served["data"]["teacher"].startswith("07e4")
    assert curator.shows_its_mask()

    curator.accept()  # of which somebody else says something else
    other = invited(installation, "contradicts@example.org")
    judge(installation, order[0], said("reject", None, reasons=("no_person",)), other)
    pull(session)
    send_tasks(session)
    open_before, first = curator.served["id"], ranked(client, project)[0]
    curator.begin()
    assert curator.served["id"] == open_before, "what stands open comes first"
    curator.accept()
    curator.shoot("second round")
    assert curator.served["id"] == first and curator.served["data"]["round"] == 2
    assert curator.shows_its_mask()

    backup(installation, tmp_path / "review.tar.gz")
    elsewhere = Installation(tmp_path / "elsewhere/review-data")
    elsewhere.folder.parent.mkdir()
    restore(elsewhere, tmp_path / "review.tar.gz")
    shutil.rmtree(tmp_path / "data")
    elsewhere.start(python, 0)
    try:
        moved = open_session(elsewhere.folder)
        show_pictures(moved, the_project(moved))
        page.context.clear_cookies()
        curator = stream(page, elsewhere, project)
        curator.begin()
        curator.shoot("restored")
        assert curator.served["id"] == first and curator.shows_its_mask()
    finally:
        elsewhere.stop()
