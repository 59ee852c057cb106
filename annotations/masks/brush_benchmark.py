"""python -m annotations.masks.brush_benchmark: our brush codec against the SDK's in one run."""

import importlib
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from annotations.masks.brush import decode_rle, encode_rle, mask_to_rle
from sinet.images.decode import Array


def _drawn_mask(height: int, width: int, soft: bool) -> Array:
    """A head with ragged hair on shoulders, 0/255; soft: with the grey edges of a careless export."""
    rng = np.random.default_rng(0)
    shape = np.zeros((height, width), np.float32)
    cv2.ellipse(shape, (width // 2, height), (width // 3, height // 3), 0, 0, 360, 1, -1)
    cv2.ellipse(shape, (width // 2, height // 2), (width // 5, height // 4), 0, 0, 360, 1, -1)
    noise = cv2.GaussianBlur(rng.normal(size=shape.shape).astype(np.float32), (0, 0), 3)
    grey = np.clip(cv2.GaussianBlur(shape, (0, 0), 6) + noise, 0, 1)
    return (grey * 255).astype(np.uint8) if soft else ((grey > 0.5) * 255).astype(np.uint8)


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """The fastest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print times and ratios."""
    sdk: Any = importlib.import_module("label_studio_sdk.converter.brush")

    print(f"{'mask 800x600':<16}{'numbers':>9}{'':>10}{'SDK ms':>10}{'ours ms':>10}{'ratio':>8}")
    for name, soft in (("hard 0/1", False), ("soft edges", True)):
        mask = _drawn_mask(800, 600, soft)
        values = np.repeat(mask.ravel(), 4)
        rle = encode_rle(values)
        if not soft and mask_to_rle(mask // 255) != sdk.mask2rle(mask):
            raise SystemExit("the codecs differ")
        pairs = {
            "decode": (lambda rle=rle: sdk.decode_rle(rle), lambda rle=rle: decode_rle(rle)),
            "encode": (
                lambda values=values: sdk.encode_rle(values),
                lambda values=values: encode_rle(values),
            ),
        }
        for what, (theirs, ours) in pairs.items():
            slow, fast = seconds(theirs, 3), seconds(ours)
            print(
                f"{name:<16}{len(rle):>9,}{what:>10}{slow * 1e3:>10.1f}{fast * 1e3:>10.2f}{slow / fast:>8.1f}"
            )


if __name__ == "__main__":
    main()
