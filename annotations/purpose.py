"""What a task is for, sealed into one text of its data, so that a glance at the server's table does not tell.

A reviewer who knows which tasks are gold is not measured by them. It is no secret: who decodes the text can read it.
"""

import base64
import json
from dataclasses import dataclass

from annotations.errors import ReviewError
from annotations.lock import Array, pack_mask, unpack_mask
from annotations.quality import Purpose

FIELD = "seal"  # of a task's data
PURPOSES: tuple[Purpose, ...] = ("review", "second", "gold", "scratch", "student")


@dataclass(frozen=True)
class Sealed:
    """What a task is for, and the right mask of a gold task, packed as the lock packs masks."""

    purpose: Purpose
    truth: str | None = None


def seal(purpose: Purpose, version: str, truth: Array | None = None) -> str:
    """The text for a task of this version; `truth` (H, W) uint8 {0, 1} belongs to gold tasks, and to no others."""
    if (truth is not None) != (purpose == "gold"):
        raise ValueError(f"a gold task needs its right mask, and no other has one; found {purpose}")
    # The version comes first, so that the texts do not begin alike.
    content = [version, purpose, None if truth is None else pack_mask(truth)]
    return base64.b64encode(json.dumps(content, separators=(",", ":")).encode()).decode()


def unseal(text: str | None, task: int) -> Sealed:
    """What `seal` was given; a task without the text is a review. ReviewError where it was changed on the server."""
    if not text:
        return Sealed("review")
    try:
        _, purpose, truth = json.loads(base64.b64decode(text, validate=True))
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
