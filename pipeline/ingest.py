"""Read a source as it was published and check every file.

Writes records with ids, clean images, 0/255 masks, and a reason for each picture that cannot be used.

`python -m pipeline.ingest NAME`, the name of a source in params.yaml.
"""

import errno
import functools
import hashlib
import logging
import os
import shutil
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
from pipeline.core.params import IngestParams, Source, Sources, load_params
from pipeline.core.paths import INGEST
from pipeline.core.provenance import with_terms_of
from pipeline.core.records import Rejected, account, make_records, write_records, write_rejected
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Result
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
from sinet.core import atomic
from sinet.core.recipe import MaskClasses
from sinet.images.decode import ImageError, ReadError, encode_mask, read_bytes, read_mask

log = logging.getLogger("pipeline")

_STAGING = "staging"


@dataclass(frozen=True, slots=True)
class _Row:
    """What the parent process keeps of a picture; the pictures themselves stay in the workers."""

    reason: str = ""  # "" for a usable picture
    detail: str = ""
    id: str = ""
    sha256: str = ""
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
    """Read the source `name` into `out`/images and `out`/masks; nothing else of `out` survives.

    What `takedowns` name is rejected, and so is what looks like it by at most `max_hash_distance` bits. A file is read
    once, and again by a worker where the store does not know it; another gate decodes nothing again. Staged files have
    the item's number as a name; what stays gets its id afterwards, so that twins cannot overwrite each other.
    """
    listing = read_layout(source.layout, Path(source.path))
    staging = _fresh(out)
    classes = params.mask_levels.classes(source.layout)
    rules = rules_key(params, classes)
    task = functools.partial(_take, params=params, classes=classes, rules=rules, staging=staging)
    numbered = list(enumerate(listing.items))
    known = {
        number: row for number, item in numbered if (row := _known(number, item, params, rules, staging))
    }
    todo = [one for one in numbered if one[0] not in known]
    taken = map_images(task, todo, desc=f"ingest {name}", workers=workers)
    known |= {number: row for (number, _), row in zip(todo, taken, strict=True)}
    rows = [known[number] for number, _ in numbered]
    rows = _take_down(rows, listing.items, staging, takedowns or Takedowns(), max_hash_distance, workers)
    usable = [
        SameFile(number, row.id, item)
        for number, (item, row) in enumerate(zip(listing.items, rows, strict=True))
        if not row.reason
    ]
    settled = settle_duplicates(usable, functools.partial(_staged_mask, staging), params.duplicate_masks)
    for number, mask in settled.masks.items():
        atomic.write_atomic(_mask_file(staging, number), encode_mask(mask))
    label = "none" if source.role == "crawl" else "human"
    # Reviews are of a crawl's pictures; beside masks of people another copy is a reject, and no change of a record.
    twins = _twins(settled, rows) if label == "none" else {}
    records = [
        _publish(one, rows[one.number], name, label, twins.get(one.id, ""), staging, out)
        for one in settled.kept
    ]
    shutil.rmtree(staging)
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
    return Ingested(make_records(records), rejected, items, listing, settled, rows)


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


def _known(number: int, item: ListedPicture, params: IngestParams, rules: str, staging: Path) -> _Row | None:
    """Stage a picture that the store knows; None where it does not, or the file cannot be read."""
    try:
        image, mask = _bytes_of(item, params)
    except (ImageError, ReadError, MemoryError):
        return None  # a worker says why
    sha256 = hashlib.sha256(image).hexdigest()
    key = inspection_key(rules, sha256, mask, matlab=_is_matlab(item))
    result = INSPECTED.get(key)
    return None if result is None else _staged(number, image, sha256, key, result, params, staging)


