"""The pairs of pictures that show the same photograph: candidates by shared words, each looked at closely.

What is known of a picture, and of a pair, is computed once and then kept in the store.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.code import code_of
from pipeline.core.execute import map_images
from pipeline.core.params import ClusterParams
from pipeline.core.store import Result, Store, key_of
from pipeline.look_alikes.candidates import candidates
from pipeline.look_alikes.local_features import (
    FEATURE_WORDS,
    VOCABULARY_WORDS,
    Features,
    local_features,
    vocabulary_hash,
    words_of,
)
from pipeline.look_alikes.perceptual_hash import (
    HASH_WORDS,
    hash_words,
    hashes_near,
    near_pairs,
    perceptual_hash,
)
from pipeline.look_alikes.same_scene import matches
from sinet.images.decode import read_image

PLAIN = 120  # features; a picture of fewer is also compared as a whole, by its perceptual hash
_NAMED = 12  # candidates that a picture names
_BLOCK = 20_000  # pairs between two writings of what was found, or an eighth of all where that is more

PICTURE_WORDS = FEATURE_WORDS + HASH_WORDS
_PRINT = np.dtype(
    [("id", "<u8"), ("words", "<i4", (2, PICTURE_WORDS)), ("hash", "<u8", (2, 4)), ("features", "<u2")]
)
_PAIR = np.dtype([("one", "<u8"), ("other", "<u8"), ("matches", "<u2")])
_Table = NDArray[np.void]


@dataclass(frozen=True)
class Prints:
    """What pictures are recognised by, in the order of their ids: a row of _PRINT each; the rest lies in the store."""

    table: _Table
    pictures: Mapping[str, str]  # path by id
    store: Store

    def among(self, ids: Collection[str]) -> "Prints":
        """Those of some pictures."""
        return Prints(self.table[np.isin(self.table["id"], _numbers(ids))], self.pictures, self.store)


def prints_of(pictures: Mapping[str, str], store: Store, name: str, workers: int | None = None) -> Prints:
    """The prints of pictures, id -> path. The store has a table of them by the `name` of who asks."""
    key = _print_key(f"table of {name}")
    wanted = _numbers(pictures)
    table = _kept(store, key, _PRINT)
    if not np.array_equal(table["id"], wanted):
        known = table[np.isin(table["id"], wanted)]
        items = [(one, pictures[one], store) for one in _names(np.setdiff1d(wanted, known["id"]))]
        made = map_images(_print_one, items, desc="look at pictures", workers=workers)
        table = np.concatenate([known, *made])
        table = table[np.argsort(table["id"])]
        _keep(store, key, table)
    return Prints(table, pictures, store)


def look_alikes(
    prints: Prints,
    params: ClusterParams,
    name: str,
    inside: Collection[str] | None = None,
    workers: int | None = None,
) -> list[tuple[str, str]]:
    """Pairs of ids that show the same photograph; with `inside`, pairs of one of these ids with another one.

    The store has a table of them by `name`.
    """
    table = prints.table
    if not len(table):
        return []
    group = None if inside is None else np.isin(table["id"], _numbers(inside))
    named = candidates(table["words"], _NAMED, group)
    # Where one is stretched or full of text, features do not lie alike, but the whole looks alike.
    one, other = (table["hash"][named[:, at]] for at in (0, 1))
    same = hashes_near(one, other, params.max_hash_distance // 2)
    same |= _matched(table["id"][named], prints, name, workers) >= params.min_matches
    plain = near_pairs(table["hash"], params.max_hash_distance, table["features"] < PLAIN)
    if group is not None:
        plain = plain[group[plain[:, 0]] != group[plain[:, 1]]]
    both = np.unique(np.concatenate([named[same], plain]), axis=0)
    return list(zip(_names(table["id"][both[:, 0]]), _names(table["id"][both[:, 1]]), strict=True))


def _matched(pairs: NDArray[np.uint64], prints: Prints, name: str, workers: int | None) -> NDArray[np.uint16]:
    """How many features agree of each pair of ids, (P, 2) sorted: (P,)."""
    key = key_of("matches", code_of("pipeline.look_alikes.same_scene"), cv2.__version__, str(_PAIR), name)
    known = pd.DataFrame(_kept(prints.store, key, _PAIR))
    found = pd.DataFrame({"one": pairs[:, 0], "other": pairs[:, 1]}).merge(known, "left", ["one", "other"])
    table = np.zeros(len(pairs), _PAIR)
    table["one"], table["other"], table["matches"] = pairs[:, 0], pairs[:, 1], found["matches"].fillna(0)
    new = found["matches"].isna().to_numpy()
    done, todo = ~new, np.flatnonzero(new)
    items = [_item(prints, group) for group in _by_first(pairs[todo])]
    at = kept = 0
    for result in map_images(_match_one, items, desc="compare look-alikes", workers=workers):
        block = todo[at : at + len(result)]
        table["matches"][block], done[block] = result, True
        at += len(result)
        if at == len(todo) or at - kept >= max(_BLOCK, len(todo) // 8):
            _keep(prints.store, key, table[done])
            kept = at
    return table["matches"]


def _by_first(pairs: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Sorted pairs, grouped by the first of the two, whose features are then read once."""
    starts = np.flatnonzero(np.diff(pairs[:, 0], prepend=pairs[:1, 0] + np.uint64(1)))
    return np.split(pairs, starts)[1:]


