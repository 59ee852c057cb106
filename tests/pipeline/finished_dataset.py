"""A small dataset as stage merge leaves it: drawn ellipses as JPEG and PNG, three sides, several licences and kinds."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from pipeline.core.records import make_records
from pipeline.merge import write_dataset
from sinet.images.decode import encode_mask, encode_png, pixel_id, read_image
from tests.pipeline.dataset_inputs import portrait

SIDES = ("train", "train", "test", "dev", "train", "train", "test", "dev", "train", "train")
LICENCES = ("CC BY 4.0", None, "CC0-1.0", "for research, only", "CC BY 4.0")


def finished_row(folder: Path, number: int, **more: Any) -> dict[str, Any]:
    """Write picture and mask `number` under `folder`, odd ones as JPEG; their row, whose terms turn with the number."""
    image, mask = portrait(number, (60 + number, 80))
    path = folder / f"{number}.{'jpg' if number % 2 else 'png'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image))
    if number % 2:
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.with_suffix(".mask.png").write_bytes(encode_mask(mask))
    one = pixel_id(read_image(path))
    return {
        "id": one,
        "source": "web" if number % 3 else "eg1800",
        "source_key": f"a, {number}|é.jpg",
        "label": "pseudo" if number == 8 else "human",
        "image": str(path),
        "mask": str(path.with_suffix(".mask.png")),
        "width": image.shape[1],
        "height": image.shape[0],
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": LICENCES[number % len(LICENCES)],
        "author": 'Ann "A" O\'Neil' if number % 2 else None,
        "url": f"https://example.org/{number}?a=1&b=2" if number % 2 else None,
        "retrieved_at": "2025-01-31T12:00:00+00:00" if number % 2 else None,
        "published_side": "test" if SIDES[number % len(SIDES)] == "test" else None,
        "cluster": one,
        "side": SIDES[number % len(SIDES)],
        **more,
    }


def write_finished(folder: Path, scratch: Path, count: int = len(SIDES)) -> pd.DataFrame:
    """Write a dataset of `count` pictures to `folder`; its records."""
    return write_dataset(folder, make_records([finished_row(scratch, number) for number in range(count)]))
