"""What stages share: metrics as stable JSON, errors as one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.stage import write_metrics


def test_metrics_are_sorted_rounded_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_metrics("crop", {"b": 1 / 3, "a": {"z": [0.12345678, 2], "y": "text"}})
    text = Path("metrics/crop.json").read_text()
    assert json.loads(text) == {"a": {"y": "text", "z": [0.123457, 2]}, "b": 0.333333}
    assert text.index('"a"') < text.index('"b"')
    assert [path.name for path in Path("metrics").iterdir()] == ["crop.json"]


def test_a_metric_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="finite"):
        write_metrics("crop", {"iou": float("nan")})


def test_an_error_is_a_sentence_without_a_traceback(tmp_path: Path, root: Path) -> None:
    program = (
        "from pipeline.stage import run\nfrom pipeline.errors import PipelineError\n"
        "def main():\n    raise PipelineError('expected this, found that; do so')\nrun('crop', main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "crop: expected this, found that; do so"
