"""Exported files in ONNX Runtime 1.17, which many still have: it refuses what is of a newer format than it knows."""

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sinet.exporting.onnx_file import OnnxPredictor
from sinet.exporting.to_int8 import agreement, export_int8
from sinet.exporting.to_onnx import ExportError, export_onnx
from sinet.inference.predictor import Predictor
from sinet.network.preprocess import squash_image
from tests.sinet.portraits import CARD, SMALL, UNEQUAL, portrait

SQUARES = np.stack([squash_image(portrait(seed)[0], SMALL.size) for seed in range(3)])
RUN = """
import sys
import numpy, onnxruntime
assert onnxruntime.__version__.startswith("1.17."), onnxruntime.__version__
given, found = numpy.load(sys.argv[1]), {}
for path in sys.argv[3:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    found[path] = session.run(None, {entry.name: given[entry.name]})[0]
numpy.savez(sys.argv[2], **found)
"""


@pytest.fixture(scope="module")
def int8(exported: Path, tmp_path_factory: pytest.TempPathFactory, predictor: Predictor) -> Path:
    path = tmp_path_factory.mktemp("int8") / "sinet8.onnx"
    export_int8(exported, path, predictor, list(SQUARES))
    return path


@pytest.mark.slow
def test_an_old_runtime_gives_the_same(
    exported: Path,
    exported_with_preprocessing: Path,
    int8: Path,
    root: Path,
    tmp_path: Path,
    predictor: Predictor,
) -> None:
    python = root / ".cache/onnxruntime-1.17-venv/bin/python"
    if not (python.parent.parent / ".installed").is_file():
        pytest.skip("ONNX Runtime 1.17 is not installed; `make old-runtime` installs it")
    x = SMALL.tensor(torch.from_numpy(SQUARES))
    np.savez(tmp_path / "given.npz", input=x.numpy(), pixels=SQUARES)
    files = [str(path) for path in (exported, exported_with_preprocessing, int8)]
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [python, "-c", RUN, tmp_path / "given.npz", tmp_path / "found.npz", *files], env=alone, check=True
    )
    found = np.load(tmp_path / "found.npz")
    with torch.inference_mode():
        wanted = predictor.model(x).numpy()
        inside = predictor.model(UNEQUAL.preprocessing.tensor(torch.from_numpy(SQUARES))).numpy()
    assert np.abs(found[files[0]] - wanted).max() < 1e-4
    assert np.abs(found[files[1]] - inside).max() < 1e-4
    new = OnnxPredictor(int8).logits(SQUARES)
    assert (found[files[2]].argmax(1) == new.argmax(1)).mean() > 0.99


def test_the_format_is_the_oldest_that_has_the_operators(
    exported: Path, exported_with_preprocessing: Path, int8: Path, predictor: Predictor
) -> None:
    """IR 8 and opset 18 came with ONNX 1.13, which ONNX Runtime 1.14 reads."""
    for path in (exported, exported_with_preprocessing, int8):
        proto = onnx.load(path)
        opsets = {entry.domain: entry.version for entry in proto.opset_import}
        assert proto.ir_version == 8, path.name
        assert opsets[""] == 18, path.name
        assert {node.domain for node in proto.graph.node} == {""}, "operators of ONNX alone"
        onnx.checker.check_model(proto, full_check=True)
    assert agreement(int8, predictor, list(SQUARES)) > 0.9


def test_an_opset_that_torch_does_not_have_is_refused(tmp_path: Path, predictor: Predictor) -> None:
    with pytest.raises(ExportError, match=r"expected ONNX of opset 17, found \[18\]"):
        export_onnx(tmp_path / "m.onnx", predictor.model, CARD, opset=17)
    assert not (tmp_path / "m.onnx").exists()
