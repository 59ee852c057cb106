"""Which pictures make up the random slice of the queue: an unbiased sample of all pseudo labels.

Stage queue draws it, and the gain of further reviews is estimated from the reviewed part of it.
"""

import hashlib


def hashed_share(identity: str, salt: str = "queue") -> float:
    """0..1 by the id; salted, or the slice would be the pictures that the same hash puts on the dev side."""
    return int(hashlib.sha256(f"{salt} {identity}".encode()).hexdigest()[:8], 16) / 2**32


def in_random_slice(identity: str, share: float) -> bool:
    """Whether a picture is in a slice of this share (0..1); a larger slice holds the smaller ones."""
    return hashed_share(identity) < share
