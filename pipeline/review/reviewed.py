"""Turn locked reviews into records: the crawl picture is cut again by the locked box, with the locked mask.

Every review becomes a record of label "reviewed" with its files, or a rejected item with the reason why it brings no
picture.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from annotations.ledger.lock import KEEPS, LockEntry
from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.folder import PictureFolder
from pipeline.core.records import Rejected, make_records
from pipeline.core.store import Result, Store, key_of
from pipeline.faces.portrait import cut
from pipeline.review.judged import pictures_by_file
from sinet.images.decode import encode_mask, encode_png, pixel_id, read_image


@dataclass(frozen=True)
class Reviewed:
    """Records of accepted masks, and the reviews that bring none."""

    records: pd.DataFrame
    rejected: list[Rejected]


def cut_reviewed(
    entries: Sequence[LockEntry],
    crawl: pd.DataFrame,
    out: PictureFolder,
    fill: int,
    store: Store,
    workers: int | None = None,
    taken_down: Collection[str] = (),
) -> Reviewed:
    """Cut the accepted reviews out of the `crawl` records into images/ID.png and masks/ID.png of the folder `out`.

    A review of a file in `taken_down` (sha256) is rejected as such: another branch's lock may still hold it. One whose
    picture is gone otherwise is rejected as `orphaned`, one that keeps nobody as `empty_mask`, the
    verdicts reject and unsure as `review_reject` and `review_unsure`. Of equal crops of two reviews (two files of the
    same pixels) the first by key stays. `fill` (0..255) is the grey outside the picture.
    """
    parents = pictures_by_file(crawl)
    rejected = [
        rejection
        for entry in entries
        if (rejection := _rejection(entry, entry.parent_sha256 in parents, entry.parent_sha256 in taken_down))
    ]
    lost = {one.source_key for one in rejected}
    kept = sorted((entry for entry in entries if entry.key not in lost), key=lambda entry: entry.key)
    tasks = [
        _Cut(entry, str(parents[entry.parent_sha256].image), fill, store, _cut_key(entry, fill))
        for entry in kept
    ]
    heads = store.complete(
        tasks,
        lambda task: store.head(task.key),
        lambda todo: map_images(_cut_one, todo, desc="cut reviewed", workers=workers),
    )
    rows: dict[str, dict[str, object]] = {}
    first: dict[str, str] = {}  # the review that a crop is of, by its id
    for task, head in zip(tasks, heads, strict=True):
        entry, one = task.entry, str(head.meta["id"])
        if one in rows:
            detail = f"the same pixels as the review {first[one]}"
            rejected.append(Rejected("reviews", entry.key, "duplicate_pixels", detail))
            continue
        image, mask = (
            out.put(f"{kind}s/{one}.png", f"{task.key} {kind}", partial(store.blob, task.key, kind))
            for kind in ("image", "mask")
        )
        parent, first[one] = parents[entry.parent_sha256], entry.key
        rows[one] = {
            "id": one,
            "source": parent.source,
            "source_key": parent.source_key,
            "parent_id": parent.id,
            "parent_sha256": entry.parent_sha256,
            "crop_box": entry.crop_box,
            "label": "reviewed",
            "image": str(image),
            "mask": str(mask),
            "width": entry.width,
            "height": entry.height,
            "sha256": entry.parent_sha256,
            "url": parent.url,
            "author": parent.author,
            "licence": parent.licence,
            "retrieved_at": parent.retrieved_at,
            "teacher": entry.teacher,
            "review": entry.verdict,
        }
    return Reviewed(make_records(list(rows.values())), rejected)


def check_orphans(rejected: Sequence[Rejected], at_most: int) -> None:
    """Raise where more reviews than `at_most` lost their picture."""
    orphans = [one for one in rejected if one.reason == "orphaned"]
    if len(orphans) > at_most:
        named = ", ".join([one.source_key for one in orphans[:5]] + ["..."] * (len(orphans) > 5))
        raise PipelineError(
            f"merge: expected at most {at_most} reviews without their picture (merge.max_orphaned_reviews), "
            f"found {len(orphans)}: {named}. Bring the pictures back into the crawl, set reviews.path to the "
            "lock that belongs to this crawl, raise the parameter, or, where a picture was taken out for its looks, "
            "name its file's sha256 to `python -m pipeline takedown`"
        )


def _rejection(entry: LockEntry, parent_is_there: bool, taken_down: bool) -> Rejected | None:
    if taken_down:
        detail = (
            "a person asked to have its picture taken out; `python -m pipeline takedown` removes the review"
        )
        return Rejected("reviews", entry.key, "taken_down", detail)
    if entry.verdict not in KEEPS:
        why = f" ({', '.join(entry.reasons)})" if entry.reasons else ""
        return Rejected(
            "reviews", entry.key, f"review_{entry.verdict}", f"{entry.reviewer} said {entry.verdict}{why}"
        )
    if not parent_is_there:
        detail = f"no crawl picture has the sha256 {entry.parent_sha256}"
        return Rejected("reviews", entry.key, "orphaned", detail)
    mask = entry.mask_array()
    box = Box.parse(entry.crop_box)
    if mask.shape != (box.height, box.width):
        raise PipelineError(
            f"merge: review {entry.key}: expected a mask of {box.width}x{box.height} for its crop box "
            f"{entry.crop_box}, found {mask.shape[1]}x{mask.shape[0]}; remove the entry from the lock or "
            "pull the review again"
        )
    if not mask.any():
        return Rejected("reviews", entry.key, "empty_mask", "the accepted mask holds nobody")
    return None


@dataclass(frozen=True)
class _Cut:
    entry: LockEntry
    image: str
    fill: int
    store: Store
    key: str


def _cut_key(entry: LockEntry, fill: int) -> str:
    return key_of("reviewed", code_of(__name__), entry.parent_sha256, entry.crop_box, entry.mask, fill)


def _cut_one(task: _Cut) -> None:
    """Store the crop and its mask, with the crop's id."""
    entry = task.entry
    picture = cut(read_image(Path(task.image)), Box.parse(entry.crop_box), task.fill)
    blobs = {"image": encode_png(picture), "mask": encode_mask(entry.mask_array())}
    task.store.put(task.key, Result({"id": pixel_id(picture)}, blobs), entry.parent_sha256)
