"""The locked reviews, and which pseudo labels of today's crawl they judge: one answer for the queue and the dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from annotations.ledger.lock import LockEntry, LockError, read_lock, review_key
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError


def read_locked_reviews(folder: Path) -> list[LockEntry]:
    """All locked reviews; a damaged or missing lock is a PipelineError."""
    try:
        return read_lock(folder)
    except LockError as error:
        raise PipelineError(f"the reviews cannot be read: {error}") from error


def pictures_by_file(crawl: pd.DataFrame) -> dict[str, Any]:
    """The crawl's rows by the sha256 of their file, and of each other file that had the same pixels."""
    rows = list(crawl.itertuples())
    twins = {twin: row for row in rows for twin in str(row.twins).split()}
    return twins | {str(row.sha256): row for row in rows}


def reviews_by_picture(entries: Sequence[LockEntry], crawl: pd.DataFrame) -> dict[str, list[LockEntry]]:
    """The reviews by the sha256 that the crawl's record has today; a review of a twin is one of that record."""
    pictures = pictures_by_file(crawl)
    found: dict[str, list[LockEntry]] = {}
    for entry in entries:
        row = pictures.get(entry.parent_sha256)
        found.setdefault(entry.parent_sha256 if row is None else str(row.sha256), []).append(entry)
    return found


def review_of(row: Any, entries: Sequence[LockEntry], same_box_iou: float) -> LockEntry | None:
    """The one of its picture's reviews that judges this crop: of the same box, or of one a detector moved a little."""
    box = Box.parse(row.crop_box)
    near = [(box.iou(Box.parse(entry.crop_box)), entry.key, entry) for entry in entries]
    best = max(near, default=None, key=lambda one: one[:2])
    return best[2] if best is not None and best[0] >= same_box_iou else None


def judged_keys(
    records: pd.DataFrame, reviews: Mapping[str, Sequence[LockEntry]], same_box_iou: float
) -> set[str]:
    """The keys of the pseudo labels that a review judges, as stage merge sees it."""
    return {
        review_key(str(row.parent_sha256), row.crop_box)
        for row in records.itertuples()
        if isinstance(row.crop_box, str)
        and review_of(row, reviews.get(str(row.parent_sha256), []), same_box_iou) is not None
    }
