"""A mask in a few kilobytes, for the time that many are in memory: the pixels of 10,000 reviews would take 5 GB."""

import zlib
from dataclasses import dataclass

import numpy as np

from sinet.images.decode import Array


@dataclass(frozen=True)
class PackedMask:
    """A mask (H, W) uint8 in {0, 1}; equal for equal masks."""

    shape: tuple[int, int]
    data: bytes

    @classmethod
    def of(cls, mask: Array) -> "PackedMask":
        """Pack a mask (H, W) uint8 in {0, 1}."""
        return cls((mask.shape[0], mask.shape[1]), zlib.compress(np.packbits(mask).tobytes(), 1))

    def unpack(self) -> Array:
        """The mask again, (H, W) uint8 in {0, 1}, each time an array of its own."""
        height, width = self.shape
        bits = np.frombuffer(zlib.decompress(self.data), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(height, width)
