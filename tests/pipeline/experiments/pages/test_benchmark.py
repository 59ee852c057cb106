"""`python -m pipeline benchmark pages`: the project that it makes, what it calls a gap, and a small run of it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.experiments.pages import page_in_browser
from pipeline.experiments.pages.benchmark import _table
from pipeline.experiments.pages.page_in_browser import PageKind, Seen, look_at
from pipeline.experiments.pages.two_versions import FIRST, write_two_versions
from pipeline.versions.changes import CHANGE_KINDS, changed_pictures
from pipeline.versions.revision import open_versions
from pipeline.versions.tables import dataset_of
from sinet.images.decode import read_image, read_mask

# A page of four screens, on which nothing is there for 400 ms after each time that it is scrolled.
LATE = """<!doctype html><title>late</title>
<form><select name="kind"><option value="">all<option value="1">one</select></form><p>text
<div style="height: 5200px"></div>
<script>
let there = true
window.addEventListener("scroll", () => { there = false; setTimeout(() => { there = true }, 400) })
</script>"""


@pytest.fixture
def browser() -> None:
    pytest.importorskip("playwright.sync_api", reason="browser: playwright is not installed")
    if shutil.which("chromium") is None and shutil.which("google-chrome") is None:
        pytest.skip("browser: no Chromium; `make browser` installs it on Debian")


@pytest.mark.slow
def test_each_version_has_as_many_pictures_as_asked_for_and_as_many_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_two_versions(tmp_path / "project", 56)
    monkeypatch.chdir(tmp_path / "project")
    old, new = (dataset_of(version) for version in open_versions(FIRST, "workspace"))
    changes = changed_pictures(old, new)
    assert len(old) == len(new) == len(changes) == 56
    counts = {kind: int(changes[kind].sum()) for kind in CHANGE_KINDS}
    assert counts == {"added": 8, "removed": 8, "moved": 16, "mask": 24, "label": 8}
    assert set(changes.loc[changes["label"], "reviewer"]) == {"curator-0", "curator-1", "curator-2"}
    records = read_records(DATASET)
    assert len(list((DATASET / "masks").iterdir())) == 56, "of removed ones nothing is left"
    seen = {read_image(Path(path)).tobytes() for path in records["image"]}
    assert len(seen) == 56, "each picture is another one"
    assert {read_mask(Path(path)).any() for path in records["mask"]} == {True}


def test_a_slow_frame_is_no_gap_and_a_gap_is_counted_twice_where_it_lasts() -> None:
    steps = [(True, 20.0), (True, 300.0), (False, 100.0), (False, 400.0)]
    rows = Seen([100, 300, 200], [400, 600, 500], 1234, 50.4, None, steps, [10, 30, 20]).rows()
    assert list(rows.values()) == [
        "200, 300 ms", "500, 600 ms", "1,234", "50 ms", "there is none", "4", "2 (50.0%)", "1 (25.0%)", "400 ms",
        "20, 30 ms",
    ]  # fmt: skip


def test_the_table_has_a_column_a_command() -> None:
    table = _table({"browse": {"CPU": "5 s", "size": "1 MB"}, "diff --html": {"CPU": "12 s", "size": "2 MB"}})
    assert table == [
        "      browse  diff --html",
        "CPU      5 s         12 s",
        "size    1 MB         2 MB",
    ]


@pytest.mark.slow
def test_a_page_whose_pictures_come_late_has_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: None
) -> None:
    monkeypatch.setattr(page_in_browser, "_OPENED", 1)
    monkeypatch.setattr(page_in_browser, "_JUMPS", 2)
    (tmp_path / "late.html").write_text(LATE)
    kind = PageKind(
        "() => (there ? [document.body] : [undefined])", "() => document.scrollingElement", "kind", None
    )
    seen = look_at((tmp_path / "late.html").as_uri(), kind)
    assert len(seen.steps) == 4 and len(seen.jumps) == 2
    assert all(not at_once and taken >= 400 for at_once, taken in seen.steps)
    assert min(seen.jumps) >= 400


@pytest.fixture
def short() -> Iterator[Path]:
    """An empty folder with a short path: Chromium keeps a socket there, whose path has 107 characters at most."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_small_run_measures_both_pages_and_leaves_nothing_behind(
    root: Path, short: Path, monkeypatch: pytest.MonkeyPatch, browser: None
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(page_in_browser, "_OPENED", 1)
    monkeypatch.setattr(page_in_browser, "_JUMPS", 2)
    monkeypatch.chdir(short)
    done: Result = CliRunner().invoke(app, ["benchmark", "pages", "--pictures", "100"])
    assert done.exit_code == 0, (done.output, done.exception)
    lines = done.stdout.splitlines()
    assert "100 pictures in each version and 100 changed" in done.stdout
    [head] = [line for line in lines if line.strip().startswith("browse")]
    assert head.split() == ["browse", "diff", "--html"]
    for name in ("CPU of the command", "first paint", "screens scrolled through", "longest until a screen"):
        assert any(line.startswith(name) for line in lines), name
    assert list(short.iterdir()) == []


def test_without_chromium_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    done: Result = CliRunner().invoke(app, ["benchmark", "pages"])
    assert isinstance(done.exception, PipelineError)
    assert "expected Chromium and playwright" in str(done.exception)
