"""Augmentation: image and mask move together, a seed gives the same bytes, the identity is the squash."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from pydantic import ValidationError

from sinet.core.recipe import AugmentRecipe
from sinet.training.augment import BORDER, affine, augment, enhance, squash
from tests.sinet.tiny_training import LIVELY, STILL, portrait

SIZES = st.sampled_from([32, 64, 96])
SIDES = st.integers(40, 130)


def changed(recipe: AugmentRecipe, **changes: Any) -> AugmentRecipe:
    return AugmentRecipe.model_validate({**recipe.model_dump(), **changes})


@given(seed=st.integers(0, 2**32), width=SIDES, height=SIDES, size=SIZES, keep=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_mask_warped_as_an_image_agrees(seed: int, width: int, height: int, size: int, keep: bool) -> None:
    """The picture of a mask goes the same way as the mask, up to interpolation at the outline."""
    rng = np.random.default_rng(seed)
    _, mask = portrait(rng, width, height)
    image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    geometry = {
        name: getattr(LIVELY, name) for name in ("flip", "affine", "rotation", "scale", "translation")
    }
    recipe = changed(STILL, **geometry, aspect="keep" if keep else "squash")
    warped, moved = augment(image, mask, size, recipe, rng)
    assert warped.shape == (size, size, 3)
    assert moved.shape == (size, size)
    assert set(np.unique(moved)) <= {0, 1}
    inside = (warped[..., 0] < 100) | (warped[..., 0] > 155)  # neither outline nor border
    differ = inside & ((warped[..., 0] > 127) != (moved > 0))
    outline = cv2.morphologyEx(moved, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert not (differ & ~outline).any()


@given(seed=st.integers(0, 2**32), size=SIZES)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_bytes(seed: int, size: int) -> None:
    image, mask = portrait(np.random.default_rng(seed))
    before = image.copy(), mask.copy()
    first = augment(image, mask, size, LIVELY, np.random.default_rng(seed))
    second = augment(image, mask, size, LIVELY, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(before, (image, mask), strict=True))
    assert first[0].dtype == first[1].dtype == np.uint8


def test_another_seed_gives_another_picture() -> None:
    image, mask = portrait(np.random.default_rng(0))
    first, _ = augment(image, mask, 64, LIVELY, np.random.default_rng(1))
    second, _ = augment(image, mask, 64, LIVELY, np.random.default_rng(2))
    assert not np.array_equal(first, second)


@given(seed=st.integers(0, 2**32), width=SIDES, height=SIDES, size=SIZES)
@settings(max_examples=20, deadline=None)
def test_the_identity_recipe_is_the_squash(seed: int, width: int, height: int, size: int) -> None:
    image, mask = portrait(np.random.default_rng(seed), width, height)
    got = augment(image, mask, size, STILL, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(got, squash(image, mask, size), strict=True))


def test_a_flip_alone_mirrors_the_squash() -> None:
    image, mask = portrait(np.random.default_rng(0))
    got, moved = augment(image, mask, 64, changed(STILL, flip=1), np.random.default_rng(0))
    want, still = squash(image, mask, 64)
    assert np.array_equal(got, want[:, ::-1])
    assert np.array_equal(moved, still[:, ::-1])


POINTS = [
    # A picture 60 wide and 80 high onto a square of 40, in OpenCV's count: the middle is 29.5, 39.5.
    ({}, (29.5, 39.5), (19.5, 19.5)),
    ({}, (-0.5, -0.5), (-0.5, -0.5)),  # the upper left corner stays it
    ({}, (59.5, 79.5), (39.5, 39.5)),
    ({"flip": True}, (-0.5, -0.5), (39.5, -0.5)),
    ({"degrees": 90.0}, (49.5, 39.5), (19.5, 9.5)),  # 20 px to the right turn upwards, 20 * 40 / 80
    ({"scale": 2.0}, (44.5, 39.5), (39.5, 19.5)),
    ({"translation": (0.25, -0.25)}, (29.5, 39.5), (29.5, 9.5)),
    ({"keep_aspect": True}, (-0.5, -0.5), (4.5, -0.5)),  # 80 fill the height, 60 leave 5 on either side
]


@pytest.mark.parametrize(("settings", "point", "want"), POINTS)
def test_where_the_affine_map_puts_a_point(
    settings: dict[str, Any], point: tuple[float, float], want: tuple[float, float]
) -> None:
    matrix = affine(60, 80, 40, **settings)
    assert matrix @ [*point, 1] == pytest.approx(want)


def test_outside_the_picture_is_grey_and_background() -> None:
    image, mask = np.full((40, 40, 3), 255, np.uint8), np.ones((40, 40), np.uint8)
    recipe = changed(STILL, affine=1, scale=(0.5, 0.5))
    small, moved = augment(image, mask, 40, recipe, np.random.default_rng(0))
    assert (small[:8] == BORDER).all()
    assert (small[14:26, 14:26] == 255).all()
    assert moved.sum() == pytest.approx(400, abs=45)


@pytest.mark.parametrize(
    ("name", "pillow"),
    [
        ("colour", ImageEnhance.Color),
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("factor", [0.4, 0.8, 1.0, 1.3, 1.7])
def test_each_factor_means_what_pillow_means(name: str, pillow: type[Any], factor: float) -> None:
    image, _ = portrait(np.random.default_rng(4))
    factors = {"colour": 1.0, "brightness": 1.0, "contrast": 1.0, "sharpness": 1.0, name: factor}
    want = np.asarray(pillow(Image.fromarray(image)).enhance(factor)).astype(int)
    difference = np.abs(enhance(image, **factors).astype(int) - want)[
        1:-1, 1:-1
    ]  # Pillow leaves the border alone
    assert difference.max() <= 2


def test_noise_has_the_sigma_asked_for() -> None:
    image, mask = np.full((64, 64, 3), 128, np.uint8), np.zeros((64, 64), np.uint8)
    noisy, _ = augment(
        image, mask, 64, changed(STILL, noise=1, noise_sigma=(10, 10)), np.random.default_rng(0)
    )
    assert noisy.std() == pytest.approx(10, rel=0.05)
    assert noisy.mean() == pytest.approx(128, abs=0.5)


@pytest.mark.parametrize("kind", ["gaussian", "median", "box"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_each_blur_smooths(kind: str, kernel: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    kinds = {"gaussian": 0, "median": 0, "box": 0, kind: 1}
    recipe = changed(STILL, blur=1, blur_kinds=kinds, blur_kernels=(kernel,))
    blurred, _ = augment(image, np.zeros((64, 64), np.uint8), 64, recipe, np.random.default_rng(0))
    assert blurred.std() < 0.75 * image.std()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": (1.5, 0.5)}, "scale must be"),
        ({"scale": (0, 1)}, "scale must be above 0"),
        ({"colour": (-1, 1)}, "colour must not be negative"),
        ({"flip": 1.5}, "less than or equal to 1"),
        ({"blur_kernels": (4,)}, "3 or 5"),
        ({"blur_kinds": {"gaussian": 0, "median": 0, "box": 0}}, "at least one of"),
        ({"zoom": 2}, "Extra inputs"),
    ],
)
def test_a_bad_recipe_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        changed(STILL, **changes)
