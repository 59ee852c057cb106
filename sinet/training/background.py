"""Background replacement: the person of one picture before what lies behind the person of another.

A network of few parameters learns backgrounds by heart sooner than people; portraits with masks are few.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from sinet.images.decode import Array

SHRINK = 8  # the ground is filled in at an eighth of the size: what is painted over has no detail
# In shrunk pixels: how far colours flow into what the person hid, near ones first.
SPREADS = (1, 2, 4, 8, 16, 32)
_ENOUGH = 0.25  # share of ground under the Gaussian from which on its colour is taken whole


def before_another_background(image: Array, mask: Array, other: Array, other_mask: Array) -> Array:
    """The person of `image` before the ground of `other`, at the size of `image`: (H, W, 3) uint8 RGB.

    Masks are (H, W) uint8 {0, 1}. `other` may be of another size and is stretched; what its person hid is painted
    over (`without_person`). The seam is one pixel soft. Where `other` shows no ground, `image` comes back.
    """
    height, width = mask.shape
    ground = without_person(other, other_mask)
    if ground is None:
        return image
    ground = np.asarray(cv2.resize(ground, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    person = soft_mask(mask)
    return np.asarray(cv2.blendLinear(image, ground, person, 1 - person), np.uint8)


def soft_mask(mask: Array) -> NDArray[np.float32]:
    """(H, W) uint8 {0, 1} as shares 0..1, one pixel soft at the outline."""
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0), np.float32)


def without_person(image: Array, mask: Array) -> Array | None:
    """The picture with its person painted over by the colours around: (H, W, 3) uint8 RGB; None without any ground.

    Near the outline they are those of the ground beside it, further in they grow smooth.
    """
    height, width = mask.shape
    small = (max(1, width // SHRINK), max(1, height // SHRINK))
    share = cv2.resize(mask.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    hidden = np.asarray(cv2.dilate((share > 0).astype(np.float32), np.ones((3, 3), np.uint8)), np.float32)
    if hidden.all():
        return None
    shrunk = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
    painted = _fill(shrunk, 1 - hidden)
    large = cv2.resize(painted, (width, height), interpolation=cv2.INTER_LINEAR)
    # Enlarged, the hidden share falls to 0 within the ring that was dilated: no pixel of the person shines through.
    over = np.asarray(cv2.resize(hidden, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.blendLinear(large, image, over, 1 - over), np.uint8)


def _fill(image: Array, known: NDArray[np.float32]) -> Array:
    """(h, w, 3) uint8 with the pixels where `known` (0 or 1) is 0 replaced by Gaussian means of the known ones."""
    colours = image * known[..., None]
    filled, done = np.zeros_like(colours), np.zeros_like(known)
    for sigma in SPREADS:
        weight = cv2.GaussianBlur(known, (0, 0), sigma)
        mean = cv2.GaussianBlur(colours, (0, 0), sigma) / np.maximum(weight, 1e-6)[..., None]
        share = np.minimum(1, weight / _ENOUGH) * (1 - done)
        filled += mean * share[..., None]
        done += share
    return np.asarray(np.clip(filled / np.maximum(done, 1e-6)[..., None] + 0.5, 0, 255), np.uint8)
