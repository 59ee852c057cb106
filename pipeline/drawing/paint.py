"""Layers, shapes, noise and light: the brushes that everything in the drawn world is painted with.

Colours are RGB in 0..1. A layer is premultiplied: laying it over a background gives exactly
`background * (1 - cover) + colour`, so the mask `cover > 0.5` is exact and not an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Box

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

SUPERSAMPLE = 4  # shapes are drawn this much larger and averaged down
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Light:
    """A lamp at infinity: `direction` points to it (x right, y down, z to the viewer), `ambient` in 0..1."""

    direction: tuple[float, float, float]
    ambient: float
    colour: tuple[float, float, float]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Light:
        """A light from above or from the side, from flat to strong."""
        across, up = rng.uniform(-1.0, 1.0), rng.uniform(-0.8, 0.1)
        length = float(np.sqrt(across**2 + up**2 + 1))
        warmth = rng.uniform(-0.06, 0.06)
        return cls(
            (across / length, up / length, 1 / length),
            float(rng.uniform(0.35, 0.75)),
            (1 + warmth, 1.0, 1 - warmth),
        )


@dataclass(frozen=True)
class Frame:
    """Local coordinates: origin (x, y) in pixels, `unit` pixels a unit, turned by `angle` radians."""

    x: float
    y: float
    unit: float
    angle: float = 0.0

    def points(self, local: Points) -> Points:
        """Local (N, 2) -> pixels (N, 2)."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u, v = local[:, 0] * self.unit, local[:, 1] * self.unit
        return np.stack([self.x + u * cos - v * sin, self.y + u * sin + v * cos], axis=1)

    def grid(self, box: Box) -> tuple[Floats, Floats]:
        """Local (u, v) of every pixel centre of a box, each (height, width) float32."""
        cos, sin = np.float32(np.cos(self.angle) / self.unit), np.float32(np.sin(self.angle) / self.unit)
        x = np.arange(box.x0, box.x1, dtype=np.float32)[None, :] + np.float32(0.5 - self.x)
        y = np.arange(box.y0, box.y1, dtype=np.float32)[:, None] + np.float32(0.5 - self.y)
        return x * cos + y * sin, y * cos - x * sin

    def moved(self, u: float, v: float, turn: float = 0.0) -> Frame:
        """The frame with its origin at local (u, v), turned further."""
        x, y = self.points(np.array([[u, v]]))[0]
        return Frame(float(x), float(y), self.unit, self.angle + turn)

    def scaled(self, factor: float, box: Box) -> Frame:
        """The same frame seen in a picture of `box` alone that is `factor` times as large."""
        return Frame((self.x - box.x0) * factor, (self.y - box.y0) * factor, self.unit * factor, self.angle)


class Layer:
    """A transparent picture: premultiplied colour (H, W, 3) and cover (H, W), float32 in 0..1."""

    def __init__(self, width: int, height: int) -> None:
        self.colour: Floats = np.zeros((height, width, 3), np.float32)
        self.cover: Floats = np.zeros((height, width), np.float32)

    @property
    def box(self) -> Box:
        height, width = self.cover.shape
        return Box(0, 0, width, height)

    def bounds(self, outlines: Sequence[Points], margin: float = 2) -> Box:
        """The pixels that the outlines touch, inside the layer; may be empty."""
        joined = np.concatenate(outlines)
        low, high = np.floor(joined.min(0) - margin), np.ceil(joined.max(0) + margin)
        return Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])).clipped(
            self.box.width, self.box.height
        )

    def shape(self, outlines: Sequence[Points]) -> tuple[Box, Floats]:
        """Cover of filled polygons (pixels): their box and an alpha (height, width) in 0..1."""
        box = self.bounds(outlines)
        return box, fill(outlines, box)

    def paint(self, box: Box, alpha: Floats, colour: Floats | Sequence[float]) -> None:
        """Lay `colour` ((h, w, 3) or one RGB) over the box, as thick as `alpha`; alpha adds to the cover."""
        rows, columns = slice(box.y0, box.y1), slice(box.x0, box.x1)
        through = 1 - alpha
        target = self.colour[rows, columns]
        target *= through[..., None]
        target += np.asarray(colour, np.float32) * alpha[..., None]
        cover = self.cover[rows, columns]
        cover *= through
        cover += alpha

    def tint(self, box: Box, alpha: Floats, colour: Floats | Sequence[float]) -> None:
        """As `paint`, but only on what is there already: the cover stays."""
        rows, columns = slice(box.y0, box.y1), slice(box.x0, box.x1)
        target = self.colour[rows, columns]
        on = (alpha * self.cover[rows, columns])[..., None]
        target *= 1 - alpha[..., None]
        target += np.asarray(colour, np.float32) * on

    def darken(self, box: Box, factor: Floats) -> None:
        """Multiply the colour in a box by (h, w) factors."""
        self.colour[box.y0 : box.y1, box.x0 : box.x1] *= factor[..., None]

    def lay(self, other: Layer, box: Box, factor: int) -> None:
        """Lay a layer over `box` that was painted `factor` times as large."""
        size = (box.width, box.height)
        colour, cover = other.colour, other.cover
        if factor > 1:
            colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA), np.float32)
            cover = np.asarray(cv2.resize(cover, size, interpolation=cv2.INTER_AREA), np.float32)
        rows, columns = slice(box.y0, box.y1), slice(box.x0, box.x1)
        self.colour[rows, columns] *= (1 - cover)[..., None]
        self.colour[rows, columns] += colour
        self.cover[rows, columns] *= 1 - cover
        self.cover[rows, columns] += cover


