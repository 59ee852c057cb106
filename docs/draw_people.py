"""`python docs/draw_people.py` writes docs/people.png: six people of the drawn world, outlined and cut out.

The people are not those of data/sample, so that its params change nothing here. A test draws them again and compares
the pixels, not the bytes: another type of CPU rounds a few of them in another way.
"""

from pathlib import Path

import cv2
import numpy as np

from pipeline.drawing.camera import Pixels
from pipeline.drawing.picture import Drawn, generator, portrait
from pipeline.reporting.thumbnails import outlined

SEED, CHOSEN = 1911, (5, 2, 4, 14, 16, 8)  # chosen by eye, for people of many kinds
HEIGHT, GAP, COLOURS = 188, 6, 256  # pixels of one picture and between two; colours keep the file small
GROUND = (246, 248, 250)


def draw() -> Pixels:
    """(H, W, 3) RGB: above each person with the outline, all else dark; below the person alone."""
    columns = [_column(portrait(generator(SEED, "people", index))) for index in CHOSEN]
    between = np.full((columns[0].shape[0], GAP, 3), GROUND, np.uint8)
    parts = [part for column in columns for part in (between, column)][1:]
    return np.hstack(parts)


def _column(drawn: Drawn) -> Pixels:
    above = outlined(drawn.image, drawn.mask, HEIGHT)
    size = (above.shape[1], HEIGHT)
    cover = cv2.resize(drawn.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    person = cv2.resize(drawn.image, size, interpolation=cv2.INTER_AREA)
    below = person * cover + np.array(GROUND, np.float32) * (1 - cover)
    between = np.full((GAP, size[0], 3), GROUND, np.uint8)
    return np.vstack([above, between, np.rint(below).astype(np.uint8)])


if __name__ == "__main__":
    from PIL import Image

    picture = Image.fromarray(draw()).quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(Path(__file__).with_name("people.png"), optimize=True)
