"""The lock: the reviews that `dvc repro` uses, as sorted JSON lines in git, sharded by their key.

An entry holds the hash of the parent's file, the crop box and the accepted mask, so that a review holds
when a decoder or a detector gives slightly other pixels or boxes. A new review changes exactly one file.
"""

import base64
import binascii
import hashlib
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from annotations.ledger.shards import LockError as LockError
from annotations.ledger.shards import parse_line, read_shards, write_shards
from sinet.images.decode import Array

Verdict = Literal["accept", "fix", "reject", "unsure"]
VERDICTS: tuple[Verdict, ...] = ("accept", "fix", "reject", "unsure")
KEEPS: tuple[Verdict, ...] = ("accept", "fix")  # the verdicts that bring a mask

# Begins the pseudonym of who is not known any more, before the number of what they wrote: each is a voice of its own.
NAMELESS = "curator-gone-"

_BOX = r"^-?\d+,-?\d+,-?\d+,-?\d+$"


def _pseudonym(name: str) -> str:
    if "@" in name:
        raise ValueError("an e-mail address is no pseudonym, and the lock is public")
    return name


def _moment(text: str) -> str:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with its zone such as 2025-01-31T12:00:00+00:00, found {text}")
    try:
        moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"expected a time of the years 1 to 9999, found {text}") from error
    return text


Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]  # review_key(parent_sha256, crop_box)
Pseudonym = Annotated[str, Field(min_length=1), AfterValidator(_pseudonym)]
Moment = Annotated[str, AfterValidator(_moment)]  # ISO 8601 with a time zone


class LockEntry(BaseModel):
    """One reviewed crop. Build it with `LockEntry.of`, which makes the key and packs the mask."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: Key
    parent_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the parent's original file
    crop_box: Annotated[str, Field(pattern=_BOX)]  # "x0,y0,x1,y1" in the upright parent's pixels
    width: Annotated[int, Field(ge=1)]  # of the reviewed picture and its mask, in pixels
    height: Annotated[int, Field(ge=1)]
    verdict: Verdict
    mask: str | None  # base64 of a 1-bit PNG, white = person; null for reject and unsure
    reasons: Annotated[tuple[str, ...], Field(strict=False)]  # sorted codes
    reviewer: Pseudonym
    reviewed_at: Moment
    teacher: str | None  # hash of the weights that proposed the mask

    @classmethod
    def of(
        cls,
        *,
        parent_sha256: str,
        crop_box: str,
        shape: tuple[int, int],
        verdict: Verdict,
        mask: Array | None,
        reasons: Iterable[str],
        reviewer: str,
        reviewed_at: str,
        teacher: str | None,
    ) -> "LockEntry":
        """An entry for a picture of `shape` (H, W); `mask` is (H, W) uint8 {0, 1}, None where not kept."""
        return cls(
            key=review_key(parent_sha256, crop_box),
            parent_sha256=parent_sha256,
            crop_box=crop_box,
            width=shape[1],
            height=shape[0],
            verdict=verdict,
            mask=None if mask is None else pack_mask(mask),
            reasons=tuple(reasons),
            reviewer=reviewer,
            reviewed_at=reviewed_at,
            teacher=teacher,
        )

    def mask_array(self) -> Array:
        """The accepted mask, (H, W) uint8 in {0, 1}; LockError where the verdict brings none."""
        if self.mask is None:
            raise LockError(f"review {self.key} has no mask: its verdict is {self.verdict}")
        return unpack_mask(self.mask)

    @field_validator("reasons")
    @classmethod
    def _sorted_once(cls, reasons: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(reasons)))

    @field_validator("crop_box")
    @classmethod
    def _area(cls, text: str) -> str:
        x0, y0, x1, y1 = (int(part) for part in text.split(","))
        if x0 >= x1 or y0 >= y1:
            raise ValueError(f"a crop box needs x0 < x1 and y0 < y1, found {text}")
        return text

    @model_validator(mode="after")
    def _belongs_together(self) -> "LockEntry":
        right = review_key(self.parent_sha256, self.crop_box)
        if self.key != right:
            raise ValueError(f"key {self.key} does not belong to its parent and crop box, which give {right}")
        if self.verdict not in KEEPS:
            if self.mask is not None:
                raise ValueError(f"verdict {self.verdict} brings no mask, found one")
            return self
        if self.mask is None:
            raise ValueError(f"verdict {self.verdict} needs a mask, found none")
        height, width = unpack_mask(self.mask).shape
        if (width, height) != (self.width, self.height):
            raise ValueError(f"the mask is {width}x{height}, the entry says {self.width}x{self.height}")
        return self


def nameless(reviewer: str) -> bool:
    """Whether a pseudonym stands for one answer alone, of nobody knows whom: two of them may be one person."""
    return reviewer.startswith(NAMELESS)


def review_key(parent_sha256: str, crop_box: str) -> str:
    """What a review is found by: 16 hex digits of the parent's file hash and the box "x0,y0,x1,y1"."""
    return hashlib.sha256((parent_sha256 + crop_box).encode()).hexdigest()[:16]


def pack_mask(mask: Array) -> str:
    """(H, W) uint8 in {0, 1} as base64 of a 1-bit PNG: about 2.5 KB at 600x800, the same bytes every time."""
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.size == 0 or mask.max() > 1:
        raise ValueError(f"expected a mask (H, W) uint8 in {{0, 1}}, found {mask.shape} {mask.dtype}")
    options = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9]
    done, data = cv2.imencode(".png", mask * np.uint8(255), options)
    if not done:
        raise ValueError(f"cannot encode a mask of shape {mask.shape} as PNG")
    return base64.b64encode(data.tobytes()).decode()


def unpack_mask(text: str) -> Array:
    """The inverse of `pack_mask`; ValueError for damaged base64 or a PNG that is damaged or not 1-bit."""
    try:
        data = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()  # checksums, which loading skips
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode != "1":
                raise ValueError(f"expected a 1-bit PNG, found mode {image.mode}")
            return np.asarray(image).astype(np.uint8)
    except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the mask is no PNG in base64: {error}") from error


def read_lock(folder: Path) -> list[LockEntry]:
    """All reviews, sorted by key. An existing empty folder is an empty lock; a missing one is an error.

    Raises LockError that names file and line for the first damaged entry.
    """
    if not folder.is_dir():
        raise LockError(
            f"expected a folder of reviews at {folder}, found none; set reviews.path in params.yaml to the "
            "right folder, or make an empty one (mkdir) if nothing was reviewed yet"
        )
    return read_shards(folder, lambda line, where: parse_line(LockEntry, line, where), _name)


def write_lock(folder: Path, entries: Iterable[LockEntry]) -> None:
    """Make the folder hold exactly these reviews; same entries, same bytes, equal files stay untouched."""
    write_shards(folder, entries, _name)


def _name(entry: LockEntry) -> str:
    return f"key {entry.key}"
