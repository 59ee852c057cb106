"""What a task is for, sealed into one text of its data, so that a glance at the server's table does not tell.

A reviewer who knows which tasks are gold is not measured by them. It is no secret: who unseals the text can read it.
All tasks of pictures of one size have texts of one length, whether they hold a mask or not, and no two begin alike.
"""

import base64
import hashlib
import json
from dataclasses import dataclass

import numpy as np

from annotations.errors import ReviewError
from annotations.ledger.lock import pack_mask, unpack_mask
from annotations.quality.reviewers import Purpose
from sinet.images.decode import Array

FIELD = "seal"  # of a task's data
PURPOSES: tuple[Purpose, ...] = ("review", "second", "gold", "scratch", "student")

_FORMAT = "2."  # how the text begins; the first format was base64 of JSON, and short unless it held a mask
_SALT, _CHECK = 12, 8  # bytes
# Bytes a pixel of width and height, where the right mask has its place: of 150 masks of EG1800 the largest took 2.7.
_ROOM = 3


class TooRoughError(ValueError):
    """A right mask that would make the seal longer than those of other tasks of the picture's size."""


@dataclass(frozen=True)
class Sealed:
    """What a task is for, and the right mask of a gold task, packed as the lock packs masks."""

    purpose: Purpose
    truth: str | None = None


def seal(
    purpose: Purpose, version: str, truth: Array | None = None, shape: tuple[int, int] | None = None
) -> str:
    """The text for a task of this version; `truth` (H, W) uint8 {0, 1} belongs to gold tasks, and to no others.

    `shape` is that of the picture, (H, W): the length of the text depends on nothing else. TooRoughError where the
    right mask takes more than that.
    """
    if (truth is not None) != (purpose == "gold"):
        raise ValueError(f"a gold task needs its right mask, and no other has one; found {purpose}")
    packed = b"" if truth is None else base64.b64decode(pack_mask(truth))
    content = json.dumps([purpose, len(packed)]).encode() + b"\n" + packed
    room = 64 + _ROOM * sum(shape or (() if truth is None else truth.shape))
    if len(content) > room:
        raise TooRoughError(
            f"its right mask has too rough an outline to be sealed: {len(content)} bytes, room for {room}"
        )
    salt = hashlib.sha256(version.encode()).digest()[:_SALT]
    content = content.ljust(room, b"\0")
    checked = hashlib.sha256(content).digest()[:_CHECK] + content
    return _FORMAT + base64.b64encode(salt + _mixed(checked, salt)).decode()


def unseal(text: str | None, task: int) -> Sealed:
    """What `seal` was given; a task made by hand, without the text, is a review. ReviewError where it was changed."""
    if not text:
        return Sealed("review")
    try:
        purpose, truth = _opened(text) if text.startswith(_FORMAT) else _opened_first_format(text)
        if purpose not in PURPOSES or (truth is not None) != (purpose == "gold"):
            raise ValueError(f"it says {purpose}")
        if truth is not None:
            unpack_mask(truth)
    except (ValueError, TypeError) as error:
        raise ReviewError(
            f"the field {FIELD} of task {task} cannot be read ({error}): it was changed on the server; delete that "
            "task there and push again"
        ) from error
    return Sealed(purpose, truth)


def _opened(text: str) -> tuple[Purpose, str | None]:
    raw = base64.b64decode(text.removeprefix(_FORMAT), validate=True)
    checked = _mixed(raw[_SALT:], raw[:_SALT])
    content = checked[_CHECK:]
    if hashlib.sha256(content).digest()[:_CHECK] != checked[:_CHECK]:
        raise ValueError("its checksum is wrong")
    header, _, rest = content.partition(b"\n")
    purpose, length = json.loads(header)
    return purpose, base64.b64encode(rest[:length]).decode() if length else None


def _opened_first_format(text: str) -> tuple[Purpose, str | None]:
    _, purpose, truth = json.loads(base64.b64decode(text, validate=True))
    return purpose, truth


def _mixed(content: bytes, salt: bytes) -> bytes:
    """The bytes with a stream of the salt's laid over, and back: else all texts without a mask would look alike."""
    stream = np.frombuffer(hashlib.shake_256(salt).digest(len(content)), np.uint8)
    return (np.frombuffer(content, np.uint8) ^ stream).tobytes()
