"""What clicks are worth, on wrong masks beside the right ones: `python -m annotations benchmark-clicks DIR...`.

A DIR holds images/, masks/ (the right ones) and proposed/ (those to repair), files of one name for one picture.
`python -m pipeline benchmark queue --masks DIR` writes such a folder of labelled pictures, with masks of teachers that
never saw them.

The simulated curator clicks at the centre of the largest error: the pixel that lies deepest in the largest piece of
what is wrong. A second one misses it by a normal deviation of a share of the person's width.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from annotations.clicks.repair import Click, clicked
from annotations.errors import ReviewError
from annotations.masks.overlap import mask_iou
from sinet.images.decode import Array, read_image, read_mask

IOU_FROM, IOU_BELOW = 0.70, 0.967  # a mask between them is worth repairing, and is not beyond repair
CLICKS = 5
MISSES = (0.0, 0.05)  # of the person's width
SQUARE, BAND = 224, 15  # pixels: the paper measures the outline at that size, in a band of that width


@dataclass(frozen=True)
class Wrong:
    """A mask to repair."""

    name: str
    rgb: Array
    mask: Array
    right: Array


@dataclass(frozen=True)
class Repaired:
    """One mask on its way: of the proposed mask, then after each click."""

    iou: tuple[float, ...]
    outline: tuple[float, ...]  # outline_f1
    milliseconds: tuple[float, ...]  # of CPU, a click each


def read_wrong(folders: Iterable[Path]) -> Iterator[Wrong]:
    """The masks of these folders whose IoU is between the limits. ReviewError where a file of one is missing."""
    for folder in folders:
        if not (folder / "masks").is_dir() or not (folder / "proposed").is_dir():
            raise ReviewError(
                f"expected images/, masks/ and proposed/ in {folder}, found no such folders; "
                f"`python -m pipeline benchmark queue --masks {folder}` writes them"
            )
        for path in sorted((folder / "masks").iterdir()):
            right, mask = read_mask(path), read_mask(folder / "proposed" / path.name)
            if IOU_FROM <= mask_iou(mask, right) < IOU_BELOW:
                yield Wrong(path.stem, read_image(folder / "images" / path.name), mask, right)


def repaired(wrong: Wrong, missing_by: float, clicks: int = CLICKS) -> Repaired:
    """The simulated curator repairs a mask; `missing_by` of the person's width is the deviation of each click."""
    random = np.random.default_rng(int.from_bytes(wrong.name.encode()[-8:], "big"))
    masks, times = [wrong.mask], []
    iou, outline = [mask_iou(wrong.mask, wrong.right)], [outline_f1(wrong.mask, wrong.right)]
    for _ in range(clicks):
        click = next_click(masks[-1], wrong.right)
        if click is not None:
            click = _missed(click, wrong.right, missing_by, random)
            start = time.process_time()
            masks = clicked(wrong.rgb, masks, click)
            times.append(1000 * (time.process_time() - start))
        iou.append(mask_iou(masks[-1], wrong.right))
        outline.append(outline_f1(masks[-1], wrong.right))
    return Repaired(tuple(iou), tuple(outline), tuple(times))


def next_click(mask: Array, right: Array) -> Click | None:
    """The pixel that lies deepest in the largest piece of what is wrong; None where nothing is."""
    wrong = (mask != right).astype(np.uint8)
    count, pieces, said, _ = cv2.connectedComponentsWithStats(wrong, connectivity=4)
    if count == 1:
        return None
    largest = 1 + int(np.argmax(said[1:, cv2.CC_STAT_AREA]))
    # Outside of the picture nothing is wrong: what reaches its border is not deeper there.
    piece = np.pad((pieces == largest).astype(np.uint8), 1)
    depth = cv2.distanceTransform(piece, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = divmod(int(np.argmax(depth)), mask.shape[1])
    return Click(row, column)


def outline_f1(mask: Array, right: Array) -> float:
    """F1 of the person in the band of the right outline, at the paper's size, 0..1; 1 where nobody is in either."""
    one, other = (
        cv2.resize(each, (SQUARE, SQUARE), interpolation=cv2.INTER_NEAREST) for each in (mask, right)
    )
    kernel = np.ones((BAND, BAND), np.uint8)
    band = cv2.dilate(other, kernel) != cv2.erode(other, kernel)
    said, true = one[band], other[band]
    both = int(said.sum()) + int(true.sum())
    return 2 * int(np.count_nonzero(said & true)) / both if both else 1.0


def describe_clicks(rows: Sequence[Repaired]) -> list[str]:
    """The shares that the goals are set on, as lines of text."""
    times = np.concatenate([row.milliseconds for row in rows])
    slow = np.quantile(times, 0.95)
    worse = [after < before for row in rows for before, after in zip(row.iou[:3], row.iou[1:4], strict=True)]
    return [
        f"  IoU 0.95 within 3 / 5 clicks    {_reached(rows, 0.95, 3)} / {_reached(rows, 0.95, 5)}",
        f"  IoU 0.97 within 3 / 5 clicks    {_reached(rows, 0.97, 3)} / {_reached(rows, 0.97, 5)}",
        f"  outline F1 0.93 within 3 / 5    {_sharp(rows, 0.93, 3)} / {_sharp(rows, 0.93, 5)}",
        f"  CPU a click                     {times.mean():.0f} ms, the slowest twentieth {slow:.0f} or more",
        f"  of the first three, made it worse {np.mean(worse):.1%}",
    ]


def report_clicks(folders: Sequence[Path]) -> None:
    """Read, repair, print."""
    wrong = list(read_wrong(folders))
    if not wrong:
        raise ReviewError(
            f"expected masks of an IoU from {IOU_FROM} to {IOU_BELOW} in {', '.join(map(str, folders))}, found none"
        )
    print(
        f"{len(wrong)} masks, in the mean of IoU {np.mean([mask_iou(one.mask, one.right) for one in wrong]):.3f}"
    )
    for miss in MISSES:
        print(
            f"each click {'at the centre of the largest error' if not miss else f'off by {miss:.0%} of the width'}"
        )
        print("\n".join(describe_clicks([repaired(one, miss) for one in wrong])))


def _missed(click: Click, right: Array, share: float, random: np.random.Generator) -> Click:
    columns = np.flatnonzero(right.any(axis=0))
    deviation = share * (int(columns[-1] - columns[0]) + 1 if columns.size else right.shape[1])
    row, column = np.rint([click.row, click.column] + deviation * random.standard_normal(2)).astype(int)
    return Click(int(np.clip(row, 0, right.shape[0] - 1)), int(np.clip(column, 0, right.shape[1] - 1)))


def _reached(rows: Sequence[Repaired], limit: float, clicks: int) -> str:
    return f"{np.mean([max(row.iou[: clicks + 1]) >= limit for row in rows]):.0%}"


def _sharp(rows: Sequence[Repaired], limit: float, clicks: int) -> str:
    return f"{np.mean([max(row.outline[: clicks + 1]) >= limit for row in rows]):.0%}"
