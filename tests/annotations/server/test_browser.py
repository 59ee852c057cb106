"""A curator in a real browser: logs in, sees the mask, accepts, fixes, rejects, skips; pull gives exactly that."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from annotations.ledger.lock import read_lock, review_key
from annotations.server.import_files import SERVED_ROOT, read_tasks
from annotations.server.installation import Installation
from annotations.server.pull import pull
from annotations.server.send import find_project
from annotations.server.session import PICTURES_FOLDER, PROJECT, open_session, send_tasks
from annotations.tasks.task import (
    LABEL_CONFIG,
    Proposal,
    TaskPictures,
    build_task,
    cutout,
    encode_jpeg,
    outline_view,
    task_batches,
)
from sinet.images.decode import read_mask
from tests.annotations.conftest import HEIGHT, WIDTH, client_of
from tests.annotations.drawn import TEACHER, person

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
        """What is edited: it comes after cut-out and outline."""
        return self.page.locator("img[alt=image]").last

    def open(self, task: int, answered: bool = False) -> None:
        self.page.goto(f"{self.url}/projects/{self.project}/data?task={task}")
        button = "update" if answered else "submit"
        self.page.wait_for_selector(f'[data-testid="bottombar-{button}-button"]')
        self.page.wait_for_function("document.querySelectorAll('.konvajs-content canvas').length > 0")
        self.page.wait_for_timeout(1500)  # the mask is drawn a moment after the canvas is there

    def submit(self) -> None:
        with self.page.expect_response(lambda answer: "/annotations" in answer.url and answer.status == 201):
            self.page.keyboard.press("Control+Enter")

    def drag(
        self, start: tuple[int, int], end: tuple[int, int], size: tuple[int, int] = (WIDTH, HEIGHT)
    ) -> None:
        """A straight stroke between two pixels (x, y) of the picture, which is of `size`."""
        box = self.picture.bounding_box()
        places = [
            (box["x"] + x * box["width"] / size[0], box["y"] + y * box["height"] / size[1])
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
    project, _ = send_tasks(session)
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

    curator.open(fixed.id)  # and nothing else first: B, paint, E, erase
    add, remove = ((30, 40), (90, 40)), ((WIDTH // 2, HEIGHT - 40), (WIDTH // 2 + 40, HEIGHT - 40))
    assert not proposed[40, 30:90].any() and proposed[HEIGHT - 40, WIDTH // 2 : WIDTH // 2 + 40].all()
    page.keyboard.press("b")
    curator.drag(*add)
    page.keyboard.press("e")
    curator.drag(*remove)
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


TALL, WIDE, SCREEN = (600, 800), (1100, 800), {"width": 1440, "height": 900}
INK = (230, 0, 126)  # of the outline's inner line


def test_two_pixels_of_an_outline_show_on_a_small_screen_and_a_stroke_lands_or_says_why(
    installation: Installation, work: Path, page: Any, tmp_path: Path
) -> None:
    """One after the other as `Label All Tasks` brings them: tall, wide, and one whose mask is to be drawn."""
    client = client_of(installation)
    project = find_project(client, PROJECT, LABEL_CONFIG.read_text())
    client.write_folder(project, PICTURES_FOLDER, str(installation.pictures.resolve()))
    tasks = [a_task(installation.pictures, place, size) for place, size in enumerate((TALL, WIDE, TALL))]
    for content in task_batches(tasks):
        client.import_tasks(project, content)
    shots = Path(os.environ.get("SCREENSHOTS", str(tmp_path)))
    page.set_viewport_size(SCREEN)
    curator = Curator(page, installation, project.id)
    page.goto(f"{curator.url}/projects/{project.id}/data?labeling=1")
    small, large, edited = ready(page)

    page.screenshot(path=shots / "tall.png")
    assert all(inside_the_screen(box) for box in (small, large, edited)), "nothing is scrolled"
    assert large["width"] > 540 and edited["width"] > 540, "two of 600 pixels are nearly two on the screen"
    for text in ("accept", "unsure", "person", "doubt 0.50", "guidelines", "Ctrl+Space", "Alt+. first"):
        there = page.locator(".review").get_by_text(text).locator("visible=true").first
        assert inside_the_screen(there.bounding_box()), text
    slider = page.locator(".lsf-tool__controls").bounding_box()
    assert slider["height"] > 100 and slider["x"] >= edited["x"] + edited["width"], "it hides nothing"

    page.hover(".cut")  # the cut-out takes the outline's place
    page.wait_for_timeout(500)
    page.screenshot(path=shots / "cutout.png")
    shown = page.locator("img[alt=image]").first.bounding_box()
    assert all(abs(shown[side] - large[side]) < 2 for side in large)
    page.mouse.move(edited["x"] + 5, edited["y"] + 5)
    page.wait_for_timeout(500)
    line = 4  # pixels of the picture
    assert ink_across(page, shots / "outline.png", large) >= line * 0.9
    zoom(page, large, ticks=4)
    assert ink_across(page, shots / "zoomed.png", large) >= line * 2

    page.keyboard.press("e")  # what they try first may also be the eraser
    curator.drag((300, 700), (360, 700), TALL)
    answer(page, "f")

    small, large, edited = ready(page)
    page.screenshot(path=shots / "wide.png")
    assert large["width"] > 540 and large["height"] == pytest.approx(large["width"] * 8 / 11, abs=2)
    place = edited["x"] + 40, edited["y"] + 40
    page.mouse.move(*place)  # the brush has not been taken up by its key: a stroke says why it does nothing
    page.mouse.down()
    page.wait_for_timeout(300)
    page.screenshot(path=shots / "silent.png")
    told = page.locator(".hint").bounding_box()
    page.mouse.up()
    assert told["width"] > 300 and edited["y"] <= told["y"] + 1 < edited["y"] + 100, "on the picture itself"
    page.wait_for_timeout(300)
    if page.locator(".ant-modal-confirm-btns button").count():
        page.click(".ant-modal-confirm-btns button")
    page.keyboard.press("1")  # which began a second region, that alone was erased then
    page.keyboard.press("b")
    curator.drag((100, 100), (160, 100), WIDE)
    page.keyboard.press("e")
    curator.drag((550, 700), (610, 700), WIDE)
    answer(page, "f")

    ready(page)
    page.keyboard.press("b")
    curator.drag((300, 300), (400, 300), TALL)
    page.screenshot(path=shots / "scratch.png")
    answer(page, "f", last=True)

    pull(open_session(installation.folder))
    lock = {entry.key: entry.mask_array() for entry in read_lock(work / "reviews")}
    tall, wide, scratch = (lock[task["data"]["key"]] for task in tasks)
    assert not tall[700, 300:360].any() and tall[600, 300]
    assert wide[100, 100:160].all() and not wide[700, 550:610].any() and wide[600, 550]
    assert scratch[300, 300:400].all() and scratch.sum() < 100 * 40


def a_task(pictures: Path, place: int, size: tuple[int, int]) -> dict[str, Any]:
    """A task with pictures of its own in the server's folder; the third proposes no mask."""
    image, mask = person(place, *size)
    if place == 2:
        mask = np.zeros_like(mask)
    for kind, pixels in (
        ("image", image),
        ("outline", outline_view(image, mask)),
        ("cutout", cutout(image, mask)),
    ):
        (pictures / f"{place}-{kind}.jpg").write_bytes(encode_jpeg(pixels))
    parent, box = f"{place:064x}", f"0,0,{size[0]},{size[1]}"
    key = review_key(parent, box)
    candidate = Proposal(key, parent, box, f"{place:016x}", TEACHER, 0.5, "", place / 10)
    shown = TaskPictures(
        *(f"{SERVED_ROOT}/{place}-{kind}.jpg" for kind in ("image", "outline", "cutout")), guidelines="/g"
    )
    return build_task(candidate, mask, shown, f"{place:016x}", "scratch" if place == 2 else "review")


