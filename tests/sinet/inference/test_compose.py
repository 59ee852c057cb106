"""A person before another background: exact where the mask is sure, soft at its edge, no old colour left."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinet.images.decode import Array, encode_png
from sinet.inference.compose import (
    BackgroundError,
    Blur,
    Colour,
    PictureBackground,
    Transparent,
    blurred_background,
    compose,
    cover,
    opacity,
    parse_background,
    person_colours,
)

GREEN, RED, BLUE = (0, 255, 0), (255, 0, 0), (0, 0, 255)


def disc(width: int, height: int, soft: float = 0) -> np.ndarray:
    """(H, W) float32: 1 inside a disc in the middle, with an edge `soft` pixels wide."""
    y, x = np.mgrid[:height, :width]
    inside = min(width, height) / 4 - np.hypot(x - (width - 1) / 2, y - (height - 1) / 2)
    return np.clip(inside / max(soft, 1e-3) + 0.5, 0, 1).astype(np.float32)


def mixed(person: tuple[int, ...], behind: tuple[int, ...], alpha: np.ndarray) -> Array:
    """A photograph of a person of one colour before a wall of another."""
    a = alpha[..., None]
    return np.rint(a * np.array(person) + (1 - a) * np.array(behind)).astype(np.uint8)


def noise(width: int, height: int) -> Array:
    return np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)


BACKGROUNDS = [Blur(), Colour((10, 20, 30)), PictureBackground(noise(37, 23)), Transparent()]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(BACKGROUNDS))
def test_any_size(width: int, height: int, background: object) -> None:
    image = noise(width, height)
    out = compose(image, disc(width, height, 5), background)
    assert out.dtype == np.uint8
    assert out.shape == (height, width, 4 if isinstance(background, Transparent) else 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(BACKGROUNDS))
def test_where_the_network_is_sure_of_the_person_the_picture_is_untouched(
    width: int, height: int, background: object
) -> None:
    image, probability = noise(width, height), disc(width, height, 9)
    sure = opacity(probability) == 1
    assert np.array_equal(compose(image, probability, background)[sure][:, :3], image[sure])


def test_where_it_is_sure_of_the_background_nothing_of_the_picture_is_left() -> None:
    image, probability = noise(80, 60), disc(80, 60, 9)
    out = opacity(probability) == 0
    picture = noise(80, 60)[::-1].copy()
    assert (compose(image, probability, Colour((10, 20, 30)))[out] == (10, 20, 30)).all()
    assert np.array_equal(compose(image, probability, PictureBackground(picture))[out], picture[out])
    assert not compose(image, probability, Transparent())[out].any()


def test_the_input_is_not_changed() -> None:
    image, probability = noise(50, 40), disc(50, 40, 9)
    copies = image.copy(), probability.copy()
    for background in BACKGROUNDS:
        compose(image, probability, background)
    assert np.array_equal(image, copies[0]) and np.array_equal(probability, copies[1])


@pytest.mark.parametrize(
    ("probability", "expected"), [(0, 0), (0.1, 0), (0.5, 0.5), (0.6, 0.65), (0.9, 1), (1, 1)]
)
def test_opacity(probability: float, expected: float) -> None:
    assert opacity(np.array([[probability]], np.float32))[0, 0] == pytest.approx(expected, abs=1e-6)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_opacity_rises_and_agrees_with_the_mask(one: float, other: float) -> None:
    low, high = sorted((one, other))
    alpha = opacity(np.array([[low, high]], np.float32))[0]
    assert alpha[0] <= alpha[1]
    assert (alpha[1] > 0.5) == (high > 0.5)


@pytest.mark.parametrize("size", [(120, 90), (1300, 1000)])
def test_the_edge_has_no_rim_of_the_old_background(size: tuple[int, int]) -> None:
    alpha = disc(*size, soft=min(size) / 15)
    image = mixed(BLUE, GREEN, alpha)  # the alpha of the photograph itself
    person = person_colours(image, alpha)
    assert np.abs(person[alpha > 0.05].astype(int) - BLUE).max() <= 12
    probability = (alpha - 0.5) / 1.5 + 0.5
    composed = compose(image, probability.astype(np.float32), Colour(RED))
    assert composed[..., 1].max() <= 6  # no green anywhere
    assert np.abs(composed.astype(int) - mixed(BLUE, RED, alpha)).max() <= 12


def test_a_blurred_background_has_no_glow_of_the_person() -> None:
    alpha = disc(300, 240)
    image = mixed((255, 255, 255), (20, 20, 20), alpha)
    assert blurred_background(image, alpha)[alpha == 0].max() <= 24
    assert compose(image, alpha, Blur())[alpha == 0].max() <= 24


def test_a_blurred_background_is_out_of_focus() -> None:
    image = np.repeat((np.indices((240, 300)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    alpha = disc(300, 240)
    out = compose(image, alpha, Blur())
    assert out[alpha == 0].min() > 100 and out[alpha == 0].max() < 155
    assert np.array_equal(out[alpha == 1], image[alpha == 1])


def test_blurring_reaches_as_far_in_a_large_picture() -> None:
    # Up to COARSE pixels the means are exact; above, taken on fewer pixels.
    small = np.zeros((300, 400, 3), np.uint8)
    small[:, 200:] = 200
    large = cv2.resize(small, (2000, 1500), interpolation=cv2.INTER_NEAREST)
    nobody = np.zeros((300, 400), np.float32), np.zeros((1500, 2000), np.float32)
    one = blurred_background(small, nobody[0])[:, 5::10].astype(int)
    other = blurred_background(large, nobody[1])[2::5, 27::50].astype(int)
    assert np.abs(one - other).max() <= 6


def test_a_colour_is_red_green_blue() -> None:
    out = compose(noise(20, 20), np.zeros((20, 20), np.float32), parse_background("#20a040"))
    assert (out == (0x20, 0xA0, 0x40)).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_cover_fills_any_frame_without_a_border(wide: int, tall: int, width: int, height: int) -> None:
    pixels = np.full((tall, wide, 3), 77, np.uint8)
    out = cover(pixels, width, height)
    assert out.shape == (height, width, 3)
    assert (out == 77).all()


@pytest.mark.parametrize(
    ("size", "frame"), [((400, 200), (100, 100)), ((200, 400), (100, 100)), ((300, 200), (600, 400))]
)
def test_cover_keeps_the_middle_and_the_shape(size: tuple[int, int], frame: tuple[int, int]) -> None:
    """A disc in the middle stays a disc in the middle."""
    pixels = np.repeat((disc(*size) * 255).astype(np.uint8)[..., None], 3, axis=2)
    out = cover(pixels, *frame)[..., 0] > 127
    y, x = np.nonzero(out)
    assert (x.mean(), y.mean()) == pytest.approx(((frame[0] - 1) / 2, (frame[1] - 1) / 2), abs=0.5)
    assert x.max() - x.min() == pytest.approx(y.max() - y.min(), abs=1)
    assert 2 * np.sqrt(out.sum() / np.pi) == pytest.approx(
        min(size) / 2 * max(frame[0] / size[0], frame[1] / size[1]), rel=0.03
    )


def test_backgrounds_by_name(tmp_path: Path) -> None:
    (tmp_path / "wall.png").write_bytes(encode_png(noise(5, 4)))
    assert parse_background("blur") == Blur()
    assert parse_background("transparent") == Transparent()
    assert parse_background("#FFa000") == Colour((255, 160, 0))
    picture = parse_background(str(tmp_path / "wall.png"))
    assert isinstance(picture, PictureBackground) and np.array_equal(picture.pixels, noise(5, 4))


@pytest.mark.parametrize("text", ["#", "#fff", "#12345g", "#+1+1+1", "#1234567", "# 12345", "#１２３４５６"])
def test_a_bad_colour_is_an_error(text: str) -> None:
    with pytest.raises(BackgroundError, match="expected a colour as # and six hexadecimal digits"):
        parse_background(text)


@pytest.mark.parametrize("text", ["red", "", ".", "00ff00"])
def test_another_word_is_an_error(text: str) -> None:
    with pytest.raises(BackgroundError, match=f"expected blur, transparent, a colour .* found '{text}'"):
        parse_background(text)
