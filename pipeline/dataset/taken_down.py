"""What looks like a picture that a person asked to have taken out."""

from collections.abc import Mapping

import numpy as np

from annotations.ledger.takedowns import Takedowns
from pipeline.core.store import Store
from pipeline.look_alikes.perceptual_hash import hash_pictures


def taken_down_looks(
    pictures: Mapping[str, str], takedowns: Takedowns, max_distance: int, workers: int | None = None
) -> dict[str, str]:
    """The request whose picture, or its mirror image, each one is at most `max_distance` bits from, by picture id.

    `pictures` are paths by id; one that looks like none is not in the result. Of several requests the nearest counts.
    """
    if not takedowns.looks or not pictures:
        return {}
    texts = sorted(takedowns.looks)
    known = np.stack([np.frombuffer(bytes.fromhex(text), np.uint64).reshape(2, 4) for text in texts])
    found = {}
    for one, (plain, _) in hash_pictures(pictures, Store("perceptual_hash"), workers).items():
        distances = np.bitwise_count(known ^ plain).sum(axis=2, dtype=np.int64).min(axis=1)
        nearest = int(distances.argmin())
        if distances[nearest] <= max_distance:
            found[one] = takedowns.looks[texts[nearest]]
    return found
