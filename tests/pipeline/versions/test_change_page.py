"""The page of what changed, in a real browser without a network."""

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from annotations.ledger.takedowns import TAKEDOWNS, TakenDown, write_takedowns
from pipeline.commands import diff
from pipeline.core.errors import PipelineError
from pipeline.reporting.thumbnails import jpeg_file
from pipeline.versions import change_page
from pipeline.versions.change_report import Compared
from pipeline.versions.changes import changed_pictures
from pipeline.versions.revision import open_versions
from pipeline.versions.tables import dataset_of
from sinet.images.decode import Array
from tests.pipeline.versions.conftest import Made

pytestmark = pytest.mark.slow
SELECTED = "document.activeElement.dataset.at"


def pictures(page: Path) -> list[dict[str, Any]]:
    """What the page knows of each picture."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text())
    assert found is not None
    return list(json.loads(found[1])["pictures"])


def test_the_page_in_a_real_browser(versions: Made, tmp_path: Path, page: Any) -> None:
    file = tmp_path / "changes.html"
    diff.main(("v1", "v2"), tmp_path / "changes.md", file, True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_function("[...document.images].every(one => one.complete)")
    total = len({one for ids in versions.ids.values() for one in ids})
    assert page.locator("#count").inner_text() == f"{total} of {total} pictures that changed."
    assert page.locator(".card img").count() == total
    assert page.evaluate("[...document.images].every(one => !one.src || one.naturalHeight === 168)")
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()], (
        "one file, and no network"
    )

    first = page.locator(".card").first.inner_text()
    assert versions.ids["moved"][0] in first, "the largest change is first"
    page.select_option("select[name=kind]", label="mask changed (3)")
    overlaps = [float(text) for text in re.findall(r"IoU ([\d.]+)", page.locator("#list").inner_text())]
    assert len(overlaps) == 3 and overlaps == sorted(overlaps)
    page.select_option("select[name=source]", value="crawl")
    assert page.locator(".card").count() == 1
    page.select_option("select[name=source]", value="")
    page.select_option("select[name=side]", value="test")
    assert page.locator(".card").count() == 2

    page.select_option("select[name=kind]", label=f"moved between sides ({len(versions.ids['moved'])})")
    assert page.locator(".card").count() == 0, "what moved went from train to dev"
    assert page.locator("#nothing").is_visible()
    page.select_option("select[name=side]", value="")
    assert page.locator(".card").count() == len(versions.ids["moved"])
    assert not page.locator("#nothing").is_visible()
    page.locator("h1").click()
    page.keyboard.press("1")
    assert page.locator("#count").inner_text() == f"3 of {total} pictures that changed.", "1 is: added"
    page.keyboard.press("0")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(SELECTED) == "1"
    page.keyboard.press("End")
    assert page.evaluate(SELECTED) == str(total - 1)
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible() and "train → dev" in page.locator("dialog").inner_text()
    page.keyboard.press("ArrowRight")
    assert "IoU of old and new" in page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    page.wait_for_function(f"{SELECTED} === '1'")  # a browser tells of a closed dialog in a later turn


def test_many_pictures_lie_beside_the_page(
    versions: Made, tmp_path: Path, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_page, "INLINE", 3)
    file = tmp_path / "changes.html"
    for _ in range(2):  # the second time over the first one's pictures
        diff.main(("v1", "v2"), tmp_path / "changes.md", file, True)
    names = {path.stem for path in (tmp_path / "changes_files").iterdir()}
    assert names == {one for ids in versions.ids.values() for one in ids}
    assert "data:image" not in file.read_text()
    page.goto(file.as_uri())
    page.wait_for_function("[...document.images].every(one => one.complete)")
    assert page.evaluate("[...document.images].every(one => !one.src || one.naturalHeight === 168)")
    (tmp_path / "changes_files" / "notes.txt").write_text("mine")
    with pytest.raises(PipelineError, match=r"changes_files holds notes.txt, of no page"):
        diff.main(("v1", "v2"), tmp_path / "changes.md", file, True)
    monkeypatch.setattr(change_page, "INLINE", 600)
    diff.main(("v1", "v2"), tmp_path / "changes.md", file, True)
    assert len(list((tmp_path / "changes_files").iterdir())) == 1 + len(names), (
        "somebody's file lies among them"
    )
    (tmp_path / "changes_files" / "notes.txt").unlink()
    diff.main(("v1", "v2"), tmp_path / "changes.md", file, True)
    assert not (tmp_path / "changes_files").exists(), "no page shows them any more"


def test_no_drawn_thumbnail_waits_until_it_is_written(
    versions: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20,000 each waiting one would be a fifth of a megabyte; where writing is slow, most of them did."""
    waiting, most, lock = 0, 0, threading.Lock()
    draw, write = change_page._thumbnail, change_page.jpeg_file

    def count(more: int) -> None:
        nonlocal waiting, most
        with lock:
            waiting += more
            most = max(most, waiting)

    def drawn(panel: Any) -> Array:
        count(1)
        return draw(panel)

    def slowly(thumbnail: Array) -> bytes:
        time.sleep(0.02)
        count(-1)
        return write(thumbnail)

    tables = [dataset_of(version) for version in open_versions("v1", "v2")]
    changes = changed_pictures(*tables).query("mask")
    many = pd.concat([changes] * 40, ignore_index=True)
    many["id"] = [f"{number:016x}" for number in range(len(many))]
    monkeypatch.setattr(change_page, "_thumbnail", drawn)
    monkeypatch.setattr(change_page, "jpeg_file", slowly)
    monkeypatch.setattr(change_page, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(2))
    change_page.write_change_page(
        tmp_path / "changes.html", Compared(*open_versions("v1", "v2"), *tables, many)
    )
    assert len(many) == 120 and most <= 2


