"""One picture with its mask, looked at: an id, clean bytes to store, or the reason why it cannot be used."""

import io
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import PIL

from pipeline.params import IngestParams
from sinet.images import (
    Array,
    Decoded,
    ImageError,
    decode,
    decode_grey,
    encode_mask,
    encode_png,
    pixel_id,
    stretch,
    upright,
)

# Whatever changes a result changes this: our own code, and the libraries that decode and encode.
VERSION = f"3 pillow {PIL.__version__} opencv {cv2.__version__}"

# A mask's grey levels outside these bounds are decided. Soft and ringing edges of a JPEG mask lie between
# them, and so does most of a photograph that stands where a mask should.
DARK, LIGHT = 64, 192
FEW_LEVELS = 8  # of grey: no photograph has so few


@dataclass(frozen=True)
class Picture:
    """A usable picture."""

    id: str
    width: int  # upright
    height: int
    suffix: str  # of the file to store: .jpg or .png
    image: bytes | None  # a PNG to store; None where the original bytes can be stored as they are
    mask: bytes | None  # a 0/255 PNG
    foreground: float | None  # share of the mask that is person, 0..1


def inspect(image: bytes, mask: bytes | None, params: IngestParams, *, matlab: bool = False) -> Picture:
    """Decode and check a picture and its mask (`matlab`: a .mat file). ImageError where they are unusable."""
    decoded = decode(image, params.max_pixels)
    height, width = decoded.pixels.shape[:2]
    if min(width, height) < params.min_side:
        raise ImageError("too_small", f"{width}x{height}; each side needs at least {params.min_side} pixels")
    levels = None if mask is None else mask_levels(mask, decoded, params.max_pixels, matlab=matlab)
    person = None if levels is None else threshold(levels, params)
    return Picture(
        id=pixel_id(decoded.pixels),
        width=width,
        height=height,
        suffix=decoded.plain or ".png",
        image=None if decoded.plain else encode_png(decoded.pixels),
        mask=None if person is None else encode_mask(person),
        foreground=None if person is None else float(person.mean()),
    )


def mask_levels(data: bytes, image: Decoded, max_pixels: int, *, matlab: bool = False) -> Array:
    """A mask file's grey levels (H, W) uint8 0..255, lying on the upright picture.

    A mask of the size that the picture has before its EXIF orientation is applied is turned with it. Where
    the orientation keeps the size, the mask is taken as drawn on the picture as people see it.
    """
    try:
        levels = _matlab_levels(data, max_pixels) if matlab else decode_grey(data, max_pixels)
    except ImageError as error:
        raise ImageError(f"mask_{error.reason}", f"the mask: {error.detail}") from error
    height, width = image.pixels.shape[:2]
    if levels.shape == (height, width):
        return levels
    if image.orientation >= 5 and levels.shape == (width, height):
        return upright(levels, image.orientation)
    found = f"{levels.shape[1]}x{levels.shape[0]}"
    raise ImageError("mask_size", f"the mask is {found}, the picture {width}x{height}")


def threshold(levels: Array, params: IngestParams) -> Array:
    """Grey levels as (H, W) uint8 in {0, 1}, cut at `mask_threshold`: the half-way point of a soft edge.

    Ringing next to an edge stays far from it. What is not two-valued, empty or almost full is an ImageError.
    """
    undecided = float(((levels >= DARK) & (levels < LIGHT)).mean())
    if undecided > params.max_undecided:
        raise ImageError("not_a_mask", _why_no_mask(levels, undecided))
    person = (levels > params.mask_threshold).astype(np.uint8)
    share = float(person.mean())
    if share < params.min_foreground:
        detail = f"{share:.2%} of the mask is person, less than {params.min_foreground:.0%}"
        raise ImageError("empty_mask", f"{detail}; its lightest grey is {levels.max()}")
    if share > params.max_foreground:
        raise ImageError("full_mask", f"{share:.2%} of the mask is person, over {params.max_foreground:.0%}")
    return person


def _why_no_mask(levels: Array, undecided: float) -> str:
    """What a mask that is neither dark nor light looks like: a photograph, or classes in a few levels of grey."""
    found = np.unique(levels)
    if len(found) <= FEW_LEVELS:
        named = ", ".join(str(level) for level in found)
        return (
            f"its only levels are {named}, and {undecided:.0%} of it is neither dark nor light: save it anew "
            "with 0 for background and 255 for person"
        )
    return f"{undecided:.0%} of the mask is neither dark nor light, as in a photograph"


def _matlab_levels(data: bytes, max_pixels: int) -> Array:
    """The variable `mask` (or the only one) of a .mat file up to version 7, as grey levels."""
    import scipy.io

    try:
        found = [(name, shape) for name, shape, _ in scipy.io.whosmat(io.BytesIO(data))]
        shapes = dict(found)
        if len(shapes) < len(found):  # loadmat would take another one of these than was looked at
            raise ImageError("not_an_image", "two variables of one name")
        for name, shape in found:  # known from the headers, before anything is unpacked
            if math.prod(shape) > max_pixels:
                raise ImageError("too_large", f"{name} of {shape} is more than {max_pixels:,} pixels")
        name = "mask" if "mask" in shapes else next(iter(shapes)) if len(shapes) == 1 else ""
        if len(shapes.get(name, ())) != 2:
            raise ImageError("not_an_image", f"no variable `mask` of two dimensions among {sorted(shapes)}")
        content: dict[str, Any] = scipy.io.loadmat(io.BytesIO(data), variable_names=[name])
        return stretch(np.ascontiguousarray(content[name]))
    except (ImageError, MemoryError):
        raise
    except NotImplementedError as error:
        raise ImageError("unsupported", "MATLAB 7.3 files are not read; save it with -v7") from error
    except Exception as error:  # scipy raises whatever a damaged file brings about
        raise ImageError("not_an_image", f"the .mat file is damaged: {error}") from error
