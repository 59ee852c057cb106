"""`python -m pipeline export-dataset`: write data/dataset in another layout, whole or not at all."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.licences import UNKNOWN, licence_name
from pipeline.core.paths import DATASET
from pipeline.core.records import dataset_hash
from pipeline.core.stage import write_text
from pipeline.dataset.attribution import attribution
from pipeline.dataset.takedown_list import asked_out
from pipeline.handing_over import Format
from pipeline.handing_over.coco import write_coco
from pipeline.handing_over.dataset_pictures import (
    DatasetPicture,
    by_side,
    chosen_records,
    dataset_pictures,
)
from pipeline.handing_over.huggingface import split_files, write_huggingface
from pipeline.handing_over.new_folder import new_folder
from pipeline.handing_over.pairs import write_pairs
from pipeline.handing_over.webdataset import write_webdataset
from pipeline.reporting.rendering import template

_EXAMPLES = {
    "huggingface": """from datasets import load_dataset

for row in load_dataset("FOLDER", split="SIDE"):  # the path of this folder
    row["image"], row["mask"], row["licence"]  # two pictures of Pillow's, text""",
    "coco": """from pycocotools.coco import COCO

coco = COCO("annotations/instances_SIDE.json")  # its pictures: images/SIDE/
for one in coco.loadAnns(coco.getAnnIds()):
    coco.imgs[one["image_id"]]["file_name"], coco.annToMask(one)  # the mask is 0 or 1""",
    "webdataset": """import webdataset

shards = webdataset.WebDataset("SIDE-000000.tar", shardshuffle=False)
for image, mask, facts in shards.decode("rgb8").to_tuple("jpg;png", "mask.png", "json"):
    mask[..., 0]  # 0 or 255; facts["licence"]""",
    "pairs": """import pandas

for row in pandas.read_csv("sources.csv").itertuples():
    row.file, f"masks/{row.id}.png", row.side""",
}
_WRITERS: Mapping[Format, Callable[[Path, Sequence[DatasetPicture]], None]] = {
    "huggingface": write_huggingface,
    "coco": write_coco,
    "webdataset": write_webdataset,
    "pairs": write_pairs,
}
# What the Hugging Face hub calls licences is the SPDX id in small letters, of those that it lists.
_HUB_LICENCES = (
    "apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 pddl odc-by odbl wtfpl unlicense cc-by-2.0 cc-by-2.5 cc-by-3.0 "
    "cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 "
    "cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 gfdl"
)


def main(
    format: Format, out: Path, sides: Collection[str], allow: Sequence[str], folder: Path = DATASET
) -> None:
    """Write the portraits of these sides and licences (all where none are named) to `out`, and say how many."""
    records = chosen_records(folder, sides, allow)
    unwanted = int(asked_out(records).sum())
    if unwanted:
        raise PipelineError(
            f"people asked to have {unwanted:,} of these pictures taken out, and {folder} still has them; run "
            "`dvc repro` first"
        )
    pictures = dataset_pictures(folder, records)
    with new_folder(out) as filling:
        _WRITERS[format](filling, pictures)
        write_text(filling / "ATTRIBUTION.md", attribution(records))
        write_text(filling / "README.md", _readme(format, records, pictures))
    counts = ", ".join(f"{len(members):,} {side}" for side, members in by_side(pictures).items())
    size = sum(one.stat().st_size for one in out.rglob("*") if one.is_file())
    print(
        f"{len(pictures):,} portraits ({counts}) as {format} in {out}, {size / 1e6:,.1f} MB; "
        "README.md there says how to open them"
    )


def hub_licences(names: Collection[str]) -> list[str]:
    """What the Hugging Face hub calls these licences: its own ids, `unknown`, `other`."""
    return sorted(
        {name.lower() if name.lower() in _HUB_LICENCES.split() else _unlisted(name) for name in names}
    )


def size_category(count: int) -> str:
    """What the Hugging Face hub calls so many pictures."""
    steps = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for most, name in steps if count < most), "1M<n<10M")


def _readme(format: Format, records: pd.DataFrame, pictures: Sequence[DatasetPicture]) -> str:
    licences = records["licence"].map(licence_name).value_counts().sort_index()
    sides = {side: len(members) for side, members in by_side(pictures).items()}
    facts: dict[str, Any] = {
        "format": format,
        "head": {
            "license": hub_licences(licences.index),
            "task_categories": ["image-segmentation"],
            "tags": ["portrait-segmentation", "person"],
            "size_categories": [size_category(len(pictures))],
            "configs": [{"config_name": "default", "data_files": split_files(pictures)}],
        },
        "count": len(pictures),
        "sides_sentence": ", ".join(f"{number:,} {side}" for side, number in sides.items()),
        "licences": licences.to_dict(),
        "dataset_hash": dataset_hash(records),
        "unreviewed": int((records["label"] == "pseudo").sum()),
        "example": _EXAMPLES[format].replace("SIDE", next(iter(sides))),
    }
    return template("handed_over.md.j2").render(facts)


def _unlisted(licence: str) -> str:
    return UNKNOWN if licence == UNKNOWN else "other"
