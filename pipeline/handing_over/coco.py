"""COCO: `annotations/instances_SIDE.json` with the person of each picture as run lengths, beside the pictures."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.licences import licence_address
from pipeline.handing_over.dataset_pictures import DatasetPicture, by_side
from sinet.images.decode import read_mask

_PERSON = 1  # its id in COCO itself


def write_coco(folder: Path, pictures: Sequence[DatasetPicture]) -> None:
    """Write images/SIDE/ and annotations/instances_SIDE.json of each side; the facts stand in `images`.

    PipelineError where pycocotools is not installed.
    """
    licences = {name: at for at, name in enumerate(sorted({one.facts.licence for one in pictures}), 1)}
    (folder / "annotations").mkdir()
    for side, members in by_side(pictures).items():
        images = folder / "images" / side
        images.mkdir(parents=True)
        for one in members:
            shutil.copyfile(one.image, images / one.image.name)
        content = {
            "info": {"description": "portraits, a mask of one or more people each"},
            "licenses": [
                {"id": at, "name": name, "url": licence_address(name) or ""} for name, at in licences.items()
            ],
            "categories": [{"id": _PERSON, "name": "person", "supercategory": "person"}],
            "images": [_image(at, one, licences[one.facts.licence]) for at, one in enumerate(members, 1)],
            "annotations": [_annotation(at, one) for at, one in enumerate(members, 1)],
        }
        text = json.dumps(content, indent=0, sort_keys=True, ensure_ascii=False)
        (folder / "annotations" / f"instances_{side}.json").write_text(text + "\n", encoding="utf-8")


def _image(number: int, one: DatasetPicture, licence: int) -> dict[str, Any]:
    facts = one.stated()
    portrait_id = facts.pop("id")  # COCO's own is a number
    return {
        **facts,
        "id": number,
        "portrait_id": portrait_id,
        "file_name": one.image.name,
        "width": one.width,
        "height": one.height,
        "license": licence,
        "coco_url": facts["url"],
        "date_captured": "",
    }


def _annotation(number: int, one: DatasetPicture) -> dict[str, Any]:
    coding = _coding()
    runs = coding.encode(np.asfortranarray(read_mask(one.mask)))
    return {
        "id": number,
        "image_id": number,
        "category_id": _PERSON,
        "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
        "area": int(coding.area(runs)),
        "bbox": [float(value) for value in coding.toBbox(runs)],
        "iscrowd": 0,
    }


def _coding() -> Any:
    try:
        from pycocotools import mask
    except ImportError:
        raise PipelineError(
            "expected pycocotools, which writes COCO's masks, found that it is not installed; `pip install pycocotools`"
        ) from None
    return mask
