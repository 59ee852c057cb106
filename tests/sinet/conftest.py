"""What several tests of the model's surroundings share."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sinet.__main__ import app
from sinet.exporting.to_onnx import export_onnx
from sinet.inference.predictor import Predictor
from tests.sinet.portraits import CARD, SMALL, UNEQUAL, taught_model, write_weights


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """A predictor that is right for the most part on `tests.sinet.portraits`."""
    return Predictor(taught_model(), SMALL)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, predictor: Predictor) -> Path:
    """The predictor's model as ONNX; made once, since torch takes ten seconds and more for it."""
    path = tmp_path_factory.mktemp("onnx") / "models" / "sinet.onnx"
    export_onnx(path, predictor.model, CARD, opset=18)
    return path


@pytest.fixture(scope="session")
def exported_with_preprocessing(tmp_path_factory: pytest.TempPathFactory, predictor: Predictor) -> Path:
    """The same by the command, with the preprocessing `UNEQUAL` inside."""
    folder = tmp_path_factory.mktemp("onnx")
    write_weights(folder / "w.safetensors", predictor.model, UNEQUAL)
    path = folder / "new" / "sinet.onnx"
    done = CliRunner().invoke(
        app, ["export", str(folder / "w.safetensors"), str(path), "--with-preprocessing"]
    )
    assert done.exit_code == 0, done.output
    assert "of a logit from torch (2 pictures)" in done.stdout
    return path