def test_what_a_person_had_taken_out_is_named_and_not_shown(versions: Made, tmp_path: Path) -> None:
    gone, other = versions.ids["removed"]
    write_takedowns([TakenDown(key=gone, date="2025-01-31", pixels=(gone,))], TAKEDOWNS)
    diff.main(("v1", "v2"), tmp_path / "changes.md", tmp_path / "changes.html", False)
    shown = {one["id"]: "src" in one for one in pictures(tmp_path / "changes.html")}
    assert not shown[gone] and shown[other]


def test_texts_of_a_source_stay_texts(versions: Made, tmp_path: Path, page: Any) -> None:
    table = pd.read_parquet("data/dataset/records.parquet")
    table["source"] = "</script><script>document.title='broken'</script>"
    table["label"] = "human"
    table.to_parquet("data/dataset/records.parquet")
    file = tmp_path / "changes.html"
    diff.main(("v1", "workspace"), tmp_path / "changes.md", file, True)
    page.goto(file.as_uri())
    assert page.title().startswith("What changed from v1")
    assert "</script><script>" in page.locator("#list").inner_text()


def test_20_000_pictures_are_scrolled_without_gaps(versions: Made, tmp_path: Path, page: Any) -> None:
    """At no time is there a card for each: only those near the window, and these always."""
    tables = [dataset_of(version) for version in open_versions("v1", "v2")]
    [row] = changed_pictures(*tables).query("mask").head(1).to_dict("records")
    many = pd.DataFrame([{**row, "id": f"{number:016x}"} for number in range(20_000)])
    compared = Compared(*open_versions("v1", "v2"), *tables, many)
    (tmp_path / "one.jpg").write_bytes(jpeg_file(np.zeros((168, 300, 3), np.uint8)))
    file = tmp_path / "changes.html"
    file.write_text(change_page.page_text(compared, many, dict.fromkeys(many["id"], ("one.jpg", 300))))
    page.goto(file.as_uri())
    assert page.locator("#count").inner_text().startswith("20,000 of 20,000")
    for place in (0, 500, 40_000, 41_000, 10**9):
        page.evaluate("place => window.scrollTo(0, place)", place)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        missing, cards = page.evaluate(
            """[rows.filter((_, at) => {
                const top = list.offsetTop + at * rowHeight() - window.scrollY
                return top < window.innerHeight && top + rowHeight() > 0
            }).flat().filter(one => !cards.has(one.at)).length, document.images.length]"""
        )
        assert missing == 0 and cards < 250, place
    # Windows from the top of the one in sight to the first and to the last row that is kept ready.
    ready = """() => [Math.min, Math.max].map(of => {
        const row = of(...[...cards.keys()].map(at => shown[at].row))
        return (list.offsetTop + row * rowHeight() - window.scrollY) / window.innerHeight
    })"""
    page.evaluate("window.scrollTo(0, 40_000)")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    for pixels, above, below in ((500, 1, 3), (-500, 3, 1)):
        page.evaluate("pixels => window.scrollBy(0, pixels)", pixels)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        first, last = page.evaluate(ready)
        assert -above - 0.2 < first <= -above and below + 0.8 < last < below + 1
    page.select_option("select[name=kind]", label="mask changed (20000)")
    assert page.evaluate("window.scrollY") == 0, "what is chosen begins at its first picture"
    assert page.evaluate(ready)[1] > 3.5, "from there one can only go down"
    page.locator("h1").click()
    page.keyboard.press("End")
    assert page.evaluate(SELECTED) == "19999"


def test_pictures_beside_a_page_of_any_name_are_shown(
    versions: Made, tmp_path: Path, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_page, "INLINE", 1)
    file = tmp_path / "pull #12, 50%.html"
    diff.main(("v1", "v2"), tmp_path / "changes.md", file, True)
    page.goto(file.as_uri())
    page.wait_for_function("[...document.images].every(one => one.complete)")
    assert page.locator(".card img").count() > 1
    assert page.evaluate("[...document.images].every(one => !one.src || one.naturalHeight === 168)")
