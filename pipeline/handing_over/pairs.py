"""Pairs: images/ID.*, masks/ID.png, sources.csv lists of the sides; ingest's layout `pairs` reads it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.core.stage import write_text
from pipeline.dataset.csv_text import csv_text
from pipeline.handing_over.dataset_pictures import DatasetPicture
from pipeline.sources.layouts.pairs import TABLE_OF_TERMS

_LISTS = {"train": "train.txt", "dev": "train.txt", "test": "test.txt"}  # dev is cut from train by each split


def write_pairs(folder: Path, pictures: Sequence[DatasetPicture]) -> None:
    """Write images/, masks/, train.txt, test.txt and sources.csv, whose `side` also tells dev."""
    lists: dict[str, list[str]] = {}
    rows = []
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for one in pictures:
        shutil.copyfile(one.image, folder / "images" / one.image.name)
        shutil.copyfile(one.mask, folder / "masks" / one.mask.name)
        facts = one.stated()
        # `source` would be a page on the web there.
        facts["source_name"] = facts.pop("source")
        rows.append({"file": f"images/{one.image.name}", **facts, "width": one.width, "height": one.height})
        lists.setdefault(_LISTS[one.facts.side], []).append(one.facts.id)
    for name, ids in lists.items():
        (folder / name).write_text("".join(f"{one}\n" for one in ids), encoding="utf-8")
    write_text(folder / TABLE_OF_TERMS, csv_text(pd.DataFrame(rows)))
