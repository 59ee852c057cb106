"""Read a source as it was published and check every file.

Writes records with ids, clean images, 0/255 masks, and a reason for each picture that cannot be used.

`python -m pipeline.ingest NAME`, the name of a source in params.yaml.
"""

import errno
import functools
import hashlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from annotations.ledger.takedowns import Takedowns
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.folder import FileNotes, PictureFolder
from pipeline.core.params import IngestParams, Source, Sources, load_params
from pipeline.core.paths import INGEST
from pipeline.core.provenance import with_terms_of
from pipeline.core.records import Rejected, account, make_records, write_rejected
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Head
from pipeline.dataset.takedown_list import read_requests
from pipeline.dataset.taken_down import taken_down_looks
from pipeline.sources.inspection import (
    INSPECTED,
    fault_of,
    inspect_once,
    inspection_key,
    rules_key,
)
from pipeline.sources.layouts import read_layout
from pipeline.sources.layouts.listing import MATLAB, ListedPicture, Listing
from pipeline.sources.pixel_duplicates import SameFile, SettledFiles, settle_duplicates
from sinet.core.recipe import MaskClasses
from sinet.images.decode import Array, ImageError, ReadError, decode_own_mask, encode_mask, read_bytes

log = logging.getLogger("pipeline")


@dataclass(frozen=True, slots=True)
class _Row:
    """What the parent process keeps of a picture; the pictures themselves stay in the workers."""

    reason: str = ""  # "" for a usable picture
    detail: str = ""
    id: str = ""
    sha256: str = ""  # of the picture's file
    mask_sha256: str | None = None  # of the mask's
    width: int = 0
    height: int = 0
    suffix: str = ""
    converted: bool = False
    foreground: float | None = None
    levels: str = ""  # of the mask's file, in words
    stored: str = ""  # under which key the store has it


@dataclass(frozen=True)
class Ingested:
    """A source's records and all that was found on the way."""

    records: pd.DataFrame
    rejected: list[Rejected]
    items: int
    listing: Listing
    settled: SettledFiles
    rows: list[_Row]


def ingest(
    name: str,
    source: Source,
    params: IngestParams,
    out: Path,
    workers: int | None = None,
    takedowns: Takedowns | None = None,
    max_hash_distance: int = 0,
) -> Ingested:
    """Read the source `name` into `out`/images and `out`/masks, with its records; nothing else of `out` survives.

    What `takedowns` name is rejected, and so is what looks like it by at most `max_hash_distance` bits. A file that is
    as it was is not read again, and another gate decodes nothing again.
    """
    listing = read_layout(source.layout, Path(source.path))
    folder, notes = PictureFolder(out), FileNotes(f"source {name}")
    classes = params.mask_levels.classes(source.layout)
    rules = rules_key(params, classes)
    known = {number: _known(item, params, rules, notes) for number, item in enumerate(listing.items)}
    todo = [number for number, row in known.items() if row is None]
    task = functools.partial(_take, params=params, classes=classes, rules=rules)
    taken = map_images(task, [listing.items[n] for n in todo], desc=f"ingest {name}", workers=workers)
    for number, row in zip(todo, taken, strict=True):
        known[number] = row
        _note(listing.items[number], row, notes)
    rows = [row for row in known.values() if row is not None]
    pictures = [_Picture(*both, params.max_pixels) for both in zip(listing.items, rows, strict=True)]
    rows = _take_down(pictures, folder, takedowns or Takedowns(), max_hash_distance, workers)
    usable = [
        SameFile(number, row.id, item)
        for number, (item, row) in enumerate(zip(listing.items, rows, strict=True))
        if not row.reason
    ]
    settled = settle_duplicates(
        usable, lambda one: pictures[one.number].pixels_of_mask(), params.duplicate_masks
    )
    label = "none" if source.role == "crawl" else "human"
    # Reviews are of a crawl's pictures; beside masks of people another copy is a reject, and no change of a record.
    twins = _twins(settled, rows) if label == "none" else {}
    records = with_terms_of(
        source,
        make_records(
            [
                _publish(one, pictures[one.number], settled, name, label, twins.get(one.id, ""), folder)
                for one in settled.kept
            ]
        ),
    )
    folder.finish(records)
    notes.save()
    rejected = [Rejected(name, one.source_key, one.reason, one.detail) for one in listing.unusable]
    rejected += [
        Rejected(name, item.source_key, row.reason, row.detail)
        for item, row in zip(listing.items, rows, strict=True)
        if row.reason
    ]
    rejected += [
        Rejected(name, one.item.source_key, "duplicate_pixels", detail) for one, detail in settled.rejected
    ]
    items = len(listing.items) + len(listing.unusable)
    return Ingested(records, rejected, items, listing, settled, rows)


