"""The benchmark of push and pull: its table by hand, and a run of it on a real Label Studio with few tasks."""

import os
from pathlib import Path

import psutil
import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline.__main__ import app
from pipeline.experiments.review import _Row, _table


def test_the_table_gives_milliseconds_a_task_and_compares_with_the_sdk() -> None:
    push = _Row("push of 200", 200, seconds=2.0, cpu=0.5, server=1.0, peak=150.4)
    sdk = _Row("the SDK's import of 10", 10, seconds=0.2, cpu=0.1, server=0.2, peak=None)
    ours = _Row("our import alone, 10", 10, seconds=0.1, cpu=0.01, server=0.2, peak=None)
    header, first, _, last, alone, whole = _table([push, ours, sdk])
    assert header.split() == ["s", "ms/task", "our", "CPU", "server's", "peak", "MB"]
    assert first.split()[3:] == ["2.0", "10.00", "0.5", "1.0", "150"]
    assert last.split()[5:] == ["0.2", "20.00", "0.1", "0.2"]
    assert alone == "our import takes 0.50 of the SDK's time a task, 0.70 of its CPU time"
    assert whole == "all of push takes 0.50 of the SDK's time a task, 0.25 of its CPU time"


@pytest.mark.slow
@pytest.mark.label_studio
def test_a_small_run_sends_reviews_and_leaves_nothing_behind(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = os.environ.get("LABEL_STUDIO_PYTHON", str(root / ".cache/label-studio-venv/bin/python"))
    if not Path(python).is_file():
        pytest.skip("label_studio: `make label-studio` installs the server that this test needs")
    monkeypatch.setenv("LABEL_STUDIO_PYTHON", python)
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    done: Result = CliRunner().invoke(
        app, ["benchmark", "review", "--tasks", "12", "--reviews", "5", "--sample", "4"]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    for name in (
        "push of 12",
        "pull, 5 reviewed",
        "push again, nothing to send",
        "our import alone, 4",
        "the SDK's import, 4",
    ):
        assert f"\n{name}  " in done.stdout
    assert "of the SDK's time a task" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(one.info["cmdline"])]
