"""The variants of `sinet.training.augment` made of a whole batch with torch, where the pictures already lie on a GPU.

The same numbers are drawn and the same steps follow each other. What differs is that OpenCV rounds positions to 1/32
pixel: some grey levels at an outline, a tenth of one in the mean, and now and then a pixel of the mask's outline.
`python -m pytest tests/sinet/training/test_augment_batch.py` holds both against each other. No step waits for the GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sinet.training.augment import (
    BORDER,
    LUMA,
    SMOOTH,
    Enhancement,
    Noise,
    Variant,
    affine,
    noise_side,
    noise_tile,
)

_SAME = Enhancement(colour=1, brightness=1, contrast=1, sharpness=1)
_QUIET = Noise(sigma=0, y=0, x=0)
_GAUSSIAN = {3: (1.0, 2.0, 1.0), 5: (1.0, 4.0, 6.0, 4.0, 1.0)}  # what OpenCV takes for a sigma of 0
_EPSILON = 1e-6  # pixels: a position that should be whole may come out a rounding error below


@dataclass(frozen=True)
class Canvases:
    """Pictures of several sizes in the upper left corners of squares of one size.

    `images` (N, 3, C, C) uint8 RGB, `BORDER` beyond the picture; `masks` (N, C, C) uint8 {0, 1}, 0 beyond it; `sizes`
    (width, height) of each picture.
    """

    images: Tensor
    masks: Tensor
    sizes: Sequence[tuple[int, int]]


def apply_batch(canvases: Canvases, size: int, variants: Sequence[Variant]) -> tuple[Tensor, Tensor]:
    """One variant of each picture: images (N, size, size, 3) uint8 RGB and masks (N, size, size) uint8 {0, 1}."""
    device = canvases.images.device
    rows = [_row(*picture, size, v) for picture, v in zip(canvases.sizes, variants, strict=True)]
    geometry, limits, nudges, factors, noise = _columns(upload(np.array(rows), device), 6, 2, 2, 4, 3)
    image, mask = _warp(canvases, size, geometry.view(-1, 2, 3), limits, nudges)
    if any(variant.enhancement for variant in variants):
        image = _enhance(image, factors)
    image = _blur(image, [variant.blur for variant in variants])
    if any(variant.noise for variant in variants):
        image = _add_noise(image, noise)
    return image.permute(0, 2, 3, 1).to(torch.uint8), mask


def upload(values: NDArray[Any], device: torch.device) -> Tensor:
    """An array on the device, without waiting for what the device has still to do."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def sample(images: Tensor, positions: Tensor) -> Tensor:
    """Bilinear samples (N, C, H, W) of float `images` (N, C, S, S) at positions (N, H, W, 2), x and y in pixels.

    0 is a pixel's centre. Beyond the canvas all is 0.
    """
    side = images.shape[-1]
    grid = (positions * (2 / (side - 1)) - 1).to(images.dtype)
    with torch.backends.cudnn.flags(enabled=False):  # torch's own way to sample, on every device
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _row(width: int, height: int, size: int, variant: Variant) -> list[float]:
    """What one picture needs as numbers: see the columns in `apply_batch`."""
    squashed = variant.matrix is None
    matrix = affine(width, height, size, flip=variant.flip) if variant.matrix is None else variant.matrix
    (a, b, c), (d, e, f) = matrix.tolist()
    area = a * e - b * d
    back = (e / area, -b / area, (b * f - e * c) / area, -d / area, a / area, (d * c - a * f) / area)
    # A squash repeats the outermost pixels, a warp lets the grey behind the picture in. A squashed mask's neighbour
    # is found from the pixels' upper left corners, a warped one's from their centres, as OpenCV does it.
    limits = (width - 1, height - 1) if squashed else (math.inf, math.inf)
    nudge = (0.5 - 0.5 * width / size, 0.5 - 0.5 * height / size) if squashed else (0.5, 0.5)
    enhancement, noise = variant.enhancement or _SAME, variant.noise or _QUIET
    factors = (enhancement.colour, enhancement.brightness, enhancement.contrast, enhancement.sharpness)
    return [*back, *limits, *nudge, *factors, noise.sigma, noise.y, noise.x]


def _columns(table: Tensor, *widths: int) -> list[Tensor]:
    return list(table.split(widths, dim=1))


