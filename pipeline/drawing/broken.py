"""What is wrong with the drawn world, on purpose: one row a fault, as real distributions have them.

| source | file | fault | usable |
|---|---|---|---|
| eg1800 | 90001 | picture cut off in the middle (truncated JPEG) | no |
| eg1800 | 90002 | a text file named .jpg | no |
| eg1800 | 90003 | a PNG named .jpg | yes |
| eg1800 | 90004 | mask of another size | no |
| eg1800 | 90005 | mask without a person | no |
| eg1800 | 90006 | in the list, no files | no |
| eg1800 | 90007 | files, not in a list | no |
| eg1800 | 90008, 90009 | byte-identical pictures, different masks | one of them |
| eg1800 | 90010 | 0/1 mask that looks black | yes |
| baidu | 9001 | zero-byte picture | no |
| baidu | 9002 | picture without a profile | no |
| baidu | 9003 | profile named NAME.jpg, as some copies have it | yes |
| baidu | 9004 | turned by its EXIF orientation; the mask is upright | yes |
| crawl | odd-truncated.jpg | truncated JPEG | no |
| crawl | odd-page.jpg | an HTML page saved as a picture | no |
| crawl | odd-cmyk.jpg | CMYK JPEG | yes |
| crawl | odd-turned.jpg | turned by its EXIF orientation | yes |
| crawl | odd-unlisted.jpg | in the folder, not in sources.csv | no |
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.drawing import camera
from pipeline.drawing.layouts import (
    BAIDU_IMAGES,
    BAIDU_MASKS,
    CRAWL_IMAGES,
    EG1800_IMAGES,
    EG1800_MASKS,
    profile_bytes,
)
from pipeline.drawing.picture import Drawn, body, generator, portrait
from sinet.core import atomic

_TEXT = b"this was a picture once\n"
_PAGE = b"<!doctype html><title>404</title><p>The photograph has moved.\n"


@dataclass(frozen=True)
class Extras:
    """Lines that the broken files add to the lists: train ids, and rows of sources.csv."""

    train: tuple[int, ...]
    rows: tuple[dict[str, str], ...]


def write_broken(root: Path, seed: int) -> Extras:
    """Write every fault of the table below `root`, which holds the sound files already."""
    _eg1800(root, lambda k: generator(seed, "broken eg1800", k))
    _baidu(root, lambda k: generator(seed, "broken baidu", k))
    _crawl(root, lambda k: generator(seed, "broken crawl", k))
    listed = ("odd-truncated.jpg", "odd-page.jpg", "odd-cmyk.jpg", "odd-turned.jpg")
    rows = tuple(
        {
            "file": f"images/{name}",
            "url": f"https://example.org/odd/{name}",
            "source": "odd",
            "licence": "CC BY 4.0",
            "author": "",
        }
        for name in listed
    )
    return Extras(tuple(number for number in range(90001, 90011) if number != 90007), rows)


_Generators = Callable[[int], np.random.Generator]


def _eg1800(root: Path, rng: _Generators) -> None:
    def put(number: int, image: bytes, mask: camera.Pixels) -> None:
        atomic.write_atomic(root / EG1800_IMAGES / f"{number}.jpg", image)
        atomic.write_atomic(root / EG1800_MASKS / f"{number}_mask.png", camera.png(mask))

    drawn = [portrait(rng(k)) for k in range(8)]
    full = [one.mask * np.uint8(255) for one in drawn]
    put(90001, _cut(drawn[0].jpeg()), full[0])
    put(90002, _TEXT, full[1])
    put(90003, camera.png(drawn[2].image), full[2])
    put(90004, drawn[3].jpeg(), full[3][:-40, :-30])
    put(90005, drawn[4].jpeg(), np.zeros_like(full[4]))
    put(90007, drawn[5].jpeg(), full[5])
    put(90008, drawn[6].jpeg(), full[6])
    put(90009, drawn[6].jpeg(), _eroded(full[6]))
    put(90010, drawn[7].jpeg(), drawn[7].mask)


def _baidu(root: Path, rng: _Generators) -> None:
    drawn = [body(rng(k)) for k in range(4)]
    images, masks = root / BAIDU_IMAGES, root / BAIDU_MASKS
    atomic.write_atomic(images / "9001.jpg", b"")
    atomic.write_atomic(masks / "9001-profile.jpg", profile_bytes(drawn[0].mask))
    atomic.write_atomic(images / "9002.jpg", drawn[1].jpeg())
    atomic.write_atomic(images / "9003.jpg", drawn[2].jpeg())
    atomic.write_atomic(masks / "9003.jpg", profile_bytes(drawn[2].mask))
    atomic.write_atomic(images / "9004.jpg", _turned(drawn[3]))
    atomic.write_atomic(masks / "9004-profile.jpg", profile_bytes(drawn[3].mask))


def _crawl(root: Path, rng: _Generators) -> None:
    drawn = [portrait(rng(k)) for k in range(4)]
    folder = root / CRAWL_IMAGES
    atomic.write_atomic(folder / "odd-truncated.jpg", _cut(drawn[0].jpeg()))
    atomic.write_atomic(folder / "odd-page.jpg", _PAGE)
    atomic.write_atomic(folder / "odd-cmyk.jpg", _saved(Image.fromarray(drawn[1].image).convert("CMYK")))
    atomic.write_atomic(folder / "odd-turned.jpg", _turned(drawn[2]))
    atomic.write_atomic(folder / "odd-unlisted.jpg", drawn[3].jpeg())


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 5]


def _eroded(mask: camera.Pixels) -> camera.Pixels:
    """Another annotator's mask of the same picture: a little tighter, without the lower edge."""
    smaller = mask.copy()
    smaller[:, 6:] &= mask[:, :-6]
    smaller[:, :-6] &= mask[:, 6:]
    smaller[-25:] = 0
    return smaller


def _turned(drawn: Drawn) -> bytes:
    """Stored lying on its side, with the EXIF orientation that sets it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(Image.fromarray(np.ascontiguousarray(np.rot90(drawn.image))), exif)


def _saved(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90, exif=exif if exif is not None else Image.Exif())
    return data.getvalue()
