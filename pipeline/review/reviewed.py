"""Turn locked reviews into records: the crawl picture is cut again by the locked box, with the locked mask.

Every review becomes a record of label "reviewed" with its files, or a rejected item with the reason why it brings no
picture.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from annotations.ledger.lock import KEEPS, LockEntry
from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.records import Rejected, make_records
from pipeline.core.store import Result, Store, key_of
from pipeline.faces.portrait import cut
from pipeline.review.judged import pictures_by_file
from sinet.core import atomic
from sinet.images.decode import encode_mask, encode_png, pixel_id, read_image


@dataclass(frozen=True)
class Reviewed:
    """Records of accepted masks, and the reviews that bring none."""

    records: pd.DataFrame
    rejected: list[Rejected]


def cut_reviewed(
    entries: Sequence[LockEntry],
    crawl: pd.DataFrame,
    folder: Path,
    fill: int,
    store: Store,
    workers: int | None = None,
    taken_down: Collection[str] = (),
) -> Reviewed:
    """Cut the accepted reviews out of the `crawl` records into FOLDER/KEY.png and FOLDER/KEY-mask.png.

    A review of a file in `taken_down` (sha256) is rejected as such: another branch's lock may still hold it. One whose
    picture is gone otherwise is rejected as `orphaned`, one that keeps nobody as `empty_mask`, the
    verdicts reject and unsure as `review_reject` and `review_unsure`. `fill` (0..255) is the grey outside the
    picture.
    """
    parents = pictures_by_file(crawl)
    rejected = [
        rejection
        for entry in entries
        if (rejection := _rejection(entry, entry.parent_sha256 in parents, entry.parent_sha256 in taken_down))
    ]
    lost = {one.source_key for one in rejected}
    kept = [entry for entry in entries if entry.key not in lost]
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [_Cut(entry, str(parents[entry.parent_sha256].image), folder, fill, store) for entry in kept]
    ids = map_images(_cut_one, tasks, desc="cut reviewed", workers=workers)
    rows: list[dict[str, object]] = []
    for entry, picture in zip(kept, ids, strict=True):
        parent = parents[entry.parent_sha256]
        rows.append(
            {
                "id": picture,
                "source": parent.source,
                "source_key": parent.source_key,
                "parent_id": parent.id,
                "parent_sha256": entry.parent_sha256,
                "crop_box": entry.crop_box,
                "label": "reviewed",
                "image": str(folder / f"{entry.key}.png"),
                "mask": str(folder / f"{entry.key}-mask.png"),
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
        )
    unique, repeats = _one_of_each(rows)
    return Reviewed(make_records(unique), rejected + repeats)


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


def _one_of_each(rows: Sequence[dict[str, object]]) -> tuple[list[dict[str, object]], list[Rejected]]:
    """Equal crops of two reviews (two files of the same pixels): the first by image path stays."""
    unique: dict[object, dict[str, object]] = {}
    repeats = []
    for row in sorted(rows, key=lambda row: str(row["image"])):
        first = unique.setdefault(row["id"], row)
        if first is not row:
            detail = f"the same pixels as the review {Path(str(first['image'])).stem}"
            repeats.append(Rejected("reviews", Path(str(row["image"])).stem, "duplicate_pixels", detail))
    return list(unique.values()), repeats


@dataclass(frozen=True)
class _Cut:
    entry: LockEntry
    image: str
    folder: Path
    fill: int
    store: Store


def _cut_one(task: _Cut) -> str:
    """Write the two files; return the picture's id."""
    entry = task.entry
    key = key_of("reviewed", code_of(__name__), entry.parent_sha256, entry.crop_box, entry.mask, task.fill)
    result = task.store.get(key)
    if result is None:
        picture = cut(read_image(Path(task.image)), Box.parse(entry.crop_box), task.fill)
        blobs = {"image": encode_png(picture), "mask": encode_mask(entry.mask_array())}
        result = Result({"id": pixel_id(picture)}, blobs)
        task.store.put(key, result, entry.parent_sha256)
    atomic.write_atomic(task.folder / f"{entry.key}.png", result.blobs["image"])
    atomic.write_atomic(task.folder / f"{entry.key}-mask.png", result.blobs["mask"])
    return str(result.meta["id"])
