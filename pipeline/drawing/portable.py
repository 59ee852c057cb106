"""The same bytes on every x86 processor: the drawn world's review lock names pictures by their file's hash.

NumPy rounds sums, products, divisions and roots alike everywhere. OpenCV's filters do not: with fused
multiply-add or IPP the last bit differs. Its plain code is as fast here, so drawing uses that.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def plain_opencv() -> Iterator[None]:
    """Switch OpenCV's processor-dependent code off inside the block."""
    before = cv2.useOptimized()
    cv2.setUseOptimized(False)
    try:
        yield
    finally:
        cv2.setUseOptimized(before)
