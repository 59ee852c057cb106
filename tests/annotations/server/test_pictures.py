"""What the review page draws of a mask, in a real browser: pixel for pixel what the tasks' pictures are drawn as."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import annotations.server.page
from annotations.masks.brush import encode_rle, fingerprint, mask_to_rle
from annotations.tasks.task import cutout, outline_view
from tests.annotations.drawn import person

pytestmark = pytest.mark.slow

SCRIPT = Path(annotations.server.page.__file__).with_name("pictures.js")
DRAW = """([regions, rgba, width, height]) => {
    const text = (bytes) => btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""));
    const pixels = Uint8ClampedArray.from(atob(rgba), (one) => one.charCodeAt(0));
    const image = new ImageData(pixels, width, height);
    const mask = reviewPictures.mask(regions, width, height);
    return reviewPictures.fingerprint(mask, width, height).then((print) => [print, text(mask),
        text(reviewPictures.outline(image, mask).data), text(reviewPictures.cutout(image, mask).data)]);
}"""


@pytest.fixture
def drawing(page: Any) -> Any:
    """A page on loopback, as fingerprints need one that nobody else can write, with the script alone."""
    page.route(
        "http://127.0.0.1/", lambda route: route.fulfill(body="<head></head>", content_type="text/html")
    )
    page.goto("http://127.0.0.1/")
    page.add_script_tag(path=SCRIPT)
    return page


def region(rle: list[int], width: int, height: int) -> dict[str, Any]:
    return {"original_width": width, "original_height": height, "image_rotation": 0, "value": {"rle": rle}}


def drawn(
    page: Any, rgb: np.ndarray, rles: list[list[int]]
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Fingerprint, mask, outline view and cut-out of regions, as the page makes them."""
    height, width = rgb.shape[:2]
    rgba = np.dstack([rgb, np.full((height, width), 255, np.uint8)])
    regions = [region(rle, width, height) for rle in rles]
    made = page.evaluate(DRAW, [regions, base64.b64encode(rgba.tobytes()).decode(), width, height])
    mask, *pictures = (np.frombuffer(base64.b64decode(text), np.uint8) for text in made[1:])
    outline, cut = (picture.reshape(height, width, 4)[..., :3] for picture in pictures)
    return made[0], mask.reshape(height, width), outline, cut


def same(page: Any, rgb: np.ndarray, mask: np.ndarray) -> bool:
    print_, seen, outline, cut = drawn(page, rgb, [mask_to_rle(mask)])
    return (
        print_ == fingerprint(mask)
        and np.array_equal(seen, mask)
        and np.array_equal(outline, outline_view(rgb, mask))
        and np.array_equal(cut, cutout(rgb, mask))
    )


@pytest.mark.parametrize(
    ("width", "height"),
    [(600, 800), (61, 83), (750, 40), (33, 1250), (20, 1750), (2000, 30), (1, 1)],
    ids=lambda size: str(size),
)
def test_the_page_draws_what_the_tasks_show_at_any_size(drawing: Any, width: int, height: int) -> None:
    """Among them are sizes at which the line's width is rounded from a half."""
    rng = np.random.default_rng(width)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    specks = (rng.random((height, width)) < 0.02).astype(np.uint8)
    for mask in (specks, 1 - specks, np.zeros_like(specks), np.ones_like(specks)):
        assert same(drawing, rgb, mask)
    if min(width, height) > 40:
        assert same(drawing, *person(3, width, height))


@pytest.mark.parametrize("shirt", [(0, 170, 60), (0, 177, 64), (230, 0, 200), (90, 90, 90)])
def test_the_ground_is_one_that_the_person_does_not_wear(drawing: Any, shirt: tuple[int, int, int]) -> None:
    rgb, mask = person(5)
    half = rgb.copy()
    half[mask > 0] = shirt
    half[:, :60] = (228, 0, 190)  # and some of the second choice
    assert same(drawing, half, mask)


def test_strokes_have_soft_edges_and_regions_add_up(drawing: Any) -> None:
    rng = np.random.default_rng(1)
    rgb, mask = person(2)
    values = rng.integers(0, 256, (*mask.shape, 4), np.uint8)
    values[:40] = 255  # long runs beside single values
    values[60:] = 0
    _, seen, outline, _ = drawn(drawing, rgb, [encode_rle(values.ravel()), mask_to_rle(mask)])
    union = ((values[..., 3] > 127) | (mask > 0)).astype(np.uint8)
    assert np.array_equal(seen, union) and np.array_equal(outline, outline_view(rgb, union))


@pytest.mark.parametrize("size", [(11, 10), (10, 11)])
def test_a_region_that_is_not_of_this_picture_is_an_error(drawing: Any, size: tuple[int, int]) -> None:
    whole = mask_to_rle(np.ones((10, 10), np.uint8))
    for wrong in (
        region(whole, *size),
        region(mask_to_rle(np.ones(size, np.uint8)), 10, 10),
        region([*whole[:7]], 10, 10),
    ):
        with pytest.raises(Exception, match="region"):
            drawing.evaluate("(one) => reviewPictures.mask([one], 10, 10)", wrong)
