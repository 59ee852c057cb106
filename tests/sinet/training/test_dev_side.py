"""What decides which weights are kept: dev judged at 224 pixels, in eval mode, each picture once."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from sinet.evaluation.metrics import count_pixels, foreground_iou, tabulate
from sinet.images.decode import encode_mask, encode_png, read_image, read_mask
from sinet.images.sample import Sample
from sinet.network.preprocess import Preprocessing
from sinet.training.dev_side import DevSet, evaluate_dev, read_dev
from tests.sinet.portraits import SMALL
from tests.sinet.tiny_training import write_portraits


class Bright(nn.Module):
    """Says "person" where it is bright, at 1/8 of the size; half of it is chance as long as it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(3.0))
        self.chance = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        score = self.chance(self.factor * nn.functional.avg_pool2d(x.mean(1, keepdim=True), 8))
        return torch.cat((torch.zeros_like(score), score), dim=1)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("dev"), 5)


def test_figures_are_those_of_each_picture_alone(samples: list[Sample]) -> None:
    network, dev = Bright(), read_dev(samples, 64)
    rows, losses = [], []
    for image, mask in zip(dev.images, dev.masks, strict=True):
        with torch.no_grad():
            logits = interpolate(
                network.eval()(SMALL.tensor(image[None])), (224, 224), mode="bilinear", align_corners=False
            )
        losses.append(cross_entropy(logits, torch.from_numpy(mask)[None].long()).item())
        rows.append(count_pixels((logits[0, 1] > logits[0, 0]).numpy().astype(np.uint8), mask))
    wanted = (foreground_iou(tabulate(rows)), float(np.mean(losses)))
    assert 0.4 < wanted[0] < 0.98, "a case in which the figures could differ"
    for batch in (1, 2, 32):  # the last one is smaller
        assert evaluate_dev(network.train(), dev, SMALL, batch) == pytest.approx(wanted)


def test_a_network_is_judged_with_its_own_preprocessing(samples: list[Sample]) -> None:
    dev = read_dev(samples, 64)
    dark = Preprocessing(64, "rgb", (255.0, 255.0, 255.0), (1.0, 1.0, 1.0), 1.0)
    assert evaluate_dev(Bright(), dev, dark)[0] < evaluate_dev(Bright(), dev, SMALL)[0]


def test_images_and_masks_both_come_from_the_full_picture(tmp_path: Path) -> None:
    """Neither by way of the other's size: lines of one pixel survive at 224, and would not by way of 32."""
    mask = np.zeros((448, 448), np.uint8)
    mask[::4] = mask[1::4] = 1
    image = np.random.default_rng(0).integers(0, 256, (448, 448, 3), np.uint8)
    sample = Sample("a", tmp_path / "a.png", tmp_path / "m.png")
    sample.image.write_bytes(encode_png(image))
    sample.mask.write_bytes(encode_mask(mask))
    dev: DevSet = read_dev([sample], 32)
    assert np.array_equal(dev.masks[0], read_mask(sample.mask)[::2, ::2])
    for size in (32, 96):
        wanted = cv2.resize(read_image(sample.image), (size, size), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(read_dev([sample], size).images[0].numpy(), wanted)
