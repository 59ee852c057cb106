"""What stands behind people: studios, walls, foliage, streets, rooms, and things of skin or cloth colour."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.drawing.cloth import weave
from pipeline.drawing.paint import (
    Floats,
    Frame,
    Layer,
    Light,
    bell,
    blurred,
    ellipse,
    noise,
    puffed,
    shaded,
    smooth,
)
from pipeline.drawing.person import SKINS, Paint, near, pick, sample_cloth, sample_colour

Generator = np.random.Generator


def draw_scene(rng: Generator, width: int, height: int, outdoors: bool) -> Floats:
    """A background (height, width, 3) in 0..1; its sharpness varies."""
    shares = _OUTDOORS if outdoors else _INDOORS
    name = pick(rng, tuple(shares), tuple(shares.values()))
    picture = SCENES[name](rng, width, height)
    if name not in ("studio", "bokeh"):
        for _ in range(int(rng.integers(0, 4))):
            _thing(picture, rng, width, height)
    sigma = float(rng.choice([0.0, 0.6, 1.5, 3.5], p=[0.3, 0.3, 0.25, 0.15])) * width / 300
    return np.asarray(np.clip(blurred(picture, sigma), 0.01, 0.99), np.float32)


def _ramp(rng: Generator, width: int, height: int, first: Paint, second: Paint) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] * np.float32(np.cos(angle))
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    t = np.clip((x + y) + np.float32(0.5), 0, 1)[..., None]
    return np.asarray(
        np.asarray(first, np.float32) * (1 - t) + np.asarray(second, np.float32) * t, np.float32
    )


def _studio(rng: Generator, width: int, height: int) -> Floats:
    colour = sample_colour(rng)
    picture = _ramp(rng, width, height, near(rng, colour, 0.1), near(rng, colour, 0.1))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - np.float32(rng.uniform(-0.4, 0.4))
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(-0.5, 0.3))
    glow = bell((x * x + y * y) / np.float32(rng.uniform(0.5, 2)))
    return np.asarray(picture * (np.float32(0.7) + np.float32(0.45) * glow)[..., None], np.float32)


def _plaster(rng: Generator, width: int, height: int) -> Floats:
    picture = _ramp(rng, width, height, *(near(rng, c, 0.06) for c in [sample_colour(rng)] * 2))
    rough = noise(rng, height, width, rng.uniform(2, 6)) + noise(rng, height, width, 50)
    return np.asarray(picture * (1 + np.float32(rng.uniform(0.02, 0.08)) * rough)[..., None], np.float32)


def _wallpaper(rng: Generator, width: int, height: int) -> Floats:
    frame = Frame(width / 2, height / 2, width / 8, float(rng.choice([0, 0, 0.785])))
    layer = Layer(width, height)
    u, v = frame.grid(layer.box)
    return weave(sample_cloth(rng), u, v, 1 / frame.unit, rng) * _uneven(rng, width, height)


def _uneven(rng: Generator, width: int, height: int) -> Floats:
    return np.asarray(1 + np.float32(0.12) * noise(rng, height, width, width / 2), np.float32)[..., None]


def _bricks(rng: Generator, width: int, height: int) -> Floats:
    tall = int(rng.integers(10, 22))
    wide = int(tall * rng.uniform(2.0, 3.0))
    base, mortar = (
        near(rng, pick(rng, ((0.55, 0.28, 0.22), (0.6, 0.55, 0.5), (0.35, 0.33, 0.33))), 0.05),
        rng.uniform(0.4, 0.85),
    )
    picture = np.full((height, width, 3), mortar, np.float32)
    for row in range(height // tall + 1):
        for x in range(-(row % 2) * wide // 2, width, wide):
            colour = np.asarray(base) * rng.uniform(0.8, 1.2)
            cv2.rectangle(
                picture, (x + 1, row * tall + 1), (x + wide - 2, row * tall + tall - 2), colour.tolist(), -1
            )
    return picture * (1 + np.float32(0.07) * noise(rng, height, width, 3))[..., None]


def _shelves(rng: Generator, width: int, height: int) -> Floats:
    wood = near(rng, (0.42, 0.29, 0.19), 0.1)
    picture = np.full((height, width, 3), 0.55 * np.asarray(wood), np.float32)
    board = int(rng.integers(55, 110))
    for y in range(int(rng.integers(0, board)) - board, height, board):
        x = 0
        while x < width:
            thick, tall = int(rng.integers(6, 20)), int(board * rng.uniform(0.55, 0.88))
            if rng.random() < 0.88:
                colour = np.clip(np.asarray(sample_colour(rng)) * 0.85, 0.02, 0.95)
                cv2.rectangle(
                    picture, (x, y + board - tall), (x + thick - 2, y + board - 5), colour.tolist(), -1
                )
                band = y + board - int(tall * 0.75)
                cv2.rectangle(picture, (x, band), (x + thick - 2, band + 3), (colour * 0.6).tolist(), -1)
            x += thick
        cv2.rectangle(picture, (0, y + board - 5), (width, y + board), wood, -1)
    return picture * _uneven(rng, width, height)


def _foliage(rng: Generator, width: int, height: int) -> Floats:
    green = near(rng, (0.28, 0.42, 0.16), 0.08)
    depth = noise(rng, height, width, width / 5)
    picture = (
        np.asarray(green, np.float32)
        * np.clip(np.float32(0.8) + np.float32(0.3) * depth, 0.15, 1.6)[..., None]
    )
    for cell in (22, 9):
        leaves = noise(rng, height, width, cell, cell * 0.8)
        picture *= np.clip(1 + np.float32(0.38) * leaves, 0.25, 1.8)[..., None]
    points = rng.uniform(0, 1, (110, 2)) * (width, height)
    for x, y in points:
        colour = np.clip(np.asarray(green) * rng.uniform(0.5, 1.7), 0, 1)
        size = (int(rng.integers(3, 12)), int(rng.integers(2, 5)))
        cv2.ellipse(
            picture,
            (int(x), int(y)),
            size,
            float(rng.uniform(0, 180)),
            0,
            360,
            colour.tolist(),
            -1,
            cv2.LINE_AA,
        )
    return picture


def _bokeh(rng: Generator, width: int, height: int) -> Floats:
    picture = _ramp(rng, width, height, sample_colour(rng), sample_colour(rng)) * np.float32(0.6)
    for _ in range(int(rng.integers(12, 40))):
        radius = int(rng.uniform(0.03, 0.14) * width)
        at = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        disc = np.zeros((height, width), np.float32)
        cv2.circle(disc, at, radius, float(rng.uniform(0.15, 0.6)), -1, cv2.LINE_AA)
        picture += disc[..., None] * (np.asarray(sample_colour(rng), np.float32) - picture)
    return blurred(picture, width / 120)


def _blobs(rng: Generator, width: int, height: int) -> Floats:
    """A photograph so far out of focus that only patches of colour are left."""
    picture = np.asarray(
        np.clip(
            rng.uniform(0.05, 0.9, (int(rng.integers(4, 9)), int(rng.integers(4, 8)), 1))
            + rng.normal(0, 0.1, (1, 1, 3)),
            0,
            1,
        ),
        np.float32,
    )
    picture = picture + rng.normal(0, 0.06, picture.shape).astype(np.float32)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _wood(rng: Generator, width: int, height: int) -> Floats:
    """Planks: often close to skin in colour."""
    base = near(rng, pick(rng, ((0.62, 0.45, 0.30), (0.42, 0.28, 0.18), (0.75, 0.63, 0.48))), 0.05)
    upright = rng.random() < 0.5
    across, along = (width, height) if upright else (height, width)
    grain = noise(rng, along, across, 3, 90) + np.float32(0.7) * noise(rng, along, across, 9, 160)
    plank = int(rng.integers(30, 80))
    tone = rng.uniform(0.82, 1.15, across // plank + 1).astype(np.float32)[np.arange(across) // plank]
    edge = np.where(np.arange(across) % plank < 2, np.float32(0.5), np.float32(1))
    factor = (1 + np.float32(0.07) * grain) * (tone * edge)[None, :]
    planks = factor if upright else factor.T
    return np.asarray(np.asarray(base, np.float32) * planks[..., None], np.float32)


def _curtain(rng: Generator, width: int, height: int) -> Floats:
    """Hanging cloth in folds: cloth patterns without a person."""
    frame = Frame(0, 0, width / 8)
    u, v = frame.grid(Layer(width, height).box)
    fold = noise(rng, height, width, rng.uniform(12, 40), height * 1.5)
    cloth = weave(sample_cloth(rng), u + np.float32(0.15) * fold, v, 8 / width, rng)
    return cloth * np.clip(np.float32(0.85) + np.float32(0.2) * fold, 0.3, 1.3)[..., None]


def _room(rng: Generator, width: int, height: int) -> Floats:
    picture = _plaster(rng, width, height)
    floor = int(height * rng.uniform(0.7, 0.95))
    picture[floor:] = _wood(rng, width, height)[floor:] * np.float32(0.8)
    if rng.random() < 0.6:  # a window
        x, y, w, h = (
            int(part)
            for part in (
                rng.uniform(-0.1, 0.8) * width,
                rng.uniform(0, 0.3) * height,
                rng.uniform(0.2, 0.5) * width,
                rng.uniform(0.2, 0.5) * height,
            )
        )
        cv2.rectangle(picture, (x, y), (x + w, y + h), [0.93] * 3, -1)
        sky = near(rng, (0.7, 0.82, 0.92), 0.06)
        for part in (0, 1):
            cv2.rectangle(
                picture, (x + 5 + part * w // 2, y + 5), (x + (part + 1) * w // 2 - 4, y + h - 5), sky, -1
            )
    if rng.random() < 0.6:  # a picture on the wall
        x, y, w, h = (
            int(part)
            for part in (
                rng.uniform(0, 0.8) * width,
                rng.uniform(0.02, 0.3) * height,
                rng.uniform(0.1, 0.3) * width,
                rng.uniform(0.1, 0.25) * height,
            )
        )
        cv2.rectangle(picture, (x, y), (x + w, y + h), sample_colour(rng), -1)
        cv2.rectangle(picture, (x + 4, y + 4), (x + w - 4, y + h - 4), sample_colour(rng), -1)
        cv2.circle(
            picture, (x + w // 2, y + h // 2), max(2, min(w, h) // 4), sample_colour(rng), -1, cv2.LINE_AA
        )
    return picture * _uneven(rng, width, height)


def _street(rng: Generator, width: int, height: int) -> Floats:
    horizon = int(height * rng.uniform(0.45, 0.72))
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = near(rng, (0.75, 0.83, 0.90), 0.06)
    x = -int(rng.integers(0, 60))
    while x < width:
        wide, top = int(width * rng.uniform(0.15, 0.45)), int(horizon * rng.uniform(-0.2, 0.6))
        wall = near(
            rng,
            pick(rng, ((0.6, 0.52, 0.45), (0.5, 0.33, 0.27), (0.68, 0.68, 0.66), (0.35, 0.37, 0.42))),
            0.06,
        )
        cv2.rectangle(picture, (x, top), (x + wide, horizon), wall, -1)
        pane, gap = int(rng.integers(9, 20)), int(rng.integers(6, 14))
        glass = near(rng, (0.25, 0.3, 0.36), 0.08)
        for wx in range(x + gap, x + wide - pane, pane + gap):
            for wy in range(top + gap, horizon - pane, int(pane * 1.5) + gap):
                cv2.rectangle(picture, (wx, wy), (wx + pane, wy + int(pane * 1.4)), glass, -1)
        x += wide
    ground = near(rng, (0.45, 0.44, 0.43), 0.07)
    picture[horizon:] = ground
    fade = np.linspace(0.85, 1.1, height - horizon, dtype=np.float32)[:, None, None]
    grit = noise(rng, height - horizon, width, 2.5) + noise(rng, height - horizon, width, 40, 8)
    picture[horizon:] *= fade * (1 + np.float32(0.06) * grit)[..., None]
    for _ in range(int(rng.integers(0, 3))):  # a car
        cx, cy, size = rng.uniform(0, width), horizon + rng.uniform(-5, 12), rng.uniform(0.15, 0.3) * width
        colour = sample_colour(rng)
        body = np.array(
            [
                (-1, 0),
                (-0.95, -0.25),
                (-0.6, -0.3),
                (-0.4, -0.55),
                (0.35, -0.55),
                (0.6, -0.3),
                (0.95, -0.25),
                (1, 0),
            ]
        )
        cv2.fillPoly(picture, [np.round(body * size / 1.6 + (cx, cy)).astype(np.int32)], colour, cv2.LINE_AA)
        for wheel in (-0.35, 0.35):
            cv2.circle(
                picture,
                (int(cx + wheel * size), int(cy)),
                int(size * 0.1),
                (0.08, 0.08, 0.08),
                -1,
                cv2.LINE_AA,
            )
    return picture * (1 + np.float32(0.03) * noise(rng, height, width, 4))[..., None]


def _park(rng: Generator, width: int, height: int) -> Floats:
    picture = _foliage(rng, width, height)
    if rng.random() < 0.5:
        edge = int(height * rng.uniform(0.1, 0.4))
        sky = np.asarray(near(rng, (0.72, 0.82, 0.92), 0.05), np.float32)
        line = edge + 12 * noise(rng, 1, width, 25)[0]
        above = np.clip(line[None, :] - np.arange(height)[:, None], 0, 3)[..., None] / np.float32(3)
        picture = picture * (1 - above) + sky * above
    ground = int(height * rng.uniform(0.6, 0.85))
    path = np.asarray(
        near(rng, pick(rng, ((0.62, 0.55, 0.45), (0.38, 0.48, 0.25), (0.5, 0.5, 0.5))), 0.05), np.float32
    )
    picture[ground:] = path * (1 + np.float32(0.1) * noise(rng, height - ground, width, 4, 2))[..., None]
    return np.asarray(picture, np.float32)


def _beach(rng: Generator, width: int, height: int) -> Floats:
    """Sand has the colour of skin."""
    picture = np.empty((height, width, 3), np.float32)
    sea, sand = int(height * rng.uniform(0.3, 0.5)), int(height * rng.uniform(0.55, 0.7))
    picture[:] = _ramp(
        rng, width, height, near(rng, (0.55, 0.72, 0.88), 0.05), near(rng, (0.8, 0.86, 0.9), 0.05)
    )
    picture[sea:] = near(rng, (0.2, 0.45, 0.55), 0.05)
    picture[sea:] *= (1 + np.float32(0.12) * noise(rng, height - sea, width, 25, 3))[..., None]
    picture[sand:] = near(rng, (0.83, 0.70, 0.54), 0.05)
    picture[sand:] *= (1 + np.float32(0.05) * noise(rng, height - sand, width, 4, 2))[..., None]
    return picture


def _thing(picture: Floats, rng: Generator, width: int, height: int) -> None:
    """Something that stands about: a ball, a cushion, a pot, a post; in a colour of skin or cloth."""
    layer = Layer(width, height)
    light = Light.sample(rng)
    size = rng.uniform(0.05, 0.16) * width
    kind = int(rng.integers(4))
    turn = 0.02 if kind == 3 else 0.2
    frame = Frame(rng.uniform(0, width), rng.uniform(0.5, 1) * height, size, rng.uniform(-turn, turn))
    if kind == 0:
        shape = ellipse(0, 0, 1, 1)
    elif kind == 1:
        shape = smooth(
            [(-1.2, -0.8), (0, -0.7), (1.2, -0.8), (1.1, 0), (1.2, 0.8), (0, 0.7), (-1.2, 0.8), (-1.1, 0)]
        )
    elif kind == 2:
        shape = np.array([(-0.7, 0.0), (0.7, 0.0), (0.5, 1.2), (-0.5, 1.2)])
    else:
        shape = np.array([(-0.2, -12.0), (0.2, -12.0), (0.2, 12.0), (-0.2, 12.0)])
    box, alpha = layer.shape([frame.points(shape)])
    if alpha.size == 0:
        return
    u, v = frame.grid(box)
    skin = rng.random() < 0.3
    colour = (
        np.asarray(near(rng, pick(rng, SKINS), 0.04), np.float32)
        if skin
        else weave(sample_cloth(rng), u, v, 1 / size, rng)
    )
    layer.paint(box, alpha, shaded(colour, puffed(alpha, 0.5 * size, light), light))
    picture *= (1 - layer.cover)[..., None]
    picture += layer.colour


SCENES: dict[str, Callable[[Generator, int, int], Floats]] = {
    "studio": _studio,
    "plaster": _plaster,
    "wallpaper": _wallpaper,
    "bricks": _bricks,
    "shelves": _shelves,
    "foliage": _foliage,
    "bokeh": _bokeh,
    "blobs": _blobs,
    "wood": _wood,
    "curtain": _curtain,
    "room": _room,
    "street": _street,
    "park": _park,
    "beach": _beach,
}
_INDOORS = {
    "studio": 0.2,
    "plaster": 0.12,
    "wallpaper": 0.06,
    "bricks": 0.06,
    "shelves": 0.08,
    "foliage": 0.08,
    "bokeh": 0.07,
    "blobs": 0.09,
    "wood": 0.05,
    "curtain": 0.05,
    "room": 0.09,
    "street": 0.05,
}
_OUTDOORS = {
    "street": 0.4,
    "park": 0.2,
    "foliage": 0.06,
    "bricks": 0.08,
    "room": 0.08,
    "studio": 0.08,
    "beach": 0.05,
    "plaster": 0.05,
}
