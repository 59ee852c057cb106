"""One picture with its mask, looked at: an id, clean bytes to store, or the reason why it cannot be used."""

import hashlib
from dataclasses import dataclass

import cv2
import PIL

from pipeline.core.code import code_of
from pipeline.core.params import IngestParams
from pipeline.core.store import Result, Store, key_of
from sinet.core.recipe import MaskClasses
from sinet.images.decode import (
    Array,
    Decoded,
    ImageError,
    decode,
    encode_mask,
    encode_png,
    pixel_id,
    upright,
)
from sinet.images.mask_file import NO_MASK, MaskRules, ReadMask, decode_mask

# The libraries that decode and encode: a result is of theirs as much as of our own code.
LIBRARIES = f"pillow {PIL.__version__} opencv {cv2.__version__}"

INSPECTED = Store("ingest")  # what `inspect_once` remembers

FEW_LEVELS = 8  # of grey: no photograph has so few


@dataclass(frozen=True)
class InspectedPicture:
    """A usable picture."""

    id: str
    width: int  # upright
    height: int
    suffix: str  # of the file to store: .jpg or .png
    image: bytes | None  # a PNG to store; None where the original bytes can be stored as they are
    mask: bytes | None  # a 0/255 PNG
    foreground: float | None  # share of the mask that is person, 0..1
    levels: str  # of the mask's file, in words; "" where there is none


def inspect(
    image: bytes,
    mask: bytes | None,
    params: IngestParams,
    classes: MaskClasses | None = None,
    *,
    matlab: bool = False,
) -> InspectedPicture:
    """Decode and check a picture and its mask (`matlab`: a .mat file). ImageError where they are unusable."""
    decoded = decode(image, params.max_pixels)
    height, width = decoded.pixels.shape[:2]
    if min(width, height) < params.min_side:
        raise ImageError("too_small", f"{width}x{height}; each side needs at least {params.min_side} pixels")
    found = None if mask is None else _decode_mask(mask, params, classes, matlab=matlab)
    person = None if found is None else _laid(found.person, decoded)
    share = None if person is None else _checked_share(person, params)
    return InspectedPicture(
        id=pixel_id(decoded.pixels),
        width=width,
        height=height,
        suffix=decoded.plain or ".png",
        image=None if decoded.plain else encode_png(decoded.pixels),
        mask=None if person is None else encode_mask(person),
        foreground=share,
        levels="" if found is None else found.levels,
    )


def inspect_once(
    image: bytes,
    sha256: str,
    mask: bytes | None,
    params: IngestParams,
    classes: MaskClasses | None,
    *,
    matlab: bool,
) -> tuple[Result, str]:
    """inspect(), remembered by what the files hold, and the key in the store; a refusal has `reason` and `detail`.

    A plain picture's own bytes are not stored again.
    """
    settings = params.model_dump(exclude={"duplicate_masks", "max_reject_rate", "mask_levels"})
    settings["classes"] = classes and classes.model_dump()
    mask_hash = None if mask is None else hashlib.sha256(mask).hexdigest()
    key = key_of(code_of(__name__), LIBRARIES, sha256, mask_hash, matlab, settings)
    known = INSPECTED.get(key)
    if known is not None:
        return known, key
    try:
        picture = inspect(image, mask, params, classes, matlab=matlab)
    except ImageError as error:
        result = Result({"reason": error.reason, "detail": error.detail})
    else:
        kept = ("id", "width", "height", "suffix", "foreground", "levels")
        meta = {name: getattr(picture, name) for name in kept}
        blobs = {"image": picture.image, "mask": picture.mask}
        result = Result(meta, {name: data for name, data in blobs.items() if data is not None})
    INSPECTED.put(key, result, sha256)
    return result, key


def _decode_mask(data: bytes, params: IngestParams, classes: MaskClasses | None, *, matlab: bool) -> ReadMask:
    rules = MaskRules(params.mask_threshold, params.max_undecided, classes)
    try:
        return decode_mask(data, rules, params.max_pixels, matlab=matlab)
    except ImageError as error:
        if error.reason == NO_MASK:
            raise
        raise ImageError(f"mask_{error.reason}", f"the mask: {error.detail}") from error


def _laid(person: Array, image: Decoded) -> Array:
    """The mask as it lies on the upright picture.

    A mask of the size that the picture has before its EXIF orientation is applied is turned with it. Where
    the orientation keeps the size, the mask is taken as drawn on the picture as people see it.
    """
    height, width = image.pixels.shape[:2]
    if person.shape == (height, width):
        return person
    if image.orientation >= 5 and person.shape == (width, height):
        return upright(person, image.orientation)
    found = f"{person.shape[1]}x{person.shape[0]}"
    raise ImageError("mask_size", f"the mask is {found}, the picture {width}x{height}")


def _checked_share(person: Array, params: IngestParams) -> float:
    """The share of a mask that is person; ImageError where it is empty or almost full."""
    share = float(person.mean())
    if share < params.min_foreground:
        detail = f"{share:.2%} of the mask is person, less than {params.min_foreground:.0%}"
        raise ImageError("empty_mask", detail)
    if share > params.max_foreground:
        raise ImageError("full_mask", f"{share:.2%} of the mask is person, over {params.max_foreground:.0%}")
    return share
