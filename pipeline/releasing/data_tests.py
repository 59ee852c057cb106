"""Tests of the data: every file is opened, and every promise of the dataset is held against what is in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.core.execute import map_images
from sinet.images.decode import ImageError, pixel_id, read_bytes, read_image

_NAMED = 3  # examples in a sentence


@dataclass(frozen=True)
class TestedPicture:
    """What the table says of a picture."""

    __test__ = False  # no test of pytest's

    id: str
    image: Path
    mask: Path
    width: int  # pixels
    height: int


def data_faults(records: pd.DataFrame) -> Iterator[str]:
    """A sentence for each kind of fault: of the files, and of look-alikes on two sides."""
    tested = [
        TestedPicture(
            str(row.id), Path(str(row.image)), Path(str(row.mask)), int(str(row.width)), int(str(row.height))
        )
        for row in records.itertuples()
    ]
    found: dict[str, list[str]] = {}
    for one, fault in zip(tested, map_images(fault_of_entry, tested, desc="tests of the data"), strict=True):
        if fault:
            found.setdefault(fault, []).append(one.id)
    for fault, ids in found.items():
        yield (
            f"{fault}: {some_of(ids)}; `dvc checkout data/dataset` brings back what was damaged, else "
            "`dvc repro -f -s merge`"
        )
    sides = records.groupby("cluster")["side"].nunique()
    crossing = sorted(map(str, sides.index[sides > 1]))
    if crossing:
        yield (
            f"look-alikes stand on two sides: clusters {some_of(crossing)}; `dvc repro -f -s cluster`, then "
            "`dvc repro`"
        )
    unseen = records.loc[(records["label"] == "pseudo") & (records["side"] != "train"), "id"].tolist()
    if unseen:
        yield f"masks that nobody looked at are measured or chosen by: {some_of(unseen)}; `dvc repro -f -s merge`"
    if records["cluster"].isna().any() or records["side"].isna().any():
        yield "pictures without a cluster or a side: `dvc repro -f -s merge`"


def fault_of_entry(one: TestedPicture) -> str:
    """What is wrong with the files of a picture, "" where nothing is."""
    try:
        image = read_image(one.image)
    except (ImageError, OSError):
        return "pictures that cannot be read"
    try:
        mask = cv2.imdecode(np.frombuffer(read_bytes(one.mask), np.uint8), cv2.IMREAD_UNCHANGED)
    except (ImageError, OSError, cv2.error):
        mask = None
    if mask is None or mask.ndim != 2:
        return "masks that cannot be read, or are no grey pictures"
    if image.shape[:2] != mask.shape or mask.shape != (one.height, one.width):
        return "masks of another size than their picture, or than the table says"
    if not np.isin(mask, (0, 255)).all():
        return "masks with other levels than 0 and 255"
    if not mask.any():
        return "masks that hold nobody"
    if pixel_id(image) != one.id:
        return "pictures whose pixels are not those of their id"
    return ""


def some_of(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