def _warp(
    canvases: Canvases, size: int, back: Tensor, limits: Tensor, nudges: Tensor
) -> tuple[Tensor, Tensor]:
    """Images N x 3 x size x size as float of whole numbers 0..255, and masks N x size x size uint8."""
    count, _, side, _ = canvases.images.shape
    steps = torch.arange(size, device=back.device, dtype=back.dtype)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    square = torch.stack((x, y, torch.ones_like(x)), dim=-1).view(1, -1, 3)
    exact = (square @ back.transpose(1, 2)).view(count, size, size, 2)
    bounds = limits[:, None, None, :]
    positions = torch.minimum(exact, bounds)
    positions = torch.where(bounds.isinf(), positions, positions.clamp_min(0))
    # Less the grey of the border, so that what `sample` finds beyond the canvas is that grey too.
    image = (sample(canvases.images.float() - BORDER, positions) + BORDER).round_()
    nearest = torch.floor(exact + nudges[:, None, None, :] + _EPSILON).long()
    inside = ((nearest >= 0) & (nearest < side)).all(dim=-1)
    column, row = nearest.clamp(0, side - 1).unbind(-1)
    found = canvases.masks.flatten(1).gather(1, (row * side + column).flatten(1)).view(count, size, size)
    return image, found * inside


def _enhance(image: Tensor, factors: Tensor) -> Tensor:
    colour, brightness, contrast, sharpness = factors.unbind(1)
    luma = _luma(image.device)
    grey = image.mean(dim=(2, 3), dtype=factors.dtype) @ luma
    alike = torch.eye(3, dtype=factors.dtype, device=image.device)
    saturate = colour[:, None, None] * alike + (1 - colour)[:, None, None] * luma
    matrix = (contrast * brightness)[:, None, None] * saturate
    offset = ((1 - contrast) * brightness * grey)[:, None, None]
    mixed = matrix.to(image.dtype) @ image.flatten(2) + offset.to(image.dtype)
    image = _whole(mixed).view_as(image)
    sharp = sharpness[:, None, None, None].to(image.dtype)
    return _whole(sharp * image + (1 - sharp) * _filter(image, SMOOTH.tolist(), "replicate"))


def _blur(image: Tensor, blurs: Sequence[tuple[str, int] | None]) -> Tensor:
    groups: dict[tuple[str, int], list[int]] = {}
    for number, blur in enumerate(blurs):
        if blur is not None:
            groups.setdefault(blur, []).append(number)
    for (kind, kernel), members in groups.items():
        index = upload(np.array(members), image.device)
        image = image.index_copy(0, index, _blurred(image[index], kind, kernel))
    return image


def _blurred(image: Tensor, kind: str, kernel: int) -> Tensor:
    if kind == "median":
        return _median(torch.stack(_neighbours(image, kernel, "replicate")))
    line = torch.tensor(_GAUSSIAN[kernel] if kind == "gaussian" else (1.0,) * kernel)
    weights = torch.outer(line, line) / line.sum() ** 2
    return _whole(_filter(image, weights.tolist(), "reflect"))


def _filter(image: Tensor, weights: Sequence[Sequence[float]], beyond: str) -> Tensor:
    """Weighted sums of neighbours: shifted pictures added up, which is exact where a convolution may take TF32."""
    total = torch.zeros_like(image)
    flat = [weight for line in weights for weight in line]
    for shifted, weight in zip(_neighbours(image, len(weights), beyond), flat, strict=True):
        total.add_(shifted, alpha=weight)
    return total


def _neighbours(image: Tensor, kernel: int, beyond: str) -> list[Tensor]:
    """The picture shifted to each place of the kernel, line by line, as views."""
    height, width = image.shape[2:]
    padded = functional.pad(image, [kernel // 2] * 4, mode=beyond)
    return [padded[:, :, y : y + height, x : x + width] for y in range(kernel) for x in range(kernel)]


def _median(values: Tensor) -> Tensor:
    """Of an odd number of values along the first dimension, which are sorted on the way.

    By odd-even transposition, all pixels at once: torch's own median takes the pixels of a GPU one by one.
    """
    count = len(values)
    for turn in range(count):
        first, second = values[turn % 2 : count - 1 : 2], values[turn % 2 + 1 :: 2]
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        first.copy_(low)
        second.copy_(high)
    return values[count // 2]


def _add_noise(image: Tensor, noise: Tensor) -> Tensor:
    size = image.shape[-1]
    tile = _tile(noise_side(size), image.device)
    steps = torch.arange(size, device=image.device)
    rows, columns = (start.long()[:, None] + steps for start in (noise[:, 1], noise[:, 2]))
    window = tile[rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return _whole(image + noise[:, 0, None, None, None].to(image.dtype) * window)


@lru_cache(maxsize=8)
def _tile(side: int, device: torch.device) -> Tensor:
    return torch.from_numpy(noise_tile(side)).to(device)


@lru_cache(maxsize=8)
def _luma(device: torch.device) -> Tensor:
    return torch.tensor(LUMA, dtype=torch.float64, device=device)


def _whole(image: Tensor) -> Tensor:
    """To the whole numbers 0..255 that a picture of bytes can hold."""
    return image.round_().clamp_(0, 255)
