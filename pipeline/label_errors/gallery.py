"""The page of `label-errors`: each picture with both outlines, and where the network is sure of the other label."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.label_errors.scores import confident_disagreement
from pipeline.reporting.rendering import template
from pipeline.reporting.thumbnails import OUTLINE, data_uri
from sinet.images.decode import Array, read_image, read_mask
from sinet.network.preprocess import squash_mask

HEIGHT = 300  # pixels
_NETWORK = (86, 180, 233)  # sky blue of Okabe and Ito's palette


def gallery_page(rows: pd.DataFrame, found: dict[str, NDArray[np.float32]], masks: int) -> str:
    """HTML with its pictures inside, for the `rows` of a ranking of so many `masks`."""
    shown = [_card(rank, row, found[str(row.id)]) for rank, row in enumerate(rows.itertuples(), start=1)]
    colours = {"mask": f"rgb{OUTLINE}", "network": f"rgb{_NETWORK}"}
    return template("label_errors.html.j2").render(shown=shown, masks=masks, colours=colours, height=HEIGHT)


def outline_picture(image: Array, mask: Array, probability: NDArray[np.float32]) -> Array:
    """The picture (H, W, 3) at HEIGHT with the outline of its mask (H, W) and that of what the network says."""
    size = _size(image)
    result = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    said = cv2.resize(probability, size, interpolation=cv2.INTER_LINEAR) > 0.5
    drawn = cv2.resize(mask * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 127
    for where, colour in ((said, _NETWORK), (drawn, OUTLINE)):
        found, _ = cv2.findContours(where.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(result, found, -1, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.drawContours(result, found, -1, colour, 1, cv2.LINE_AA)
    return np.asarray(result, np.uint8)


def difference_picture(image: Array, mask: Array, probability: NDArray[np.float32]) -> Array:
    """The picture in grey at HEIGHT; where mask and network confidently disagree in the colour of who says person."""
    size = _size(image)
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    result = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    small = squash_mask(mask, len(probability))
    sure = confident_disagreement(probability, small)
    for where, colour in ((sure & (small == 1), OUTLINE), (sure & (small == 0), _NETWORK)):
        there = cv2.resize(where.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) == 1
        result[there] = colour
    return result


def _card(rank: int, row: Any, probability: NDArray[np.float32]) -> dict[str, Any]:
    image, mask = read_image(Path(str(row.image))), read_mask(Path(str(row.mask)))
    width, height = _size(image)
    return {
        "rank": rank,
        "row": row,
        "width": width,
        "height": height,
        "pictures": [
            data_uri(draw(image, mask, probability)) for draw in (outline_picture, difference_picture)
        ],
    }


def _size(image: Array) -> tuple[int, int]:
    return max(1, round(image.shape[1] * HEIGHT / image.shape[0])), HEIGHT
