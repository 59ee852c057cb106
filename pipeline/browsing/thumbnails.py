"""Thumbnails of a picture and of its mask, which is drawn over it: dark outside the person, with an outline."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.reporting.thumbnails import OUTLINE
from sinet.images.decode import ImageError, read_image, read_mask

SIDE = 240  # pixels of the longer one; what is smaller stays
_QUALITY = 80
_PERSON, _OUTSIDE, _OUTLINE = 0, 1, 2
_PALETTE = (*(0, 0, 0), *(0, 0, 0), *OUTLINE)
_OPACITY = bytes([0, 150, 255])


@dataclass(frozen=True)
class BrowsedFiles:
    """A picture and its mask, and where their thumbnails go: NAME.jpg and NAME.png."""

    image: Path
    mask: Path
    name: Path


def write_thumbnails(files: BrowsedFiles) -> str:
    """Write both thumbnails; "" or, where a file is no picture or no mask of it, a sentence that says so."""
    try:
        image, mask = read_image(files.image), read_mask(files.mask)
        if image.shape[:2] != mask.shape:
            raise ImageError("mask_size", f"the mask is of another size than {files.image.name}")
    except ImageError as error:
        return f"{files.name.name}: {error}"
    height, width = mask.shape
    factor = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    files.name.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).save(files.name.with_suffix(".jpg"), quality=_QUALITY)
    person = cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA)
    files.name.with_suffix(".png").write_bytes(shade_around(person))
    return ""


def shade_around(person: NDArray[Any]) -> bytes:
    """What is laid over a picture, as PNG: (H, W) uint8, 128 and above is person and stays clear."""
    inside = (person > 127).astype(np.uint8)
    levels = np.where(inside == 1, _PERSON, _OUTSIDE).astype(np.uint8)
    levels[(inside == 1) & (cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1) == 0)] = _OUTLINE
    picture = Image.fromarray(levels, "P")
    picture.putpalette(_PALETTE)
    file = io.BytesIO()
    picture.save(file, "PNG", bits=2, transparency=_OPACITY, optimize=False)
    return file.getvalue()
