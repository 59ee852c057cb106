"""Small pictures inside a page: JPEG data that a browser reads, and an outline where the mask ends."""

import base64
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.reporting.thumbnails import data_uri, outlined
from sinet.images.decode import Array
from tests.pipeline.dataset_inputs import portrait

PREFIX = "data:image/jpeg;base64,"


def yellow(image: Array) -> NDArray[np.bool_]:
    """Where the outline is; its smooth edges are a mixture with what lies below."""
    return image[..., 0] > image[..., 2].astype(int) + 100


def square(size: int, left: int, right: int) -> Array:
    """A mask (size, size) in {0, 1} of the rows and columns left..right."""
    mask = np.zeros((size, size), np.uint8)
    mask[left:right, left:right] = 1
    return mask


@pytest.mark.parametrize("size", [(96, 120), (1, 40), (33, 1)])
def test_a_data_uri_holds_the_picture(size: tuple[int, int]) -> None:
    image, _ = portrait(3, size)
    uri = data_uri(image)
    assert uri.startswith(PREFIX) and uri == data_uri(image)
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX), validate=True))) as read:
        assert read.format == "JPEG" and read.size == size
        difference = np.abs(np.asarray(read.convert("RGB")).astype(int) - image)
    assert difference.mean() < 12  # red and blue changed places would be far more


def test_red_stays_red() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    data = base64.b64decode(data_uri(red).removeprefix(PREFIX))
    with Image.open(io.BytesIO(data)) as read:
        middle = np.asarray(read.convert("RGB"))[8, 8]
    assert np.abs(middle.astype(int) - [200, 0, 0]).max() < 10


def test_the_person_stays_the_rest_darkens_and_an_outline_parts_them() -> None:
    image = np.full((100, 100, 3), (40, 120, 200), np.uint8)
    small = outlined(image, square(100, 20, 80), 50)
    assert small.shape == (50, 50, 3) and small.dtype == np.uint8
    assert small[25, 25].tolist() == [40, 120, 200]
    assert small[3, 3].tolist() == [20, 60, 100]
    line = yellow(small)
    assert line[10, 10:40].all() and line[39, 10:40].all() and line[10:40, 10].all()
    assert not line[:8].any() and not line[14:36, 14:36].any()


def test_a_hole_has_an_outline_too() -> None:
    mask = square(60, 5, 55) - square(60, 25, 35)
    small = outlined(np.full((60, 60, 3), 90, np.uint8), mask, 60)
    assert yellow(small)[22:38, 22:38].any() and not yellow(small)[28:32, 28:32].any()


@pytest.mark.parametrize(("full", "level"), [(False, 45), (True, 90)])
def test_nobody_and_nothing_but_a_person(full: bool, level: int) -> None:
    mask = np.full((60, 60), int(full), np.uint8)
    small = outlined(np.full((60, 60, 3), 90, np.uint8), mask, 30)
    assert (small[5:25, 5:25] == level).all()
    assert yellow(small).any() == full


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(90, 30, (40, 120)), (30, 90, (40, 13)), (1, 500, (40, 1))]
)
def test_the_shape_stays_and_no_side_vanishes(width: int, height: int, expected: tuple[int, int]) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    assert outlined(image, np.ones((height, width), np.uint8), 40).shape == (*expected, 3)


def test_the_inputs_stay_as_they_are() -> None:
    image, mask = portrait(1)
    before = image.copy(), mask.copy()
    outlined(image, mask, image.shape[0])
    data_uri(image)
    assert (image == before[0]).all() and (mask == before[1]).all()
