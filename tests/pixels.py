"""Looking for a picture's pixels in all that lies below folders: rasters, stored results, pages, DVC's cache."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from sinet.images.decode import Array

_URI = re.compile(rb"data:image/[a-z+]+;base64,([A-Za-z0-9+/=]+)")
_BEGINS = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xe0\xdb]")  # PNG, JPEG
_REDUCED = 18  # pixels of the part that is looked for, high
_SHOWN = (400, 220)  # pixels that galleries and pages make a picture high
_ALIKE = 0.9  # correlation: JPEG, a reduction and another frame keep more; another picture has less


def rasters(folders: Iterable[Path]) -> Iterator[tuple[Path, Array]]:
    """Every picture that can be decoded, with the file that holds it, each content once a file name's folder."""
    for folder in folders:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            for content in _contents(path.read_bytes()):
                image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
                if image is not None:
                    yield path, np.asarray(image, np.uint8)


def places_of(pictures: Mapping[str, Array], folders: Iterable[Path]) -> dict[str, set[Path]]:
    """The files that show the middle of each picture (H, W, 3) RGB: as it is, mirrored, as part of another picture."""
    parts = {name: _middle(picture) for name, picture in pictures.items()}
    seen: dict[bytes, set[str]] = {}
    found: dict[str, set[Path]] = {name: set() for name in pictures}
    for path, image in rasters(folders):
        key = hashlib.sha256(image.tobytes()).digest()
        if key not in seen:
            seen[key] = {
                name for name, (scale, sides) in parts.items() if _shows(_scaled(image, scale), sides)
            }
        for name in seen[key]:
            found[name].add(path)
    return found


def _middle(picture: Array) -> tuple[float, list[Array]]:
    """By how much a picture is reduced to be searched, and the parts to look for there, as files show them."""
    height, width = picture.shape[:2]
    part = cv2.cvtColor(
        picture[height // 4 : 6 * height // 10, width // 3 : 2 * width // 3], cv2.COLOR_RGB2BGR
    )
    scale = _REDUCED / part.shape[0]
    sizes = [_scaled(part, scale * factor) for factor in (1, *(shown / height for shown in _SHOWN))]
    return scale, [*sizes, np.ascontiguousarray(sizes[0][:, ::-1])]


def _contents(data: bytes) -> Iterator[bytes]:
    """The file itself, the pictures of a stored result (one after the other), the pictures inside a page."""
    yield data
    yield from (data[found.start() :] for found in _BEGINS.finditer(data, 1))
    yield from (base64.b64decode(text) for text in _URI.findall(data))


def _scaled(image: Array, factor: float) -> Array:
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shows(image: Array, parts: Iterable[Array]) -> bool:
    fitting = (part for part in parts if part.shape[0] <= image.shape[0] and part.shape[1] <= image.shape[1])
    return any(float(cv2.matchTemplate(image, part, cv2.TM_CCOEFF_NORMED).max()) > _ALIKE for part in fitting)
