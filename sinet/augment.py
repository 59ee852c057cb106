"""Augmentation of a portrait and its mask: one affine warp of both to the training size, colour, blur, noise.

The list and the ranges are PortraitNet's, as the SINet paper and the official code use them. Factors are
drawn from the whole continuous range; the official code's `randint` never reaches the upper end. Colour,
brightness and contrast are one 3x4 matrix and sharpness is one 3x3 filter, so a picture is clipped twice at
most, not four times.
"""

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sinet.images import Array
from sinet.preprocess import squash_image, squash_mask
from sinet.recipe import AugmentRecipe, Range

BORDER = 128  # grey around a picture that does not fill the square; the mask is 0 there
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, what Pillow's ImageEnhance uses
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # Pillow's SMOOTH, the low end of its Sharpness
_NOISE_SIDE = 512

Matrix = NDArray[np.float64]


def augment(
    image: Array, mask: Array, size: int, recipe: AugmentRecipe, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draw one variant of a picture, (H, W, 3) uint8 RGB and (H, W) uint8 {0, 1}, at `size` x `size` pixels.

    The same generator state gives the same bytes. A recipe that draws nothing returns `squash`.
    """
    image, mask = _warp(image, mask, size, recipe, rng)
    if rng.random() < recipe.colour_jitter:
        image = enhance(
            image,
            colour=_draw(recipe.colour, rng),
            brightness=_draw(recipe.brightness, rng),
            contrast=_draw(recipe.contrast, rng),
            sharpness=_draw(recipe.sharpness, rng),
        )
    if rng.random() < recipe.blur:
        image = _blur(image, recipe, rng)
    if rng.random() < recipe.noise:
        image = _add_noise(image, _draw(recipe.noise_sigma, rng), rng)
    return image, mask


def squash(image: Array, mask: Array, size: int) -> tuple[Array, Array]:
    """The evaluation protocol's resize to a square, without regard to the aspect."""
    return squash_image(image, size), squash_mask(mask, size)


def affine(
    width: int,
    height: int,
    size: int,
    *,
    flip: bool = False,
    degrees: float = 0.0,
    scale: float = 1.0,
    translation: tuple[float, float] = (0.0, 0.0),
    keep_aspect: bool = False,
) -> Matrix:
    """The 2x3 matrix from a picture's pixel centres to those of the square, as `cv2.warpAffine` takes it.

    Flip, rotation (counter-clockwise) and scale are about the picture's centre and in its own pixels, so a
    face is not sheared; then the picture is squashed to the square, or fitted whole into it where the aspect
    is kept; then it moves by `translation`, in shares of the square.
    """
    turn = math.radians(degrees)
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    mirror = np.diag([-1.0 if flip else 1.0, 1.0])
    fit = np.full(2, size / max(width, height)) if keep_aspect else np.array([size / width, size / height])
    linear = np.diag(fit * scale) @ rotation @ mirror
    target = np.array([0.5, 0.5]) * size + np.array(translation) * size
    offset = target - linear @ np.array([width / 2, height / 2])
    # OpenCV counts from the middle of the first pixel, which lies half a pixel inside the picture's edge.
    offset += linear @ np.array([0.5, 0.5]) - 0.5
    return np.column_stack([linear, offset])


def enhance(image: Array, *, colour: float, brightness: float, contrast: float, sharpness: float) -> Array:
    """Pillow's ImageEnhance factors (1 changes nothing), applied in this order to (H, W, 3) uint8 RGB."""
    # cv2's sums: numpy's mean over the two outer axes takes twenty times as long, with the same result.
    means = np.array(cv2.sumElems(image))[:3] / (image.shape[0] * image.shape[1])
    grey = float(_LUMA @ means) if contrast != 1 else 0.0
    saturate = colour * np.eye(3) + (1 - colour) * np.tile(_LUMA, (3, 1))
    offset = np.full(3, (1 - contrast) * brightness * grey)
    matrix = np.column_stack([contrast * brightness * saturate, offset])
    image = np.asarray(cv2.transform(image, matrix), np.uint8)
    if sharpness != 1:
        kernel = (1 - sharpness) * _SMOOTH
        kernel[1, 1] += sharpness
        image = np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)
    return image


def _warp(
    image: Array, mask: Array, size: int, recipe: AugmentRecipe, rng: np.random.Generator
) -> tuple[Array, Array]:
    height, width = mask.shape
    keep = recipe.aspect == "keep"
    flip = bool(rng.random() < recipe.flip)
    if rng.random() < recipe.affine:
        translation = (_draw(recipe.translation, rng), _draw(recipe.translation, rng))
        degrees, scale = _draw(recipe.rotation, rng), _draw(recipe.scale, rng)
        matrix = affine(
            width,
            height,
            size,
            flip=flip,
            degrees=degrees,
            scale=scale,
            translation=translation,
            keep_aspect=keep,
        )
    elif keep:
        matrix = affine(width, height, size, flip=flip, keep_aspect=True)
    else:
        image, mask = squash(image, mask, size)
        return (_mirror(image), _mirror(mask)) if flip else (image, mask)
    square, border = (size, size), (BORDER, BORDER, BORDER)
    image = np.asarray(
        cv2.warpAffine(image, matrix, square, flags=cv2.INTER_LINEAR, borderValue=border), np.uint8
    )
    mask = np.asarray(cv2.warpAffine(mask, matrix, square, flags=cv2.INTER_NEAREST, borderValue=0), np.uint8)
    return image, mask


def _mirror(array: Array) -> Array:
    return np.asarray(cv2.flip(array, 1), np.uint8)


def _blur(image: Array, recipe: AugmentRecipe, rng: np.random.Generator) -> Array:
    kernel = int(rng.choice(recipe.blur_kernels))
    kinds = recipe.blur_kinds
    weights = np.array([kinds.gaussian, kinds.median, kinds.box])
    kind = rng.choice(3, p=weights / weights.sum())
    if kind == 0:
        blurred = cv2.GaussianBlur(image, (kernel, kernel), 0)
    elif kind == 1:
        blurred = cv2.medianBlur(image, kernel)
    else:
        blurred = cv2.blur(image, (kernel, kernel))
    return np.asarray(blurred, np.uint8)


def _add_noise(image: Array, sigma: float, rng: np.random.Generator) -> Array:
    height, width = image.shape[:2]
    tile = _noise_tile(max(_NOISE_SIDE, height + 256, width + 256))
    y, x = rng.integers(tile.shape[0] - height), rng.integers(tile.shape[1] - width)
    window = tile[y : y + height, x : x + width]
    return np.asarray(cv2.addWeighted(image, 1.0, window, sigma, 0.0, dtype=cv2.CV_8U), np.uint8)


@functools.lru_cache(maxsize=2)
def _noise_tile(side: int) -> NDArray[np.float32]:
    # Drawing 150,000 normal numbers would take longer than all other steps together.
    return np.random.default_rng(0).standard_normal((side, side, 3), dtype=np.float32)


def _draw(bounds: Range, rng: np.random.Generator) -> float:
    return float(rng.uniform(*bounds))
