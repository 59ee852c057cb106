"""An ONNX file of SINet with its convolutions in 8-bit integers, calibrated on pictures.

A quarter less to ship, and faster only where the processor multiplies bytes fast; what it costs in accuracy is for
`python -m sinet evaluate --weights OUT.onnx` to say.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from sinet.evaluation.metrics import count_pixels, foreground_iou, tabulate
from sinet.exporting.onnx_file import INPUT, OnnxPredictor
from sinet.exporting.to_onnx import quiet, set_oldest_format
from sinet.images.decode import Array
from sinet.inference.predictor import Predictor
from sinet.network.preprocess import Preprocessing, squash_image

CALIBRATED_ON = 64  # to calibrate on


def export_int8(onnx_file: Path, path: Path, predictor: Predictor, images: Sequence[Array]) -> None:
    """Write PATH from a file of `sinet.exporting.to_onnx` without preprocessing.

    The ranges of what flows are those of `images`. Weights have a scale a channel, activations one a tensor (smallest
    to largest value seen). The card stays inside.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="int8-") as folder, quiet(""):
        # Quiet, since it warns of a step that was just taken.
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(onnx_file), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Pictures(images, predictor.preprocessing),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        proto = onnx.load(path)
        metadata = {entry.key: entry.value for entry in onnx.load(onnx_file).metadata_props}
        onnx.helper.set_model_props(proto, metadata)
        set_oldest_format(proto)
        path.write_bytes(proto.SerializeToString(deterministic=True))


class _Pictures:
    """Pictures as onnxruntime takes them to calibrate on: one network input at a time, then None."""

    def __init__(self, images: Sequence[Array], preprocessing: Preprocessing) -> None:
        self._left = iter(images)
        self._preprocessing = preprocessing

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next picture, by the name of the network's input."""
        image = next(self._left, None)
        if image is None:
            return None
        square = squash_image(image, self._preprocessing.size)
        return {INPUT: self._preprocessing.tensor(torch.from_numpy(square)[None]).numpy()}


def agreement(path: Path, predictor: Predictor, images: Sequence[Array]) -> float:
    """Foreground IoU, 0..1, of the file's masks with torch's at the network's own size, mean over the pictures."""
    other = OnnxPredictor(path)
    rows = []
    for image in images:
        ours, theirs = (p.square_probability(image) > 0.5 for p in (predictor, other))
        rows.append(count_pixels(theirs.view(np.uint8), ours.view(np.uint8)))
    return foreground_iou(tabulate(rows))
