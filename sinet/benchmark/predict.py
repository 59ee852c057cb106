"""One picture through SINet: plain, in C, exported, and a whole photograph from pixels to its mask."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinet import native
from sinet.benchmark.drawn import benchmark_portrait
from sinet.benchmark.timing import Row, Work, cpu_times, table
from sinet.exporting.onnx_file import INPUT, OUTPUT
from sinet.exporting.to_onnx import export_onnx
from sinet.inference.predictor import Image, Predictor, Probability
from sinet.native import NativeSINet
from sinet.network.model import SINet
from sinet.network.preprocess import STANDARD, Preprocessing
from sinet.network.weights import WeightsCard

PLAIN, NATIVE = "plain eager SINet", "native"
ONNX, OPENVINO = "ONNX Runtime", "OpenVINO f32"
WHOLE, NETWORK, REST = "Predictor.mask", "  the network", "  the rest"
OPSET = 20


def report(size: int, width: int, height: int, rounds: int) -> str:
    """Two tables: the network at batch 1 on `size` x `size` pixels, and a `width` x `height` photograph to its mask.

    The weights are drawn: they do not change the time.
    """
    torch.manual_seed(0)
    model = SINet().eval()
    preprocessing = Preprocessing(**{**STANDARD.to_dict(), "size": size})
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        x = preprocessing.tensor(torch.from_numpy(benchmark_portrait(0, size, size)[0])[None])
        works: dict[str, Work] = {PLAIN: lambda: model(x)}
        works |= _native(model, x)
        works |= _exported(model, preprocessing, x, Path(folder))
        works |= _whole(model, preprocessing, benchmark_portrait(1, width, height)[0])
        times = cpu_times(works, rounds)
    baseline = times[PLAIN]
    missing = {NATIVE: "not built, see docs/predict.md", OPENVINO: "not installed"}
    network = [
        Row(name, times.get(name), "" if name in times else missing[name])
        for name in (PLAIN, NATIVE, ONNX, OPENVINO)
    ]
    whole = [Row(WHOLE, times[WHOLE]), Row(NETWORK, times[WHOLE] - times[REST]), Row(REST, times[REST])]
    return (
        table(f"Logits of one picture at {size}x{size}", network, baseline, rounds)
        + "\n\n"
        + table(f"A picture of {width}x{height} to its mask of that size", whole, baseline, rounds)
    )


def _native(model: SINet, x: Tensor) -> dict[str, Work]:
    if not native.runs(model):
        return {}
    in_c = NativeSINet(model)
    return {NATIVE: lambda: in_c(x)}


def _exported(model: SINet, preprocessing: Preprocessing, x: Tensor, folder: Path) -> dict[str, Work]:
    import onnxruntime

    path = folder / "sinet.onnx"
    export_onnx(path, model, WeightsCard(model.classes, preprocessing, "drawn", {}, 0), OPSET)
    pixels: NDArray[np.float32] = x.numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    works: dict[str, Work] = {ONNX: lambda: session.run([OUTPUT], {INPUT: pixels})}
    compiled = _openvino(path)
    return works if compiled is None else {**works, OPENVINO: lambda: compiled(pixels)}


def _openvino(path: Path) -> Any:
    """The file compiled by OpenVINO for one thread and 32-bit arithmetic; None where it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return openvino.Core().compile_model(str(path), "CPU", settings)


class _WithoutNetwork(Predictor):
    """All that a predictor does but the network, whose result is given."""

    def __init__(self, model: SINet, preprocessing: Preprocessing, probability: Probability) -> None:
        super().__init__(model, preprocessing)
        self.given = probability

    def person(self, square: Image) -> Probability:
        return self.given


def _whole(model: SINet, preprocessing: Preprocessing, image: NDArray[np.uint8]) -> dict[str, Work]:
    whole = Predictor(model, preprocessing)
    rest = _WithoutNetwork(model, preprocessing, whole.square_probability(image))
    return {WHOLE: lambda: whole.mask(image), REST: lambda: rest.mask(image)}
