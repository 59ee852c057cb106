"""Cut portraits out of photographs by the faces in them.

Of a full body, the face on the person's mask decides where, other people are background, and image and mask are cut
alike. A crawled picture has no mask yet: its largest sure face decides, and what is a portrait already is taken whole.
"""

import hashlib
import shutil
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.ingested import join_sources
from pipeline.core.params import CropParams, load_params
from pipeline.core.paths import CACHE, CROP, INGEST
from pipeline.core.records import Rejected, account, make_records, write_records, write_rejected
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Result, Store, key_of
from pipeline.faces.known_faces import face_finder, face_key, faces_of
from pipeline.faces.masked_person import find_portrait
from pipeline.faces.portrait import NoPortraitError, Portrait, choose_portrait, cut
from sinet.core import atomic
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id, read_bytes, read_image, read_mask

# The parameters that a portrait depends on: of a photograph with a mask, and of one without.
_WITH_MASK = {"faces", "geometry", "fill", "min_on_mask", "min_coverage", "max_coverage", "other_face"}
_WITHOUT_MASK = {"faces", "geometry", "fill", "whole_from"}
_INHERITED = ("source", "source_key", "sha256", "url", "author", "licence", "retrieved_at", "published_side")


@dataclass(frozen=True)
class _Task:
    """One photograph for a worker; `mask` is the path of its mask, None where it has none."""

    id: str
    image: str
    mask: str | None
    cache: Path
    params: CropParams


