"""Crude portraits for training tests: a blob of one colour on another, written as files."""

from pathlib import Path

import cv2
import numpy as np

from sinet.benchmark.data import EVERY_STEP
from sinet.core.recipe import AugmentRecipe, BlurKinds, TrainRecipe
from sinet.images.decode import Array, encode_mask, encode_png
from sinet.images.sample import Sample

# Draws nothing: the identity.
STILL = AugmentRecipe(
    background=0,
    aspect="squash",
    flip=0,
    affine=0,
    rotation=(0, 0),
    scale=(1, 1),
    translation=(0, 0),
    colour_jitter=0,
    colour=(1, 1),
    brightness=(1, 1),
    contrast=(1, 1),
    sharpness=(1, 1),
    blur=0,
    blur_kernels=(3, 5),
    blur_kinds=BlurKinds(gaussian=1, median=1, box=1),
    noise=0,
    noise_sigma=(0, 0),
)

LIVELY = EVERY_STEP  # the article's ranges, every step drawn


def portrait(rng: np.random.Generator, width: int = 90, height: int = 120) -> tuple[Array, Array]:
    """A head on shoulders with its exact mask."""
    mask = np.zeros((height, width), np.uint8)
    x, y = int(rng.integers(width // 3, width * 2 // 3)), int(rng.integers(height // 3, height // 2))
    cv2.ellipse(mask, (x, y), (width // 6, height // 6), 0, 0, 360, 1, -1)
    cv2.ellipse(mask, (x, height), (width // 3, height // 2), 0, 0, 360, 1, -1)
    ground, skin = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
    image = np.where(mask[..., None] > 0, skin, ground) + rng.integers(-15, 16, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_portraits(folder: Path, count: int, seed: int = 0) -> list[Sample]:
    """COUNT portraits as FOLDER/images/ID.png and FOLDER/masks/ID.png."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        image, mask = portrait(rng)
        sample = Sample(
            f"{seed:08x}{number:08x}",
            folder / "images" / f"{seed}-{number}.png",
            folder / "masks" / f"{seed}-{number}.png",
        )
        for path, data in ((sample.image, encode_png(image)), (sample.mask, encode_mask(mask))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        samples.append(sample)
    return samples


def tiny_recipe(**changes: object) -> TrainRecipe:
    """One encoder epoch and two of the whole network at 64 pixels: a second or two of CPU."""
    phase = {
        "epochs": 1,
        "batch": 4,
        "size": 64,
        "learning_rate": 0.005,
        "schedule": {"kind": "poly", "power": 1.0, "warmup": 0.5},
        "boundary_weight": 0.5,
        "boundary_kernel": 5,
    }
    values = {
        "seed": 3,
        "weights": "none",
        "width": 1.0,
        "predict_size": 64,
        "input": {"order": "rgb", "mean": [128, 128, 128], "std": [64, 64, 64], "scale": 1.0},
        "precision": "float32",
        "compile": False,
        "class_weights": True,
        "weight_decay": {"depthwise": 0.0, "convolution": 2e-4, "rest": 2e-6},
        "average_decay": 0.5,
        "evaluate_every": 1,
        "best_from": 0.0,
        "phases": {"encoder": phase, "full": {**phase, "epochs": 2}},
        "augment": LIVELY.model_dump(),
    }
    return TrainRecipe.model_validate({**values, **changes})