def summarise(ingested: Ingested) -> dict[str, Any]:
    """Sides, foreground shares, twins, and what was left aside, for the metrics."""
    records, rows, settled = ingested.records, ingested.rows, ingested.settled
    kept = {one.number for one in settled.kept}
    shares = [row.foreground for at, row in enumerate(rows) if at in kept and row.foreground is not None]
    points = np.quantile(shares, (0.05, 0.5, 0.95)) if shares else ()
    return {
        "published": {
            "train": int((records["published_side"] == "train").sum()),
            "test": int((records["published_side"] == "test").sum()),
            "none": int(records["published_side"].isna().sum()),
        },
        "mask_levels": dict(sorted(Counter(row.levels for row in rows if row.levels).items())),
        "foreground_share": dict(zip(("p05", "p50", "p95"), map(float, points), strict=False)),
        "twins": {
            "pictures": settled.pictures,
            "with_other_masks": settled.other_masks,
            "train_same_as_test": settled.train_same_as_test,
        },
        "converted_to_png": sum(row.converted for at, row in enumerate(rows) if at in kept),
        "ignored_files": dict(ingested.listing.ignored),
        "notes": dict(ingested.listing.notes),
    }


def _known(item: ListedPicture, params: IngestParams, rules: str, notes: FileNotes) -> _Row | None:
    """What the notes and the store say of a picture; None where one of them knows nothing of it."""
    sha256, mask = notes.of(item.image, _part(item)), item.mask and notes.of(item.mask)
    if sha256 is None or (item.mask is not None and mask is None):
        return None
    key = inspection_key(rules, sha256, mask, matlab=_is_matlab(item))
    result = INSPECTED.head(key)
    return None if result is None else _row(result, sha256, mask, key, params)


def _take(item: ListedPicture, params: IngestParams, classes: MaskClasses | None, rules: str) -> _Row:
    """Read and check one picture; runs in a worker and never raises for a bad file.

    ReadError where the machine did not give its bytes, or had no memory for its pixels.
    """
    try:
        image = item.read(params.max_pixels)
        mask = None if item.mask is None else _read_mask_bytes(Path(item.mask), params.max_pixels)
    except ImageError as error:
        return _Row(error.reason, error.detail)
    try:
        sha256, matlab = hashlib.sha256(image).hexdigest(), _is_matlab(item)
        mask_sha256 = None if mask is None else hashlib.sha256(mask).hexdigest()
        key = inspection_key(rules, sha256, mask_sha256, matlab=matlab)
        result = inspect_once(key, image, sha256, mask, params, classes, matlab=matlab)
        return _row(result, sha256, mask_sha256, key, params)
    except MemoryError as error:
        raise ReadError(errno.ENOMEM, os.strerror(errno.ENOMEM), item.image) from error


def _note(item: ListedPicture, row: _Row, notes: FileNotes) -> None:
    """Note the hashes of a picture's files, which were read."""
    if row.sha256:
        notes.note(item.image, row.sha256, _part(item))
    if item.mask is not None and row.mask_sha256:
        notes.note(item.mask, row.mask_sha256)


def _part(item: ListedPicture) -> str:
    """Which part of its file a picture is; "" for all of it."""
    return "" if item.part is None else f" {item.part}"


def _is_matlab(item: ListedPicture) -> bool:
    return item.mask is not None and item.mask.lower().endswith(MATLAB)


def _row(result: Head, sha256: str, mask_sha256: str | None, key: str, params: IngestParams) -> _Row:
    """What was found of a picture, unless a gate refuses it."""
    meta, files = dict(result.meta), dict[str, Any](sha256=sha256, mask_sha256=mask_sha256)
    if "reason" in meta:
        return _Row(**meta, **files)
    fault = fault_of(meta["width"], meta["height"], meta.pop("mask_fault"), meta["foreground"], params)
    if fault is not None:
        return _Row(*fault, **files)
    return _Row(**meta, **files, converted="image" in result.blobs, stored=key)


@dataclass(frozen=True)
class _Picture:
    """A picture of the source, and how its files come into a folder."""

    item: ListedPicture
    row: _Row
    max_pixels: int

    def write_image(self, folder: PictureFolder) -> Path:
        """The upright picture as images/ID: the source's file as it is, where that can be."""
        return folder.put(f"images/{self.row.id}{self.row.suffix}", f"{self.row.stored} image", self._image)

    def write_mask(self, folder: PictureFolder) -> Path:
        """The 0/255 mask as masks/ID.png."""
        return folder.put(f"masks/{self.row.id}.png", f"{self.row.stored} mask", self._mask)

    def pixels_of_mask(self) -> Array | None:
        """The mask (H, W) {0, 1}, None where the source has none."""
        return None if self.item.mask is None else decode_own_mask(self._mask(), "the stored mask")

    def _image(self) -> bytes:
        if self.row.converted:
            return INSPECTED.blob(self.row.stored, "image")
        image = self.item.read(self.max_pixels)
        if hashlib.sha256(image).hexdigest() != self.row.sha256:
            raise PipelineError(f"{self.item.image} changed while the stage read it; run it again")
        return image

    def _mask(self) -> bytes:
        return INSPECTED.blob(self.row.stored, "mask")


