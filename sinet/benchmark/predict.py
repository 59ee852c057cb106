"""One picture through SINet: plain, exported, and a whole photograph from pixels to its mask."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinet.benchmark.drawn import portrait
from sinet.benchmark.timing import Row, Work, cpu_times, table
from sinet.export import export_onnx
from sinet.fused import FusedSINet
from sinet.model import SINet
from sinet.onnx_file import INPUT, OUTPUT
from sinet.predict import Predictor
from sinet.preprocess import STANDARD, Preprocessing
from sinet.weights import WeightsCard

PLAIN, FUSED, TRACED = "plain eager SINet", "fused", "fused, traced"
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
        x = preprocessing.tensor(torch.from_numpy(portrait(0, size, size)[0])[None])
        fused, traced = FusedSINet(model, trace_after=0), FusedSINet(model, trace_after=1)
        works: dict[str, Work] = {
            PLAIN: lambda: model(x),
            FUSED: lambda: fused(x),
            TRACED: lambda: traced(x),
        }
        works |= _exported(model, preprocessing, x, Path(folder))
        works |= _whole(model, preprocessing, portrait(1, width, height)[0])
        times = cpu_times(works, rounds)
    baseline = times[PLAIN]
    network = [Row(name, times[name]) for name in (PLAIN, FUSED, TRACED, ONNX)]
    network.append(Row(OPENVINO, times.get(OPENVINO), "" if OPENVINO in times else "not installed"))
    whole = [Row(WHOLE, times[WHOLE]), Row(NETWORK, times[WHOLE] - times[REST]), Row(REST, times[REST])]
    return (
        table(f"Logits of one picture at {size}x{size}", network, baseline, rounds)
        + "\n\n"
        + table(f"A picture of {width}x{height} to its mask of that size", whole, baseline, rounds)
    )


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
    """All that a predictor does but the network, whose logits are given."""

    def __init__(self, model: SINet, preprocessing: Preprocessing, logits: Tensor) -> None:
        super().__init__(model, preprocessing)
        self.given = logits

    def logits(self, x: Tensor) -> Tensor:
        return self.given


def _whole(model: SINet, preprocessing: Preprocessing, image: NDArray[np.uint8]) -> dict[str, Work]:
    logits = torch.randn(1, model.classes, preprocessing.size, preprocessing.size)
    whole, rest = Predictor(model, preprocessing), _WithoutNetwork(model, preprocessing, logits)
    return {WHOLE: lambda: whole.mask(image), REST: lambda: rest.mask(image)}
