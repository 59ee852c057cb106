"""A whole figure: legs, clothes, arms, what is held, the head; a portrait is a figure that the frame cuts.

Coordinates as in `face`: the origin is between the eyes, lengths in half head widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.boxes import Box
from pipeline.drawing import hair
from pipeline.drawing.cloth import weave
from pipeline.drawing.head import draw_head
from pipeline.drawing.paint import (
    Floats,
    Frame,
    Layer,
    Light,
    Points,
    blurred,
    ellipse,
    fill,
    limb,
    noise,
    puffed,
    shaded,
    smooth,
    strokes,
)
from pipeline.drawing.person import Cloth, Paint, Person, near, sample_cloth, sample_colour

# pose -> angle of the upper arm and of the forearm from straight down, outwards positive, radians
_ARMS: dict[str, tuple[float, float]] = {
    "down": (0.13, 0.05),
    "hip": (0.72, -0.62),
    "chest": (0.20, -2.30),
    "chin": (0.10, -2.85),
    "wave": (0.85, 2.75),
    "pocket": (0.30, -0.25),
}
_CROWN = -1.4
_HEAD = 2.76


@dataclass(frozen=True)
class _Easel:
    """What every part of one figure needs."""

    layer: Layer
    body: Frame
    light: Light
    rng: np.random.Generator

    def cloth(self, outlines: list[Points], cloth: Cloth, radius: float, tone: float = 1.0) -> None:
        """A piece of clothing with folds; `radius` says how round its edges are."""
        box, alpha = self.layer.shape([self.body.points(outline) for outline in outlines])
        if alpha.size == 0:
            return
        self._drop_shadow(outlines)
        height, width = alpha.shape
        unit = self.body.unit
        folds = np.float32(0.055 * unit) * noise(self.rng, height, width, 1.6 * unit, 0.8 * unit)
        folds += np.float32(0.014 * unit) * noise(self.rng, height, width, 0.3 * unit, 0.9 * unit)
        factor = puffed(alpha, radius * unit, self.light, folds) * np.float32(tone)
        u, v = self.body.grid(box)
        self.layer.paint(box, alpha, shaded(weave(cloth, u, v, 1 / unit, self.rng), factor, self.light))

    def solid(self, outlines: list[Points], colour: Paint, radius: float, tone: float = 1.0) -> None:
        """Skin, leather, wood: one colour, lit."""
        box, alpha = self.layer.shape([self.body.points(outline) for outline in outlines])
        if alpha.size == 0:
            return
        self._drop_shadow(outlines)
        factor = puffed(alpha, radius * self.body.unit, self.light) * np.float32(tone)
        self.layer.paint(box, alpha, shaded(colour, factor, self.light))

    def line(
        self, lines: list[Points], colour: Sequence[float], thickness: float, amount: float = 1.0
    ) -> None:
        """Seams and zips on what is there already."""
        pixels = [self.body.points(line) for line in lines]
        box = self.layer.bounds(pixels, 3)
        alpha = strokes(pixels, box, max(0.6, thickness * self.body.unit)) * np.float32(amount)
        self.layer.tint(box, alpha, colour)

    def _drop_shadow(self, outlines: list[Points]) -> None:
        """A soft shadow of a part on the parts below it."""
        x, y, _ = self.light.direction
        shift = np.array([-x, -y + 0.3]) * 0.09 * self.body.unit
        pixels = [self.body.points(outline) + shift for outline in outlines]
        box, alpha = self.layer.shape(pixels)
        if alpha.size:
            self.layer.darken(box, 1 - np.float32(0.32) * blurred(alpha, 0.07 * self.body.unit))


def draw_person(layer: Layer, body: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """Draw a person from feet to hat; everything drawn counts as person, bags and held things too."""
    easel = _Easel(layer, body.moved(0, -0.28), light, rng)
    head = body.moved(0, 1.5, person.tilt).moved(0, -1.5)
    if person.bag == "backpack":
        easel.cloth(
            [smooth([(-1.2, 1.7), (1.2, 1.7), (1.35, 5.2), (-1.35, 5.2)])], sample_cloth(rng), 0.5, 0.8
        )
    hair.draw_back(layer, head, person, light, rng)
    if body.points(np.array([[0.0, 5.0]]))[0, 1] < layer.box.height * 1.1:
        _draw_legs(easel, person)
    _draw_neck(easel, person, head)
    sides = ((-1.0, person.left_arm), (1.0, person.right_arm))
    for side, pose in sides:
        _draw_arm_below(easel, person, side, pose)
    _draw_torso(easel, person)
    _draw_collar(easel, person)
    for side, pose in sides:
        _draw_forearm(easel, person, side, pose)
    if person.bag in ("shoulder", "backpack"):
        _draw_straps(easel, person)
    raised = person.left_arm == "chin" or person.right_arm == "chin"
    draw_head(layer, head, person, light, rng)
    hair.draw_front(layer, head, person, light, rng)
    if raised:
        _draw_hand_at_chin(easel, person)


def _draw_neck(easel: _Easel, person: Person, head: Frame) -> None:
    wide = 0.58 + 0.16 * (person.shoulders - 2.1)
    skew = -1.2 * np.sin(person.tilt) * 0.5
    shape = np.array(
        [
            (-wide + skew * -0.6, 0.5),
            (wide + skew * -0.6, 0.5),
            (wide, 1.8),
            (wide + 0.5, 2.15),
            (0, 3.0),
            (-wide - 0.5, 2.15),
            (-wide, 1.8),
        ]
    )
    easel.solid([smooth(shape)], person.skin, 0.35, 0.90)
    chin = head.points(ellipse(0, 0.72, 0.92, 0.98))
    box, alpha = easel.layer.shape([chin])
    if alpha.size:
        easel.layer.darken(box, 1 - np.float32(0.42) * blurred(alpha, 0.10 * easel.body.unit))


def _torso_outline(person: Person, low: float) -> Points:
    """Clothes from the neck to v = `low`."""
    s = person.shoulders
    neck = 0.68 if person.top not in ("hoodie", "turtleneck", "scarf") else 0.6
    waist, hip = 0.70 * s, 0.72 * s
    right = [
        (neck, 1.70),
        (0.55 * s, 1.93),
        (0.86 * s, 2.16),
        (0.97 * s, 2.6),
        (0.82 * s, 3.6),
        (waist, 5.0),
        (hip, low),
    ]
    left = [(-u, v) for u, v in reversed(right)]
    return smooth([*right, *left, (0, 1.95)])


def _low(person: Person) -> float:
    return 6.6 + 0.25 * (person.height - 6.1) if person.top in ("blazer", "hoodie") else 6.3


def _draw_torso(easel: _Easel, person: Person) -> None:
    """Trunk and upper sleeves in one piece, with a seam where the arm leaves the trunk."""
    pieces = [_torso_outline(person, _low(person))]
    for side, pose in ((-1.0, person.left_arm), (1.0, person.right_arm)):
        shoulder, elbow, _ = _arm_line(person, side, pose)
        if person.top == "tank":
            continue
        end = shoulder + (0.55 if _short_sleeves(person) else 1.0) * (elbow - shoulder)
        radii = (0.50, 0.56) if _short_sleeves(person) else (0.52, 0.44)
        pieces.append(limb([tuple(shoulder), tuple(end)], radii))
    easel.cloth(pieces, person.top_cloth, 0.8)
    dark = [0.25 * part for part in person.top_cloth.colour]
    s = person.shoulders
    for side in (-1.0, 1.0):
        seam = smooth(
            [(side * (s - 0.62), 2.75), (side * (s - 0.74), 3.4), (side * (s - 0.72), 4.6)], closed=False
        )
        easel.line([seam], dark, 0.09, 0.26)


def _short_sleeves(person: Person) -> bool:
    return person.top == "tank" or (person.top in ("tee", "vneck") and person.top_cloth.pattern != "knit")


def _draw_collar(easel: _Easel, person: Person) -> None:
    cloth, rng = person.top_cloth, easel.rng
    darker = Cloth("plain", near(rng, cloth.colour, 0.04), cloth.second, cloth.size)
    match person.top:
        case "tee":
            depth = float(rng.uniform(1.95, 2.35))
            easel.solid(
                [
                    smooth(
                        [(-0.66, 1.65), (0.66, 1.65), (0.45, depth - 0.08), (0, depth), (-0.45, depth - 0.08)]
                    )
                ],
                person.skin,
                0.2,
                0.86,
            )
            easel.line(
                [
                    smooth(
                        [
                            (-0.66, 1.68),
                            (-0.45, depth - 0.06),
                            (0, depth + 0.03),
                            (0.45, depth - 0.06),
                            (0.66, 1.68),
                        ],
                        closed=False,
                    )
                ],
                [0.6 * part for part in cloth.colour],
                0.09,
                0.7,
            )
        case "tank" | "vneck":
            depth = float(rng.uniform(2.5, 3.1))
            wide = 0.95 if person.top == "tank" else 0.66
            easel.solid(
                [
                    np.array(
                        [(-wide, 1.66), (wide, 1.66), (0.35, depth - 0.35), (0, depth), (-0.35, depth - 0.35)]
                    )
                ],
                person.skin,
                0.2,
                0.92,
            )
            easel.line(
                [
                    np.array(
                        [
                            (-wide, 1.7),
                            (-0.35, depth - 0.33),
                            (0, depth + 0.02),
                            (0.35, depth - 0.33),
                            (wide, 1.7),
                        ]
                    )
                ],
                [0.6 * part for part in cloth.colour],
                0.06,
                0.6,
            )
        case "shirt":
            easel.line(
                [np.array([(0.0, 2.1), (0.0, 6.5)])], [0.55 * part for part in cloth.colour], 0.05, 0.6
            )
            for v in (2.9, 3.7, 4.5, 5.3):
                easel.solid([ellipse(0.06, v, 0.06, 0.06)], near(rng, (0.85, 0.85, 0.82), 0.05), 0.05)
            _lapels(easel, 0.75, 2.45, darker)
        case "blazer":
            easel.cloth(
                [np.array([(-0.62, 1.68), (0.62, 1.68), (0.1, 4.6), (-0.1, 4.6)])],
                Cloth("plain", person.under, person.under, 1),
                0.2,
            )
            if rng.random() < 0.5:
                easel.cloth(
                    [np.array([(-0.14, 2.05), (0.14, 2.05), (0.2, 4.3), (0, 4.5), (-0.2, 4.3)])],
                    sample_cloth(rng),
                    0.1,
                )
            for side in (-1.0, 1.0):
                shape = np.array(
                    [
                        (0.58, 1.62),
                        (0.95, 1.95),
                        (1.15, 2.75),
                        (0.85, 2.9),
                        (0.08, 4.7),
                        (0.05, 4.3),
                        (0.35, 2.6),
                    ]
                )
                easel.cloth([shape * (side, 1)], darker, 0.12, 0.92)
        case "hoodie":
            hood = smooth(
                [
                    (-0.95, 1.15),
                    (-1.25, 1.9),
                    (-0.6, 2.55),
                    (0, 2.75),
                    (0.6, 2.55),
                    (1.25, 1.9),
                    (0.95, 1.15),
                    (0.5, 1.9),
                    (0, 2.25),
                    (-0.5, 1.9),
                ]
            )
            easel.cloth([hood], darker, 0.3, 0.94)
            easel.line(
                [np.array([(-0.3, 2.5), (-0.35, 3.9)]), np.array([(0.3, 2.5), (0.32, 3.7)])],
                (0.88, 0.88, 0.86),
                0.06,
            )
        case "turtleneck":
            easel.cloth(
                [smooth([(-0.66, 1.25), (0, 1.42), (0.66, 1.25), (0.75, 2.1), (0, 2.3), (-0.75, 2.1)])],
                cloth,
                0.3,
                0.95,
            )
        case _:
            easel.cloth(
                [
                    smooth(
                        [
                            (-1.0, 1.45),
                            (0, 1.6),
                            (1.0, 1.45),
                            (1.3, 2.2),
                            (0.4, 2.75),
                            (-0.6, 2.7),
                            (-1.3, 2.2),
                        ]
                    )
                ],
                sample_cloth(rng),
                0.35,
            )
            easel.cloth([smooth([(0.1, 2.3), (0.75, 2.2), (0.9, 4.4), (0.25, 4.5)])], sample_cloth(rng), 0.2)


def _lapels(easel: _Easel, wide: float, low: float, cloth: Cloth) -> None:
    easel.solid([np.array([(-0.5, 1.7), (0.5, 1.7), (0, low - 0.05)])], (0.5, 0.4, 0.35), 0.2, 0.75)
    for side in (-1.0, 1.0):
        shape = np.array(
            [(0.50, 1.50), (wide + 0.12, 1.85), (0.55, low + 0.1), (0.0, low - 0.25), (0.30, 1.95)]
        )
        easel.cloth([shape * (side, 1)], cloth, 0.12, 1.04)


def _arm_line(person: Person, side: float, pose: str) -> Points:
    """Shoulder, elbow and wrist."""
    upper, fore = _ARMS[pose]
    shoulder = np.array([side * (person.shoulders - 0.42), 2.58])
    elbow = shoulder + 2.9 * np.array([side * np.sin(upper), np.cos(upper)])
    wrist = elbow + 2.5 * np.array([side * np.sin(fore), np.cos(fore)])
    return np.array([shoulder, elbow, wrist])


def _draw_arm_below(easel: _Easel, person: Person, side: float, pose: str) -> None:
    """The bare arm that a short sleeve will cover in part."""
    if _short_sleeves(person):
        shoulder, elbow, wrist = _arm_line(person, side, pose)
        points = [tuple(p) for p in (shoulder, (shoulder + elbow) / 2, elbow, (elbow + wrist) / 2, wrist)]
        easel.solid([limb(points, (0.46, 0.40, 0.34, 0.31, 0.21))], person.skin, 0.34)


def _draw_forearm(easel: _Easel, person: Person, side: float, pose: str) -> None:
    _, elbow, wrist = _arm_line(person, side, pose)
    points = [tuple(p) for p in (elbow, (elbow + wrist) / 2, wrist)]
    way = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    if pose != "pocket":
        _draw_hand(easel, person, wrist + 0.3 * way, way, side)
    if _short_sleeves(person):
        easel.solid([limb(points, (0.34, 0.31, 0.21))], person.skin, 0.34)
    else:
        easel.cloth([limb(points, (0.44, 0.41, 0.32))], person.top_cloth, 0.42)
    if side > 0:
        _draw_held(easel, person, wrist + 0.45 * way, pose)
        if person.bag == "hand" and pose in ("down", "hip"):
            _draw_handbag(easel, wrist + 0.4 * way)


def _draw_hand(easel: _Easel, person: Person, at: Points, way: Points, side: float) -> None:
    turn = float(np.arctan2(way[0], -way[1]))
    palm = ellipse(at[0], at[1], 0.25, 0.36, turn)
    across = np.array([-way[1], way[0]])
    fingers = []
    for k in (-0.15, -0.05, 0.05, 0.15):
        root = at + across * k + way * 0.2
        tip = root + way * (0.42 - abs(k)) + across * k * 0.3
        fingers.append(limb([tuple(root), tuple((root + tip) / 2), tuple(tip)], (0.075, 0.07, 0.055)))
    thumb = limb(
        [tuple(at - across * side * 0.15), tuple(at - across * side * 0.34 + way * 0.22)], (0.09, 0.065)
    )
    easel.solid([palm, thumb, *fingers], person.skin, 0.13)


def _draw_held(easel: _Easel, person: Person, at: Points, pose: str) -> None:
    if person.held == "none" or pose in ("hip", "pocket", "chin"):
        return
    rng, (u, v) = easel.rng, at
    match person.held:
        case "phone":
            easel.solid(
                [
                    np.array(
                        [
                            (u - 0.26, v - 0.62),
                            (u + 0.26, v - 0.62),
                            (u + 0.26, v + 0.42),
                            (u - 0.26, v + 0.42),
                        ]
                    )
                ],
                (0.08, 0.08, 0.1),
                0.05,
            )
            easel.line([ellipse(u - 0.12, v - 0.45, 0.06, 0.06)], (0.4, 0.42, 0.5), 0.04)
        case "cup":
            easel.solid(
                [
                    np.array(
                        [
                            (u - 0.30, v - 0.75),
                            (u + 0.30, v - 0.75),
                            (u + 0.23, v + 0.25),
                            (u - 0.23, v + 0.25),
                        ]
                    )
                ],
                sample_colour(rng),
                0.28,
            )
        case "book":
            easel.cloth(
                [np.array([(u - 0.8, v - 0.9), (u + 0.5, v - 1.0), (u + 0.6, v + 0.6), (u - 0.7, v + 0.7)])],
                sample_cloth(rng),
                0.08,
            )
        case _:
            for _ in range(12):
                petal = at + rng.normal(0, 0.42, 2) - (0, 0.75)
                easel.solid([ellipse(petal[0], petal[1], 0.22, 0.2)], near(rng, (0.8, 0.3, 0.45), 0.12), 0.15)
            easel.solid(
                [
                    np.array(
                        [(u - 0.12, v - 0.5), (u + 0.12, v - 0.5), (u + 0.05, v + 0.5), (u - 0.05, v + 0.5)]
                    )
                ],
                (0.25, 0.42, 0.2),
                0.1,
            )
    _draw_hand(easel, person, at - (0, 0.05), np.array([-0.8, -0.6]), 1.0)


def _draw_hand_at_chin(easel: _Easel, person: Person) -> None:
    for side, pose in ((-1.0, person.left_arm), (1.0, person.right_arm)):
        if pose == "chin":
            _, elbow, wrist = _arm_line(person, side, pose)
            way = (wrist - elbow) / np.linalg.norm(wrist - elbow)
            _draw_hand(easel, person, wrist + 0.3 * way, way, side)


def _draw_handbag(easel: _Easel, at: Points) -> None:
    u, v = at
    handle = smooth([(u - 0.5, v + 0.9), (u - 0.25, v), (u + 0.25, v), (u + 0.5, v + 0.9)], closed=False)
    pixels = [easel.body.points(handle)]
    box = easel.layer.bounds(pixels, 4)
    colour = sample_colour(easel.rng)
    easel.layer.paint(box, strokes(pixels, box, max(1.0, 0.12 * easel.body.unit)), colour)
    bag = np.array([(u - 0.85, v + 0.8), (u + 0.85, v + 0.8), (u + 0.95, v + 2.2), (u - 0.95, v + 2.2)])
    easel.solid([bag], colour, 0.25)


def _draw_straps(easel: _Easel, person: Person) -> None:
    colour = sample_colour(easel.rng)
    s = person.shoulders
    if person.bag == "backpack":
        for side in (-1.0, 1.0):
            easel.solid(
                [
                    limb(
                        [(side * 0.62 * s, 1.9), (side * 0.66 * s, 3.2), (side * 0.86 * s, 4.6)],
                        (0.16, 0.16, 0.14),
                    )
                ],
                colour,
                0.12,
            )
        return
    easel.solid([limb([(-0.55 * s, 1.88), (0.1, 4.2), (0.85 * s, 6.3)], (0.10, 0.10, 0.10))], colour, 0.08)
    easel.cloth(
        [smooth([(0.45 * s, 6.0), (1.35 * s, 6.0), (1.4 * s, 7.6), (0.45 * s, 7.6)])],
        Cloth("plain", colour, colour, 1),
        0.3,
    )


def _draw_legs(easel: _Easel, person: Person) -> None:
    total = person.height * _HEAD
    crotch, knee, ankle = (_CROWN + share * total for share in (0.50, 0.73, 0.955))
    hip = 0.36 * person.shoulders
    bare = person.bottom in ("skirt", "dress", "shorts")
    for side in (-1.0, 1.0):
        step = side * (0.18 + abs(person.stride)) + person.stride
        foot = (side * hip * 0.75 + step * 1.6, ankle + 0.25 * side * person.stride)
        leg = [(side * hip, crotch - 1.0), (side * hip + step * 0.6, knee), foot]
        toe = ellipse(foot[0] + 0.18 * side, foot[1] + 0.28, 0.42, 0.26)
        easel.solid([toe, ellipse(foot[0], foot[1] + 0.1, 0.26, 0.3)], person.shoes, 0.2)
        if bare:
            easel.solid([limb(leg, (0.62, 0.46, 0.40, 0.36, 0.22))], person.skin, 0.4)
        if person.bottom == "shorts":
            end = (leg[1][0], knee - 0.4)
            easel.cloth([limb([leg[0], end], (0.78, 0.64))], person.bottom_cloth, 0.5)
        if person.bottom == "trousers":
            easel.cloth([limb(leg, (0.80, 0.62, 0.52, 0.44, 0.36))], person.bottom_cloth, 0.5)
    wide = 0.74 * person.shoulders
    if bare and person.bottom != "shorts":
        low, flare = (knee - easel.rng.uniform(-1.6, 0.9), easel.rng.uniform(1.0, 1.5))
        cloth = person.top_cloth if person.bottom == "dress" else person.bottom_cloth
        easel.cloth(
            [
                smooth(
                    [
                        (-wide * 0.9, 5.2),
                        (wide * 0.9, 5.2),
                        (wide * flare, low),
                        (0, low + 0.12),
                        (-wide * flare, low),
                    ]
                )
            ],
            cloth,
            0.7,
        )
    else:
        easel.cloth(
            [
                smooth(
                    [
                        (-wide * 0.92, 5.4),
                        (wide * 0.92, 5.4),
                        (wide, crotch - 0.3),
                        (0, crotch + 0.25),
                        (-wide, crotch - 0.3),
                    ]
                )
            ],
            person.bottom_cloth,
            0.5,
        )


def ground_shadow(background: Floats, body: Frame, person_height: float) -> None:
    """The dark patch under the feet; changes the background only."""
    height, width = background.shape[:2]
    feet = _CROWN + 0.955 * person_height * _HEAD + 0.2
    box = Box(0, 0, width, height)
    patch = fill([body.points(ellipse(0, feet, 1.9, 0.32))], box)
    background *= (1 - np.float32(0.45) * blurred(patch, 0.25 * body.unit))[..., None]


def cast_shadow(background: Floats, layer: Layer, light: Light, unit: float, strength: float) -> None:
    """The figure's soft shadow on a wall close behind it; changes the background only."""
    height, width = layer.cover.shape
    x, y, z = light.direction
    moved = np.zeros_like(layer.cover)
    dx, dy = round(-x / z * unit * 0.6), round(-y / z * unit * 0.4)
    rows, columns = slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx))
    from_rows, from_columns = (
        slice(max(0, -dy), height + min(0, -dy)),
        slice(max(0, -dx), width + min(0, -dx)),
    )
    moved[rows, columns] = layer.cover[from_rows, from_columns]
    background *= (1 - np.float32(strength) * blurred(moved, 0.18 * unit))[..., None]
