"""Exports as the real server gives them, in short: one task a crop, annotations as its editor submits them."""

import hashlib
import json
from typing import Any

import numpy as np

from annotations.ledger.lock import review_key
from annotations.masks.brush import fingerprint, mask_to_rle
from annotations.tasks.purpose import seal
from sinet.images.decode import Array
from tests.annotations.drawn import TEACHER, person

BOX = "0,0,120,160"
PROPOSED = person(1)[1]


def parent(number: int) -> str:
    return hashlib.sha256(f"parent {number}".encode()).hexdigest()


def key(number: int) -> str:
    return review_key(parent(number), BOX)


def task(number: int, *annotations: dict[str, Any], drafts: int = 0, version: str = "v1") -> dict[str, Any]:
    """Task NUMBER of a project; its proposed mask is PROPOSED."""
    data = {
        "key": key(number),
        "version": version,
        "id": f"{number:016x}",
        "parent_sha256": parent(number),
        "crop_box": BOX,
        "width": 120,
        "height": 160,
        "teacher": TEACHER,
        "proposed": fingerprint(PROPOSED),
        "seal": seal("review", version, None, PROPOSED.shape),
    }
    return {"id": number, "data": data, "annotations": list(annotations), "drafts": [{"id": 1}] * drafts}


def said(
    verdict: str | None,
    mask: Array | None = PROPOSED,
    *,
    by: int = 1,
    number: int = 1,
    minute: int = 0,
    reasons: tuple[str, ...] = (),
    cancelled: bool = False,
) -> dict[str, Any]:
    """An annotation; `number` is its own, `minute` when it was last changed."""
    result: list[dict[str, Any]] = []
    for name, choices in (("verdict", [verdict] if verdict else []), ("reasons", list(reasons))):
        if choices:
            made = {"type": "choices", "from_name": name, "to_name": "image", "origin": "manual"}
            result.append({**made, "id": name, "value": {"choices": choices}})
    if mask is not None and mask.any():
        size = {"original_width": mask.shape[1], "original_height": mask.shape[0]}
        value = {"format": "rle", "rle": mask_to_rle(mask), "brushlabels": ["person"]}
        made = {"type": "brushlabels", "from_name": "mask", "to_name": "image", "image_rotation": 0}
        result.append({**made, "id": "mask", "value": value, **size})
    moment = f"2025-01-31T12:{minute:02d}:00.123456Z"
    return {
        "id": number,
        "completed_by": by,
        "result": result,
        "was_cancelled": cancelled,
        "created_at": "2025-01-31T11:00:00.000000Z",
        "updated_at": moment,
        "lead_time": 4.0,
    }


def export(*tasks: dict[str, Any]) -> bytes:
    return json.dumps(tasks).encode()


def moved(mask: Array, pixels: int) -> Array:
    """The mask shifted to the right: 1 pixel leaves an IoU above 0.95, 20 pixels one far below."""
    return np.roll(mask, pixels, axis=1)
