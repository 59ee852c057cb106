"""Colour profiles: a photograph in a wide space is shown in its colours; a useless profile changes nothing."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from sinet.images.colour import to_srgb
from sinet.images.decode import decode_image

PIXELS = np.random.default_rng(5).integers(0, 256, (12, 9, 3), np.uint8)


def saved(profile: bytes | None, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, icc_profile=profile)
    return buffer.getvalue()


def swapped_primaries() -> bytes:
    """An sRGB profile whose red and blue primaries change places, under a name of its own: tags are plain bytes."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data = data.replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)
    return bytes(data).replace("sRGB".encode("utf-16-be"), "Swap".encode("utf-16-be"))


def test_a_profile_is_followed() -> None:
    data = saved(swapped_primaries())
    out = to_srgb(decode_image(data), data)
    assert np.abs(out.astype(int) - PIXELS[..., ::-1]).max() <= 2  # red and blue have changed places


@pytest.mark.parametrize("kind", ["none", "sRGB", "damaged", "of Lab"])
def test_others_change_nothing(kind: str) -> None:
    profile = {
        "none": None,
        "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "damaged": b"no profile at all",
        "of Lab": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    }[kind]
    data = saved(profile)
    assert np.array_equal(to_srgb(decode_image(data), data), PIXELS)


def test_a_file_that_pillow_cannot_open_changes_nothing() -> None:
    assert np.array_equal(to_srgb(PIXELS, b""), PIXELS)
