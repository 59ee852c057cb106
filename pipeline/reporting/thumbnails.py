"""Small pictures of a page: JPEG, with a mask's outline or the difference of two drawn where there are any."""

import base64

import cv2
import numpy as np

from sinet.images.decode import Array

OUTLINE = (255, 214, 10)  # yellow on a dark rim: seen on any background
# As sinet.evaluation.gallery paints what is in both masks, in the first alone and in the second alone.
IN_BOTH, ADDED, REMOVED = (0, 114, 178), (213, 94, 0), (240, 228, 66)
_QUALITY = 84


def data_uri(image: Array) -> str:
    """(H, W, 3) uint8 RGB as data:image/jpeg;base64,..."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_file(image)).decode()


def jpeg_file(image: Array) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG file."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not done:
        raise ValueError(f"cannot encode an array of shape {image.shape} as JPEG")
    return data.tobytes()


def outlined(image: Array, mask: Array, height: int) -> Array:
    """The picture (H, W, 3) at `height` pixels, darker outside the mask (H, W) {0, 1}, with its outline."""
    small, person = _reduced(image, height), _reduced(mask * np.uint8(255), height) > 127
    result = np.where(person[..., None], small, small // 2).astype(np.uint8)
    contours, _ = cv2.findContours(person.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(result, contours, -1, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.drawContours(result, contours, -1, OUTLINE, 1, cv2.LINE_AA)
    return result


def differing(image: Array, old: Array, new: Array, height: int) -> Array:
    """The grey picture (H, W, 3) at `height` pixels; in colour what is in both masks (H, W) {0, 1}, added, removed.

    A pixel of which a part was added or removed has that much of the colour: a changed outline is seen.
    """
    small = cv2.cvtColor(_reduced(image, height), cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    result = small.astype(np.float32)
    before, after = old.astype(bool), new.astype(bool)
    parts = ((before & after, IN_BOTH, 0.35), (after & ~before, ADDED, 0.9), (before & ~after, REMOVED, 0.9))
    for where, colour, most in parts:
        share = _reduced(where.astype(np.uint8) * np.uint8(255), height)[..., None] / 255
        alpha = np.asarray(most * np.sqrt(share), np.float32)
        result += alpha * (np.array(colour, np.float32) - result)
    return np.asarray(np.rint(result), np.uint8)


def _reduced(image: Array, height: int) -> Array:
    size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
