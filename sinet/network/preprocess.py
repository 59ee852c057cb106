"""From pixels to the network's input: one way for training, evaluation, export and prediction.

The numbers travel inside every weights file (`sinet.network.weights`), so that nobody has to guess them.
"""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinet.core import paper


@dataclass(frozen=True)
class Preprocessing:
    """What the network wants: ((x - mean) / std) * scale, channels in `order`, at `size` x `size` pixels.

    `mean` and `std` are in units of 0..255 and in the channel order `order`; `size` is a multiple of 32.
    """

    size: int
    order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise ValueError(f"preprocessing: size must be a multiple of 32, found {self.size}")
        if self.order not in ("rgb", "bgr"):
            raise ValueError(f"preprocessing: order must be rgb or bgr, found {self.order!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or self.scale <= 0:
            raise ValueError(
                f"preprocessing: mean and std must hold three numbers, std and scale must be above 0, "
                f"found mean {self.mean}, std {self.std}, scale {self.scale}"
            )

    def tensor(self, images: Tensor) -> Tensor:
        """RGB pixels N x H x W x 3 uint8 to the network's input N x 3 x H x W float32, on the same device."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"expected RGB pixels N x H x W x 3 uint8, found {tuple(images.shape)} {images.dtype}"
            )
        channels = images if self.order == "rgb" else images.flip(-1)
        x = channels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        mean, factor = _on_cuda(self, x.device) if x.device.type == "cuda" else self._numbers()
        return x.sub_(mean).mul_(factor)

    def _numbers(self) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return mean, self.scale / std

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_dict`; ValueError where something is missing, unknown or out of range."""
        try:
            return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"preprocessing: expected size, order, mean, std and scale, found {sorted(values)}"
            ) from error


@functools.lru_cache(maxsize=8)
def _on_cuda(preprocessing: Preprocessing, device: torch.device) -> tuple[Tensor, Tensor]:
    # Copied once: each copy waits until the GPU has done all that it was given.
    mean, factor = preprocessing._numbers()
    return mean.to(device), factor.to(device)


# Mean and standard deviation of portraits as the official code publishes them, here as RGB.
STANDARD = Preprocessing(
    size=paper.SIZE,
    order="rgb",
    mean=(132.35703, 115.69884, 107.304565),
    std=(68.29726, 65.1337, 63.97182),
    scale=1 / 255,
)
# What the released weights were trained with: BGR, and divided by 255 once more.
OFFICIAL = Preprocessing(
    size=paper.SIZE,
    order="bgr",
    mean=(107.304565, 115.69884, 132.35703),
    std=(63.97182, 65.1337, 68.29726),
    scale=1 / 255,
)


def squash_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 to (size, size, 3): bilinear without antialias and without keeping the aspect."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def squash_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(H, W) uint8 {0, 1} to (size, size), each pixel from its nearest neighbour."""
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8)


def network_input(images: Tensor, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """RGB pixels N x H x W x 3 uint8 as the network's input on `device`, in the layout that is fastest there."""
    x = preprocessing.tensor(images.to(device, non_blocking=True))
    # Measured on a CPU: 1.2 times as many images a second.
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return x.contiguous(memory_format=layout)
