"""The face: an egg with bumps, lit, and on it eyes, brows, nose, mouth and beard.

Coordinates: origin between the eyes, u right and v down in half head widths; the chin is at v = 1.35, the
crown at -1.4. Turning the head moves what lies on the egg, not its outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.drawing.paint import (
    Floats,
    Frame,
    Layer,
    Light,
    Points,
    bell,
    blurred,
    ellipse,
    lit,
    noise,
    puffed,
    shaded,
    step,
)
from pipeline.drawing.person import Person

EYE_U, MOUTH_V = 0.41, 0.80


def _outline(person: Person) -> Points:
    """The head without ears, from crown to chin."""
    t = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    u, v = np.sin(t), -np.cos(t)
    chin = np.maximum(v, 0)
    square = 1 + 0.10 * person.jaw * np.sin(np.pi * np.clip(chin * 1.1, 0, 1)) - 0.07 * chin
    return np.stack([np.sign(u) * np.abs(u) ** 0.92 * square, np.where(v < 0, 1.4 * v, 1.36 * v)], axis=1)


def turned(points: Points, person: Person) -> Points:
    """Where points of the facing head are seen when it is turned."""
    u = np.sin(np.arcsin(np.clip(points[:, 0], -1, 1)) + person.yaw) + np.sign(points[:, 0]) * np.maximum(
        np.abs(points[:, 0]) - 1, 0
    )
    return np.stack([u, points[:, 1] + person.pitch * np.sqrt(np.clip(1 - u**2, 0, 1))], axis=1)


@dataclass(frozen=True)
class _Field:
    """The pixels of a head in face coordinates: seen (u, v), and (x, y) on the facing head."""

    u: Floats
    v: Floats
    x: Floats
    y: Floats
    pixel: float

    def bump(self, x: float, y: float, wide: float, tall: float) -> Floats:
        """A hill of height 1 on the facing head."""
        across, down = (
            (self.x - np.float32(x)) / np.float32(wide),
            (self.y - np.float32(y)) / np.float32(tall),
        )
        return bell(across * across + down * down)

    def edge(self, value: Floats) -> Floats:
        """1 where value (in half head widths) is above 0, smooth over a pixel and a half."""
        return step(value, 1.5 * self.pixel)


def draw_ears(layer: Layer, head: Frame, person: Person, light: Light) -> None:
    """Ears behind the head; the far one vanishes as the head turns."""
    for side in (-1.0, 1.0):
        out = 1.0 - 0.25 * max(0.0, side * person.yaw * 2)
        box, alpha = layer.shape([head.points(ellipse(side * out, 0.18, 0.17, 0.32, side * 0.15))])
        layer.paint(
            box, alpha, shaded(person.skin, np.float32(0.93) * puffed(alpha, 0.14 * head.unit, light), light)
        )
        box, alpha = layer.shape([head.points(ellipse(side * (out + 0.03), 0.16, 0.07, 0.18, side * 0.15))])
        layer.tint(box, alpha * np.float32(0.35), [0.5 * part for part in person.skin])


def draw_face(layer: Layer, head: Frame, person: Person, light: Light, rng: np.random.Generator) -> None:
    """Skin and features."""
    box, alpha = layer.shape([head.points(_outline(person))])
    if alpha.size == 0:
        return
    u, v = head.grid(box)
    u_in = np.clip(u, -0.999, 0.999)
    round_away = np.sqrt(1 - u_in * u_in)
    x = u_in * np.float32(np.cos(person.yaw)) - round_away * np.float32(np.sin(person.yaw))
    field = _Field(u, v, x, v - np.float32(person.pitch) * round_away, 1 / head.unit)
    skin = _skin(field, alpha, head.unit, person, light, rng)
    _paint_beard_shadow(skin, field, person, rng)
    for side in (-1.0, 1.0):
        _paint_eye(skin, field, side, person)
        _paint_brow(skin, field, side, person, rng)
    _paint_mouth(skin, field, person)
    _paint_nostrils(skin, field, person)
    layer.paint(box, alpha, skin)


def _skin(
    field: _Field, alpha: Floats, unit: float, person: Person, light: Light, rng: np.random.Generator
) -> Floats:
    """Lit skin (H, W, 3) before features."""
    u, v = field.u, field.v / np.float32(1.45)
    hill = np.float32(0.85) * np.sqrt(np.maximum(np.float32(0.04), 1 - u * u - v * v))
    hill += 0.17 * field.bump(0, 0.20, 0.12, 0.34) + 0.24 * field.bump(0, 0.47, 0.15, 0.12)
    hill += 0.08 * (field.bump(-0.17, 0.50, 0.09, 0.08) + field.bump(0.17, 0.50, 0.09, 0.08))
    hill += 0.05 * field.bump(0, 0.84, 0.26, 0.07) + 0.10 * field.bump(0, 1.15, 0.25, 0.14)
    hill -= 0.04 * field.bump(0, 0.99, 0.22, 0.07)
    for side in (-1.0, 1.0):
        hill -= 0.10 * field.bump(side * EYE_U, -0.01, 0.24, 0.14)
        hill += 0.06 * field.bump(side * 0.40, -0.27, 0.30, 0.10) + 0.07 * field.bump(
            side * 0.55, 0.38, 0.26, 0.22
        )
    factor = lit(np.asarray(hill * np.float32(unit), np.float32), light)
    height, width = alpha.shape
    factor *= (
        1
        + np.float32(0.015) * noise(rng, height, width, unit * 0.12)
        + np.float32(0.02) * noise(rng, height, width, unit)
    )
    for side in (-1.0, 1.0):  # light hardly reaches the sockets, the nose throws a shadow
        factor *= 1 - np.float32(0.16) * field.bump(side * EYE_U, -0.08, 0.25, 0.13)
    factor *= 1 - np.float32(0.14) * field.bump(-0.12 * np.sign(light.direction[0]), 0.60, 0.20, 0.07)
    base = np.empty((height, width, 3), np.float32)
    base[:] = person.skin
    blush = np.float32(0.12) * (field.bump(-0.55, 0.42, 0.25, 0.2) + field.bump(0.55, 0.42, 0.25, 0.2))
    blush += np.float32(0.10) * field.bump(0, 0.47, 0.14, 0.12)
    base[..., 1] *= 1 - blush
    base[..., 2] *= 1 - blush
    skin = shaded(base, factor, light)
    shine = field.bump(0.6 * light.direction[0], -0.75, 0.35, 0.22) + field.bump(0.02, 0.40, 0.05, 0.09)
    skin += (np.float32(0.07) * shine)[..., None]
    return skin


def _mix(picture: Floats, alpha: Floats, colour: Sequence[float] | Floats) -> None:
    picture *= 1 - alpha[..., None]
    picture += alpha[..., None] * np.asarray(colour, np.float32)


def _paint_eye(skin: Floats, field: _Field, side: float, person: Person) -> None:
    wide, open_ = 0.20, 0.088 - 0.12 * max(0.0, person.smile - 0.1)
    du = (field.x - np.float32(side * EYE_U)) / np.float32(wide)
    dv = field.y + np.float32(0.02) * side * du
    lid = np.maximum(1 - du * du, 0)
    upper, lower = -np.float32(open_ * 1.1) * lid, np.float32(open_ * 0.8) * lid
    inside = np.minimum(dv - upper, lower - dv)
    white = field.edge(inside) * (np.abs(du) < 1)
    tone = float(np.mean(person.skin))
    _mix(skin, white, [0.35 + 0.55 * tone**0.4] * 3)
    gaze = np.float32(side * EYE_U - 0.10 * person.yaw)
    away = np.sqrt((field.x - gaze) ** 2 + (field.y + np.float32(0.008)) ** 2)
    _mix(skin, white * field.edge(np.float32(0.088) - away), person.eyes)
    _mix(skin, white * field.edge(np.float32(0.045) - away), (0.03, 0.03, 0.03))
    glint = np.sqrt((field.x - gaze + np.float32(0.03)) ** 2 + (field.y + np.float32(0.035)) ** 2)
    _mix(skin, white * field.edge(np.float32(0.022) - glint), (0.95, 0.95, 0.95))
    line = field.edge(np.float32(0.026) - np.abs(dv - upper + np.float32(0.006))) * (np.abs(du) < 1.08)
    _mix(skin, line * np.float32(0.85), [0.25 * part for part in person.hair])
    shade = bell(((dv - upper) / np.float32(0.05)) ** 2) * white * np.float32(0.35)
    skin *= 1 - shade[..., None]
    crease = bell(((dv - upper + np.float32(0.075)) / np.float32(0.02)) ** 2) * (np.abs(du) < 1)
    skin *= 1 - np.float32(0.22) * crease[..., None]
    under = bell(((dv - lower - np.float32(0.02)) / np.float32(0.02)) ** 2) * (np.abs(du) < 1)
    skin *= 1 - np.float32(0.18) * under[..., None]


def _paint_brow(skin: Floats, field: _Field, side: float, person: Person, rng: np.random.Generator) -> None:
    du = (side * field.x - np.float32(EYE_U + 0.01)) / np.float32(0.27)
    centre = np.float32(-0.235) - np.float32(0.07) * (1 - (du - np.float32(0.25)) ** 2)
    thick = np.float32(person.brows) * np.clip(np.float32(1.15) - np.float32(0.45) * du, 0.3, 1.3)
    height, width = du.shape
    hairs = 1 + np.float32(0.25) * noise(rng, height, width, max(2.0, 0.03 / field.pixel))
    brow = step(thick - np.abs(field.y - centre), max(2.5 * field.pixel, 0.03)) * (np.abs(du) < 1)
    dark = np.minimum(np.asarray(person.hair, np.float32), 0.55) * np.float32(0.7)
    _mix(skin, np.clip(brow * hairs * np.float32(0.85), 0, 1), dark)


def _paint_mouth(skin: Floats, field: _Field, person: Person) -> None:
    wide = 0.33 + 0.5 * max(0.0, person.smile) * 0.6
    du = field.x / np.float32(wide)
    inside = np.abs(du) < 1
    bow = np.maximum(1 - du * du, 0)
    line = np.float32(MOUTH_V) + np.float32(person.smile) * (np.float32(0.5) - du * du)
    gap = np.float32(max(0.0, person.smile - 0.07) * 1.3) * bow
    upper = np.float32(0.075) * bow * (1 - np.float32(0.35) * bell((du / np.float32(0.14)) ** 2))
    lower = np.float32(0.10) * bow
    lip = np.asarray(person.skin, np.float32) * np.array([0.86, 0.60, 0.60], np.float32)
    lip = lip * (1 - np.float32(0.5 * person.lips)) + np.array([0.68, 0.16, 0.20], np.float32) * np.float32(
        0.5 * person.lips
    )
    above = field.edge(np.minimum(field.y - line + upper + gap / 2, line - gap / 2 - field.y)) * inside
    below = field.edge(np.minimum(field.y - line - gap / 2, line + gap / 2 + lower - field.y)) * inside
    light = np.clip(skin.mean(-1) / max(float(np.mean(person.skin)), 1e-3), 0.3, 1.3)
    _mix(skin, above, lip * np.float32(0.84) * light[..., None])
    _mix(skin, below, lip * light[..., None])
    shine = bell(
        (du / np.float32(0.4)) ** 2 + ((field.y - line - gap / 2 - np.float32(0.05)) / np.float32(0.025)) ** 2
    )
    skin += (np.float32(0.07) * shine * below)[..., None]
    mouth = field.edge(gap / 2 - np.abs(field.y - line)) * inside
    _mix(skin, mouth * (gap > 0.004), np.asarray([0.90, 0.88, 0.84], np.float32) * light[..., None])
    seam = field.edge(np.float32(0.014) - np.abs(field.y - line - gap / 2)) * (np.abs(du) < 1.06)
    _mix(skin, seam * np.float32(0.7), np.asarray(person.skin, np.float32) * np.float32(0.28))


def _paint_nostrils(skin: Floats, field: _Field, person: Person) -> None:
    dark = np.asarray(person.skin, np.float32) * np.float32(0.30)
    for side in (-1.0, 1.0):
        _mix(skin, np.float32(0.75) * field.bump(side * 0.085, 0.555, 0.05, 0.026), dark)
        _mix(skin, np.float32(0.28) * field.bump(side * 0.215, 0.50, 0.035, 0.075), dark)


def _paint_beard_shadow(skin: Floats, field: _Field, person: Person, rng: np.random.Generator) -> None:
    """Beard on the face itself; what hangs below the chin is drawn by `hair.draw_beard`."""
    if person.beard == "none":
        return
    cheek = field.y - (np.float32(0.80) - np.float32(0.62) * field.x * field.x)
    moustache = np.float32(0.09) - np.abs(field.y - np.float32(0.675) - np.float32(0.25) * field.x * field.x)
    moustache = np.minimum(moustache, np.float32(0.36) - np.abs(field.x))
    chin = np.maximum(cheek, moustache)
    height, width = chin.shape
    strands = noise(rng, height, width, max(1.6, 0.04 / field.pixel), max(2.5, 0.12 / field.pixel))
    ragged = np.float32(0.03) * strands
    where = moustache if person.beard == "moustache" else chin
    amount = step(where + ragged, 0.10 if person.beard == "stubble" else 0.06)
    colour = np.asarray(person.hair, np.float32) * (1 + np.float32(0.18) * strands[..., None])
    light = blurred(skin.mean(-1), 3) / max(float(np.mean(person.skin)), 1e-3)
    _mix(
        skin,
        amount * np.float32(0.38 if person.beard == "stubble" else 0.94),
        colour * np.clip(light, 0.4, 1.2)[..., None],
    )
