"""Which pictures make up the random slice of the queue: an unbiased sample of all pseudo labels.

Stage queue draws it, and the gain of further reviews is estimated from the reviewed part of it.
"""

import hashlib


def share_of(name: str) -> float:
    """A number in 0..1 that depends on the name alone, so that new pictures never move old ones."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32


def hashed_share(identity: str, salt: str = "queue") -> float:
    """0..1 by the id; salted, or the slice would be the pictures that the same hash puts on the dev side."""
    return share_of(f"{salt} {identity}")


def in_random_slice(identity: str, share: float) -> bool:
    """Whether a picture is in a slice of this share (0..1); a larger slice holds the smaller ones."""
    return hashed_share(identity) < share
