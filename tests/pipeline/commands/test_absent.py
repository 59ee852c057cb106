"""When a missing raw folder is passed over; what DVC then does is in tests/test_recipe.py."""

import re
import shutil
from pathlib import Path

import pytest

from pipeline.commands import absent
from tests.project import set_params


@pytest.fixture
def machine(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A colleague's: what was read of eg1800's raw folder, which is elsewhere, is here; the others are drawn."""
    shutil.copyfile(root / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    set_params(tmp_path, {"sources": {"eg1800": {"path": str(tmp_path / "disk/eg1800")}}})
    for name in ("labelled/eg1800", "bodies/baidu", "crawl/crawl"):
        (tmp_path / "data/ingest" / name).mkdir(parents=True)
    return tmp_path


def test_what_was_read_stands_for_a_raw_folder_elsewhere(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent.main()
    told = capsys.readouterr()
    assert told.out == "--allow-missing\n"
    assert told.err == (
        f"{machine}/disk/eg1800 of eg1800 is not here: what was read from it stays as dvc.lock has it\n"
    )


@pytest.mark.parametrize("here", [True, False])
def test_nothing_is_passed_over_where_the_folder_is_here_or_nothing_was_read(
    machine: Path, capsys: pytest.CaptureFixture[str], here: bool
) -> None:
    """The drawn folders are not here either: a stage makes them."""
    if here:
        (machine / "disk/eg1800").mkdir(parents=True)
    else:
        shutil.rmtree("data/ingest/labelled/eg1800")
    absent.main()
    assert capsys.readouterr() == ("", "")


def test_a_list_of_addresses_may_be_elsewhere_too(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "disk/eg1800").mkdir(parents=True)
    set_params(machine, {"crawl": {"fetch": {"contact": "me@example.org"}}})
    text = Path("params.yaml").read_text().replace("lists: {}", "lists: {web: disk/list.csv}")
    web = "  web: {role: crawl, layout: crawl, path: data/crawl/web}\n"
    Path("params.yaml").write_text(re.sub(r"(?m)^(sources:.*\n)", rf"\g<1>{web}", text))
    absent.main()
    assert capsys.readouterr().out == ""
    Path("data/crawl/web").mkdir(parents=True)
    absent.main()
    assert capsys.readouterr().out == "--allow-missing\n"
