"""Cut portraits out of photographs by the faces in them.

Of a full body, the face on the person's mask decides where, other people are background, and image and mask are cut
alike. A crawled picture has no mask yet: its largest sure face decides, and what is a portrait already is taken whole.
"""

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.execute import map_images
from pipeline.core.folder import FileNotes, PictureFolder
from pipeline.core.ingested import join_sources
from pipeline.core.params import CropParams, load_params
from pipeline.core.paths import CACHE, CROP, INGEST
from pipeline.core.records import Rejected, account, make_records, write_rejected
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Head, Result, Store, key_of
from pipeline.faces.face import Face
from pipeline.faces.known_faces import face_key, faces_of
from pipeline.faces.masked_person import find_portrait
from pipeline.faces.portrait import NoPortraitError, Portrait, choose_portrait, cut
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id, read_image, read_mask

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
    width: int
    height: int
    cache: Path
    params: CropParams
    key: str  # of which portrait it has (`crop_key`)
    mask_hash: str | None


def crop(
    records: pd.DataFrame, params: CropParams, folder: Path, cache: Path = CACHE
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Cut a portrait out of each record; write the portraits with their records, return these and what was rejected.

    A record with a mask becomes FOLDER/images/ID.png and FOLDER/masks/ID.png, label "crop"; one without becomes an
    image alone, label "none", and where it is taken whole it keeps its id and its file. What was found and cut before
    comes from the cache: another gate looks for no face again.
    """
    out, masks = PictureFolder(folder, cache), FileNotes(f"masks of {folder.absolute()}", cache)
    store = Store("crop", cache)
    parents = _in_order(records).to_dict("records")
    tasks = [_task(row, params, cache, masks) for row in parents]
    masks.save()
    results = store.complete(
        tasks,
        lambda task: _known(task, store),
        lambda todo: map_images(_crop_one, todo, desc=f"crop {folder.name}", initializer=_one_thread),
    )
    rows: dict[str, dict[str, Any]] = {}
    rejected = []
    for parent, task, result in zip(parents, tasks, results, strict=True):
        reason = _reason(result, rows)
        if reason is not None:
            rejected.append(Rejected(str(parent["source"]), str(parent["source_key"]), *reason))
            continue
        paths = _write_pictures(result, task, store, out)
        label = "none" if task.mask is None else "crop"
        rows[result.meta["id"]] = {**_inherited(parent), **result.meta, **paths, "label": label}
    made = make_records(list(rows.values()))
    out.finish(made)
    return made, rejected


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


def crop_key(id_: str, mask_hash: str | None, params: CropParams) -> str:
    """The store's key of which portrait a photograph has, or why none: a hash of all that this depends on."""
    settings = params.model_dump(include=_WITHOUT_MASK if mask_hash is None else _WITH_MASK)
    return key_of("crop", code_of("pipeline.crop"), face_key(id_, params), mask_hash, settings)


def _cut_key(task: _Task, box: str) -> str:
    """The store's key of a portrait's pixels: no gate and no face decides them."""
    return key_of("cut", code_of("pipeline.crop"), task.id, task.mask_hash, box, task.params.fill)


def _in_order(records: pd.DataFrame) -> pd.DataFrame:
    """The records as they are cut: of portraits with equal pixels the first stays, a published test side before all."""
    test = records["published_side"].isin(["test"]).astype(bool)
    order = records.assign(rank=~test).sort_values(["rank", "source", "source_key"], kind="stable")
    return order.drop(columns="rank")


def _task(row: dict[Hashable, Any], params: CropParams, cache: Path, masks: FileNotes) -> _Task:
    mask = row["mask"] if isinstance(row["mask"], str) else None
    mask_hash = None if mask is None else masks.hash_of(mask)
    key = crop_key(row["id"], mask_hash, params)
    return _Task(row["id"], row["image"], mask, row["width"], row["height"], cache, params, key, mask_hash)


def _reason(result: Head, rows: dict[str, dict[str, Any]]) -> tuple[str, str] | None:
    """Reason and sentence where a result makes no record."""
    if "reason" in result.meta:
        return result.meta["reason"], result.meta["detail"]
    twin = rows.get(result.meta["id"])
    if twin is not None:
        kept = f"{twin['source']} {twin['source_key']}"
        return "duplicate_pixels", f"its portrait has the same pixels as that of {kept}"
    return None


def _write_pictures(result: Head, task: _Task, store: Store, out: PictureFolder) -> dict[str, str]:
    """Write what a result holds; a picture taken whole keeps its parent's file."""
    id_, parent = result.meta["id"], Path(task.image)
    pixels = _cut_key(task, result.meta["crop_box"])

    def written(kind: str) -> str:
        name = f"{kind}s/{id_}.png"
        return out.put(name, f"{pixels} {kind}", lambda: store.blob(pixels, kind)).as_posix()

    paths = {kind: written(kind) for kind in result.blobs}
    return paths or {"image": out.link(f"images/{id_}{parent.suffix}", parent).as_posix()}


def _inherited(parent: dict[Hashable, Any]) -> dict[str, Any]:
    """What a portrait takes over from the photograph it was cut from."""
    same = {name: parent[name] for name in _INHERITED}
    return {**same, "parent_id": parent["id"], "parent_sha256": parent["sha256"]}


def _known(task: _Task, store: Store) -> Head | None:
    """What the store has of a photograph: the portrait and its pixels, or a reason; None where any is missing."""
    chosen = store.head(task.key)
    if chosen is None or "reason" in chosen.meta:
        return chosen
    pixels = store.head(_cut_key(task, chosen.meta["crop_box"]))
    return pixels and Head({**pixels.meta, **chosen.meta}, pixels.blobs)


def _crop_one(task: _Task) -> None:
    """Store the portrait of a photograph, and its pixels, where they are not known."""
    store = Store("crop", task.cache)
    pixels = functools.cache(lambda: read_image(Path(task.image)))  # read only for what is not known
    try:
        portrait = _portrait(task, pixels)
    except NoPortraitError as error:
        store.put(task.key, Result({"reason": error.reason, "detail": error.detail}), task.id)
        return
    box, face = portrait.box, portrait.face
    key = _cut_key(task, str(box))
    if store.head(key) is None:
        store.put(key, _cut(task, box, pixels()), task.id)
    inside = face.box.moved(-box.x0, -box.y0).clipped(box.width, box.height)
    chosen = {"crop_box": str(box), "face": str(inside), "face_probability": face.probability}
    store.put(task.key, Result(chosen), task.id)


def _cut(task: _Task, box: Box, photograph: Array) -> Result:
    """The pixels of a portrait, cut out of its photograph (H, W, 3) uint8 RGB."""
    pixels = cut(photograph, box, task.params.fill)
    meta = {"id": pixel_id(pixels), "width": box.width, "height": box.height}
    if task.mask is not None:
        mask = cut(read_mask(Path(task.mask)), box, 0)
        return Result(meta, {"image": encode_png(pixels), "mask": encode_mask(mask)})
    whole = meta["id"] == task.id  # it is not stored a second time
    return Result(meta, {} if whole else {"image": encode_png(pixels)})


def _portrait(task: _Task, pixels: Callable[[], Array]) -> Portrait:
    """The portrait in a photograph; NoPortraitError where there is none."""
    whole = Box(0, 0, task.width, task.height)

    def search(part: Box) -> list[Face]:
        return faces_of(task.id, pixels, task.params, task.cache, None if part == whole else part)

    if task.mask is None:
        return choose_portrait(task.width, task.height, search(whole), task.params)
    return find_portrait(read_mask(Path(task.mask)), search, task.params)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def main() -> None:
    params = load_params().crop
    full_bodies, crawled = join_sources(INGEST / "bodies"), join_sources(INGEST / "crawl")
    bodies, no_bodies = crop(full_bodies.records, params, CROP / "bodies")
    crawl, no_crawl = crop(crawled.records, params, CROP / "crawl")
    no_bodies += full_bodies.repeated
    no_crawl += crawled.repeated
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
