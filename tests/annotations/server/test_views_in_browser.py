"""Outline view and cut-out in a real Label Studio: they show the mask on the screen, whatever changed it."""

import base64
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from annotations.masks.brush import regions_to_mask
from annotations.server.clicks import answering_clicks
from annotations.server.import_files import picture_name
from annotations.server.installation import Installation
from annotations.server.review import connect
from annotations.tasks.task import cutout, outline_view
from sinet.images.decode import read_image
from tests.annotations.conftest import HEIGHT, WIDTH
from tests.annotations.server.test_clicks_in_browser import (
    Clicker,
    ask_for_clicks,
    sent,
    with_clicks,  # noqa: F401 a fixture
    wrong_masks,
)

pytestmark = [pytest.mark.slow, pytest.mark.label_studio]

SEEN = 0.001  # share of the screen's pixels that may look otherwise
RESTS = 1500  # milliseconds, on a busy machine
STALE = "[of-the-proposed-mask]"
DRAWN = """image => {
    const address = image.style.backgroundImage.slice(5, -2);
    if (!address) return null;
    return fetch(address).then((answer) => answer.blob()).then((blob) => new Promise((done) => {
        const reader = new FileReader();
        reader.onload = () => done(reader.result.split(",")[1]);
        reader.readAsDataURL(blob);
    }));
}"""

COUNT = """() => {
    const plain = reviewPictures.mask;
    window.made = 0;
    reviewPictures.mask = (...all) => { window.made++; return plain(...all); };
}"""


class Watcher(Clicker):
    """Who judges what they changed by the two views."""

    def view(self, place: str) -> Any:
        return self.page.locator(f".review .{place} img[alt=image]")

    def drawn(self, place: str) -> np.ndarray | None:
        """The pixels that were drawn for the view, none where it shows the task's picture."""
        said = self.view(place).evaluate(DRAWN)
        return None if said is None else rgb_of(base64.b64decode(said))

    def eyes(self, place: str, path: Path | None = None) -> np.ndarray:
        """What a person sees there: pixels of the screen."""
        self.page.mouse.move(700, 880)
        return rgb_of(self.page.screenshot(path=path, clip=self.view(place).bounding_box()))

    def mask(self) -> np.ndarray:
        """What would be submitted."""
        width, height = self.size
        return regions_to_mask([one for one in self.seen() if one["type"] == "brushlabels"], height, width)

    def judges(self, picture: np.ndarray) -> None:
        """Both views are what the stage would draw of the mask on the screen, and a person sees that."""
        self.page.wait_for_timeout(RESTS)
        mask = self.mask()
        for place, draw in (("look", outline_view), ("cut", cutout)):
            made, right = self.drawn(place), draw(picture, mask)
            assert made is not None, f"{place} stayed as it was"
            assert off(made, right) <= 2, place  # JPEG is decoded by two libraries
            assert far(self.eyes(place), right) < SEEN, place


def rgb_of(data: bytes) -> np.ndarray:
    return np.asarray(cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB))


def off(one: np.ndarray, other: np.ndarray) -> int:
    """By how much the pixels differ at most."""
    return int(np.abs(one.astype(int) - other).max())


def far(screen: np.ndarray, picture: np.ndarray) -> float:
    """The share of the screen's pixels that look otherwise."""
    return float(otherwise(screen, picture).mean())


