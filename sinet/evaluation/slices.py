"""What pictures show that is hard for a network, or rare: slices of pictures, each told by one fact about them.

The facts themselves: `sinet.evaluation.plain_facts`, and where faces are looked for `pipeline.dataset.picture_facts`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Known = Mapping[
    str, NDArray[np.float64]
]  # a fact's value for each picture, by its name; NaN where it cannot tell

SLICES = {  # how each is told
    "no_face": "no face was found",
    "several_people": "more than one face of the same size",
    "small_face": "the face is less than a quarter of the picture's height",
    "dark": "mean brightness below a quarter",
    "blurred": "sharpness below 100",
    "grey": "no colour",
    "off_centre": "the middle of the person is a tenth of the width or more beside that of the picture",
    "dark_skin": "skin tone of at most 10 degrees: brown or dark by Chardon's classes; a proxy that light changes too",
    "light_skin": "skin tone above 41 degrees: light or very light by Chardon's classes; the same proxy",
}
_RULES: dict[str, tuple[str, Callable[[Any], Any]]] = {  # by the values of one fact
    "no_face": ("faces", lambda faces: faces == 0),
    "several_people": ("faces", lambda faces: faces > 1),
    "small_face": ("face_height", lambda height: height < 0.25),
    "dark": ("brightness", lambda brightness: brightness < 0.25),
    "blurred": ("sharpness", lambda sharpness: sharpness < 100),
    "grey": ("grey", lambda grey: grey > 0),
    "off_centre": ("centre_x", lambda x: abs(x - 0.5) >= 0.1),
    "dark_skin": ("skin_tone", lambda angle: angle <= 10),
    "light_skin": ("skin_tone", lambda angle: angle > 41),
}
FACTS_OF_SLICES = tuple(sorted({fact for fact, _ in _RULES.values()}))


def in_slices(known: Known) -> Known:
    """Whether each picture is in each of the SLICES: 1, 0, NaN where it cannot tell; without those of unknown facts."""
    return {
        name: np.where(np.isnan(known[fact]), np.nan, rule(known[fact]))
        for name, (fact, rule) in _RULES.items()
        if fact in known
    }
