"""An ONNX file of SINet as an OpenVINO file, compared with torch; needs the package openvino, an optional extra."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sinet.exporting.onnx_file import PIXELS
from sinet.exporting.to_onnx import ExportError, largest_difference
from sinet.images.decode import Array
from sinet.inference.predictor import Predictor
from sinet.network.weights import CARD, WeightsCard


def export_openvino(onnx_file: Path, path: Path, card: WeightsCard) -> None:
    """Write PATH.xml and PATH.bin, 32-bit weights, from a file of `sinet.exporting.to_onnx`; the card is in rt_info.

    ExportError where `path` does not end in .xml or openvino is not installed.
    """
    if path.suffix != ".xml":
        raise ExportError(f"expected a name that ends in .xml for the OpenVINO file, found {path}")
    openvino = _openvino()
    network = openvino.convert_model(onnx_file)
    network.set_rt_info(card.to_json(), CARD)
    openvino.save_model(network, path, compress_to_fp16=False)


def openvino_difference(path: Path, predictor: Predictor, images: Sequence[Array]) -> float:
    """Largest absolute difference of a logit between the OpenVINO file and torch.

    With 32-bit arithmetic: by default some processors compute in 16 bits, which differs by up to about 0.1.
    """
    openvino = _openvino()
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    takes_pixels = compiled.input(0).any_name == PIXELS

    def run(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = squares if takes_pixels else predictor.preprocessing.tensor(torch.from_numpy(squares)).numpy()
        return np.asarray(compiled(x)[0])

    return largest_difference(run, path, predictor, images)


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ExportError(
            "OpenVINO is not installed; install it with: pip install 'sinet-portraits[openvino]' (or pip install "
            "openvino)"
        ) from error
    return openvino
