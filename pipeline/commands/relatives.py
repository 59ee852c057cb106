"""What belongs to a picture that a person names: its photograph, its crops, its look-alikes, its reviews.

Reads what the stages have made so far. Without it a request holds the named hash alone, and ingest finds the rest by
their looks.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from annotations.ledger.lock import LockEntry, review_key
from annotations.ledger.takedowns import Takedowns, TakenDown, url_hash
from annotations.server.exports import read_export_file
from annotations.server.import_files import read_tasks, written
from annotations.settings import IMPORT_FILES, SECOND_LOOK_FILES
from pipeline.core.errors import PipelineError
from pipeline.core.params import ClusterParams
from pipeline.core.paths import CLUSTER, CROP, DATASET, INGEST, PSEUDO
from pipeline.core.records import make_records, read_records
from pipeline.core.store import Store
from pipeline.dataset.cluster_table import read_beside, read_clusters
from pipeline.dataset.taken_down import taken_down_looks
from pipeline.look_alikes.finder import look_alikes, prints_of
from pipeline.look_alikes.perceptual_hash import perceptual_hash
from sinet.images.decode import Array, ImageError, decode_image, pixel_id, read_bytes, read_image


@dataclass(frozen=True)
class Made:
    """What the stages made: records, and clusters by id."""

    photographs: pd.DataFrame  # of all sources
    crops: pd.DataFrame  # reviewed ones too, which were cut by the review's own box
    labelled: Mapping[str, str]
    crawl: Mapping[str, str]
    beside: Mapping[str, Sequence[str]]
    tasks: Mapping[str, str]  # the parent's sha256 of each task and review, by key


@dataclass(frozen=True)
class Named:
    """What a person named: at least one hash of it, and its pixels where they are at hand."""

    ids: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    pixels: Array | None = None

    @property
    def key(self) -> str:
        """16 hex digits."""
        return min(next(names for names in (self.ids, self.files, self.urls) if names))[:16]


def read_made(entries: Iterable[LockEntry], exports: Iterable[Path]) -> Made:
    """All that is there; a stage that has not run leaves its part empty. `entries` are the lock's."""
    labelled, crawl, beside = (CLUSTER / name for name in ("labelled.csv", "crawl.csv", "beside.csv"))
    tasks = {entry.key: entry.parent_sha256 for entry in entries}
    for row in _records([PSEUDO]).itertuples():
        tasks[review_key(str(row.parent_sha256), str(row.crop_box))] = str(row.parent_sha256)
    for folder in (IMPORT_FILES, SECOND_LOOK_FILES):
        tasks |= _parents(read_tasks(folder)) if written(folder) else {}
    for path in exports:
        tasks |= _parents(read_export_file(path))
    crops = _records([CROP / "bodies", CROP / "crawl", PSEUDO, DATASET])
    return Made(
        _records(sorted(path.parent for path in INGEST.glob("*/*/records.parquet"))),
        crops.dropna(subset="parent_id").drop_duplicates("id"),
        read_clusters(labelled) if labelled.is_file() else {},
        read_clusters(crawl) if crawl.is_file() else {},
        read_beside(beside) if beside.is_file() else {},
        tasks,
    )


def named_by(text: str, made: Made) -> Named:
    """What a picture's id, a review's key, a file, a file's sha256 or an address names; PipelineError for others."""
    path = Path(text)
    if path.is_file():
        return _named_by_file(path)
    if re.fullmatch("[0-9a-f]{16}", text):
        parent = made.tasks.get(text)
        known = text in {*made.photographs["id"], *made.crops["id"]}
        return Named(ids=frozenset([text])) if known or parent is None else _named_by_hash(parent, made)
    if re.fullmatch("[0-9a-f]{64}", text):
        return _named_by_hash(text, made)
    if "://" in text:
        try:
            return _named_by_url(url_hash(text), made)
        except ValueError as error:
            raise PipelineError(str(error)) from error
    raise PipelineError(
        "expected a picture's id (16 hex digits), a file, a file's sha256 or an address with http:// or https://, "
        f"found {text!r}, which is no file either"
    )


def request_for(named: Named, made: Made, params: ClusterParams, day: str, reason: str) -> TakenDown:
    """The request that names the picture, its photograph, all crops of it, and what looks like them.

    Look-alikes are those of its cluster that show the same photograph as it or a crop of it, and what is at most
    `max_hash_distance` bits from one of all these or from its mirror image, as stage ingest will find them again.
    Likeness goes on no further: behind a collage, which looks like each of its parts, stand strangers.
    """
    photographs = made.photographs
    ids = _equal(_photographs_of(named.ids, made), made)
    alike = _alike(ids, made, params)
    shown = pd.concat([photographs[photographs["id"].isin(ids | alike)], _crops_of(ids, made)])
    ids |= alike
    pictures = [read_image(Path(str(path))) for path in shown["image"] if Path(str(path)).is_file()]
    pictures += [] if named.pixels is None else [named.pixels]
    looks = tuple(perceptual_hash(one).tobytes().hex() for one in pictures)
    request = TakenDown(key=named.key, date=day, reason=reason, looks=looks)
    there = {
        str(row.id): str(row.image) for row in photographs.itertuples() if Path(str(row.image)).is_file()
    }
    ids |= taken_down_looks(there, Takedowns([request]), params.max_hash_distance).keys()
    chosen = photographs[photographs["id"].isin(ids)]
    twins = (twin for text in chosen["twins"] for twin in text.split())
    files = {*named.files, *chosen["sha256"], *twins}
    return request.joined(
        TakenDown(
            key=named.key,
            date=day,
            pixels=(*named.ids, *ids, *_crops_of(ids, made)["id"]),
            files=tuple(files),
            urls=(*named.urls, *_hashes(chosen["url"].dropna()).values()),
            reviews=tuple(key for key, parent in made.tasks.items() if parent in files),
        )
    )


