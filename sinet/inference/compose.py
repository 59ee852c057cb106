"""A person before another background: soft edges, and no rim in the colours of the old background.

The estimate of the person's own colours at the edge is in the spirit of Forte, "Approximate Fast Foreground
Colour Estimation" (ICIP 2021): blurred means of both sides, corrected so that they explain the picture.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sinet.images.colour import to_srgb
from sinet.images.decode import Array, ImageError, ReadError, decode_image, read_bytes

_Share = NDArray[np.float32]  # (H, W) in 0..1

COARSE = 512  # pixels on the longer side where blurred means are taken: they have no detail to lose
BLUR = 0.03  # sigma of a blurred background, as a share of the longer side
REACH = 0.02  # sigma of the means of colour near the edge, likewise
ROWS = 256  # blended at a time, so that a large picture does not fill the memory with floats


class BackgroundError(ValueError):
    """No background; the message says what was expected and found."""


@dataclass(frozen=True)
class Blur:
    """The picture's own background, out of focus."""


@dataclass(frozen=True)
class Colour:
    """One colour, (red, green, blue) in 0..255."""

    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class PictureBackground:
    """A picture (H, W, 3) uint8 RGB of any size: scaled to cover, its middle used."""

    pixels: Array


@dataclass(frozen=True)
class Transparent:
    """Nothing behind the person."""


Background = Blur | Colour | PictureBackground | Transparent


def parse_background(text: str) -> Background:
    """`blur`, `transparent`, #RRGGBB or the path of a picture; BackgroundError where it is none of them."""
    if text == "blur":
        return Blur()
    if text == "transparent":
        return Transparent()
    if text.startswith("#"):
        digits = text[1:]
        if len(digits) != 6 or not set(digits) <= set("0123456789abcdefABCDEF"):
            raise BackgroundError(
                f"expected a colour as # and six hexadecimal digits, such as '#20a040', found {text!r}"
            )
        red, green, blue = bytes.fromhex(digits)
        return Colour((red, green, blue))
    try:
        data = read_bytes(Path(text))
        return PictureBackground(to_srgb(decode_image(data), data))
    except (ImageError, ReadError) as error:
        raise BackgroundError(
            f"expected blur, transparent, a colour such as '#20a040' or a picture, found {text!r}, which is no "
            f"usable picture: {error}"
        ) from error


def compose(image: Array, probability: _Share, background: Background) -> Array:
    """The person of `image` (H, W, 3) uint8 RGB before `background`: (H, W, 3), or RGBA where transparent."""
    alpha = opacity(probability)
    if isinstance(background, Blur):
        return _blend(image, blurred_background(image, alpha), alpha)
    person = person_colours(image, alpha)
    if isinstance(background, Transparent):
        level = np.rint(alpha * 255).astype(np.uint8)
        person[level == 0] = 0  # what was to be removed must not stay in the file, unseen
        person[level == 255] = image[level == 255]  # nothing to guess, also where alpha only rounds to 1
        return np.dstack((person, level))
    height, width = alpha.shape
    if isinstance(background, PictureBackground):
        return _blend(person, cover(background.pixels, width, height), alpha)
    return _blend(person, np.full((height, width, 3), background.rgb, np.uint8), alpha)


def opacity(probability: _Share) -> _Share:
    """How much of a pixel is person: a half stays a half, and what the network is nearly sure of is sure.

    Without the stretch a background shines through wherever the network says 0.95.
    """
    return np.clip((probability - np.float32(0.5)) * np.float32(1.5) + np.float32(0.5), 0, 1)


def mask_of(probability: _Share) -> Array:
    """(H, W) uint8, 255 where the person is the likelier, else 0; as `Predictor.mask`."""
    return (probability > 0.5).astype(np.uint8) * np.uint8(255)


def cover(pixels: Array, width: int, height: int) -> Array:
    """The largest middle part of a picture with the aspect of width x height, scaled to that size."""
    tall, wide = pixels.shape[:2]
    scale = max(width / wide, height / tall)
    part_wide, part_tall = (
        min(wide, max(1, round(width / scale))),
        min(tall, max(1, round(height / scale))),
    )
    left, top = (wide - part_wide) // 2, (tall - part_tall) // 2
    part = pixels[top : top + part_tall, left : left + part_wide]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=method), np.uint8)


def blurred_background(image: Array, alpha: _Share) -> Array:
    """The background out of focus, with nothing of the person in it: no glow around the head."""
    small, share = _coarse(image, alpha)
    return _enlarged(_mean(small, 1 - share, BLUR), image)


def person_colours(image: Array, alpha: _Share) -> Array:
    """The colours of the person alone, (H, W, 3) uint8: the picture's where alpha is 1, guessed at its edge."""
    small, share = _coarse(image, alpha)
    # Pixels that are surely on one side count most: the edge itself is what is to be found out.
    person = _enlarged(_mean(small, share**16, REACH), image)
    behind = _enlarged(_mean(small, (1 - share) ** 16, REACH), image)
    out = np.empty_like(image)
    for top in range(0, len(image), ROWS):
        rows = slice(top, top + ROWS)
        a = alpha[rows, :, None]
        mean = person[rows].astype(np.float32)
        unexplained = image[rows] - a * mean - (1 - a) * behind[rows]
        out[rows] = np.rint(np.clip(mean + a * unexplained, 0, 255))
    return out


def _coarse(image: Array, alpha: _Share) -> tuple[NDArray[np.float32], _Share]:
    height, width = alpha.shape
    scale = min(1, COARSE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small, np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)


def _mean(small: NDArray[np.float32], weight: _Share, reach: float) -> NDArray[np.float32]:
    """Blurred mean of the pixels that have weight.

    Wider surroundings and the whole picture count a little: they decide where nothing near has weight.
    """
    weighted = np.dstack((small * weight[..., None], weight))  # blurred alike, divided at the end
    sigma = max(0.5, max(weight.shape) * reach)
    total = _blur(weighted, sigma) + 1e-2 * _blur_wide(weighted, sigma) + 1e-5 * weighted.mean(axis=(0, 1))
    return np.asarray(total[..., :3] / np.maximum(total[..., 3:], 1e-12), np.float32)


def _blur(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def _blur_wide(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Eight times as wide, on an eighth of the pixels each way."""
    height, width = values.shape[:2]
    size = (max(1, width // 8), max(1, height // 8))
    tiny = _blur(np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32), sigma)
    return np.asarray(cv2.resize(tiny, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _enlarged(small: NDArray[np.float32], image: Array) -> Array:
    levels = np.rint(np.clip(small, 0, 255)).astype(np.uint8)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(levels, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _blend(person: Array, behind: Array, alpha: _Share) -> Array:
    out = np.empty_like(person)
    for top in range(0, len(person), ROWS):
        rows = slice(top, top + ROWS)
        below = behind[rows].astype(np.float32)
        out[rows] = np.rint(below + alpha[rows, :, None] * (person[rows] - below))
    return out
