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

from sinet.core.recipe import AugmentRecipe, Range
from sinet.images.decode import Array
from sinet.network.preprocess import squash_image, squash_mask

BORDER = 128  # grey around a picture that does not fill the square; the mask is 0 there
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, what Pillow's ImageEnhance uses
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # Pillow's SMOOTH, the low end of its Sharpness
_NOISE_SIDE = 512
BLURS = ("gaussian", "median", "box")

Matrix = NDArray[np.float64]


def augment(
    image: Array, mask: Array, size: int, recipe: AugmentRecipe, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draws one variant of a picture, (H, W, 3) uint8 RGB and (H, W) uint8 {0, 1}, at `size` x `size` pixels.

    The same generator state gives the same bytes. A recipe that draws nothing returns `squash`.
    """
    image, mask = _warp(image, mask, size, recipe, rng)
    if rng.random() < recipe.colour_jitter:
        names = ("colour", "brightness", "contrast", "sharpness")
        image = enhance(image, **{name: _uniform(getattr(recipe, name), rng) for name in names})
    if rng.random() < recipe.blur:
        kernel = int(rng.choice(recipe.blur_kernels))
        kinds = recipe.blur_kinds
        weights = np.array([kinds.gaussian, kinds.median, kinds.box])
        image = _blur(image, BLURS[rng.choice(len(BLURS), p=weights / weights.sum())], kernel)
    if rng.random() < recipe.noise:
        image = _add_noise(image, _uniform(recipe.noise_sigma, rng), rng)
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
    grey = float(LUMA @ means) if contrast != 1 else 0.0
    saturate = colour * np.eye(3) + (1 - colour) * np.tile(LUMA, (3, 1))
    offset = np.full(3, (1 - contrast) * brightness * grey)
    matrix = np.column_stack([contrast * brightness * saturate, offset])
    image = np.asarray(cv2.transform(image, matrix), np.uint8)
    if sharpness != 1:
        kernel = (1 - sharpness) * SMOOTH
        kernel[1, 1] += sharpness
        image = np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)
    return image


def _warp(
    image: Array, mask: Array, size: int, recipe: AugmentRecipe, rng: np.random.Generator
) -> tuple[Array, Array]:
    height, width = mask.shape
    flip, matrix = _draw_geometry(width, height, size, recipe, rng)
    if matrix is None:
        image, mask = squash(image, mask, size)
        return (_mirror(image), _mirror(mask)) if flip else (image, mask)
    square, border = (size, size), (BORDER, BORDER, BORDER)
    warped = cv2.warpAffine(image, matrix, square, flags=cv2.INTER_LINEAR, borderValue=border)
    moved = cv2.warpAffine(mask, matrix, square, flags=cv2.INTER_NEAREST, borderValue=0)
    return np.asarray(warped, np.uint8), np.asarray(moved, np.uint8)


def _draw_geometry(
    width: int, height: int, size: int, recipe: AugmentRecipe, rng: np.random.Generator
) -> tuple[bool, Matrix | None]:
    """Returns whether to flip, and the matrix of `affine`, flip included; None is the squash."""
    keep = recipe.aspect == "keep"
    flip = bool(rng.random() < recipe.flip)
    if rng.random() < recipe.affine:
        translation = (_uniform(recipe.translation, rng), _uniform(recipe.translation, rng))
        degrees, scale = _uniform(recipe.rotation, rng), _uniform(recipe.scale, rng)
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
        return flip, matrix
    return flip, affine(width, height, size, flip=flip, keep_aspect=True) if keep else None


def _mirror(array: Array) -> Array:
    return np.asarray(cv2.flip(array, 1), np.uint8)


def _blur(image: Array, kind: str, kernel: int) -> Array:
    if kind == "gaussian":
        blurred = cv2.GaussianBlur(image, (kernel, kernel), 0)
    elif kind == "median":
        blurred = cv2.medianBlur(image, kernel)
    else:
        blurred = cv2.blur(image, (kernel, kernel))
    return np.asarray(blurred, np.uint8)


def _add_noise(image: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Adds a window of the tile, `sigma` grey levels strong."""
    size = image.shape[0]
    side = max(_NOISE_SIDE, size + 256)
    y, x = int(rng.integers(side - size)), int(rng.integers(side - size))
    window = _noise_tile(side)[y : y + size, x : x + size]
    return np.asarray(cv2.addWeighted(image, 1.0, window, sigma, 0.0, dtype=cv2.CV_8U), np.uint8)


@functools.lru_cache(maxsize=2)
def _noise_tile(side: int) -> NDArray[np.float32]:
    """(side, side, 3) float32 of normal numbers with a deviation of 1, always the same.

    Drawing 150,000 normal numbers for each picture would take longer than all other steps together.
    """
    return np.random.default_rng(0).standard_normal((side, side, 3), dtype=np.float32)


def _uniform(bounds: Range, rng: np.random.Generator) -> float:
    return float(rng.uniform(*bounds))