def _item(prints: Prints, pairs: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], list[str], Store]:
    """The ids of a picture and of those that it is compared with, and their paths."""
    ids = np.append(pairs[0, 0], pairs[:, 1])
    return ids, [prints.pictures[one] for one in _names(ids)], prints.store


def _match_one(item: tuple[NDArray[np.uint64], list[str], Store]) -> NDArray[np.uint16]:
    ids, paths, store = item
    pictures = zip(_names(ids), paths, strict=True)
    first, *others = (_features(_looked_at(picture, path, store)) for picture, path in pictures)
    return np.array([matches(first, other) for other in others], np.uint16)


def _print_one(item: tuple[str, str, Store]) -> _Table:
    return np.frombuffer(_looked_at(*item).blobs["print"], _PRINT)


def _looked_at(picture: str, path: str, store: Store) -> Result:
    """Features and print of a picture, from the store where they are there."""
    key = _print_key(picture)
    stored = store.get(key)
    if stored is None:
        cv2.setNumThreads(1)
        image = read_image(Path(path))
        features = local_features(image)
        row, hashes = np.zeros(1, _PRINT), perceptual_hash(image)
        words = np.concatenate([words_of(features), VOCABULARY_WORDS + hash_words(hashes)], axis=1)
        row[0] = (int(picture, 16), words, hashes, len(features.points))
        size = {"width": features.width, "height": features.height}
        points, descriptors = features.points.tobytes(), features.descriptors.tobytes()
        stored = Result(size, {"points": points, "descriptors": descriptors, "print": row.tobytes()})
        store.put(key, stored, of=picture)
    return stored


def _features(stored: Result) -> Features:
    points = np.frombuffer(stored.blobs["points"], np.float32).reshape(-1, 2)
    descriptors = np.frombuffer(stored.blobs["descriptors"], np.uint8).reshape(-1, 128)
    return Features(points, descriptors, stored.meta["width"], stored.meta["height"])


def _print_key(picture: str) -> str:
    code = [code_of(f"pipeline.look_alikes.{name}") for name in ("local_features", "perceptual_hash")]
    return key_of("print", code, vocabulary_hash(), str(_PRINT), cv2.__version__, picture)


def _numbers(ids: Collection[str]) -> NDArray[np.uint64]:
    return np.array(sorted(int(one, 16) for one in ids), np.uint64)


def _names(numbers: NDArray[np.uint64]) -> list[str]:
    return [f"{one:016x}" for one in numbers.tolist()]


def _kept(store: Store, key: str, dtype: np.dtype[np.void]) -> _Table:
    stored = store.get(key)
    return np.frombuffer(b"" if stored is None else stored.blobs["table"], dtype)


def _keep(store: Store, key: str, table: _Table) -> None:
    store.put(key, Result({}, {"table": table.tobytes()}))
