"""Masks of two levels are read exactly, soft edges half-way; labels, trimaps and mattes are refused by name."""

import io

import cv2
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydantic import ValidationError

from sinet.core.recipe import MaskClasses
from sinet.images.decode import ImageError
from sinet.images.mask_file import MaskRules, decode_mask, decode_probability, of_levels

RULES = MaskRules()


def blob(height=120, width=90, radius=0.3):
    """A head on shoulders, (H, W) {0, 1}."""
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (width // 2, height // 3), int(width * radius * 0.6), 1, -1)
    cv2.ellipse(mask, (width // 2, height), (int(width * radius), height // 2), 0, 180, 360, 1, -1)
    return mask


MASK = blob()


def saved(pixels, format="PNG", mode=None, palette=None, **options):
    image = Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    if palette:
        image = image.convert("P")
        image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def matlab(array):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"mask": array})
    return buffer.getvalue()


def painted(*colours):
    """(H, W, 3): background, the upper half of the person, its lower half, as these colours."""
    return np.array(colours, np.uint8)[parsed(0, 1, 2)]


def parsed(background, upper, lower, dtype=np.uint8):
    levels = np.where(MASK == 1, upper, background).astype(dtype)
    levels[60:][MASK[60:] == 1] = lower
    return levels


def ringed(background, person, ring, width=3):
    """A mask with a ring of another level around the person."""
    outside = cv2.dilate(MASK, np.ones((2 * width + 1, 2 * width + 1), np.uint8))
    return np.where(MASK == 1, person, np.where(outside == 1, ring, background)).astype(np.uint8)


def refused(data, **options):
    with pytest.raises(ImageError) as caught:
        decode_mask(data, **options)
    assert caught.value.reason == "not_a_mask", caught.value.detail
    return caught.value.detail


soft = cv2.GaussianBlur(MASK * 255, (5, 5), 0)
overshoot = MASK.astype(np.float32)
overshoot[90, 45] = 1.004
ACCEPTED = {
    "two levels": (saved(MASK * 255), "0 and 255"),
    "black to the eye": (saved(MASK), "0 and 1"),
    "one bit": (saved(MASK * 255, mode="1"), "0 and 255"),
    "16 bit": (saved(MASK.astype(np.uint16) * 65535), "0 and 65535"),
    "floats with one value over 1": (saved(overshoot, "TIFF"), "soft edges"),
    "a palette of two indices": (saved(MASK, palette=[0, 0, 0, 128, 0, 0]), "0 and 1"),
    "black and one full colour": (saved(painted((0, 0, 0), (0, 255, 0), (0, 255, 0))), "0 and 255"),
    "grey with colour channels": (saved(np.repeat(MASK[..., None] * 255, 3, 2)), "0 and 255"),
    "lossy webp": (saved(MASK * 255, "WEBP", quality=70), "soft edges"),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_mask_is_read_and_its_levels_are_named(kind):
    data, levels = ACCEPTED[kind]
    mask = decode_mask(data)
    assert mask.levels == levels
    assert (mask.person != MASK).mean() < (0.01 if kind == "lossy webp" else 1e-9)


@pytest.mark.parametrize(
    "array", [MASK, MASK.astype(bool), MASK.astype(float), MASK * 255, overshoot, MASK.astype(np.int32)]
)
def test_matlab_masks(array):
    assert np.array_equal(decode_mask(matlab(array), matlab=True).person, MASK)


@pytest.mark.parametrize("level", [0, 255])
def test_one_level_is_nobody_or_everybody(level):
    mask = decode_mask(saved(np.full((40, 30), level, np.uint8)))
    assert mask.levels == f"{level} alone" and (mask.person == level // 255).all()


def pages(format):
    buffer = io.BytesIO()
    first, second = Image.fromarray(MASK * 255), Image.fromarray(255 - MASK * 255)
    first.save(buffer, format, save_all=True, append_images=[second])
    return buffer.getvalue()


REFUSED = {
    "pages of a TIFF": (pages("TIFF"), "it has 2 pages"),
    "frames of a GIF": (pages("GIF"), "it has 2 pages"),
    "frames of a PNG": (pages("PNG"), "it has 2 pages"),
    "0 and 1 as JPEG": (saved(MASK, "JPEG", quality=92), "fills areas"),
    "254 and 255 as JPEG": (saved(254 + MASK, "JPEG", quality=92), "fills areas"),
    "0/1 and 255 to be ignored": (saved(ringed(0, 1, 255)), "its levels are 0 ("),
    "0/255 and 1 to be ignored": (saved(ringed(0, 255, 1)), ", 1 ("),
    "a trimap": (saved(ringed(0, 255, 128)), ", 128 ("),
    "a trimap of 16 bits": (saved(ringed(0, 255, 128).astype(np.uint16) * 257), ", 32896 ("),
    "a trimap as JPEG": (saved(ringed(0, 255, 128, 6), "JPEG"), "and "),
    "a trimap of floats": (saved(ringed(0, 2, 1).astype(np.float32) / 2, "TIFF"), ", 0.5 ("),
    "Oxford's 1, 2, 3": (saved(ringed(2, 1, 3)), "its levels are 1 ("),
    "labels of 20 classes": (saved(parsed(0, 13, 5)), ", 5 ("),
    "one class of 20": (saved(MASK * 15), ", 15 ("),
    "classes of 16 bits beside white": (saved(parsed(0, 1, 65535, np.uint16)), ", 1 ("),
    "classes of a .mat": (matlab(parsed(0, 1, 2)), ", 2 ("),
    "classes as steps of grey": (saved(parsed(0, 50, 250)), ", 50 ("),
    "a palette of classes": (
        saved(parsed(0, 13, 5), palette=[0, 0, 0] + [128, 0, 0] * 4 + [255, 85, 0] * 8 + [0, 0, 255]),
        "its palette indices are 0 (",
    ),
    "colours of classes": (saved(painted((0, 0, 0), (0, 0, 255), (255, 85, 0))), ", #ff5500 ("),
    "two shades of one colour": (saved(painted((0, 0, 0), (128, 0, 0), (255, 0, 0))), ", 128 ("),
    "two colours, none of them black": (
        saved(painted((68, 1, 84), (253, 231, 37), (253, 231, 37))),
        "#440154 (",
    ),
    "a matte without two modes": (
        saved(np.tile(np.linspace(0, 255, 90).astype(np.uint8), (120, 1))),
        "as in a photograph",
    ),
    "a dark photograph": (
        saved(np.tile(np.linspace(0, 70, 90).astype(np.uint8), (120, 1))),
        "none of them is light",
    ),
    "colours in a JPEG": (saved(painted((0, 0, 0), (0, 0, 255), (255, 85, 0)), "JPEG"), "colours"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_mask_is_refused_with_its_levels(kind):
    data, words = REFUSED[kind]
    assert words in refused(data, matlab=kind == "classes of a .mat")


def test_two_levels_that_are_not_those_of_a_mask():
    for low, high in ((0, 2), (0, 38), (0, 128), (1, 2), (128, 255), (200, 255)):
        assert f"{low} (" in refused(saved(np.where(MASK == 1, high, low).astype(np.uint8)))
    assert decode_mask(saved(np.where(MASK == 1, 240, 10).astype(np.uint8))).levels == "10 and 240"


def test_transparency_and_colours_may_not_contradict_each_other():
    def layers(rgb, alpha):
        return saved(np.dstack([np.repeat(rgb[..., None], 3, 2), alpha]))

    photograph = np.random.default_rng(0).integers(0, 255, MASK.shape, np.uint8)
    full = np.full_like(MASK, 255)
    for rgb, alpha in (
        (MASK * 255, full),
        (full, MASK * 255),
        (MASK * 255, MASK * 255),
        (photograph, MASK * 255),
    ):
        assert np.array_equal(decode_mask(layers(rgb, alpha)).person, MASK)
    assert "masks of different areas" in refused(layers(255 - MASK * 255, MASK * 255))
    assert refused(layers(photograph, full))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(60, 300),
    st.floats(0.15, 0.35),
    st.sampled_from(["png", "jpeg", "webp", "area", "cubic", "nearest"]),
    st.integers(50, 100),
)
def test_soft_edges_of_every_making_move_a_mask_by_no_more_than_themselves(width, radius, made, quality):
    mask = blob(width * 4 // 3, width, radius)
    if made == "area":
        large = blob(width * 16 // 3 // 4 * 4, width * 4, radius)
        levels = cv2.resize(large * 255, mask.shape[::-1], interpolation=cv2.INTER_AREA)
    elif made in ("cubic", "nearest"):
        levels = cv2.GaussianBlur(cv2.resize(mask * 255, None, fx=0.5, fy=0.5), (3, 3), 0)
        method = cv2.INTER_CUBIC if made == "cubic" else cv2.INTER_NEAREST
        levels = cv2.resize(levels, mask.shape[::-1], interpolation=method)
    else:
        levels = cv2.GaussianBlur(mask * 255, (3, 3), 0)
    form = made.upper() if made in ("jpeg", "webp") else "PNG"
    found = decode_mask(saved(levels, form, **({"quality": quality} if form != "PNG" else {})))
    square = np.ones((9, 9), np.uint8)
    assert (found.person == mask)[cv2.dilate(mask, square) == cv2.erode(mask, square)].all()


LABELS = arrays(np.uint8, (12, 9), elements=st.integers(0, 19))


@given(
    LABELS, st.sets(st.integers(1, 19), min_size=1, max_size=18), st.sampled_from(["grey", "palette", "mat"])
)
def test_classes_that_are_named_are_person_exactly(labels, person, kind):
    classes = MaskClasses(person=tuple(person), background=tuple({*range(20)} - person))
    data = {
        "grey": lambda: saved(labels),
        "palette": lambda: saved(labels, palette=list(range(60))),
        "mat": lambda: matlab(labels),
    }[kind]()
    found = decode_mask(data, MaskRules(classes=classes), matlab=kind == "mat")
    assert np.array_equal(found.person, np.isin(labels, list(person))) and found.levels == "classes"


def test_a_level_that_is_not_named_is_refused():
    classes = MaskClasses(person=(1,), background=(0,))
    rules = MaskRules(classes=classes)
    share = (ringed(0, 1, 255) == 255).mean()
    assert refused(saved(ringed(0, 1, 255)), rules=rules) == (
        f"255 ({share:.1%}) of it: named as neither person nor background"
    )
    assert "does not keep the levels of classes" in refused(saved(MASK, "JPEG"), rules=rules)
    assert "its colours are" in refused(saved(painted((0, 0, 0), (9, 0, 0), (0, 9, 0))), rules=rules)


def quantized(colours):
    buffer = io.BytesIO()
    Image.fromarray(colours).quantize(3).save(buffer, "PNG")
    return buffer.getvalue()


def test_classes_given_as_colours():
    classes = MaskClasses(person=("#0000FF", "#ff5500"), background=("#000000",))
    colours = painted((0, 0, 0), (0, 0, 255), (255, 85, 0))
    for data in (saved(colours), quantized(colours), saved(colours, mode="RGBA")):
        assert np.array_equal(decode_mask(data, MaskRules(classes=classes)).person, MASK)
    with pytest.raises(ImageError, match="it has no colours, but 0"):
        of_levels(MASK, MaskRules(classes=classes))


@pytest.mark.parametrize(
    ("person", "background"),
    [
        ((), (0,)),
        ((1,), ()),
        ((1,), (0, 1)),
        (("red",), (0,)),
        ((1,), ("#000000",)),
        ((70000,), (0,)),
        ((True,), (0,)),
    ],
)
def test_classes_that_cannot_be_meant(person, background):
    with pytest.raises(ValidationError):
        MaskClasses(person=person, background=background)


def test_one_page_of_another_tool():
    with pytest.raises(ImageError, match="it has 2 pages"):
        decode_probability(pages("TIFF"))


@pytest.mark.parametrize("level", [0, 255])
def test_noise_of_a_lossy_format_around_one_level_is_nobody_or_everybody(level):
    noise = np.random.default_rng(0).integers(0, 6, MASK.shape).astype(np.uint8)
    found = decode_mask(saved(noise if level == 0 else 255 - noise, "JPEG", quality=97))
    assert found.levels == "soft edges" and (found.person == level // 255).all()


def test_masks_of_another_tool_are_shares_and_no_classes():
    grey = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (120, 1))
    assert np.allclose(decode_probability(saved(grey)), grey / 255)
    assert np.array_equal(decode_probability(saved(MASK)), MASK)
    for levels in (ringed(0, 1, 255), parsed(0, 13, 5), ringed(0, 2, 1)):
        with pytest.raises(ImageError, match="look like numbers of classes"):
            decode_probability(saved(levels))
