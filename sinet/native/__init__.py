"""SINet for prediction on a CPU in C: the logits of the plain modules in about an eighth of the time, on one thread.

`kernel` is the extension module of the C files beside this one, built at installation where there is a C compiler; in a
second checkout it is what the installation has built of the same files (`installed`). Where it is missing or was built
of older files, or the processor is none with AVX2 and FMA, `runs` is false and prediction takes the model itself.
"""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinet.native.installed import installed_kernel
from sinet.native.weights import CLASSES, LAYOUT, pack
from sinet.network.model import SINet, check_size
from sinet.network.preprocess import Preprocessing

try:
    from sinet.native import kernel
except ImportError:  # not built here
    kernel = installed_kernel()  # type: ignore[assignment]


def why_torch() -> str | None:
    """Why prediction takes torch on this machine, as a sentence; None where it runs in C."""
    if kernel is None:
        return (
            "prediction runs in torch, not in C: nothing was built of sinet/native/c (`pip install -e .` does, with a "
            "C compiler); probabilities differ from those of C in the sixth digit"
        )
    if getattr(kernel, "LAYOUT", None) != LAYOUT:
        return "prediction runs in torch, not in C: what was built is of older files; `pip install -e .` builds it anew"
    if not kernel.supported():
        return "prediction runs in torch, not in C, as this processor has no AVX2 or no FMA"
    return None


def runs(model: SINet) -> bool:
    """Returns whether the kernel is there and computes what this model does.

    That is two classes in float32, in eval mode, on a CPU. Of a model made in `torch.inference_mode()` nobody counts
    what is written to it, so that a copy would not know when it is old.
    """
    return (
        kernel is not None
        and _is_current()
        and kernel.supported()
        and type(model) is SINet
        and model.classes == CLASSES
        and not any(module.training for module in model.modules())
        and all(parameter.dtype == torch.float32 for parameter in model.parameters())
        and all(parameter.device.type == "cpu" for parameter in model.parameters())
        and not any(parameter.is_inference() for parameter in model.parameters())
    )


def _is_current() -> bool:
    """Whether the kernel takes the weights as `pack` arranges them; an editable installation may keep an older one."""
    if getattr(kernel, "LAYOUT", None) == LAYOUT:
        return True
    warnings.warn(
        "sinet.native.kernel was built of older files than these, so that prediction takes torch, which is slower; "
        "build it again: pip install -e .",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


class NativeSINet:
    """What `SINet.forward` computes in eval mode: N x 3 x H x W float32 to logits N x 2 x H x W, without gradients.

    The weights are copied, `matches` tells whether the model still has them. Several threads may use it at once.
    ValueError where `runs` is false of the model, for heights and widths that are no multiples of 32 or above 8192,
    and for other inputs than float32 on a CPU.
    """

    def __init__(self, model: SINet) -> None:
        if not runs(model):
            raise ValueError(
                "expected the kernel, and a SINet of two classes in float32 and eval mode on a CPU"
            )
        self._weights: NDArray[np.float32] = pack(model).numpy()
        self._channels = model.channels
        self._model = model
        self._tensors = [
            tensors
            for module in model.modules()
            for tensors in (module._parameters, module._buffers)
            if tensors
        ]
        self._state = self._look()
        self._scratch: list[NDArray[np.uint8]] = []

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        check_size(x)
        if x.ndim != 4 or x.shape[1] != 3 or x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(f"expected N x 3 x H x W float32 on a CPU, found {tuple(x.shape)} {x.dtype}")
        count, _, height, width = x.shape
        logits = x.new_empty(count, CLASSES, height, width)
        scratch = self._take_scratch(height, width)
        pixels: NDArray[np.float32] = x.detach().contiguous().numpy()
        kernel.logits(self._channels, self._weights, pixels, scratch, logits.numpy(), count, height, width)
        self._scratch.append(scratch)
        return logits

    def person(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
        """RGB pixels (H, W, 3) to (H, W) in 0..1: softmax of the logits, the second class."""
        height, width, channels = pixels.shape
        if channels != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"expected pixels (H, W, 3) uint8, found {pixels.shape} {pixels.dtype}")
        order = (0, 1, 2) if preprocessing.order == "rgb" else (2, 1, 0)
        mean = tuple(preprocessing.mean[c] for c in order)
        factor = tuple(preprocessing.scale / preprocessing.std[c] for c in order)
        probability = np.empty((height, width), np.float32)
        scratch = self._take_scratch(height, width)
        contiguous = np.ascontiguousarray(pixels)
        kernel.probability(
            self._channels,
            self._weights,
            contiguous,
            scratch,
            probability,
            height,
            width,
            mean,
            factor,
            order,
        )
        self._scratch.append(scratch)
        return probability

    def matches(self, model: SINet) -> bool:
        """Returns whether this is the model that was copied, with none of its weights replaced or written to since."""
        return model is self._model and self._look() == self._state

    def _look(self) -> list[tuple[int, int]]:
        """Returns where each tensor of the model lies and how often it was written to; takes 0.1 ms."""
        return [
            (t.data_ptr(), t._version) for tensors in self._tensors for t in tensors.values() if t is not None
        ]

    def _take_scratch(self, height: int, width: int) -> NDArray[np.uint8]:
        """Working memory that no other thread holds; kept, as fresh memory costs a tenth of a prediction."""
        size = kernel.scratch_size(self._channels, height, width)
        while self._scratch:
            try:
                scratch = self._scratch.pop()
            except IndexError:  # another thread was quicker
                break
            if scratch.nbytes == size:
                return scratch
        return np.empty(size, np.uint8)
