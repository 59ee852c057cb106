"""Real pictures to compare an exported file with torch on."""

from pathlib import Path

import numpy as np

from sinet.images.decode import Array, ImageError, ReadError, read_image
from sinet.inference.files import InputError, find, is_video
from sinet.network.preprocess import squash_image

MOST = 16  # pictures; each is compared pixel by pixel, so more prove little


def comparison_pictures(named: Path | None, size: int, most: int = MOST) -> list[Array]:
    """Up to `most` pictures of a file or folder, as the network sees them: (size, size, 3) uint8 RGB, squashed.

    Without a name a portrait from matplotlib, which counts twice, mirrored as well. InputError where there is none, or
    one cannot be used.
    """
    if named is None:
        portrait = _read(_portrait(), size)
        return [portrait, np.ascontiguousarray(portrait[:, ::-1])]
    files = [path for path in find([named])[0] if not is_video(path)][:most]
    if not files:
        raise InputError(f"expected pictures to compare with torch on in {named}, found only videos")
    return [_read(path, size) for path in files]


def _read(path: Path, size: int) -> Array:
    try:
        return squash_image(read_image(path), size)
    except (ImageError, ReadError) as error:
        raise InputError(f"{path} cannot be used: {error}") from error


def _portrait() -> Path:
    try:
        from matplotlib import cbook

        return Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    except (ImportError, OSError) as error:
        raise InputError("matplotlib and its portrait are not here; name pictures with --pictures") from error
