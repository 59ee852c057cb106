"""A curator in a real browser: logs in, sees the mask, accepts, fixes, rejects, skips; pull gives exactly that."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from annotations.import_files import read_tasks
from annotations.installation import Installation
from annotations.lock import read_lock
from annotations.pull import pull
from annotations.session import open_session, send
from sinet.images import read_mask
from tests.annotations.conftest import HEIGHT, WIDTH

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

BRUSH = 8  # pixels of the picture that a stroke may reach to each side


class Curator:
    """What a person does on the task page."""

    def __init__(self, page: Any, installation: Installation, project: int) -> None:
        server = installation.running()
        assert server is not None
        self.page, self.url, self.project = page, server.url, project
        made = installation.secrets()
        page.goto(f"{self.url}/user/login/")
        page.fill("[name=email]", made.email)
        page.fill("[name=password]", made.password)
        page.press("[name=password]", "Enter")
        page.wait_for_url(lambda address: "/user/login" not in address)

    @property
    def picture(self) -> Any:
        """What is edited: it comes after outline and cut-out."""
        return self.page.locator("img[alt=image]").last

    def open(self, task: int) -> None:
        self.page.goto(f"{self.url}/projects/{self.project}/data?task={task}")
        self.page.wait_for_selector('[data-testid="bottombar-submit-button"]')
        self.page.wait_for_function("document.querySelectorAll('.konvajs-content canvas').length > 0")
        self.page.wait_for_timeout(1500)  # the mask is drawn a moment after the canvas is there

    def submit(self) -> None:
        with self.page.expect_response(lambda answer: "/annotations" in answer.url and answer.status == 201):
            self.page.keyboard.press("Control+Enter")

    def drag(self, tool: str, start: tuple[int, int], end: tuple[int, int]) -> None:
        """A straight stroke between two pixels (x, y) of the picture."""
        self.page.click(f'[aria-label="{tool}"]')
        box = self.picture.bounding_box()
        places = [
            (box["x"] + x * box["width"] / WIDTH, box["y"] + y * box["height"] / HEIGHT)
            for x, y in (start, end)
        ]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        self.page.mouse.move(*places[1], steps=12)
        self.page.mouse.up()


def test_a_curator_reviews_four_masks(
    installation: Installation, work: Path, page: Any, tmp_path: Path
) -> None:
    session = open_session(installation.folder)
    project, _ = send(session)
    tasks = {task["data"]["key"]: task["data"] for task in read_tasks(work / "data/push")}
    heads = [head for head in session.client.heads(project) if "no_person" not in tasks[head.key]["flags"]]
    accepted, fixed, rejected, skipped = heads[:4]
    proposed = read_mask(work / f"data/pseudo/masks/{tasks[fixed.key]['id']}.png")
    shots = Path(os.environ.get("SCREENSHOTS", str(tmp_path)))
    curator = Curator(page, installation, project.id)

    curator.open(accepted.id)
    page.screenshot(path=shots / "accept.png")
    whole, seen = curator.picture.bounding_box(), curator.picture.locator("..").bounding_box()
    assert all(abs(whole[side] - seen[side]) < 2 for side in ("x", "y", "width", "height")), (
        "none of it is cut off"
    )
    with page.expect_popup() as opened:
        page.locator("a", has_text="guidelines").click()
    opened.value.wait_for_load_state()
    assert "What is person" in opened.value.inner_text("body")
    assert opened.value.locator("svg").first.bounding_box()["width"] > 700, "the drawn examples"
    opened.value.screenshot(path=shots / "guidelines.png", full_page=True)
    opened.value.close()
    page.keyboard.press("a")
    curator.submit()

    curator.open(fixed.id)
    page.click(".lsf-outliner-item__title")
    add, remove = ((30, 40), (90, 40)), ((WIDTH // 2, HEIGHT - 40), (WIDTH // 2 + 40, HEIGHT - 40))
    assert not proposed[40, 30:90].any() and proposed[HEIGHT - 40, WIDTH // 2 : WIDTH // 2 + 40].all()
    curator.drag("brush-tool", *add)
    curator.drag("eraser", *remove)
    page.screenshot(path=shots / "fix.png")
    page.keyboard.press("f")
    curator.submit()

    curator.open(rejected.id)
    page.keyboard.press("r")
    page.locator("input[name=bad_mask]").locator("xpath=ancestor::label").click()
    page.screenshot(path=shots / "reject.png")
    curator.submit()

    page.goto(f"{curator.url}/projects/{project.id}/data?task={skipped.id}&labeling=1")
    with page.expect_response(lambda answer: "/annotations" in answer.url and answer.status == 201):
        page.click('[data-testid="bottombar-skip-button"]')

    pull(open_session(installation.folder))
    lock = {entry.key: entry for entry in read_lock(work / "reviews")}
    assert {key: entry.verdict for key, entry in lock.items()} == {
        accepted.key: "accept",
        fixed.key: "fix",
        rejected.key: "reject",
    }
    kept = read_mask(work / f"data/pseudo/masks/{tasks[accepted.key]['id']}.png")
    assert np.array_equal(lock[accepted.key].mask_array(), kept)
    assert lock[rejected.key].reasons == ("bad_mask",)
    assert only_strokes_changed(proposed, lock[fixed.key].mask_array(), add, remove)


def only_strokes_changed(before: Any, after: Any, add: Any, remove: Any) -> bool:
    """Every pixel is as before but near the strokes; along their middle there is a person, and there is none."""
    near = np.zeros_like(before)
    for start, end in (add, remove):
        cv2.line(near, start, end, 1, 2 * BRUSH)
    (x0, y), (x1, _) = add
    (u0, v), (u1, _) = remove
    unchanged = np.array_equal(after[near == 0], before[near == 0])
    return bool(unchanged and after[y, x0:x1].all() and not after[v, u0:u1].any())
