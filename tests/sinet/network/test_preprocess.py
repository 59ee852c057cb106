"""Pixels to network input: scale, order of channels, and the protocol's squash."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from sinet.network.preprocess import OFFICIAL, STANDARD, Preprocessing, squash_image, squash_mask


def plain(values: Preprocessing) -> Preprocessing:
    return replace(values, mean=(1.0, 2.0, 3.0), std=(10.0, 20.0, 30.0), scale=0.5)


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("rgb", [(101 - 1) / 10 / 2, (42 - 2) / 20 / 2, (3 - 3) / 30 / 2]),
        ("bgr", [(3 - 1) / 10 / 2, (42 - 2) / 20 / 2, (101 - 3) / 30 / 2]),
    ],
)
def test_one_pixel_by_hand(order: str, wanted: list[float]) -> None:
    values = plain(STANDARD if order == "rgb" else OFFICIAL)
    x = values.tensor(torch.tensor([[[[101, 42, 3]]]], dtype=torch.uint8))
    assert x.shape == (1, 3, 1, 1)
    assert x.dtype == torch.float32
    assert x.flatten().tolist() == pytest.approx(wanted)


def test_the_official_scale_is_that_of_the_facts() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    bgr = pixels[..., ::-1].astype(np.float64)
    wanted = (bgr - [107.304565, 115.69884, 132.35703]) / [63.97182, 65.1337, 68.29726] / 255
    found = OFFICIAL.tensor(torch.from_numpy(pixels))
    assert found.numpy() == pytest.approx(wanted.transpose(0, 3, 1, 2), abs=1e-8)


def test_standard_is_official_in_another_order() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8))
    assert torch.equal(STANDARD.tensor(pixels), OFFICIAL.tensor(pixels).flip(1))


def test_the_pixels_are_not_changed() -> None:
    pixels = torch.full((1, 4, 4, 3), 7, dtype=torch.uint8)
    STANDARD.tensor(pixels)
    assert (pixels == 7).all()


def test_there_and_back() -> None:
    assert Preprocessing.from_dict(OFFICIAL.to_dict()) == OFFICIAL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 225}, "size must be a multiple of 32, found 225"),
        ({"order": "rbg"}, "order must be rgb or bgr, found 'rbg'"),
        ({"std": (1.0, 0.0, 1.0)}, "std and scale must be above 0"),
        ({"scale": 0.0}, "std and scale must be above 0"),
        ({"mean": (1.0, 2.0)}, "must hold three numbers"),
        ({"gamma": 2.2}, "expected size, order, mean, std and scale"),
    ],
)
def test_bad_values_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_dict({**STANDARD.to_dict(), **change})


def test_a_missing_value_is_refused() -> None:
    values = STANDARD.to_dict()
    del values["mean"]
    with pytest.raises(ValueError, match="expected size, order, mean, std and scale, found"):
        Preprocessing.from_dict(values)


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 3, 4, 4), (1, 4, 4, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="N x H x W x 3 uint8"):
        STANDARD.tensor(torch.zeros(shape, dtype=torch.uint8))


def test_squash_is_bilinear_without_antialias() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    small = squash_image(image, 32)
    assert small.shape == (32, 32, 3)
    # torch's bilinear without antialias, pixel centres at halves: the same up to rounding.
    x = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    wanted = torch.nn.functional.interpolate(
        x, (32, 32), mode="bilinear", align_corners=False, antialias=False
    )
    assert np.abs(small - wanted[0].permute(1, 2, 0).numpy()).max() <= 1


def test_squash_of_a_mask_takes_the_nearest_and_stays_a_mask() -> None:
    mask = np.zeros((90, 60), np.uint8)
    mask[30:, 20:40] = 1
    small = squash_mask(mask, 30)
    assert set(np.unique(small)) == {0, 1}
    assert small.sum() == 20 * 10
    assert np.array_equal(small, cv2.resize(mask, (30, 30), interpolation=cv2.INTER_NEAREST))


def test_squash_at_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(squash_image(image, 32), image)


def test_squash_of_any_mask_takes_the_nearest_pixel() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (97, 61), np.uint8)
    rows, columns = np.arange(32) * 97 // 32, np.arange(32) * 61 // 32
    assert np.array_equal(squash_mask(mask, 32), mask[np.ix_(rows, columns)])


@pytest.mark.parametrize("size", [0, -32, 31])
def test_a_size_that_is_none_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size must be a multiple of 32, found {size}"):
        replace(STANDARD, size=size)


def test_pixels_that_were_scaled_already_are_refused() -> None:
    with pytest.raises(ValueError, match=r"N x H x W x 3 uint8, found .* torch\.float32"):
        STANDARD.tensor(torch.zeros(1, 4, 4, 3))
