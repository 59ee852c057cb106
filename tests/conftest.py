"""What all tests share: skips are failures under CI, except for real photographs and Label Studio."""

import os

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # before torch: threads that wait by spinning take the other's core

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"
# A property does not fail because the machine was busy with something else for a fifth of a second.
settings.register_profile("any machine", settings.default, deadline=None)
settings.load_profile("any machine")
ALLOWED_SKIPS = ("real_data", "label_studio")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of a file go to one process, for its fixtures; those of the recipe, which share a world, to any.

    One process makes the world first, while the other begins with Label Studio, where one waits much; what else needs
    the world comes last, when it is there.
    """
    recipe = [item for item in items if item.path.name == "test_recipe.py"]
    for item in items:
        if item not in recipe:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))

    def place(item: pytest.Item) -> int:
        if item in recipe:
            return 0 if item is recipe[0] else 3
        return 1 if item.get_closest_marker("label_studio") else 2

    items.sort(key=place)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs beside the checkout; skips where it is missing."""
    if not REAL_DATA.is_dir():
        pytest.skip("real photographs: ../shared/data is not here")
    return REAL_DATA


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a headless Chromium that can reach loopback and files only."""
    library = pytest.importorskip("playwright.sync_api", reason="browser: playwright is not installed")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("browser: no Chromium; `make browser` installs it on Debian")
    with library.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        )
        context = chromium.new_context(viewport={"width": 1700, "height": 1300})
        context.set_default_timeout(60_000)
        yield context.new_page()
        chromium.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skipped test has not passed: what a test needs there is installed there."""
    report = yield
    allowed = any(item.get_closest_marker(name) for name in ALLOWED_SKIPS)
    if report.skipped and os.environ.get("CI") == "true" and not allowed and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report
