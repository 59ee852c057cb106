"""A file of `sinet.exporting.to_onnx` at work in ONNX Runtime: its card, its logits, its probability of a picture."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sinet.core import atomic
from sinet.inference.predictor import Given, Probability, pixels_of
from sinet.network.preprocess import squash_image
from sinet.network.weights import CARD, WeightsCard, WeightsError

INPUT, PIXELS, OUTPUT = "input", "pixels", "logits"


class OnnxPredictor:
    """The file on the CPU, with as many threads as torch has; what `sinet.evaluation.protocol` wants of a predictor."""

    def __init__(self, path: Path) -> None:
        """WeightsError where the file is none of ours."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            atomic.check_no_pipe(path)
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise WeightsError(f"expected an ONNX file, {path}: {error.strerror}") from error
        except Exception as error:  # onnxruntime's own classes are not public
            raise WeightsError(
                f"expected an ONNX file of `python -m sinet export`, {path}: {error}"
            ) from error
        card = self._session.get_modelmeta().custom_metadata_map.get(CARD)
        self._input = self._session.get_inputs()[0].name
        if card is None or self._input not in (INPUT, PIXELS):
            raise WeightsError(
                f"expected an ONNX file of `python -m sinet export` with its card inside, found none in {path}"
            )
        self.preprocessing = WeightsCard.from_json(card).preprocessing

    def logits(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N x S x S x 3 uint8 RGB at the network's own size S to N x classes x S x S."""
        batch: NDArray[np.generic] = squares
        if self._input == INPUT:
            batch = self.preprocessing.tensor(torch.from_numpy(squares)).numpy()
        return np.asarray(self._session.run([OUTPUT], {self._input: batch})[0], np.float32)

    def square_probability(self, image: Given) -> Probability:
        """A picture, as `Predictor` takes it, to (S, S) float32 in 0..1: how likely a pixel is person."""
        logits = torch.from_numpy(self.logits(squash_image(pixels_of(image), self.preprocessing.size)[None]))
        return np.asarray(logits.softmax(dim=1)[0, 1].numpy(), np.float32)
