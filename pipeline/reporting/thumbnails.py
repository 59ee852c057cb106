"""Small pictures inside a page: JPEG as data URIs, with a mask's outline drawn where there is one."""

import base64

import cv2
import numpy as np

from sinet.images.decode import Array

OUTLINE = (255, 214, 10)  # yellow on a dark rim: seen on any background
_QUALITY = 84


def data_uri(image: Array) -> str:
    """(H, W, 3) uint8 RGB as data:image/jpeg;base64,..."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not done:
        raise ValueError(f"cannot encode an array of shape {image.shape} as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def outlined(image: Array, mask: Array, height: int) -> Array:
    """The picture (H, W, 3) at `height` pixels, darker outside the mask (H, W) {0, 1}, with its outline."""
    size = (max(1, round(image.shape[1] * height / image.shape[0])), height)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    person = cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 127
    result = np.where(person[..., None], small, small // 2).astype(np.uint8)
    contours, _ = cv2.findContours(person.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(result, contours, -1, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.drawContours(result, contours, -1, OUTLINE, 1, cv2.LINE_AA)
    return result
