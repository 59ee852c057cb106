"""What the pages of many pictures cost to write, and how quickly a browser shows, filters and scrolls them.

`python -m pipeline benchmark pages` (20,000 pictures, about 3 GB of disk): a project of two versions is made in a
temporary folder; there `browse` writes the page of all pictures, and `diff --html` that of those that changed, which
are as many. Both commands run in processes of their own, and each page is then opened in Chromium.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from pipeline.experiments.ingest import resident
from pipeline.experiments.pages.page_in_browser import WINDOW, PageKind, chromium, look_at
from pipeline.experiments.pages.two_versions import FIRST, write_two_versions

BROWSED = PageKind(
    in_sight="""() => {
        const first = Math.floor(scroller.scrollTop / CELL.height) * across;
        const last = Math.ceil((scroller.scrollTop + scroller.clientHeight) / CELL.height) * across;
        return shown.slice(first, last).map((_, at) => cells.get(first + at));
    }""",
    scrolls="() => scroller",
    filter="side",
    search="text",
)
CHANGED = PageKind(
    in_sight="""() => {
        const top = (row) => list.offsetTop + row * rowHeight() - window.scrollY;
        const seen = rows.filter((_, row) => top(row) < window.innerHeight && top(row) + rowHeight() > 0);
        return seen.flat().map((place) => cards.get(place.at));
    }""",
    scrolls="() => document.scrollingElement",
    filter="kind",
    search=None,
)
_POLL = 0.1  # seconds between two looks at a command's memory


def main(pictures: int) -> None:
    """Make the project, write both pages and look at them; print the table."""
    with chromium():  # before the long part
        pass
    with tempfile.TemporaryDirectory(prefix="benchmark-pages-") as name:
        folder = Path(name)
        write_two_versions(folder / "project", pictures)
        browsed, changed = folder / "browsed", folder / "changed.html"
        rows = {
            "browse": {
                **_made(folder, "browse", str(browsed)),
                **_size([one for one in browsed.iterdir() if one.is_file()], browsed / "thumbnails"),
                **look_at((browsed / "index.html").as_uri(), BROWSED).rows(),
            },
            "diff --html": {
                **_made(folder, "diff", FIRST, "--html", str(changed), "--out", str(folder / "changed.md")),
                **_size([changed], folder / "changed_files"),
                **look_at(changed.as_uri(), CHANGED).rows(),
            },
        }
    window, cores = f"{WINDOW['width']}x{WINDOW['height']}", len(os.sched_getaffinity(0))
    print(
        f"{pictures:,} pictures in each version and {pictures:,} changed, a window of {window}; "
        f"{os.getloadavg()[2]:.1f} processes wanted the {cores} cores"
    )
    print("\n".join(_table(rows)))


def _made(folder: Path, *words: str) -> dict[str, str]:
    """Run a command of `python -m pipeline` in FOLDER/project: what it took, in words; what it says where it fails."""
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    said, peak, before = folder / f"{words[0]}.log", 0, resource.getrusage(resource.RUSAGE_CHILDREN)
    with said.open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "pipeline", *words], cwd=folder / "project", stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        while process.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(_POLL)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{said.read_text()[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"CPU of the command": f"{cpu:.0f} s", "peak memory of its processes": f"{peak / 1e6:,.0f} MB"}


def _size(page: Iterable[Path], pictures: Path) -> dict[str, str]:
    whole = sum(one.stat().st_size for one in page)
    beside = sum(one.stat().st_size for one in pictures.rglob("*") if one.is_file())
    return {"the page, and its small pictures": f"{whole / 1e6:.1f}, {beside / 1e6:.0f} MB"}


def _table(columns: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Both columns under their heads, the names of the figures before them."""
    names = list(next(iter(columns.values())))
    lines = [["", *columns], *([name, *(column[name] for column in columns.values())] for name in names)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    ]
