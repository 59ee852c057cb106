"""Photographs in a wide colour space (Display P3, Adobe RGB) as sRGB, which is what our PNGs are taken for.

For what is shown only: the network gets the pixels as they are stored, as in training.
"""

import io

import numpy as np
from PIL import Image, ImageCms

from sinet.images.decode import Array


def to_srgb(pixels: Array, data: bytes) -> Array:
    """`pixels` (H, W, 3), decoded from the file `data`, by its colour profile; unchanged without a usable one."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            embedded = image.info.get("icc_profile")
        if not embedded:
            return pixels
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        of_rgb = (
            profile.profile.xcolor_space.strip() == "RGB"
        )  # a grey or CMYK profile is of no use for RGB pixels
        if not of_rgb or "srgb" in ImageCms.getProfileDescription(profile).lower():
            return pixels
        converted = ImageCms.profileToProfile(
            Image.fromarray(pixels), profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except Exception:  # a damaged profile does not make the pixels unusable
        return pixels
    return pixels if converted is None else np.array(converted)
