"""Cut portraits out of full-body photographs: in go ingested records with masks, out come crops with masks.

The face on the person's mask decides where, other people are background; image and mask are cut alike.
"""

import functools
import hashlib
import shutil
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.ingested import read_ingested
from pipeline.core.params import CropParams, load_params
from pipeline.core.paths import CACHE, CROP, INGEST
from pipeline.core.records import Rejected, account, make_records, write_records, write_rejected
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Result, Store, code_of, key_of
from pipeline.faces.portrait import cut, is_confident, is_large, portrait_box
from sinet.core import atomic
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id, read_bytes, read_image, read_mask

if TYPE_CHECKING:
    from pipeline.faces.detector import Face, FaceFinder


_CODE = ("pipeline.crop", "pipeline.faces.portrait", "pipeline.faces.detector", "sinet.images.decode")
_INHERITED = ("source", "source_key", "sha256", "url", "author", "licence", "retrieved_at", "published_side")


class NoPortraitError(ValueError):
    """A photograph without a usable portrait. `reason` is a code, the message a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Portrait:
    """`box` and `face` in the photograph's pixels; `coverage` is the mask's share of the box."""

    box: Box
    face: "Face"
    coverage: float


@dataclass(frozen=True)
class _Task:
    """One photograph for a worker."""

    id: str
    image: str
    mask: str
    cache: Path
    params: CropParams


def crop(
    records: pd.DataFrame, params: CropParams, folder: Path = CROP, cache: Path = CACHE
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Cut a portrait out of each record; return the crops' records and what was rejected.

    Writes FOLDER/images/ID.png and FOLDER/masks/ID.png. Photographs that were cut before come from the cache.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    parents = records.sort_values("source_key").to_dict("records")
    tasks = [_Task(row["id"], row["image"], row["mask"], cache, params) for row in parents]
    keys = map_images(_crop_one, tasks, desc="crop", initializer=_one_thread)
    rows: dict[str, dict[str, Any]] = {}
    rejected = []
    for parent, key in zip(parents, keys, strict=True):
        result = Store("crop", cache).get(key)
        if result is None:
            raise PipelineError(f"{cache}/crop lost a result while the stage ran; run it again")
        meta = result.meta
        if "reason" not in meta and meta["id"] in rows:
            kept = rows[meta["id"]]["source_key"]
            meta = {"reason": "duplicate_pixels", "detail": f"its crop has the same pixels as that of {kept}"}
        if "reason" in meta:
            key_in_source = str(parent["source_key"])
            rejected.append(Rejected(str(parent["source"]), key_in_source, meta["reason"], meta["detail"]))
            continue
        image, mask = folder / "images" / f"{meta['id']}.png", folder / "masks" / f"{meta['id']}.png"
        atomic.write_atomic(image, result.blobs["image"])
        atomic.write_atomic(mask, result.blobs["mask"])
        paths = {"image": image.as_posix(), "mask": mask.as_posix()}
        rows[meta["id"]] = {**_inherited(parent), **meta, **paths, "label": "crop"}
    return make_records(list(rows.values())), rejected


def find_portrait(image: Array, mask: Array, finder: "FaceFinder", params: CropParams) -> Portrait:
    """The portrait of the person under the mask; NoPortraitError names the gate that refused the photograph.

    `image` is (H, W, 3) uint8 RGB, `mask` (H, W) uint8 in {0, 1}. The upper third of the masked person, a
    small part of a street photograph, is searched first. Where that shows no portrait, or one that reaches
    out of the searched part, the whole photograph is searched.
    """
    part = upper_body(mask)
    try:
        portrait = masked_portrait(_faces_in(image, part, finder), mask, params)
    except NoPortraitError:
        portrait = None
    height, width = mask.shape
    if portrait is None or not _holds(part, portrait.box.clipped(width, height)):
        portrait = masked_portrait(finder.find(image), mask, params)
    return portrait


def upper_body(mask: Array) -> Box:
    """The upper third of what a mask (H, W) covers, with a tenth of its height on top and at the sides."""
    _, top, _, tall = cv2.boundingRect(mask)
    margin = tall // 10
    x, y, width, height = cv2.boundingRect(mask[: top + -(-tall // 3)])
    return Box(x - margin, y - margin, x + width + margin, y + height).clipped(mask.shape[1], mask.shape[0])


def masked_portrait(faces: Sequence["Face"], mask: Array, params: CropParams) -> Portrait:
    """The portrait of the largest good face on the mask; NoPortraitError names the gate that refused."""
    if not faces:
        raise NoPortraitError("no_face", "no face was found")
    good = [face for face in faces if on_mask(face, mask, params)]
    if not good:
        best = max(_share(mask, face.box) for face in faces)
        raise NoPortraitError(
            "face_not_on_mask",
            f"of {len(faces)} faces none lies on the person's mask: at most {best:.0%} of a face's box does, "
            f"at least {params.min_on_mask:.0%} should",
        )
    sure = [face for face in good if is_confident(face, params)]
    if not sure:
        best, least = max(face.probability for face in good), params.faces.min_probability
        raise NoPortraitError("face_probability", f"the face has probability {best:.3f}, below {least:g}")
    face = max(sure, key=lambda one: one.box.width * one.box.height)
    if not is_large(face, params):
        low = params.faces.min_height
        raise NoPortraitError("face_too_small", f"the face is {face.box.height} pixels high, below {low}")
    height, width = mask.shape
    box = portrait_box(face.box, width, height, params.geometry)
    others = [one for one in faces if one not in good and _spoils(one, face, box, params)]
    if others:
        raise NoPortraitError(
            "several_people",
            f"the crop holds {len(others)} more faces of at least {params.other_face:g} of this one's height",
        )
    coverage = _share(mask, box)
    if not params.min_coverage <= coverage <= params.max_coverage:
        allowed = f"{params.min_coverage:.0%} to {params.max_coverage:.0%}"
        raise NoPortraitError("mask_coverage", f"{coverage:.1%} of the crop is person; {allowed} may be")
    return Portrait(box, face, coverage)


def on_mask(face: "Face", mask: Array, params: CropParams) -> bool:
    """Whether enough of the face's box lies on the person."""
    return _share(mask, face.box) >= params.min_on_mask


