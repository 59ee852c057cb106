"""A hash of a whole picture and of its mirror image: for copies in which local features fail, and for take-downs.

These are copies of pictures that have hardly a feature, stretched ones, and such full of text. It is imagehash's pHash
with 16x16 = 256 bits. On 3,152 real photographs (5 million pairs) the first two photographs of different people stood
at 62 bits. A copy that is cropped, framed or turned is not near.
"""

from collections.abc import Mapping
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.code import code_of
from pipeline.core.execute import map_images
from pipeline.core.store import Result, Store, key_of
from sinet.images.decode import Array, read_image

BITS = 256
HASH_WORDS = 16  # of a picture, from 0 to 2^20
_SIDE = 16  # bits a side of the hash
_REDUCED = 4 * _SIDE  # what imagehash.phash itself reduces a picture to

Hashes = NDArray[np.uint64]  # (..., 2, 4): 256 bits of the picture and 256 of its mirror image


def perceptual_hash(image: Array) -> Hashes:
    """pHash of (H, W, 3) uint8 RGB and of its mirror image: (2, 4) uint64, 256 bits each."""
    grey = Image.fromarray(image).convert("L").resize((_REDUCED, _REDUCED), Image.Resampling.LANCZOS)
    both = (grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    bits = np.stack([imagehash.phash(one, hash_size=_SIDE).hash.ravel() for one in both])
    return np.packbits(bits, axis=1).view(np.uint64)


def hash_words(hashes: Hashes) -> NDArray[np.int32]:
    """Sixteen bits each as a word of their own, of a picture's hashes (2, 4): (2, HASH_WORDS) int32.

    Pictures whose hashes are near have some in common.
    """
    return hashes.view(np.uint16) + np.arange(HASH_WORDS, dtype=np.int32) * 2**16


def hashes_near(one: Hashes, other: Hashes, max_distance: int) -> NDArray[np.bool_]:
    """Whether pictures are at most `max_distance` bits apart, one of them mirrored or not; shapes are broadcast."""
    sides = ((0, 0), (0, 1), (1, 0))
    found = [_distances(one[..., a, :], other[..., b, :]) <= max_distance for a, b in sides]
    return np.asarray(np.logical_or.reduce(found))


def hash_pictures(pictures: Mapping[str, str], store: Store, workers: int | None = None) -> dict[str, Hashes]:
    """The perceptual hash of each picture id -> path; each is computed once and then kept in the store."""
    ids = sorted(pictures)
    items = [(one, pictures[one], store) for one in ids]
    hashes = map_images(_hash_one, items, desc="perceptual hashes", workers=workers)
    return {
        one: np.frombuffer(bytes.fromhex(text), np.uint64).reshape(2, 4)
        for one, text in zip(ids, hashes, strict=True)
    }


def _hash_one(item: tuple[str, str, Store]) -> str:
    picture, path, store = item
    key = key_of("perceptual_hash", code_of(__name__), picture)
    stored = store.get(key)
    if stored is None:
        stored = Result({"hash": perceptual_hash(read_image(Path(path))).tobytes().hex()})
        store.put(key, stored)
    return str(stored.meta["hash"])


def near_pairs(
    hashes: Hashes, max_distance: int, plain: NDArray[np.bool_], chunk: int = 64
) -> NDArray[np.int64]:
    """Pairs (i, j), i < j, at most `max_distance` bits apart, one of them mirrored or not, sorted: (P, 2).

    At least one of the two is `plain`, (N,). Compares each of these with all, in chunks.
    """
    rows = np.flatnonzero(plain)
    found: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    for start in range(0, len(rows), chunk):
        block = rows[start : start + chunk]
        i, j = np.nonzero(hashes_near(hashes[block, None], hashes, max_distance))
        found.append(np.sort(np.stack([block[i], j], axis=1)[block[i] != j], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _distances(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint16]:
    total = np.zeros(np.broadcast_shapes(one.shape, other.shape)[:-1], np.uint16)
    for word in range(one.shape[-1]):
        total += np.bitwise_count(one[..., word] ^ other[..., word])
    return total
