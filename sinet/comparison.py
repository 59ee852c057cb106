"""Real pictures to compare an exported file with torch on."""

from pathlib import Path

import numpy as np

from sinet.files import InputError, find, is_video
from sinet.images import Array, ImageError, read_image

MOST = 16  # pictures; each is compared pixel by pixel, so more prove little


def comparison_pictures(named: Path | None, most: int | None = None) -> list[Array]:
    """Up to `most` (16) pictures (H, W, 3) uint8 RGB of a file or folder; without one, a portrait from matplotlib.

    That one counts twice, mirrored as well. InputError where there is none, or one cannot be used.
    """
    if named is None:
        portrait = read_image(_portrait())
        return [portrait, np.ascontiguousarray(portrait[:, ::-1])]
    files = [path for path in find([named])[0] if not is_video(path)][: most or MOST]
    if not files:
        raise InputError(f"expected pictures to compare with torch on in {named}, found only videos")
    return [_read(path) for path in files]


def _read(path: Path) -> Array:
    try:
        return read_image(path)
    except ImageError as error:
        raise InputError(f"{path} cannot be used: {error}") from error


def _portrait() -> Path:
    try:
        from matplotlib import cbook

        return Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    except (ImportError, OSError) as error:
        raise InputError("matplotlib and its portrait are not here; name pictures with --pictures") from error
