"""SINet as an ONNX file, compared with torch before it is called done.

The file takes what `Preprocessing.tensor` gives, `input` N x 3 x S x S float32, or with the preprocessing inside
what that takes, `pixels` N x S x S x 3 uint8 RGB, and gives `logits` N x classes x S x S. The weights' card
stands in its metadata under `sinet`.
"""

import contextlib
import io
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinet.core import atomic
from sinet.exporting.onnx_file import INPUT, OUTPUT, PIXELS, OnnxPredictor
from sinet.images.decode import Array
from sinet.inference.predictor import Predictor
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing, squash_image
from sinet.network.weights import CARD, WeightsCard


class ExportError(RuntimeError):
    """The exported file does not do what the model does."""


class WithPreprocessing(nn.Module):
    """N x S x S x 3 uint8 RGB to logits: the model with its preprocessing in front, for files that hold both."""

    def __init__(self, model: SINet, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(self.preprocessing.tensor(x))
        return logits


def export_onnx(
    path: Path, model: SINet, card: WeightsCard, opset: int, with_preprocessing: bool = False
) -> onnx.ModelProto:
    """Write the model as ONNX with any batch size; returns what was written.

    Runtimes refuse a format (IR) newer than they are, whatever it holds, so the file says the oldest that has its
    operators. ExportError where torch does not translate into that opset: it then takes another one silently.
    """
    size = card.preprocessing.size
    network: nn.Module = model
    example = torch.zeros(2, 3, size, size)
    if with_preprocessing:
        network = WithPreprocessing(model, card.preprocessing)
        example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # of torch about its own internals
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=[PIXELS if with_preprocessing else INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        )
    if program is None:
        raise ExportError("torch.onnx.export gave no program")
    proto = program.model_proto
    found = [entry.version for entry in proto.opset_import if not entry.domain]
    if found != [opset]:
        raise ExportError(
            f"expected ONNX of opset {opset}, found {found}: torch does not translate SINet into it"
        )
    set_oldest_format(proto)
    _strip(proto)
    onnx.helper.set_model_props(proto, {CARD: card.to_json()})
    onnx.checker.check_model(proto, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return proto


def set_oldest_format(proto: onnx.ModelProto) -> None:
    """Let the file say the oldest IR version that has the opsets of its operators; opsets that it does not use go."""
    used = {node.domain for node in proto.graph.node}
    kept = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)


@contextlib.contextmanager
def until_compared(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which takes its place when what is done with it meanwhile raises nothing.

    So a file that differs from torch never stands under the name that was asked for, and an earlier one stays. An
    OpenVINO file's .bin goes with its .xml. An OSError of what is written meanwhile says which file it was to be.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    if path.is_dir():
        raise ExportError(f"expected a file to write, {path} is a folder")
    atomic.check_no_pipe(path)
    # Always the same name, so that a kill leaves nothing for long.
    folder = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder / path.name
        for one in sorted(folder.iterdir()):
            one.replace(path.parent / one.name)
    except OSError as error:
        if error.errno is None or Path(error.filename or folder / path.name).parent != folder:
            raise
        raise atomic.with_name(error, path) from error
    finally:
        shutil.rmtree(folder)


def difference(path: Path, predictor: Predictor, images: Sequence[Array]) -> float:
    """Largest absolute difference of a logit between the ONNX file and torch, on pictures (H, W, 3) uint8."""
    return largest_difference(OnnxPredictor(path).logits, path, predictor, images)


def check_parity(path: Path, difference: float, tolerance: float, pictures: int) -> None:
    """ExportError where what was exported as `path` is further from torch than `tolerance` of a logit."""
    if difference > tolerance:
        raise ExportError(
            f"expected {path} and torch to agree to {tolerance:g} on each logit of {pictures} pictures, found a "
            f"difference of {difference:.3g}; the file is not kept"
        )


def largest_difference(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    path: Path,
    predictor: Predictor,
    images: Sequence[Array],
) -> float:
    """Largest absolute difference of a logit between torch and `run`, which is what stands in the file `path`.

    `run` takes N x S x S x 3 uint8 RGB and gives N x classes x S x S.

    All pictures as one batch and the first one alone, so that the batch size is tried too. ExportError where
    there is no picture, or a logit is no number.
    """
    if not images:
        raise ExportError(f"expected at least one picture to compare {path} with torch, found none")
    squares = np.stack([squash_image(image, predictor.preprocessing.size) for image in images])
    largest = 0.0
    for batch in (squares, squares[:1]):
        x = predictor.preprocessing.tensor(torch.from_numpy(batch))
        with torch.inference_mode():
            wanted = predictor.model(x).numpy()
        got = run(batch)
        if not np.isfinite(got).all():
            raise ExportError(f"{path.name} gives logits that are no numbers")
        largest = max(largest, float(np.abs(got - wanted).max()))
    return largest


def _strip(proto: onnx.ModelProto) -> None:
    """Remove the stack traces that torch writes into every node: a third of the file, with machine paths."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Let the logger of this name, "" for the root, say nothing but errors meanwhile."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
