"""Hair: what hangs behind the head, the cap over the skull, strands before the shoulders, and long beards."""

from __future__ import annotations

import numpy as np

from pipeline.core.boxes import Box
from pipeline.drawing.face import turned
from pipeline.drawing.paint import (
    Floats,
    Frame,
    Layer,
    Light,
    Points,
    bell,
    ellipse,
    look_up,
    noise,
    puffed,
    ripple,
    shaded,
    smooth,
    strokes,
)
from pipeline.drawing.person import Person

_VOLUME = {
    "buzz": 0.02,
    "short": 0.10,
    "parted": 0.14,
    "fringe": 0.12,
    "bob": 0.14,
    "long": 0.12,
    "wavy": 0.16,
    "curly": 0.22,
    "afro": 0.42,
    "bun": 0.05,
    "ponytail": 0.06,
}
_ROUND = ("curly", "afro")


def draw_back(layer: Layer, head: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """Hair behind head and neck."""
    style, volume = person.hair_style, _VOLUME.get(person.hair_style, 0.0)
    if style in ("bob", "long", "wavy"):
        down = 1.25 if style == "bob" else person.hair_length
        wide = 1.12 + volume + (0.18 if style == "wavy" else rng.uniform(0, 0.12))
        shape = _curtain(wide, down, rng, 0.10 if style == "wavy" else 0.03)
        _draw(layer, head, [shape], person, light, rng, darker=0.72, loose=1.2)
    elif style in _ROUND:
        _draw(layer, head, _curls(volume, 0.75, rng), person, light, rng, darker=0.8, loose=0.8)
    elif style == "bun":
        _draw(
            layer,
            head,
            [ellipse(rng.uniform(-0.35, 0.35), -1.78, 0.46, 0.42)],
            person,
            light,
            rng,
            darker=0.9,
            loose=0.6,
        )
    elif style == "ponytail":
        side = 1.0 if rng.random() < 0.5 else -1.0
        tail = smooth(
            [
                (0, -0.9),
                (side * 1.25, -0.5),
                (side * 1.5, 0.6),
                (side * 1.25, 2.0),
                (side * 1.05, 2.2),
                (side * 1.0, 0.5),
            ]
        )
        _draw(layer, head, [tail], person, light, rng, darker=0.85, loose=1.0)


def draw_cap(layer: Layer, head: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """Hair on the skull, down to the hairline."""
    style = person.hair_style
    if style == "bald":
        return
    volume = _VOLUME[style]
    side = 0.18 if style in ("bob", "long", "wavy", "fringe") else -0.12
    t = np.linspace(-np.pi / 2 - 0.25, np.pi / 2 + 0.25, 26)
    wobble = 1 + 0.018 * rng.standard_normal(len(t))
    top = np.stack(
        [np.sin(t) * (1.03 + 0.6 * volume) * wobble, side + (-np.cos(t)) * (1.44 + side + volume) * wobble],
        axis=1,
    )
    top[:, 1] = np.minimum(top[:, 1], side + 0.22)
    inner = turned(np.array(_hairline(person, side, rng)), person)
    shapes = [np.vstack([top, smooth(inner, closed=False)])]
    if style in _ROUND:
        shapes += _curls(volume, -0.1, rng)[1:]
        shapes = [shape for shape in shapes if shape[:, 1].mean() < -0.15]
    _draw(layer, head, shapes, person, light, rng, darker=1.0, loose=0.25 if style == "buzz" else 0.9)


def draw_front(layer: Layer, head: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """Strands of long hair that fall before the shoulders, beside the face."""
    if person.hair_style not in ("long", "wavy"):
        return
    for side in (-1.0, 1.0):
        if rng.random() < 0.35:
            continue
        end = person.hair_length * rng.uniform(0.75, 1.0)
        wave = 0.12 if person.hair_style == "wavy" else 0.03
        outer = [(side * (1.12 + rng.normal(0, wave)), v) for v in np.linspace(-0.5, end, 6)]
        inner = [
            (side * (0.86 - 0.05 * v + rng.normal(0, wave)), v) for v in np.linspace(end * 0.96, -0.5, 6)
        ]
        _draw(layer, head, [smooth([*outer, *inner])], person, light, rng, darker=0.95, loose=0.8)


def draw_beard(layer: Layer, head: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """The part of a full beard that hangs off the chin; drawn before the face."""
    if person.beard != "full":
        return
    down = 1.42 + rng.uniform(0, 0.5)
    shape = smooth(
        [
            (-0.97, 0.35),
            (-0.9, 0.95),
            (-0.5, down - 0.1),
            (0, down),
            (0.5, down - 0.1),
            (0.9, 0.95),
            (0.97, 0.35),
            (0, 0.6),
        ]
    )
    _draw(layer, head, [shape], person, light, rng, darker=0.9, loose=0.5)


def _hairline(person: Person, side: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """From the right temple over the forehead to the left one, on the facing head."""
    part = person.parting
    low = side + 0.2
    match person.hair_style:
        case "fringe":
            drop = rng.uniform(-0.42, -0.34)
            middle = [(u, drop + 0.04 * rng.standard_normal()) for u in np.linspace(0.75, -0.75, 7)]
            return [(0.97, low), (0.90, -0.2), *middle, (-0.90, -0.2), (-0.97, low)]
        case "parted" | "bob" | "long" | "wavy":
            return [
                (0.96, low),
                (0.86, -0.30),
                (0.5 * (0.8 + part), -0.78),
                (part, -1.08),
                (0.5 * (-0.8 + part), -0.78),
                (-0.86, -0.30),
                (-0.96, low),
            ]
        case _:
            high = rng.uniform(-0.95, -0.72)
            return [
                (0.99, low),
                (0.90, -0.35),
                (0.62, high + 0.1),
                (0.2, high - 0.03),
                (-0.2, high),
                (-0.62, high + 0.1),
                (-0.90, -0.35),
                (-0.99, low),
            ]


def _curtain(wide: float, down: float, rng: np.random.Generator, wave: float) -> Points:
    left = [(-wide - rng.normal(0, wave), v) for v in np.linspace(down, -0.5, 6)]
    crown = [(wide * np.sin(a), -0.1 - 1.46 * np.cos(a)) for a in np.linspace(-1.2, 1.2, 7)]
    right = [(wide + rng.normal(0, wave), v) for v in np.linspace(-0.5, down, 6)]
    bottom = [(u, down + rng.normal(0, 0.06)) for u in np.linspace(0.7 * wide, -0.7 * wide, 5)]
    return smooth([*left, *crown, *right, *bottom])


def _curls(volume: float, down: float, rng: np.random.Generator) -> list[Points]:
    """A cloud of circles round the skull, down to v = `down`."""
    shapes = [ellipse(0, -0.35, 1.0 + volume, 1.12 + volume)]
    for angle in np.linspace(-2.2, 2.2, 26):
        reach = 1.0 + volume + rng.uniform(-0.06, 0.06)
        u, v = np.sin(angle) * reach, -0.35 - np.cos(angle) * (reach + 0.1)
        if v < down:
            size = rng.uniform(0.14, 0.26)
            shapes.append(ellipse(u, v, size, size))
    return shapes


def _draw(
    layer: Layer,
    head: Frame,
    shapes: list[Points],
    person: Person,
    light: Light,
    rng: np.random.Generator,
    darker: float,
    loose: float,
) -> None:
    outlines = [head.points(shape) for shape in shapes]
    box, alpha = layer.shape(outlines)
    if alpha.size == 0:
        return
    if loose > 0.3 and person.hair_style not in _ROUND:
        alpha = np.maximum(alpha, _flyaway(outlines[0], box, head.unit, loose, rng))
    factor = puffed(alpha, 0.45 * head.unit, light) * np.float32(darker)
    u, v = head.grid(box)
    factor *= _strands(u, v, person, rng)
    layer.paint(box, alpha, shaded(person.hair, factor, light))


def _flyaway(outline: Points, box: Box, unit: float, loose: float, rng: np.random.Generator) -> Floats:
    """Thin hairs that leave the outline."""
    count = int(12 * loose)
    starts = outline[rng.integers(0, len(outline), count)]
    centre = outline.mean(0)
    away = (starts - centre) / np.maximum(np.linalg.norm(starts - centre, axis=1, keepdims=True), 1)
    turn = rng.normal(0, 0.8, count)
    side = np.stack([-away[:, 1], away[:, 0]], axis=1) * turn[:, None]
    length = unit * rng.uniform(0.04, 0.12, (count, 1))
    lines = [
        np.stack([s - a * unit * 0.1, s + (a * 0.6 + d) * n])
        for s, a, d, n in zip(starts, away, side, length, strict=True)
    ]
    return strokes(lines, box, 0.5) * np.float32(0.6)


def _strands(u: Floats, v: Floats, person: Person, rng: np.random.Generator) -> Floats:
    """Streaks along the hair and a band of shine: (H, W) factors."""
    if person.hair_style in _ROUND:
        table = rng.standard_normal((40, 40), np.float32)
        curls = look_up(table, u * 7 + 17, v * 7 + 17) + look_up(table, u * 13 + 5, v * 13 + 3)
        return np.clip(1 + np.float32(0.28) * curls, 0.35, 1.9)
    table = rng.standard_normal((12, 256), np.float32)
    if person.hair_style in ("long", "wavy", "bob", "ponytail"):
        bend = np.float32(0.10) * ripple(v * np.float32(0.4 if person.hair_style == "wavy" else 0.13))
        position, along = (u + bend) * 22 + 120, v * 1.5 + 6
    else:
        # in float64, whose last digit may differ between processors: float32 does not see it
        angle = np.arctan2((u - person.parting).astype(np.float64), (v + 1.9).astype(np.float64)).astype(
            np.float32
        )
        position, along = angle * 40 + 120, v * 2 + 6
    streaks = look_up(table, position, along) + np.float32(0.6) * look_up(table, position * 2.3, along)
    shine = np.float32(0.35) * bell(((v + np.float32(0.95)) / np.float32(0.22)) ** 2)
    height, width = u.shape
    tone = 1 + np.float32(0.17) * streaks + shine + np.float32(0.05) * noise(rng, height, width, 20)
    return np.asarray(np.clip(tone, 0.4, 1.9), np.float32)