def summarise(records: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Quantiles over the crops: sizes in pixels, the face's probability."""
    faces = [Box.parse(face) for face in records["face"]]
    columns = {
        "crop_height": records["height"],
        "face_height": pd.Series([face.height for face in faces], dtype="float64"),
        "face_width": pd.Series([face.width for face in faces], dtype="float64"),
        "face_probability": records["face_probability"],
    }
    quantiles = {"p05": 0.05, "p50": 0.5, "p95": 0.95}
    return {
        column: {name: float(values.quantile(at)) for name, at in quantiles.items()}
        for column, values in columns.items()
        if len(values)
    }


def _spoils(other: "Face", face: "Face", box: Box, params: CropParams) -> bool:
    """Whether another person's face is sure, large and at least by half inside the crop."""
    x, y = (other.box.x0 + other.box.x1) / 2, (other.box.y0 + other.box.y1) / 2
    inside = box.x0 <= x < box.x1 and box.y0 <= y < box.y1
    return inside and is_confident(other, params) and other.box.height >= params.other_face * face.box.height


def _holds(outer: Box, inner: Box) -> bool:
    return outer.x0 <= inner.x0 and outer.y0 <= inner.y0 and inner.x1 <= outer.x1 and inner.y1 <= outer.y1


def _share(mask: Array, box: Box) -> float:
    return float(cut(mask, box, 0).mean())


def _faces_in(image: Array, part: Box, finder: "FaceFinder") -> list["Face"]:
    """Faces of a part of the photograph, in the photograph's pixels."""
    found = finder.find(np.ascontiguousarray(cut(image, part, 0)))
    return [replace(face, box=face.box.moved(part.x0, part.y0)) for face in found]


def _inherited(parent: dict[Hashable, Any]) -> dict[str, Any]:
    """What a crop takes over from the photograph it was cut from."""
    same = {name: parent[name] for name in _INHERITED}
    return {**same, "parent_id": parent["id"], "parent_sha256": parent["sha256"]}


def crop_key(id_: str, mask_file: bytes, params: CropParams) -> str:
    """The store's key of a photograph's crop: a hash of all that it depends on."""
    from pipeline.faces.detector import weights_hash

    settings = params.model_dump(exclude={"max_reject_rate"})
    return key_of(code_of(*_CODE), id_, hashlib.sha256(mask_file).hexdigest(), settings, weights_hash())


def _crop_one(task: _Task) -> str:
    """Cut one photograph unless the store knows it; return the store's key."""
    key = crop_key(task.id, read_bytes(Path(task.mask)), task.params)
    store = Store("crop", task.cache)
    if store.get(key) is None:
        store.put(key, _result(task))
    return key


def _result(task: _Task) -> Result:
    image, mask = read_image(Path(task.image)), read_mask(Path(task.mask))
    try:
        portrait = find_portrait(image, mask, _finder(task.params), task.params)
    except NoPortraitError as error:
        return Result({"reason": error.reason, "detail": error.detail})
    box, face = portrait.box, portrait.face
    pixels = cut(image, box, task.params.fill)
    meta = {
        "id": pixel_id(pixels),
        "crop_box": str(box),
        "face": str(face.box.moved(-box.x0, -box.y0)),
        "face_probability": face.probability,
        "width": box.width,
        "height": box.height,
    }
    return Result(meta, {"image": encode_png(pixels), "mask": encode_mask(cut(mask, box, 0))})


def _one_thread() -> None:
    cv2.setNumThreads(1)


@functools.cache
def _finder(params: CropParams) -> "FaceFinder":
    """The networks, loaded once a worker, and only where a photograph was not cut before."""
    import torch

    from pipeline.faces.detector import FaceFinder

    torch.set_num_threads(1)
    return FaceFinder(params)


def main() -> None:
    params = load_params().crop
    parents = read_ingested(INGEST / "bodies")
    records, rejected = crop(parents, params)
    write_records(CROP, records)
    write_rejected("crop", rejected)  # before the gate, whose message sends people there
    counts = account("crop", len(parents), len(records), rejected, params.max_reject_rate)
    write_metrics("crop", {**counts, **summarise(records)})


if __name__ == "__main__":
    run("crop", main)