def otherwise(screen: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """(H, W) where the screen shows none of the picture at that size, but for how a browser scales it."""
    size = screen.shape[1], screen.shape[0]
    scale = cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_LINEAR
    shown = cv2.resize(picture, size, interpolation=scale)
    one, other = (cv2.GaussianBlur(pixels, (0, 0), 2).astype(int) for pixels in (screen, shown))
    return np.asarray(np.abs(one - other).max(2) > 40)


def pictures(installation: Installation, place: int) -> tuple[np.ndarray, ...]:
    """What the server shows of a task: picture, outline view and cut-out."""
    names = (picture_name(f"{place:016x}", kind) for kind in ("image", "outline", "cutout"))
    return tuple(read_image(installation.pictures / name) for name in names)


def untouched(curator: Watcher, outline: np.ndarray, cut: np.ndarray) -> bool:
    """Whether the views are the task's own pictures."""
    curator.page.wait_for_timeout(RESTS)
    return (
        curator.drawn("look") is None
        and curator.drawn("cut") is None
        and far(curator.eyes("look"), outline) < SEEN
        and far(curator.eyes("cut"), cut) < SEEN
    )


def test_the_views_follow_a_click_a_stroke_and_the_way_back(
    with_clicks: Installation,  # noqa: F811
    work: Path,
    root: Path,
    page: Any,
    tmp_path: Path,
) -> None:
    ask_for_clicks(work)
    rgb, _, chunk, bare = wrong_masks()
    project, keys, numbers = sent(with_clicks, rgb, (chunk, bare))
    shots = Path(os.environ.get("SCREENSHOTS", str(tmp_path)))
    page.set_viewport_size({"width": 1440, "height": 900})
    curator = Watcher(page, with_clicks, project.id)
    (picture, outline, cut), (_, *others) = (pictures(with_clicks, place) for place in (0, 1))
    with answering_clicks(with_clicks.pictures) as backend:
        connect(with_clicks, backend)
        page.goto(f"{curator.url}/projects/{project.id}/data?labeling=1")
        page.wait_for_selector(".review .edit img[alt=image]")
        assert untouched(curator, outline, cut)
        assert curator.mask()[250, 40] == chunk[250, 40] == 1, "the first of the two tasks"
        page.screenshot(path=shots / "views before.png")

        page.keyboard.press("m")
        curator.click(40, 250)
        assert not curator.mask()[250, 40]
        curator.judges(picture)
        page.screenshot(path=shots / "views after a click.png")
        changed = otherwise(curator.eyes("look"), outline)
        rows = np.flatnonzero(changed.any(1)) * HEIGHT / len(changed)
        assert 190 < rows.min() < 205 and 295 < rows.max() < 310, "where the chunk was, and nowhere else"

        page.keyboard.press("b")
        curator.drag((30, 40), (90, 40))
        assert curator.mask()[40, 60]
        curator.judges(picture)
        page.screenshot(path=shots / "views after a stroke.png")
        page.keyboard.press("e")
        curator.drag((WIDTH // 2, HEIGHT - 60), (WIDTH // 2 + 60, HEIGHT - 60))
        assert not curator.mask()[HEIGHT - 60, WIDTH // 2 + 30]
        curator.judges(picture)
        page.hover(".cut")
        page.wait_for_timeout(500)
        page.screenshot(path=shots / "views with the cut-out large.png")

        box = curator.view("look").bounding_box()
        page.mouse.move(700, 880)  # else the large cut-out would stay, and be zoomed
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60)
        curator.zoom(4)
        page.wait_for_timeout(500)
        assert (
            curator.view("look").bounding_box()["width"] > 2 * box["width"]
            and curator.drawn("look") is not None
        )
        page.screenshot(path=shots / "views zoomed.png")
        curator.zoom(-8)
        page.wait_for_timeout(500)

        for _ in range(3):
            page.keyboard.press("Control+z")
            page.wait_for_timeout(300)
        assert np.array_equal(curator.mask(), chunk) and untouched(curator, outline, cut)
        page.keyboard.press("Control+Shift+z")
        curator.judges(picture)  # redo

        page.keyboard.press("f")
        curator.submit()
        page.wait_for_function("Htx.task.dataObj.key === " + repr(keys[1]))
        assert untouched(curator, *others), "the next task shows its own"
        page.screenshot(path=shots / "views of the next task.png")
        curator.open(numbers[keys[0]], answered=True)
        assert not curator.mask()[250, 40], "what was submitted, when it is opened again"
        curator.judges(picture)


def test_without_clicks_they_follow_strokes_and_where_they_cannot_they_say_so(
    installation: Installation, work: Path, root: Path, page: Any, tmp_path: Path
) -> None:
    rgb, _, chunk, _ = wrong_masks()
    project, keys, numbers = sent(installation, rgb, (chunk,), clicks=False)
    shots = Path(os.environ.get("SCREENSHOTS", str(tmp_path)))
    page.set_viewport_size({"width": 1440, "height": 900})
    curator = Watcher(page, installation, project.id)
    picture, outline, cut = pictures(installation, 0)
    curator.open(numbers[keys[0]])
    assert (
        untouched(curator, outline, cut) and page.evaluate("localStorage.getItem('autoAnnotation')") != "true"
    )
    page.evaluate(COUNT)
    page.wait_for_timeout(RESTS)
    assert page.evaluate("made") == 0, "what does not change costs nothing"
    page.keyboard.press("e")
    curator.drag((20, 250), (80, 250))
    assert not curator.mask()[250, 50]
    curator.judges(picture)
    assert 1 <= page.evaluate("made") <= 2, "once a stroke"
    curator.drag((20, 210), (80, 210))
    page.mouse.move(*curator.place(20, 290))
    page.mouse.down()
    page.mouse.move(*curator.place(80, 290), steps=5)
    before = page.evaluate("made")
    page.wait_for_timeout(RESTS)
    assert page.evaluate("made") == before, "not while the next is being drawn"
    page.mouse.up()
    assert not curator.mask()[290, 50]
    curator.judges(picture)
    page.screenshot(path=shots / "views without clicks.png")
    with page.expect_response(lambda answer: "/drafts" in answer.url and answer.ok):
        curator.drag((20, 230), (80, 230))
    page.reload()
    page.wait_for_selector(".review .edit img[alt=image]")
    page.wait_for_timeout(RESTS)
    assert not curator.mask()[230, 50], "the draft"
    curator.judges(picture)
    assert page.locator(STALE).count() == 0

    page.evaluate("() => { reviewPictures.outline = () => { throw new Error('a browser that cannot'); }; }")
    page.keyboard.press("b")
    curator.drag((30, 40), (90, 40))
    page.wait_for_timeout(RESTS)
    page.screenshot(path=shots / "views that cannot follow.png")
    assert curator.drawn("look") is None and page.locator(STALE).is_visible()
    assert far(curator.eyes("cut"), cut) < SEEN

    curator.open(numbers[keys[0]])  # a page that can
    page.wait_for_timeout(RESTS)
    curator.judges(picture)
    assert page.locator(STALE).count() == 0
    page.evaluate("window.Htx = undefined")  # as another version may name it
    page.wait_for_timeout(4000)
    assert page.locator(STALE).count() == 1 and curator.drawn("look") is None
    assert far(curator.eyes("cut"), cut) < SEEN