def crop(
    records: pd.DataFrame, params: CropParams, folder: Path, cache: Path = CACHE
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Cut a portrait out of each record; return the portraits' records and what was rejected.

    A record with a mask becomes FOLDER/images/ID.png and FOLDER/masks/ID.png, label "crop"; one without becomes an
    image alone, label "none", and where it is taken whole it keeps its id and its file. Photographs that were cut
    before come from the cache.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    parents = _in_order(records).to_dict("records")
    tasks = [_Task(row["id"], row["image"], _mask_of(row), cache, params) for row in parents]
    keys = map_images(_crop_one, tasks, desc=f"crop {folder.name}", initializer=_one_thread)
    rows: dict[str, dict[str, Any]] = {}
    rejected = []
    for parent, key in zip(parents, keys, strict=True):
        result = Store("crop", cache).get(key)
        if result is None:
            raise PipelineError(f"{cache}/crop lost a result while the stage ran; run it again")
        reason = _reason(result, rows)
        if reason is not None:
            rejected.append(Rejected(str(parent["source"]), str(parent["source_key"]), *reason))
            continue
        paths = _write_pictures(result, Path(str(parent["image"])), folder)
        label = "crop" if "mask" in result.blobs else "none"
        rows[result.meta["id"]] = {**_inherited(parent), **result.meta, **paths, "label": label}
    return make_records(list(rows.values())), rejected


def summarise(records: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Quantiles over the portraits: sizes in pixels, the face's probability."""
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


def count_whole(records: pd.DataFrame) -> dict[str, float]:
    """How many portraits are their picture as it is, and how many were cut out of it."""
    whole = records["id"] == records["parent_id"]
    return {
        "whole": int(whole.sum()),
        "cropped": int((~whole).sum()),
        "whole_share": float(whole.mean()) if len(records) else 0.0,
    }


def crop_key(id_: str, mask_file: bytes | None, params: CropParams) -> str:
    """The store's key of a photograph's portrait: a hash of all that it depends on."""
    mask = None if mask_file is None else hashlib.sha256(mask_file).hexdigest()
    settings = params.model_dump(include=_WITHOUT_MASK if mask is None else _WITH_MASK)
    return key_of("crop", code_of("pipeline.crop"), face_key(id_, params), mask, settings)


def _in_order(records: pd.DataFrame) -> pd.DataFrame:
    """The records as they are cut: of portraits with equal pixels the first stays, a published test side before all."""
    test = records["published_side"].isin(["test"]).astype(bool)
    order = records.assign(rank=~test).sort_values(["rank", "source", "source_key"], kind="stable")
    return order.drop(columns="rank")


def _mask_of(row: dict[Hashable, Any]) -> str | None:
    return row["mask"] if isinstance(row["mask"], str) else None


def _reason(result: Result, rows: dict[str, dict[str, Any]]) -> tuple[str, str] | None:
    """Reason and sentence where a result makes no record."""
    if "reason" in result.meta:
        return result.meta["reason"], result.meta["detail"]
    twin = rows.get(result.meta["id"])
    if twin is not None:
        kept = f"{twin['source']} {twin['source_key']}"
        return "duplicate_pixels", f"its portrait has the same pixels as that of {kept}"
    return None


def _write_pictures(result: Result, parent: Path, folder: Path) -> dict[str, str]:
    """Write what a result holds into FOLDER; a picture taken whole keeps its parent's file."""
    id_ = result.meta["id"]
    if "image" in result.blobs:
        image, content = folder / "images" / f"{id_}.png", result.blobs["image"]
    else:
        image, content = folder / "images" / f"{id_}{parent.suffix}", parent.read_bytes()
    atomic.write_atomic(image, content)
    if "mask" not in result.blobs:
        return {"image": image.as_posix()}
    mask = folder / "masks" / f"{id_}.png"
    atomic.write_atomic(mask, result.blobs["mask"])
    return {"image": image.as_posix(), "mask": mask.as_posix()}


def _inherited(parent: dict[Hashable, Any]) -> dict[str, Any]:
    """What a portrait takes over from the photograph it was cut from."""
    same = {name: parent[name] for name in _INHERITED}
    return {**same, "parent_id": parent["id"], "parent_sha256": parent["sha256"]}


def _crop_one(task: _Task) -> str:
    """Cut one photograph unless the store knows it; return the store's key."""
    mask_file = None if task.mask is None else read_bytes(Path(task.mask))
    key = crop_key(task.id, mask_file, task.params)
    store = Store("crop", task.cache)
    if store.get(key) is None:
        store.put(key, _result(task), task.id)
    return key


def _result(task: _Task) -> Result:
    image = read_image(Path(task.image))
    mask = None if task.mask is None else read_mask(Path(task.mask))
    try:
        portrait = _portrait(image, mask, task)
    except NoPortraitError as error:
        return Result({"reason": error.reason, "detail": error.detail})
    box, face = portrait.box, portrait.face
    pixels = cut(image, box, task.params.fill)
    meta = {
        "id": pixel_id(pixels),
        "crop_box": str(box),
        "face": str(face.box.moved(-box.x0, -box.y0).clipped(box.width, box.height)),
        "face_probability": face.probability,
        "width": box.width,
        "height": box.height,
    }
    if mask is not None:
        return Result(meta, {"image": encode_png(pixels), "mask": encode_mask(cut(mask, box, 0))})
    whole = meta["id"] == task.id  # it is not stored a second time
    return Result(meta, {} if whole else {"image": encode_png(pixels)})


def _portrait(image: Array, mask: Array | None, task: _Task) -> Portrait:
    """The portrait in a photograph (H, W, 3) uint8 RGB; NoPortraitError where there is none."""
    if mask is not None:
        return find_portrait(image, mask, face_finder(task.params), task.params)
    height, width = image.shape[:2]
    return choose_portrait(width, height, faces_of(image, task.id, task.params, task.cache), task.params)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def main() -> None:
    params = load_params().crop
    full_bodies, crawled = join_sources(INGEST / "bodies"), join_sources(INGEST / "crawl")
    bodies, no_bodies = crop(full_bodies.records, params, CROP / "bodies")
    crawl, no_crawl = crop(crawled.records, params, CROP / "crawl")
    no_bodies += full_bodies.repeated
    no_crawl += crawled.repeated
    write_records(CROP / "bodies", bodies)
    write_records(CROP / "crawl", crawl)
    write_rejected("crop", [*no_bodies, *no_crawl])  # before the gates, whose messages send people there
    of_bodies = account(
        "crop of bodies",
        full_bodies.items,
        len(bodies),
        no_bodies,
        params.max_reject_rate,
        "crop.max_reject_rate",
    )
    of_crawl = account(
        "crop of the crawl",
        crawled.items,
        len(crawl),
        no_crawl,
        params.max_reject_rate_crawl,
        "crop.max_reject_rate_crawl",
    )
    write_metrics(
        "crop",
        {
            "bodies": {**of_bodies, **summarise(bodies)},
            "crawl": {**of_crawl, **summarise(crawl), **count_whole(crawl)},
        },
    )


if __name__ == "__main__":
    run("crop", main)
