"""An ONNX file of SINet with its convolutions in 8-bit integers, calibrated on pictures.

A quarter less to ship, and faster only where the processor multiplies bytes fast; what it costs in accuracy is for
`python -m sinet evaluate --weights OUT.onnx` to say.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from sinet.images import Array
from sinet.metrics import count_pixels, foreground_iou, tabulate
from sinet.onnx_file import INPUT, OnnxPredictor
from sinet.predict import Predictor
from sinet.preprocess import squash_image

PICTURES = 64  # to calibrate on


def export_int8(onnx_file: Path, path: Path, predictor: Predictor, images: Sequence[Array]) -> None:
    """Write PATH from a file of `sinet.export` without preprocessing; the ranges of what flows are those of `images`.

    Weights have a scale a channel, activations one a tensor (smallest to largest value seen). The card stays inside.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            if image is None:
                return None
            square = squash_image(image, predictor.preprocessing.size)
            return {INPUT: predictor.preprocessing.tensor(torch.from_numpy(square)[None]).numpy()}

    path.parent.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".int8-") as folder:
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / path.name
        root.setLevel(logging.ERROR)  # it warns of a step that was just taken
        try:
            quant_pre_process(str(onnx_file), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(written),
                Pictures(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            root.setLevel(level)
        proto = onnx.load(written)
        metadata = {entry.key: entry.value for entry in onnx.load(onnx_file).metadata_props}
        onnx.helper.set_model_props(proto, metadata)
        written.write_bytes(proto.SerializeToString(deterministic=True))
        written.replace(path)


def agreement(path: Path, predictor: Predictor, images: Sequence[Array]) -> float:
    """Foreground IoU, 0..1, of the file's masks with torch's at the network's own size, mean over the pictures."""
    other = OnnxPredictor(path)
    rows = []
    for image in images:
        ours, theirs = (p.square_probability(image) > 0.5 for p in (predictor, other))
        rows.append(count_pixels(theirs.view(np.uint8), ours.view(np.uint8)))
    return foreground_iou(tabulate(rows))
