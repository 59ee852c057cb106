"""How quickly a page of many pictures is seen, filtered and scrolled, in a headless Chromium without a GPU.

A gap is a place in sight whose element is not there, or whose images are not all loaded. Chromium decodes images as
small as these while it draws a frame, so that what is loaded is seen in the next one.
"""

import shutil
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError

WINDOW = {"width": 1700, "height": 1300}  # pixels
PACE = 250  # ms from one step to the next
_OPENED, _JUMPS = 5, 20
_LONGEST = 120_000  # ms
_SCRIPT = Path(__file__).with_suffix(".js")


@dataclass(frozen=True)
class PageKind:
    """How to ask a page: JavaScript that gives the elements in sight and what scrolls; the names of two fields."""

    in_sight: str
    scrolls: str
    filter: str
    search: str | None  # None where a page has none


@dataclass(frozen=True)
class Seen:
    """What was measured of a page; times are in ms, and end when every place in sight has its picture."""

    paints: Sequence[float]  # until the first content is painted, each time that the page was opened
    screens: Sequence[float]  # until the first screen is whole
    elements: int
    filtered: float
    searched: float | None
    steps: Sequence[tuple[bool, float]]  # a screen each: whether it was whole two frames later, and the time
    jumps: Sequence[float]

    def rows(self) -> dict[str, str]:
        """Each figure in words, by its name in words."""
        late = sum(not at_once for at_once, _ in self.steps)
        slow = sum(not at_once and taken > PACE for at_once, taken in self.steps)
        return {
            f"first paint (of {len(self.paints)}: median, longest)": _spread(self.paints),
            "until the first screen has its pictures": _spread(self.screens),
            "elements of the page then": f"{self.elements:,}",
            "a filter, until its first screen has its pictures": f"{self.filtered:.0f} ms",
            "a search, the same": "there is none" if self.searched is None else f"{self.searched:.0f} ms",
            f"screens scrolled through, one every {PACE} ms": f"{len(self.steps):,}",
            "of these with a gap two frames after the step": _share(late, len(self.steps)),
            f"of these with a gap for {PACE} ms": _share(slow, len(self.steps)),
            "longest until a screen had its pictures": f"{max(taken for _, taken in self.steps):.0f} ms",
            f"{len(self.jumps)} jumps, until there are the pictures": _spread(self.jumps),
        }


def look_at(address: str, kind: PageKind) -> Seen:
    """Open a page several times; in the last one filter, search, scroll through it and jump about."""
    paints, screens = [], []
    with chromium() as browser:
        for _ in range(_OPENED):
            page = open_page(browser, address, kind)
            paint, screen = page.evaluate(
                "() => [performance.getEntriesByName('first-contentful-paint')[0].startTime, looking.firstWhole]"
            )
            paints.append(paint)
            screens.append(max(paint, screen))  # loaded, then painted
        elements = page.evaluate("() => document.querySelectorAll('*').length")
        page.wait_for_load_state("networkidle")  # what a page loads later is there
        filtered = page.evaluate("name => looking.choose(name)", kind.filter)
        page.evaluate("name => looking.fill(name, '')", kind.filter)
        searched = None
        if kind.search is not None:
            searched = page.evaluate("name => looking.fill(name, 'author 12')", kind.search)
            page.evaluate("name => looking.fill(name, '')", kind.search)
        steps = page.evaluate("pace => looking.scroll(pace)", PACE)
        jumps = page.evaluate("([count, pace]) => looking.jump(count, pace)", [_JUMPS, PACE])
    return Seen(paints, screens, elements, filtered, searched, [(one, taken) for one, taken in steps], jumps)


def open_page(browser: Any, address: str, kind: PageKind) -> Any:
    """A page in a context of its own, once its first screen is whole and its paint is told."""
    page = browser.new_context(viewport=WINDOW).new_page()
    page.set_default_timeout(_LONGEST)
    page.add_init_script(
        f"{_SCRIPT.read_text()}\nlooking.inSight = {kind.in_sight};\nlooking.scrolls = {kind.scrolls};"
    )
    page.goto(address, wait_until="commit")
    page.wait_for_function(
        "() => looking.firstWhole && performance.getEntriesByName('first-contentful-paint').length"
    )
    return page


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium without a GPU that can reach files alone; PipelineError where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright  # of the tests, which nothing else here needs
    except ImportError:
        program = None
    if program is None:
        raise PipelineError(
            "expected Chromium and playwright, to look at the pages, found none; `make install browser`"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"],
        )
        yield browser
        browser.close()


def _spread(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.0f}, {max(times):.0f} ms"


def _share(count: int, of: int) -> str:
    return f"{count:,} ({count / max(1, of):.1%})"
