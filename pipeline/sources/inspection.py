"""One picture with its mask, looked at: an id, clean bytes to store, or the reason why it cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import PIL

from pipeline.core.code import code_of
from pipeline.core.params import IngestParams
from pipeline.core.store import Head, Result, Store, key_of
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
    """A picture that can be decoded, and what the gates judge it by."""

    id: str
    width: int  # upright
    height: int
    suffix: str  # of the file to store: .jpg or .png
    image: bytes | None  # a PNG to store; None where the original bytes can be stored as they are
    mask: bytes | None  # a 0/255 PNG
    foreground: float | None  # share of the mask that is person, 0..1
    levels: str  # of the mask's file, in words; "" where there is none
    mask_fault: tuple[str, str] | None  # reason and sentence of a mask that cannot be used


def inspect(
    image: bytes,
    mask: bytes | None,
    params: IngestParams,
    classes: MaskClasses | None = None,
    *,
    matlab: bool = False,
) -> InspectedPicture:
    """Decode and check a picture and its mask (`matlab`: a .mat file). ImageError where they are unusable."""
    picture = _decoded(image, mask, params, classes, matlab=matlab)
    fault = fault_of(picture.width, picture.height, picture.mask_fault, picture.foreground, params)
    if fault is not None:
        raise ImageError(*fault)
    return picture


def rules_key(params: IngestParams, classes: MaskClasses | None) -> str:
    """What a stored inspection depends on beside the files: no gate, as those judge what is stored."""
    settings = params.model_dump(include={"max_pixels", "mask_threshold", "max_undecided"})
    return key_of(code_of(__name__), LIBRARIES, settings, classes and classes.model_dump())


def inspection_key(rules: str, sha256: str, mask_sha256: str | None, *, matlab: bool) -> str:
    """The store's key of a picture's inspection, by the hashes of its files; `rules` are those of `rules_key`."""
    return key_of(rules, sha256, mask_sha256, matlab)


def inspect_once(
    key: str,
    image: bytes,
    sha256: str,
    mask: bytes | None,
    params: IngestParams,
    classes: MaskClasses | None,
    *,
    matlab: bool,
) -> Head:
    """What a picture is like, remembered under `key`; one that cannot be decoded has `reason` and `detail`.

    No gate was applied (`fault_of`). A plain picture's own bytes are not stored again.
    """
    known = INSPECTED.head(key)
    if known is not None:
        return known
    try:
        picture = _decoded(image, mask, params, classes, matlab=matlab)
    except ImageError as error:
        result = Result({"reason": error.reason, "detail": error.detail})
    else:
        kept = ("id", "width", "height", "suffix", "foreground", "levels", "mask_fault")
        meta = {name: getattr(picture, name) for name in kept}
        blobs = {"image": picture.image, "mask": picture.mask}
        result = Result(meta, {name: data for name, data in blobs.items() if data is not None})
    INSPECTED.put(key, result, sha256)
    return Head(result.meta, tuple(result.blobs))


def fault_of(
    width: int,
    height: int,
    mask_fault: Sequence[str] | None,
    foreground: float | None,
    params: IngestParams,
) -> tuple[str, str] | None:
    """Reason and sentence of the first gate that refuses a picture; None where it may be used."""
    if min(width, height) < params.min_side:
        return "too_small", f"{width}x{height}; each side needs at least {params.min_side} pixels"
    if mask_fault is not None:
        reason, detail = mask_fault
        return reason, detail
    if foreground is not None and foreground < params.min_foreground:
        return "empty_mask", f"{foreground:.2%} of the mask is person, less than {params.min_foreground:.0%}"
    if foreground is not None and foreground > params.max_foreground:
        return "full_mask", f"{foreground:.2%} of the mask is person, over {params.max_foreground:.0%}"
    return None


def _decoded(
    image: bytes, mask: bytes | None, params: IngestParams, classes: MaskClasses | None, *, matlab: bool
) -> InspectedPicture:
    """A picture with its mask, before any gate; ImageError where the picture cannot be decoded."""
    decoded = decode(image, params.max_pixels)
    height, width = decoded.pixels.shape[:2]
    found, person, fault = None, None, None
    if mask is not None:
        try:
            found = _decode_mask(mask, params, classes, matlab=matlab)
            person = _laid(found.person, decoded)
        except ImageError as error:
            fault = error.reason, error.detail
    return InspectedPicture(
        id=pixel_id(decoded.pixels),
        width=width,
        height=height,
        suffix=decoded.plain or ".png",
        image=None if decoded.plain else encode_png(decoded.pixels),
        mask=None if person is None else encode_mask(person),
        foreground=None if person is None else float(person.mean()),
        levels="" if found is None else found.levels,
        mask_fault=fault,
    )


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
