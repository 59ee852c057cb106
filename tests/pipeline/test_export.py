"""Stage export: compared with torch on dev pictures, and a file that differs does not stay."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline import export as stage
from pipeline.core.errors import PipelineError
from pipeline.core.params import ExportParams
from pipeline.core.paths import DATASET, SINET, SINET_ONNX
from pipeline.core.records import make_records, write_records
from tests.pipeline.test_evaluate import row
from tests.sinet.portraits import taught_model, write_portraits, write_weights

PARAMS = ExportParams(opset=18, parity_pictures=2, tolerance=1e-4)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Two dev pictures and one of test, whose file is missing."""
    monkeypatch.chdir(tmp_path)
    samples = write_portraits(DATASET, 3)
    samples[2].image.unlink()
    write_weights(SINET, taught_model())
    sides = ("dev", "dev", "test")
    return make_records(
        [
            row(n, sample, side, "eg1800", "human")
            for n, (sample, side) in enumerate(zip(samples, sides, strict=True))
        ]
    )


def test_the_stage_writes_onnx_and_metrics(records: pd.DataFrame, root: Path) -> None:
    Path("params.yaml").write_text((root / "params.yaml").read_text())
    write_records(DATASET, records)
    stage.main()
    metrics = json.loads(Path("metrics/export.json").read_text())
    assert metrics["bytes"] == SINET_ONNX.stat().st_size
    assert metrics["pictures"] == 2
    assert metrics["operators"] > 100
    assert metrics["max_difference"] < 1e-4


def test_a_file_that_differs_does_not_stay(records: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match="agree to 1e-30 on each logit of 2 pictures, found a difference"):
        stage.export(records, SINET, SINET_ONNX, PARAMS.model_copy(update={"tolerance": 1e-30}))
    assert not SINET_ONNX.exists()
    assert sorted(path.name for path in SINET_ONNX.parent.iterdir()) == [SINET.name]


def test_no_dev_pictures_is_an_error(records: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match="dev pictures to compare ONNX with torch on, found none"):
        stage.export(records[records["side"] == "test"], SINET, SINET_ONNX, PARAMS)


def test_weights_that_are_none_are_an_error(records: pd.DataFrame) -> None:
    SINET.write_bytes(b"something else")
    with pytest.raises(PipelineError, match="expected a safetensors file"):
        stage.export(records, SINET, SINET_ONNX, PARAMS)
