"""A drawn portrait with the texture of a photograph, for timings that need pictures and no files of anyone's."""

from pathlib import Path

import cv2
import numpy as np

from sinet.images.decode import Array, encode_mask, encode_png
from sinet.images.sample import Sample


def benchmark_portrait(seed: int, width: int, height: int) -> tuple[Array, Array]:
    """Head and shoulders on a ground of another colour, (H, W, 3) uint8 RGB, and the mask (H, W) uint8 {0, 1}."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    middle = int(width * rng.uniform(0.4, 0.6))
    cv2.ellipse(mask, (middle, int(height * 0.4)), (width // 6, height // 5), 0, 0, 360, 1, -1)
    cv2.ellipse(mask, (middle, height), (width // 3, height * 2 // 5), 0, 0, 360, 1, -1)
    ground, person = rng.integers(20, 110, 3), rng.integers(140, 236, 3)
    image = np.where(mask[..., None] > 0, person, ground) + rng.integers(-20, 21, (height, width, 3))
    return image.astype(np.uint8), mask


def write_samples(folder: Path, pictures: int, width: int, height: int) -> list[Sample]:
    """Portraits of the seeds 0, 1, ... and their masks as PNG files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number in range(pictures):
        image, mask = benchmark_portrait(number, width, height)
        sample = Sample(str(number), folder / f"{number}.png", folder / f"{number}_mask.png")
        sample.image.write_bytes(encode_png(image))
        sample.mask.write_bytes(encode_mask(mask))
        samples.append(sample)
    return samples
