"""The drawn world in the layouts in which the three sources are published: names, lists, files.

EG1800: images_data_crop/%05d.jpg, GT_png/%05d_mask.png (0/255), train.txt and val.txt, one integer a line.
Baidu: clean_images/images/NAME.jpg, clean_images/profiles/NAME-profile.jpg (grey JPEG, so edges are soft).
Crawl: images/*.jpg and sources.csv as a crawler leaves them. Ids have gaps, as the originals have.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.drawing import camera
from pipeline.drawing.person import pick
from pipeline.drawing.picture import Drawn, another_picture, body, generator, nobody, portrait, wide
from sinet.core import atomic

EG1800_IMAGES, EG1800_MASKS = Path("eg1800/images_data_crop"), Path("eg1800/GT_png")
BAIDU_IMAGES, BAIDU_MASKS = Path("baidu/clean_images/images"), Path("baidu/clean_images/profiles")
CRAWL_IMAGES = Path("crawl/images")

_BLOCK, _TRAIN_IN_BLOCK = 8, 5  # of 8 ids in a row five are train, one is test and two are missing
_NEAR_DUPLICATE = 0.08
_LICENCES = ("CC BY 4.0", "CC BY-SA 4.0", "CC0 1.0", "CC BY-NC 2.0", "all rights reserved", "unknown", "")
_LICENCE_SHARES = (0.28, 0.16, 0.16, 0.1, 0.06, 0.16, 0.08)
_SITES = ("gallery", "people", "street", "stock")
SOURCE_COLUMNS = ("file", "url", "source", "licence", "author")


@dataclass(frozen=True)
class DrawnSource:
    """One picture to draw and write: `kind` is eg1800_train, eg1800_test, baidu or crawl."""

    seed: int
    kind: str
    index: int


def eg1800_id(seed: int, side: str, index: int) -> int:
    """The published id of a portrait; train and test interleave and never collide, whatever the counts."""
    block, slot = divmod(index, _TRAIN_IN_BLOCK) if side == "train" else (index, _TRAIN_IN_BLOCK)
    order = generator(seed, "ids", block).permutation(_BLOCK)
    return int(block * _BLOCK + order[slot] + 1)


def baidu_name(index: int) -> str:
    """The file's stem: every sixth id or so is missing."""
    return f"{1 + index + index * 3 // 17:04d}"


def crawl_name(index: int) -> str:
    return f"photo-{1 + index + index * 5 // 31:05d}.jpg"


def crawl_index(name: str) -> int | None:
    """The index of a crawl picture from its file name, or None for a file that is no drawn picture."""
    found = re.fullmatch(r"(?:.*/)?photo-(\d{5})\.jpg", name)
    if found is None:
        return None
    number = int(found[1])
    return next(
        (i for i in range(max(0, number * 5 // 6 - 2), number) if crawl_name(i) == f"photo-{number:05d}.jpg"),
        None,
    )


def draw_picture(task: DrawnSource) -> Drawn:
    """The picture of a task, with its exact mask."""
    rng = generator(task.seed, task.kind, task.index)
    if task.kind == "baidu":
        return body(rng)
    if task.kind != "crawl":
        return portrait(rng)
    if task.index and rng.random() < _NEAR_DUPLICATE:
        return another_picture(
            draw_picture(DrawnSource(task.seed, "crawl", int(rng.integers(task.index)))), rng
        )
    what = pick(
        rng,
        ("portrait", "tilted", "body", "tilted body", "wide", "nobody"),
        (0.42, 0.08, 0.24, 0.06, 0.14, 0.06),
    )
    match what:
        case "portrait":
            width = int(rng.integers(270, 380))
            return portrait(rng, width, int(width * rng.uniform(1.15, 1.4)))
        case "tilted":
            return portrait(rng, tilted=True)
        case "body":
            return body(rng)
        case "tilted body":
            return body(rng, tilted=True)
        case "wide":
            return wide(rng)
        case _:
            return nobody(rng)


def write_picture(root: Path, task: DrawnSource) -> None:
    """Draw one picture and write its files below `root`."""
    drawn = draw_picture(task)
    match task.kind:
        case "baidu":
            name = baidu_name(task.index)
            atomic.write_atomic(root / BAIDU_IMAGES / f"{name}.jpg", drawn.jpeg())
            atomic.write_atomic(root / BAIDU_MASKS / f"{name}-profile.jpg", profile_bytes(drawn.mask))
        case "crawl":
            atomic.write_atomic(root / CRAWL_IMAGES / crawl_name(task.index), drawn.jpeg())
        case _:
            number = eg1800_id(task.seed, task.kind.removeprefix("eg1800_"), task.index)
            atomic.write_atomic(root / EG1800_IMAGES / f"{number:05d}.jpg", drawn.jpeg())
            atomic.write_atomic(
                root / EG1800_MASKS / f"{number:05d}_mask.png", camera.png(drawn.mask * np.uint8(255))
            )


def profile_bytes(mask: camera.Pixels) -> bytes:
    """A mask as Baidu's grey JPEG: values near 0 and 255 with ringing at the edges; threshold it."""
    return camera.jpeg(mask * np.uint8(255), 90)


def source_row(seed: int, index: int) -> dict[str, str]:
    """What the crawler noted about crawl picture `index`."""
    rng = generator(seed, "sources", index)
    site = pick(rng, _SITES)
    author = "" if rng.random() < 0.25 else f"author-{int(rng.integers(1, 40)):02d}"
    name = crawl_name(index)
    return {
        "file": f"images/{name}",
        "url": f"https://example.org/{site}/{name}",
        "source": site,
        "licence": pick(rng, _LICENCES, _LICENCE_SHARES),
        "author": author,
    }


def sources_csv(rows: Sequence[dict[str, str]]) -> str:
    """The rows as CSV text with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, SOURCE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def make_folders(root: Path) -> None:
    for folder in (EG1800_IMAGES, EG1800_MASKS, BAIDU_IMAGES, BAIDU_MASKS, CRAWL_IMAGES):
        (root / folder).mkdir(parents=True)
