"""The dev side in memory, and how a network that is being trained does on it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from tqdm import tqdm

from sinet.core import paper
from sinet.core.progress import bar_interval
from sinet.evaluation.metrics import count_pixels, foreground_iou, tabulate
from sinet.images.decode import Array, read_image, read_mask
from sinet.images.sample import Sample
from sinet.network.preprocess import Preprocessing, network_input, squash_image, squash_mask


@dataclass(frozen=True)
class DevSet:
    """Dev as the protocol shows it: images (N, S, S, 3) uint8 RGB, masks (N, 224, 224) uint8 {0, 1}."""

    images: Tensor
    masks: Array


def read_dev(samples: Sequence[Sample], size: int) -> DevSet:
    """Read the dev side: images squashed to the network's size, masks to 224, both from the full picture."""
    images, masks = [], []
    for sample in tqdm(samples, desc="dev side", unit="img", file=sys.stderr, mininterval=bar_interval()):
        images.append(squash_image(read_image(sample.image), size))
        masks.append(squash_mask(read_mask(sample.mask), paper.SIZE))
    return DevSet(torch.from_numpy(np.stack(images)), np.stack(masks))


@torch.no_grad()
def evaluate_dev(
    network: nn.Module, dev: DevSet, preprocessing: Preprocessing, batch: int = 32
) -> tuple[float, float]:
    """Foreground IoU per picture at 224x224 (0..1) and mean cross-entropy, of logits enlarged to 224x224."""
    network.eval()
    device = next(network.parameters()).device
    rows, losses = [], []
    for start in range(0, len(dev.images), batch):
        logits = network(network_input(dev.images[start : start + batch], preprocessing, device))
        logits = interpolate(logits, (paper.SIZE, paper.SIZE), mode="bilinear", align_corners=False)
        masks = dev.masks[start : start + batch]
        target = torch.from_numpy(masks).long().to(device)
        losses += cross_entropy(logits, target, reduction="none").mean((1, 2)).tolist()
        found = logits.argmax(1).byte().cpu().numpy()
        rows += [count_pixels(pred, true) for pred, true in zip(found, masks, strict=True)]
    return foreground_iou(tabulate(rows)), float(np.mean(losses))
