"""ONNX that equals torch, for any batch size, with the card inside and no trace of this machine."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sinet.exporting.onnx_file import OnnxPredictor
from sinet.exporting.to_onnx import ExportError, difference, export_onnx
from sinet.inference.predictor import Predictor
from sinet.network.model import SINet
from sinet.network.preprocess import squash_image
from sinet.network.weights import CARD as ENTRY
from sinet.network.weights import WeightsCard
from tests.sinet.native.test_native import drawn_model
from tests.sinet.portraits import CARD, SMALL, UNEQUAL, portrait

PICTURES = [portrait(seed)[0] for seed in range(3)]


def test_equals_torch_for_any_batch_size(exported: Path, predictor: Predictor) -> None:
    assert difference(exported, predictor, PICTURES) < 1e-4
    assert difference(exported, predictor, PICTURES[:1]) < 1e-4


def test_with_the_preprocessing_inside(exported_with_preprocessing: Path, predictor: Predictor) -> None:
    inside = Predictor(predictor.model, UNEQUAL.preprocessing)
    assert difference(exported_with_preprocessing, inside, PICTURES) < 1e-4
    (entry,) = onnx.load(exported_with_preprocessing).graph.input
    assert entry.name == "pixels"
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [one.dim_value for one in entry.type.tensor_type.shape.dim][1:] == [64, 64, 3]

    session = onnxruntime.InferenceSession(exported_with_preprocessing, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"pixels": squash_image(PICTURES[0], 64)[None]})
    assert np.array_equal(logits[0].argmax(0), inside.square_probability(PICTURES[0]) > 0.5)


def test_another_preprocessing_is_found_out(exported_with_preprocessing: Path, predictor: Predictor) -> None:
    swapped = Predictor(predictor.model, replace(UNEQUAL.preprocessing, order="rgb"))
    assert difference(exported_with_preprocessing, swapped, PICTURES) > 1e-3


@pytest.mark.parametrize("width", [0.5, 1.5, 2])
def test_another_width_equals_torch_and_c(tmp_path: Path, width: float) -> None:
    card = replace(CARD, preprocessing=replace(SMALL, size=96), width=width)
    predictor = Predictor(drawn_model(3, width=width), card.preprocessing)
    export_onnx(tmp_path / "w.onnx", predictor.model, card, opset=18)
    onnx_file = OnnxPredictor(tmp_path / "w.onnx")
    squares = np.stack([squash_image(picture, 96) for picture in PICTURES])
    exact = 1e-5 * max(1, np.abs(onnx_file.logits(squares)).max())  # rounding grows with the logits
    assert difference(tmp_path / "w.onnx", predictor, PICTURES) <= exact
    for picture in PICTURES:
        apart = onnx_file.square_probability(picture) - predictor.square_probability(picture)
        assert np.abs(apart).max() <= exact / 2
    (entry,) = [one.value for one in onnx.load(tmp_path / "w.onnx").metadata_props if one.key == ENTRY]
    assert WeightsCard.from_json(entry).width == width


def test_another_model_is_found_out(exported: Path) -> None:
    torch.manual_seed(7)
    assert difference(exported, Predictor(SINet(), SMALL), PICTURES) > 1e-3


def test_the_file_says_how_to_use_it(exported: Path) -> None:
    proto = onnx.load(exported)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert WeightsCard.from_json(properties[ENTRY]) == CARD
    assert [one.name for one in proto.graph.input] == ["input"]
    assert [one.name for one in proto.graph.output] == ["logits"]
    shape = proto.graph.input[0].type.tensor_type.shape.dim
    assert shape[0].dim_param
    assert [one.dim_value for one in shape[1:]] == [3, 64, 64]


def test_the_graph_is_the_network_and_nothing_else(exported: Path) -> None:
    kinds = Counter(node.op_type for node in onnx.load(exported).graph.node)
    assert kinds["Conv"] == 58
    assert kinds["Resize"] == 9
    assert kinds["Shape"] == kinds["Constant"] == 0


def test_no_path_of_this_machine(exported: Path, root: Path) -> None:
    content = exported.read_bytes()
    assert str(root).encode() not in content
    assert b".py" not in content


def test_no_pictures_is_an_error(exported: Path, predictor: Predictor) -> None:
    with pytest.raises(ExportError, match="at least one picture"):
        difference(exported, predictor, [])


def test_logits_that_are_no_numbers_are_an_error(
    exported: Path, tmp_path: Path, predictor: Predictor
) -> None:
    proto = onnx.load(exported)
    weight = next(one for one in proto.graph.initializer if one.name == "classifier.1.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full((2, 2, 3, 3), np.nan, np.float32), weight.name))
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="no numbers"):
        difference(tmp_path / "m.onnx", predictor, PICTURES)
