"""The head, put together. Small heads are painted larger and averaged down, so that features stay sharp."""

import numpy as np

from pipeline.drawing import face, hair, wear
from pipeline.drawing.paint import Frame, Layer, Light
from pipeline.drawing.person import Person

_SHARP_UNIT = 44  # pixels half a head wide: below it the head is painted larger


def draw_head(layer: Layer, head: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """Ears, beard, face, hair, glasses and hat over a layer that holds the body already."""
    corners = head.points(np.array([[-2.0, -2.4], [2.0, -2.4], [2.0, 2.2], [-2.0, 2.2]]))
    box = layer.bounds([corners])
    if box.width < 2 or box.height < 2:
        return
    factor = 1 if head.unit >= _SHARP_UNIT else 2 if head.unit >= _SHARP_UNIT / 2.2 else 3
    large = Layer(box.width * factor, box.height * factor)
    frame = head.scaled(factor, box)
    face.draw_ears(large, frame, person, light)
    hair.draw_beard(large, frame, person, light, rng)
    face.draw_face(large, frame, person, light, rng)
    hair.draw_cap(large, frame, person, light, rng)
    wear.draw_glasses(large, frame, person, rng)
    wear.draw_hat(large, frame, person, light, rng)
    layer.lay(large, box, factor)
