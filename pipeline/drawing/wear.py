"""What people wear on the head: glasses and hats."""

from __future__ import annotations

import numpy as np

from pipeline.drawing.face import EYE_U, turned
from pipeline.drawing.paint import Frame, Layer, Light, ellipse, noise, puffed, shaded, smooth, strokes
from pipeline.drawing.person import Person, near, sample_colour


def draw_glasses(layer: Layer, head: Frame, person: Person, rng: np.random.Generator) -> None:
    """Rims, a bridge, temples, and a glint on the lenses."""
    if person.glasses == "none":
        return
    wide, tall = rng.uniform(0.27, 0.33), rng.uniform(0.19, 0.28)
    rim = near(rng, ((0.08, 0.07, 0.07), (0.30, 0.18, 0.10), (0.55, 0.55, 0.58))[int(rng.integers(3))], 0.03)
    lenses = [turned(ellipse(side * (EYE_U + 0.01), 0.02, wide, tall), person) for side in (-1, 1)]
    arms = [turned(np.array([[side * 0.72, -0.04], [side * 1.0, -0.02]]), person) for side in (-1, 1)]
    bridge = turned(np.array([[-0.12, 0.0], [0.0, -0.05], [0.12, 0.0]]), person)
    outlines = [head.points(lens) for lens in lenses]
    lines = [np.vstack([line, line[:1]]) for line in outlines] + [
        head.points(line) for line in (*arms, bridge)
    ]
    box, glass = layer.shape(outlines)
    dark = person.glasses == "dark"
    layer.tint(
        box, glass * np.float32(0.93 if dark else 0.06), (0.07, 0.07, 0.08) if dark else (0.9, 0.93, 0.97)
    )
    box = layer.bounds(lines, 4)
    thickness = head.unit * (0.028 if person.glasses == "thin" else 0.07)
    layer.paint(box, strokes(lines, box, max(1.0, thickness)), rim)


def draw_hat(layer: Layer, head: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """A cap, a beanie or a hat with a brim."""
    if person.hat == "none":
        return
    colour = sample_colour(rng)
    top = {"cap": -1.62, "beanie": -1.72, "brim": -1.95}[person.hat]
    crown = smooth(
        [
            (-1.10, -0.48),
            (-1.08, -1.05),
            (-0.65, top + 0.12),
            (0, top),
            (0.65, top + 0.12),
            (1.08, -1.05),
            (1.10, -0.48),
            (0, -0.60),
        ]
    )
    box, alpha = layer.shape([head.points(crown)])
    if alpha.size:
        height, width = alpha.shape
        ribs = noise(rng, height, width, 3, 40) if person.hat == "beanie" else noise(rng, height, width, 12)
        factor = puffed(alpha, 0.7 * head.unit, light) * (1 + np.float32(0.06) * ribs)
        layer.paint(box, alpha, shaded(colour, factor, light))
    match person.hat:
        case "cap":
            shift = 0.5 * person.yaw
            edge = smooth(
                [
                    (-0.95 + shift, -0.62),
                    (0 + shift, -0.78),
                    (0.95 + shift, -0.62),
                    (0.75 + shift * 1.5, -0.36),
                    (shift * 1.5, -0.27),
                    (-0.75 + shift * 1.5, -0.36),
                ]
            )
        case "beanie":
            edge = smooth(
                [(-1.14, -0.78), (0, -0.92), (1.14, -0.78), (1.13, -0.38), (0, -0.50), (-1.13, -0.38)]
            )
        case _:
            edge = ellipse(0, -0.62, 1.75, 0.24)
    box, alpha = layer.shape([head.points(edge)])
    if alpha.size:
        layer.paint(
            box,
            alpha,
            shaded([0.85 * part for part in colour], puffed(alpha, 0.12 * head.unit, light), light),
        )
