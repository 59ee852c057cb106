"""From a picture of any size to its person mask at the same size."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinet import native
from sinet.images.decode import ImageError, ReadError, picture_pixels, read_image
from sinet.native import NativeSINet
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing, squash_image
from sinet.network.weights import read_weights

Image = NDArray[np.uint8]
Probability = NDArray[np.float32]
Given = Image | PIL.Image.Image | str | os.PathLike[str]
_EXPECTED = "expected a picture (H, W, 3) uint8 RGB, one of Pillow's or a path"


class Predictor:
    """A model and its preprocessing; predicts on the device of the model's weights.

    On a CPU `mask` and `probability` take a copy of the model in C where there is one (`sinet.native`), made anew when
    the model's weights change; hooks of `model` do not see these pictures. Elsewhere the model predicts by itself, and
    so does what `sinet.native.runs` leaves out: a subclass, more classes, a model made in `torch.inference_mode()`.

    A picture is an array (H, W, 3) uint8 RGB, a picture of Pillow's or the path of a file; the last two are turned
    upright and put on white, as `python -m sinet predict` does. OpenCV's arrays are BGR: turn them round first
    (`bgr[..., ::-1]`). ValueError for anything else, ImageError, which is one, for a file that is no usable picture,
    OSError for one that the system does not give, such as FileNotFoundError; both name the file.

    The picture is squashed to the network's square (bilinear, aspect not kept, as in training), and the
    probability is enlarged to the picture's size (bilinear).
    """

    def __init__(self, model: SINet, preprocessing: Preprocessing) -> None:
        self.model = model.eval()
        self.preprocessing = preprocessing
        self._copy: NativeSINet | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the copy, which does not fit a copied model."""
        return {**self.__dict__, "_copy": None}

    @classmethod
    def load(cls, path: str | Path) -> "Predictor":
        """From a weights file; WeightsError where it is none."""
        model, card = read_weights(Path(path))
        return cls(model, card.preprocessing)

    def probability(self, image: Given) -> Probability:
        """A picture to (H, W) float32 in 0..1: how likely a pixel is person."""
        pixels = pixels_of(image)
        height, width = pixels.shape[:2]
        return enlarge(self.square_probability(pixels), width, height)

    def mask(self, image: Given) -> Image:
        """A picture to (H, W) uint8 {0, 1}: 1 where the probability is above a half."""
        return (self.probability(image) > 0.5).view(np.uint8)

    def square_probability(self, image: Given) -> Probability:
        """A picture to (S, S) float32 in 0..1 at the network's own size S.

        Above a half is the same as the larger of the two logits.
        """
        return self.person(squash_image(pixels_of(image), self.preprocessing.size))

    @torch.inference_mode()
    def person(self, square: Image) -> Probability:
        """The network itself: (S, S, 3) uint8 RGB to (S, S) float32 in 0..1."""
        network = self._network()
        if isinstance(network, NativeSINet):
            return network.person(square, self.preprocessing)
        device = next(self.model.parameters()).device
        x = self.preprocessing.tensor(torch.from_numpy(square)[None].to(device))
        person = network(x).softmax(dim=1)[0, 1]
        return np.asarray(person.cpu().numpy(), np.float32)

    def logits(self, x: Tensor) -> Tensor:
        """N x 3 x S x S in the scale of the weights to N x classes x S x S, both on the model's device."""
        logits: Tensor = self._network()(x)
        return logits

    def _network(self) -> SINet | NativeSINet:
        """Returns the copy in C of the model as it is now, or the model where that does not run."""
        if self.model.training:
            return self.model
        if self._copy is None or not self._copy.matches(self.model):
            self._copy = None
            with torch.inference_mode(False):
                if native.runs(self.model):
                    self._copy = NativeSINet(self.model)
        return self._copy or self.model


def pixels_of(given: Given) -> Image:
    """What `Predictor` takes as (H, W, 3) uint8 RGB; ValueError, with what to do, for what is no picture."""
    if isinstance(given, PIL.Image.Image):
        return picture_pixels(given)
    if isinstance(given, str | os.PathLike):
        return _read(Path(given))
    if not isinstance(given, np.ndarray) or isinstance(given, np.ma.MaskedArray):
        raise ValueError(f"{_EXPECTED}, found a {type(given).__name__}; {_advice(given)}")
    if given.ndim != 3 or given.shape[2] != 3 or given.dtype != np.uint8 or given.size == 0:
        raise ValueError(f"{_EXPECTED}, found {given.shape} {given.dtype}; {_advice(given)}")
    return given


def _read(path: Path) -> Image:
    try:
        return read_image(path)
    except ImageError as error:
        raise ImageError(error.reason, f"{path}: {error.detail}") from error
    except ReadError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _advice(given: object) -> str:
    if isinstance(given, np.ma.MaskedArray):
        return "what it masks out would count as picture: give array.filled(0), or array.data for all of it"
    if isinstance(given, Tensor):
        return "give (C, H, W) as tensor.permute(1, 2, 0).numpy(), with levels 0..255"
    if not isinstance(given, np.ndarray):
        return "turn it into such an array first"
    if given.size == 0:
        return "it has no pixels"
    if given.ndim == 2 or given.shape[2:] == (1,):
        return "of grey make three channels: np.dstack([grey] * 3)"
    if given.ndim == 4:
        return "give one picture at a time"
    if given.shape[2:] == (4,):
        return "leave out its transparency: rgba[..., :3], or of OpenCV's BGRA bgra[..., 2::-1]"
    if given.ndim == 3 and given.shape[0] == 3 and given.shape[2] != 3:
        return "put the channels last: image.transpose(1, 2, 0)"
    if given.dtype.kind == "f":
        return "round it to levels 0..255: (image * 255).round().astype(np.uint8), if it is 0..1"
    return "turn it into such an array first"


def enlarge(probability: Probability, width: int, height: int) -> Probability:
    """Bilinear resize of a (h, w) probability; unchanged where the size is already right."""
    if probability.shape == (height, width):
        return probability
    return np.asarray(cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