def _take(
    numbered: tuple[int, ListedPicture],
    params: IngestParams,
    classes: MaskClasses | None,
    rules: str,
    staging: Path,
) -> _Row:
    """Read, check and stage one picture; runs in a worker and never raises for a bad file.

    ReadError where the machine did not give its bytes, or had no memory for its pixels.
    """
    number, item = numbered
    try:
        image, mask = _bytes_of(item, params)
    except ImageError as error:
        return _Row(error.reason, error.detail)
    try:
        sha256, matlab = hashlib.sha256(image).hexdigest(), _is_matlab(item)
        key = inspection_key(rules, sha256, mask, matlab=matlab)
        result = inspect_once(key, image, sha256, mask, params, classes, matlab=matlab)
        return _staged(number, image, sha256, key, result, params, staging)
    except MemoryError as error:
        raise ReadError(errno.ENOMEM, os.strerror(errno.ENOMEM), item.image) from error


def _bytes_of(item: ListedPicture, params: IngestParams) -> tuple[bytes, bytes | None]:
    """The files of a picture and of its mask."""
    image = item.read(params.max_pixels)
    return image, None if item.mask is None else _read_mask_bytes(Path(item.mask), params.max_pixels)


def _is_matlab(item: ListedPicture) -> bool:
    return item.mask is not None and item.mask.lower().endswith(MATLAB)


def _staged(
    number: int,
    image: bytes,
    sha256: str,
    key: str,
    result: Result,
    params: IngestParams,
    staging: Path,
) -> _Row:
    """Stage what was found of a picture, unless a gate refuses it."""
    meta = dict(result.meta)
    if "reason" in meta:
        return _Row(**meta)
    fault = fault_of(meta["width"], meta["height"], meta.pop("mask_fault"), meta["foreground"], params)
    if fault is not None:
        return _Row(*fault)
    # Whole or not does not matter here: the folder counts only once its records stand in it.
    _image_file(staging, number, meta["suffix"]).write_bytes(result.blobs.get("image", image))
    if "mask" in result.blobs:
        _mask_file(staging, number).write_bytes(result.blobs["mask"])
    return _Row(**meta, sha256=sha256, converted="image" in result.blobs, stored=key)


def _take_down(
    rows: list[_Row],
    items: Sequence[ListedPicture],
    staging: Path,
    takedowns: Takedowns,
    max_hash_distance: int,
    workers: int | None,
) -> list[_Row]:
    """The rows, where a usable picture that a request names is a reject, and the store keeps nothing of it."""
    if not takedowns.requests:
        return rows
    paths = {row.id: str(_image_file(staging, n, row.suffix)) for n, row in enumerate(rows) if not row.reason}
    alike = taken_down_looks(paths, takedowns, max_hash_distance, workers)
    checked = []
    for row, item in zip(rows, items, strict=True):
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


def _fresh(out: Path) -> Path:
    """Empty `out`, where a kill may have left a half; return the folder that workers write to."""
    if out.exists():
        shutil.rmtree(out)
    for name in ("images", "masks", _STAGING):
        (out / name).mkdir(parents=True)
    return out / _STAGING


def _image_file(staging: Path, number: int, suffix: str) -> Path:
    return staging / f"{number}{suffix}"


def _mask_file(staging: Path, number: int) -> Path:
    return staging / f"{number}.mask.png"


def _staged_mask(staging: Path, candidate: SameFile) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    return None if candidate.item.mask is None else read_mask(_mask_file(staging, candidate.number))


def _publish(
    one: SameFile, row: _Row, name: str, label: str, twins: str, staging: Path, out: Path
) -> dict[str, Any]:
    """Give a staged picture its id as a name; return its record."""
    image = out / "images" / f"{row.id}{row.suffix}"
    _image_file(staging, one.number, row.suffix).replace(image)
    mask = None
    if one.item.mask is not None:
        mask = out / "masks" / f"{row.id}.png"
        _mask_file(staging, one.number).replace(mask)
    item = one.item
    return {
        "id": row.id,
        "source": name,
        "source_key": item.source_key,
        "label": label,
        "image": image.as_posix(),
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
    write_records(out, with_terms_of(source, ingested.records))
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
