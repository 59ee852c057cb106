"""Drawn pseudo labels for the tests of the queue, the tasks and the server."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.core.records import make_records, write_records
from pipeline.dataset.cluster_table import write_clusters
from sinet.images.decode import encode_mask, encode_png, pixel_id

TEACHER = "5ec0de" + "0" * 10


def person(seed: int, width: int = 120, height: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 RGB of a head on shoulders, and its mask (H, W) uint8 in {0, 1}."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(
        rng.integers(60, 200, (5, 4, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    mask = np.zeros((height, width), np.uint8)
    middle = (width // 2 + int(rng.integers(-width // 10, width // 10 + 1)), int(height * 0.45))
    cv2.ellipse(mask, (middle[0], height), (width // 3, height // 3), 0, 0, 360, 1, -1)
    shirt = mask.copy()
    cv2.ellipse(mask, middle, (width // 6, height // 5), 0, 0, 360, 1, -1)
    image = np.where(mask[..., None] > 0, np.array([222, 184, 150], np.uint8), ground)
    image = np.where((shirt > 0)[..., None], rng.integers(0, 255, 3).astype(np.uint8), image)
    return image, mask


def write_pseudo(root: Path, count: int, *, empty: int | None = None, **size: int) -> pd.DataFrame:
    """Write data/pseudo under ROOT with `count` records; number `empty` has a mask without anybody.

    And what stages cluster and split wrote of them before: each alone, on the train side.
    """
    rows = []
    for folder in ("images", "masks"):
        (root / "data/pseudo" / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, mask = person(number, **size)
        if number == empty:
            mask = np.zeros_like(mask)
        identity = pixel_id(image)
        paths = {kind: str(root / f"data/pseudo/{kind}s/{identity}.png") for kind in ("image", "mask")}
        Path(paths["image"]).write_bytes(encode_png(image))
        Path(paths["mask"]).write_bytes(encode_mask(mask))
        sha256 = hashlib.sha256(f"file {number}".encode()).hexdigest()
        rows.append(
            {
                **paths,
                "id": identity,
                "source": "crawl",
                "source_key": f"{number}.jpg",
                "parent_id": identity,
                "parent_sha256": sha256,
                "crop_box": f"0,0,{image.shape[1]},{image.shape[0]}",
                "label": "pseudo",
                "width": image.shape[1],
                "height": image.shape[0],
                "sha256": sha256,
                "teacher": TEACHER,
                "uncertainty": number / count,
                "flags": "no_person" if number == empty else "",
            }
        )
    records = make_records(rows)
    write_records(root / "data/pseudo", records)
    write_records(root / "data/split/crawl", records.assign(label="none", side="train"))
    write_clusters(root / "data/cluster/crawl.csv", {one: one for one in records["id"]})
    return records