def _take_down(
    pictures: Sequence[_Picture],
    folder: PictureFolder,
    takedowns: Takedowns,
    max_hash_distance: int,
    workers: int | None,
) -> list[_Row]:
    """The rows, where a usable picture that a request names is a reject, and the store keeps nothing of it."""
    if not takedowns.requests:
        return [one.row for one in pictures]
    paths = {one.row.id: str(one.write_image(folder)) for one in pictures if not one.row.reason}
    alike = taken_down_looks(paths, takedowns, max_hash_distance, workers)
    checked = []
    for row, item in ((one.row, one.item) for one in pictures):
        named = takedowns.files.get(row.sha256) or takedowns.pixels.get(row.id)
        named = named or (takedowns.of_url(item.url) if item.url else None)
        key = named or alike.get(row.id)
        if row.reason or key is None:
            checked.append(row)
            continue
        INSPECTED.remove(row.stored)
        what = "a person asked to have this picture taken out" if named else "looks like a picture taken out"
        checked.append(_Row("taken_down", f"{what} (request {key})"))
    return checked


def _read_mask_bytes(path: Path, max_pixels: int) -> bytes:
    try:
        return read_bytes(path, max_pixels)
    except ImageError as error:
        raise ImageError(f"mask_{error.reason}", f"the mask: {error.detail}") from error


def _publish(
    one: SameFile,
    picture: _Picture,
    settled: SettledFiles,
    name: str,
    label: str,
    twins: str,
    folder: PictureFolder,
) -> dict[str, Any]:
    """Write a picture that stays; return its record."""
    item, row = picture.item, picture.row
    mask = None
    if one.number in settled.masks:  # of several files
        drawn = encode_mask(settled.masks[one.number])
        mask = folder.put(f"masks/{row.id}.png", hashlib.sha256(drawn).hexdigest(), lambda: drawn)
    elif item.mask is not None:
        mask = picture.write_mask(folder)
    return {
        "id": row.id,
        "source": name,
        "source_key": item.source_key,
        "label": label,
        "image": picture.write_image(folder).as_posix(),
        "mask": mask and mask.as_posix(),
        "width": row.width,
        "height": row.height,
        "sha256": row.sha256,
        "twins": twins,
        "url": item.url,
        "author": item.author,
        "licence": item.licence,
        "retrieved_at": item.retrieved_at,
        "published_side": item.published_side,
    }


def _twins(settled: SettledFiles, rows: Sequence[_Row]) -> dict[str, str]:
    """By id, the sha256 of the files left out for their equal pixels: a review may be of one of them."""
    found: dict[str, set[str]] = {}
    for one, _ in settled.rejected:
        found.setdefault(one.id, set()).add(rows[one.number].sha256)
    return {id_: " ".join(sorted(hashes)) for id_, hashes in found.items()}


def _source_name(arguments: Sequence[str], sources: Sources) -> str:
    names = sources.names()
    if len(arguments) != 1 or arguments[0] not in names:
        found = " ".join(arguments) or "nothing"
        raise PipelineError(f"expected one source of params.yaml, {', '.join(names)}; found {found}")
    return arguments[0]


def main() -> None:
    """Ingest the source that the command line names."""
    params = load_params()
    name = _source_name(sys.argv[1:], params.sources)
    source = params.sources[name]
    out = INGEST / source.role / name
    ingested = ingest(
        name,
        source,
        params.ingest,
        out,
        takedowns=read_requests(),
        max_hash_distance=params.cluster.max_hash_distance,
    )
    write_rejected(f"ingest/{name}", ingested.rejected)
    for what, count in sorted(ingested.listing.notes.items()):
        log.info("ingest@%s: %d %s", name, count, what)
    for suffix, count in sorted(ingested.listing.ignored.items()):
        log.info("ingest@%s: %d files %s are no pictures and were left aside", name, count, suffix)
    counts = account(
        f"ingest@{name}",
        ingested.items,
        len(ingested.records),
        ingested.rejected,
        params.ingest.max_reject_rate,
    )
    told = {"role": source.role, "layout": source.layout}
    write_metrics(f"ingest/{name}", {**told, **counts, **summarise(ingested)})


if __name__ == "__main__":
    run("ingest", main)
