"""`python -m pipeline cache`: what is stored, and what goes where it is too much."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.commands.cache import main, size_of
from pipeline.core.errors import PipelineError
from pipeline.core.store import Result, Store

DAY = 86_400


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Store]:
    """Results of 10 KB: of crop from days 1, 2 and 3, the first of which is used again on day 4; of push from day 2."""
    monkeypatch.chdir(tmp_path)
    crop, push = Store("crop"), Store("push")
    result = Result({}, {"image": bytes(10_000)})
    for day, store, key in ((1, crop, "aa1"), (2, crop, "aa2"), (2, push, "bb2"), (3, crop, "aa3")):
        monkeypatch.setattr(time, "time", lambda day=day: day * DAY)
        store.put(key, result)
    monkeypatch.setattr(time, "time", lambda: 4 * DAY)
    assert crop.get("aa1") == result
    return {"crop": crop, "push": push}


def test_the_command_tells_stages_results_sizes_and_days(stored: dict[str, Store], root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "cache"], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(root)},
    )  # fmt: skip
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [
        ["stage", "results", "size", "last", "used"],
        ["crop", "3", "30.1", "KB", "1970-01-05"],
        ["push", "1", "10.0", "KB", "1970-01-03"],
        ["together", "4", "40.1", "KB"],
    ]


def test_pruning_removes_what_was_not_used_for_the_longest(
    stored: dict[str, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".cache/crop/zz").mkdir()
    Path(".cache/crop/zz/zz99").write_bytes(b"of older code")
    main(prune=True, keep="25KB")
    assert "2 results removed, 20.0 KB; at most 25.0 KB stay" in capsys.readouterr().out
    assert {use.key for store in stored.values() for use in store.uses()} == {"aa1", "aa3"}
    assert sorted(path.name for path in Path(".cache").glob("*/??/*")) == ["aa1", "aa3"]
    main(prune=True, keep="25KB")
    assert "0 results removed" in capsys.readouterr().out
    main(prune=True, keep="0KB")
    assert not list(Path(".cache").glob("*/??/*"))
    assert all(path.stat().st_size < 20_000 for path in Path(".cache").rglob("*") if path.is_file())


def test_without_a_cache_there_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(prune=True, keep="1GB")
    assert re.search(r"together +0 +0.0 KB", capsys.readouterr().out)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "10", "GB", "-1GB", "1 PB", "10G"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PipelineError, match="expected a size as 500MB or 10GB"):
        size_of(text)