def fill(outlines: Sequence[Points], box: Box) -> Floats:
    """Alpha (height, width) of filled polygons given in pixels."""
    if box.width == 0 or box.height == 0:
        return np.zeros((box.height, box.width), np.float32)
    canvas = np.zeros((box.height * SUPERSAMPLE, box.width * SUPERSAMPLE), np.uint8)
    for outline in outlines:
        cv2.fillPoly(canvas, [_fixed(outline, box)], 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return _averaged(canvas, box)


def strokes(lines: Sequence[Points], box: Box, thickness: float) -> Floats:
    """Alpha (height, width) of open lines given in pixels, `thickness` pixels wide."""
    if box.width == 0 or box.height == 0:
        return np.zeros((box.height, box.width), np.float32)
    canvas = np.zeros((box.height * SUPERSAMPLE, box.width * SUPERSAMPLE), np.uint8)
    width = max(1, round(thickness * SUPERSAMPLE))
    fixed = [_fixed(line, box) for line in lines]
    cv2.polylines(canvas, fixed, False, 255, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    return _averaged(canvas, box)


def _fixed(outline: Points, box: Box) -> NDArray[np.int32]:
    corner = np.array([box.x0, box.y0])
    # OpenCV puts whole numbers at pixel centres
    fixed: NDArray[np.int32] = np.round(
        ((outline - corner) * SUPERSAMPLE - 0.5) * (1 << _SUBPIXEL_BITS)
    ).astype(np.int32)
    return fixed


def _averaged(canvas: NDArray[np.uint8], box: Box) -> Floats:
    small = cv2.resize(canvas, (box.width, box.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def smooth(
    points: Sequence[tuple[float, float]] | Points, closed: bool = True, per_segment: int = 6
) -> Points:
    """A Catmull-Rom curve through (N, 2) points."""
    p = np.asarray(points, float)
    if closed:
        before, after, later = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        padded = np.vstack([p[:1], p, p[-1:], p[-1:]])
        p, before, after, later = padded[1:-2], padded[:-3], padded[2:-1], padded[3:]
        p, before, after, later = p[:-1], before[:-1], after[:-1], later[:-1]
    t = np.linspace(0, 1, per_segment, endpoint=False)[None, :, None]
    a, b, c, d = before[:, None], p[:, None], after[:, None], later[:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat = curve.reshape(-1, 2)
    return flat if closed else np.vstack([flat, np.asarray(points, float)[-1:]])


def limb(points: Sequence[tuple[float, float]], radii: Sequence[float]) -> Points:
    """The outline of a tube along a bent line, with round ends."""
    line = smooth(points, closed=False)
    radius = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(radii)), radii)
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    turn = np.linspace(-np.pi / 2, np.pi / 2, 9)[1:-1, None]
    end = line[-1] + radius[-1] * (np.cos(turn) * along[-1] - np.sin(turn) * across[-1])
    start = line[0] + radius[0] * (-np.cos(turn) * along[0] + np.sin(turn) * across[0])
    left, right = line + across * radius[:, None], line - across * radius[:, None]
    return np.vstack([left, end, right[::-1], start])


def ellipse(u: float, v: float, half_width: float, half_height: float, turn: float = 0.0) -> Points:
    """The outline of an ellipse, (32, 2)."""
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    x, y = half_width * np.cos(t), half_height * np.sin(t)
    return np.stack(
        [u + x * np.cos(turn) - y * np.sin(turn), v + x * np.sin(turn) + y * np.cos(turn)], axis=1
    )


def noise(
    rng: np.random.Generator, height: int, width: int, cell: float, cell_y: float | None = None
) -> Floats:
    """Smooth random hills of about unit strength, (height, width); one hill is about `cell` pixels wide."""
    across = max(2, int(width / max(cell, 1)) + 3)
    down = max(2, int(height / max(cell_y or cell, 1)) + 3)
    coarse = rng.standard_normal((down, across), np.float32)
    if height == 0 or width == 0:
        return np.zeros((height, width), np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def look_up(table: Floats, u: NDArray[Any], v: NDArray[Any]) -> Floats:
    """Values of a (H, W) table at real-valued, wrapping positions."""
    height, width = table.shape
    x = np.mod(u, np.float32(width - 1)).astype(np.float32)
    y = np.mod(v, np.float32(height - 1)).astype(np.float32)
    return np.asarray(cv2.remap(table, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


def blurred(array: Floats, sigma: float) -> Floats:
    """Gaussian blur; nothing below a quarter of a pixel."""
    if sigma < 0.25 or array.size == 0:
        return array
    return np.asarray(cv2.GaussianBlur(array, (0, 0), sigma), np.float32)


def step(value: Floats, softness: float) -> Floats:
    """0 below, 1 above zero, with a linear ramp `softness` wide."""
    ramp: Floats = np.clip(value / np.float32(softness) + np.float32(0.5), 0, 1)
    return ramp


def bell(square: NDArray[Any]) -> Floats:
    """About exp(-square), of additions, products and one division, which every processor rounds alike."""
    near = 1 / (1 + square * np.float32(0.125))
    near *= near
    near *= near
    near *= near
    return np.asarray(near, np.float32)


def ripple(position: NDArray[Any]) -> Floats:
    """About sin(2 pi position), of exactly rounded operations as `bell`."""
    phase = 2 * np.mod(position, np.float32(1)) - 1
    return np.asarray(4 * phase * (np.abs(phase) - 1), np.float32)


def lit(height_field: Floats, light: Light) -> Floats:
    """Lambert's law on a height field in pixels: (H, W) factors, 1 where the surface faces the viewer."""
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8  # Sobel
    slope_x = cv2.filter2D(height_field, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    slope_y = cv2.filter2D(height_field, -1, kernel.T, borderType=cv2.BORDER_REPLICATE)
    x, y, z = (np.float32(part) for part in light.direction)
    facing = (z - x * slope_x - y * slope_y) / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    ambient = np.float32(light.ambient)
    return np.asarray(ambient + (1 - ambient) * np.maximum(facing, 0) / z, np.float32)


def puffed(alpha: Floats, radius: float, light: Light, bumps: Floats | None = None) -> Floats:
    """Light on a flat shape blown up like a cushion with edges `radius` pixels round: (H, W) factors."""
    if alpha.size == 0:
        return alpha
    inside = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    edge = 1 - np.minimum(inside / np.float32(max(radius, 1)), 1)
    hill = np.float32(radius) * np.sqrt(1 - edge * edge)
    hill = blurred(hill, min(radius * 0.25, 8))
    return lit(hill if bumps is None else hill + bumps, light)


def shaded(colour: Floats | Sequence[float], factor: Floats, light: Light) -> Floats:
    """Colour times light, (H, W, 3); shadows keep a little more red than blue, as skin and cloth do."""
    base = np.asarray(colour, np.float32)
    if base.ndim == 1:
        base = base[None, None, :]
    deeper = factor * (np.float32(0.94) + np.float32(0.06) * factor)
    glow = np.stack([factor, deeper, factor * (np.float32(0.88) + np.float32(0.12) * factor)], axis=-1)
    return np.asarray(base * np.clip(glow, 0.05, 1.7) * np.asarray(light.colour, np.float32), np.float32)
