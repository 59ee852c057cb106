"""Crude portraits, and a model that has learned them: what tests of the model's surroundings need."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch

from sinet.images.decode import Array, encode_mask, encode_png
from sinet.images.sample import Sample
from sinet.network.loss import portrait_loss
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing, squash_image, squash_mask
from sinet.network.weights import WeightsCard, save_weights

SMALL = Preprocessing(size=64, order="rgb", mean=(128.0,) * 3, std=(64.0,) * 3, scale=1.0)
CARD = WeightsCard(
    classes=2,
    preprocessing=SMALL,
    dataset="0123456789abcdef",
    metrics={"dev_foreground_iou": 0.5},
    unreviewed_pseudo_labels=3,
)
# Preprocessing in which no two channels can be confused.
UNEQUAL = replace(
    CARD,
    preprocessing=Preprocessing(size=64, order="bgr", mean=(100, 120, 140), std=(50, 60, 70), scale=0.7),
)


def portrait(seed: int, width: int = 90, height: int = 120) -> tuple[Array, Array]:
    """A light ellipse on a dark, noisy ground and its exact mask: (H, W, 3) uint8 RGB, (H, W) uint8 {0, 1}."""
    rng = np.random.default_rng(seed)
    middle = (int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.5, 0.7)))
    axes = (max(1, int(width * rng.uniform(0.2, 0.3))), max(1, int(height * rng.uniform(0.25, 0.35))))
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, -1)
    ground, skin = rng.integers(20, 110, 3), rng.integers(140, 240, 3)
    image = np.where(mask[..., None] > 0, skin, ground) + rng.integers(-20, 21, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write_portraits(folder: Path, count: int) -> list[Sample]:
    """FOLDER/images/00001.png, ... and FOLDER/masks/00001_mask.png, ..."""
    samples = []
    for number in range(1, count + 1):
        stem = f"{number:05d}"
        sample = Sample(stem, folder / "images" / f"{stem}.png", folder / "masks" / f"{stem}_mask.png")
        image, mask = portrait(number)
        for path, data in ((sample.image, encode_png(image)), (sample.mask, encode_mask(mask))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        samples.append(sample)
    return samples


@cache
def taught_model(steps: int = 60) -> SINet:
    """A model that has seen a few ellipses at 64 pixels: right for the most part, with mistakes.

    It is shared: do not change it.
    """
    drawn = [portrait(1000 + number) for number in range(8)]
    images = torch.from_numpy(np.stack([squash_image(image, 64) for image, _ in drawn]))
    masks = torch.from_numpy(np.stack([squash_mask(mask, 64) for _, mask in drawn])).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SINet()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        portrait_loss(model(SMALL.tensor(images)), masks, 0.5)["loss"].backward()
        optimizer.step()
    return model.eval()


def write_weights(path: Path, model: SINet | None = None, card: WeightsCard = CARD) -> Path:
    """Save a model (a fresh one unless given) with a card; returns the path."""
    save_weights(path, model or SINet(), card)
    return path
