"""What cloth looks like: patterns over local coordinates."""

import numpy as np

from pipeline.drawing.paint import Floats, look_up, ripple, step
from pipeline.drawing.person import Cloth


def weave(cloth: Cloth, u: Floats, v: Floats, pixel: float, rng: np.random.Generator) -> Floats:
    """Colour (H, W, 3) of a cloth at local coordinates u, v; `pixel` is the size of one pixel there."""
    amount = _PATTERNS[cloth.pattern](u, v, np.float32(cloth.size), pixel, rng)
    first, second = np.asarray(cloth.colour, np.float32), np.asarray(cloth.second, np.float32)
    return np.asarray(first + amount[..., None] * (second - first), np.float32)


def _plain(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    return np.zeros_like(u)


def _wave(position: Floats, size: np.float32, duty: float, pixel: float) -> Floats:
    """1 on a `duty` share of every repeat."""
    phase = np.abs(np.mod(position / size, 1) - np.float32(0.5))
    return step(np.float32(duty / 2) - phase, max(pixel / float(size), 0.02))


def _rows(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    return _wave(v, size, float(rng.uniform(0.2, 0.6)), pixel)


def _columns(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    return _wave(u, size, float(rng.uniform(0.15, 0.5)), pixel)


def _plaid(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    duty = float(rng.uniform(0.25, 0.5))
    return np.float32(0.5) * (_wave(u, size, duty, pixel) + _wave(v, size, duty, pixel))


def _dots(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    row = np.floor(v / size)
    du = np.mod(u / size + row * np.float32(0.5), 1) - np.float32(0.5)
    dv = np.mod(v / size, 1) - np.float32(0.5)
    return step(
        np.float32(rng.uniform(0.16, 0.3)) - np.sqrt(du * du + dv * dv), max(pixel / float(size), 0.02)
    )


def _flowers(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    table = rng.standard_normal((24, 24), np.float32)
    hills = look_up(table, u / size * 3 + 7, v / size * 3 + 5)
    return step(hills - np.float32(0.6), max(3 * pixel / float(size), 0.15))


def _knit(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    stitch = np.float32(max(0.11, 2.5 * pixel))
    rows = ripple(v / stitch + np.float32(0.32) * np.abs(ripple(u / (2 * stitch))))
    return np.float32(0.16) + np.float32(0.16) * rows


def _denim(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    table = rng.standard_normal((64, 64), np.float32)
    threads = look_up(table, (u + v) * 14, (u - v) * 3)
    return np.clip(np.float32(0.2) + np.float32(0.1) * threads, 0, 1)


def _print(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    """A plain shirt with something on the chest: a disc, a bar or a few lines of "text"."""
    du, dv = u - np.float32(rng.uniform(-0.2, 0.2)), v - np.float32(3.4)
    kind = int(rng.integers(3))
    if kind == 0:
        return step(np.float32(0.6) - np.sqrt(du * du + dv * dv), 2 * pixel)
    inside = np.minimum(np.float32(0.9) - np.abs(du), np.float32(0.5) - np.abs(dv))
    if kind == 1:
        return step(inside, 2 * pixel)
    letters = look_up(rng.standard_normal((16, 32), np.float32), du * 9 + 13, np.floor(dv * 3) * 5 + 7)
    lines = _wave(dv, np.float32(1 / 3), 0.55, pixel)
    return step(inside, 2 * pixel) * lines * step(letters + np.float32(0.4), 0.4)


def _blotches(u: Floats, v: Floats, size: np.float32, pixel: float, rng: np.random.Generator) -> Floats:
    hills = look_up(rng.standard_normal((32, 32), np.float32), u * 1.7 + 9, v * 1.7 + 4)
    return np.float32(0.5) * (step(hills, 0.2) + step(hills - np.float32(0.7), 0.2))


_PATTERNS = {
    "plain": _plain,
    "rows": _rows,
    "columns": _columns,
    "plaid": _plaid,
    "dots": _dots,
    "flowers": _flowers,
    "knit": _knit,
    "denim": _denim,
    "print": _print,
    "blotches": _blotches,
}
