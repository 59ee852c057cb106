"""What stages share: metrics as stable JSON, errors as one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.stage import write_metrics


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


@pytest.mark.parametrize("message", ["expected this", "crop: expected this", "crop@baidu: expected this"])
def test_an_error_is_a_sentence_without_a_traceback(root: Path, message: str) -> None:
    program = (
        "from pipeline.core.stage import run\nfrom pipeline.core.errors import PipelineError\n"
        f"def main():\n    raise PipelineError({message!r})\nrun('crop', main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (message if message.startswith("crop") else f"crop: {message}")


def test_a_picture_that_was_damaged_after_a_stage_wrote_it_is_a_sentence(tmp_path: Path, root: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"mended by hand")
    program = (
        "from pathlib import Path\nfrom pipeline.core.stage import run\nfrom sinet.images.decode import read_mask\n"
        "def main():\n    read_mask(Path('mask.png'))\nrun('report', main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "report: damaged since a stage wrote it: mask.png is no PNG mask; `python -m pipeline look` names such files"
    )