def _named_by_file(path: Path) -> Named:
    try:
        data = read_bytes(path)
        pixels = decode_image(data)
    except ImageError as error:
        raise PipelineError(f"expected a picture in {path}, found {error.detail}") from error
    return Named(frozenset([pixel_id(pixels)]), frozenset([hashlib.sha256(data).hexdigest()]), pixels=pixels)


def _named_by_hash(sha256: str, made: Made) -> Named:
    same = [
        str(row.id)
        for row in made.photographs.itertuples()
        if sha256 in (row.sha256, *str(row.twins).split())
    ]
    return Named(frozenset(same), frozenset([sha256]))


def _named_by_url(hashed: str, made: Made) -> Named:
    addresses = _hashes(made.photographs["url"].dropna())
    same = [str(row.id) for row in made.photographs.itertuples() if addresses.get(str(row.url)) == hashed]
    return Named(frozenset(same), urls=frozenset([hashed]))


def _hashes(addresses: Iterable[str]) -> dict[str, str]:
    """`url_hash` by address; a table's text that is no address has none."""
    found = {}
    for one in addresses:
        try:
            found[one] = url_hash(one)
        except ValueError:
            continue
    return found


def _photographs_of(ids: Collection[str], made: Made) -> set[str]:
    """The photographs of these ids, which may be crops."""
    of_crops = dict(zip(made.crops["id"], made.crops["parent_id"], strict=True))
    whole = set(made.photographs["id"])
    return {one for one in ids if one in whole} | {str(of_crops[one]) for one in ids if one in of_crops}


def _crops_of(ids: Collection[str], made: Made) -> pd.DataFrame:
    return made.crops[made.crops["parent_id"].isin(list(ids))]


def _equal(ids: set[str], made: Made) -> set[str]:
    """These photographs, those of the same files, and those that have the pixels of a crop of them."""
    files = {str(row.id): {str(row.sha256), *str(row.twins).split()} for row in made.photographs.itertuples()}
    wanted = {file for one in ids for file in files[one]}
    same = {one for one, own in files.items() if not wanted.isdisjoint(own)}
    return same | (files.keys() & set(_crops_of(same, made)["id"]))


def _alike(ids: set[str], made: Made, params: ClusterParams) -> set[str]:
    """The photographs of a cluster with these of which one comparison tells that they show the same."""
    inside, others = _pictures(ids, made), _pictures(in_one_cluster(ids, made) - ids, made)
    if not inside or not others:
        return set()
    prints = prints_of(others | inside, Store("look_alikes"), "takedown")
    pairs = look_alikes(prints, params, "takedown", inside)
    return _photographs_of({one for pair in pairs for one in pair} - inside.keys(), made) - ids


def _pictures(ids: Collection[str], made: Made) -> dict[str, str]:
    """Path by id of these photographs and their crops, of those that are there."""
    rows = pd.concat([made.photographs[made.photographs["id"].isin(list(ids))], _crops_of(ids, made)])
    return {str(row.id): str(row.image) for row in rows.itertuples() if Path(str(row.image)).is_file()}


def in_one_cluster(ids: Collection[str], made: Made) -> set[str]:
    """The photographs in a cluster with these or their crops, or in one beside it."""
    members = {*ids, *_crops_of(ids, made)["id"]}
    labelled = {made.labelled[one] for one in members & made.labelled.keys()}
    crawl = {made.crawl[one] for one in members & made.crawl.keys()}
    beside = {one for cluster in crawl for one in made.beside.get(cluster, ())}
    crawl |= {one for one, others in made.beside.items() if labelled & set(others)}
    labelled |= beside
    mates = {one for one, cluster in made.labelled.items() if cluster in labelled}
    mates |= {one for one, cluster in made.crawl.items() if cluster in crawl}
    return _photographs_of(mates, made)


def _records(folders: Iterable[Path]) -> pd.DataFrame:
    tables = [read_records(folder) for folder in folders if (folder / "records.parquet").is_file()]
    return pd.concat(tables, ignore_index=True) if tables else make_records([])


def _parents(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    data = (task["data"] for task in tasks)
    return {
        str(one["key"]): str(one["parent_sha256"]) for one in data if "key" in one and "parent_sha256" in one
    }