def ready(page: Any) -> list[dict[str, float]]:
    """Wait for the task; the boxes of cut-out, outline and edited picture."""
    page.wait_for_selector('[data-testid="bottombar-submit-button"]')
    page.wait_for_function("document.querySelectorAll('.konvajs-content').length === 3")
    page.wait_for_function("[...document.querySelectorAll('img[alt=image]')].every(one => one.complete)")
    page.wait_for_timeout(2000)  # the mask is drawn a moment after the canvas is there
    return [one.bounding_box() for one in page.locator("img[alt=image]").all()]


def answer(page: Any, verdict: str, last: bool = False) -> None:
    page.keyboard.press(verdict)
    with page.expect_response(lambda answer: "/annotations" in answer.url and answer.status == 201):
        page.keyboard.press("Control+Enter")
    if not last:
        page.wait_for_timeout(1000)


def inside_the_screen(box: dict[str, float]) -> bool:
    bar = 50  # pixels of the bar with the button `Submit`
    below = box["y"] + box["height"]
    return box["x"] >= 0 and box["x"] + box["width"] <= SCREEN["width"] and below <= SCREEN["height"] - bar


def zoom(page: Any, box: dict[str, float], ticks: int) -> None:
    """Ctrl+wheel over the left edge of the outline's shoulders."""
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.9)
    page.keyboard.down("Control")
    for _ in range(ticks):
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(100)
    page.keyboard.up("Control")
    page.wait_for_timeout(500)


def ink_across(page: Any, path: Path, box: dict[str, float]) -> int:
    """The most screen pixels that the outline's inner line covers in a column, as a person sees it."""
    page.screenshot(path=path, clip=box)
    pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int)
    near = np.abs(pixels - INK).max(axis=2) < 60
    lengths = [run_length(column) for column in near.T]
    return int(np.median([length for length in lengths if length]))


def run_length(column: Any) -> int:
    """The shortest run of what holds, 0 where nothing does."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(int), [0]])))
    return int((edges[1::2] - edges[::2]).min()) if len(edges) else 0


def only_strokes_changed(before: Any, after: Any, add: Any, remove: Any) -> bool:
    """Every pixel is as before but near the strokes; along their middle there is a person, and there is none."""
    near = np.zeros_like(before)
    for start, end in (add, remove):
        cv2.line(near, start, end, 1, 2 * BRUSH)
    (x0, y), (x1, _) = add
    (u0, v), (u1, _) = remove
    unchanged = np.array_equal(after[near == 0], before[near == 0])
    return bool(unchanged and after[y, x0:x1].all() and not after[v, u0:u1].any())
