"""Who is drawn: looks, clothes and pose of one person, drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Paint = tuple[float, float, float]
_Choice = TypeVar("_Choice")

SKINS: tuple[Paint, ...] = (
    (0.96, 0.82, 0.73),
    (0.91, 0.74, 0.63),
    (0.86, 0.67, 0.53),
    (0.78, 0.58, 0.43),
    (0.66, 0.46, 0.33),
    (0.53, 0.36, 0.26),
    (0.40, 0.27, 0.20),
)
HAIRS: tuple[Paint, ...] = (
    (0.07, 0.06, 0.06),
    (0.14, 0.09, 0.07),
    (0.25, 0.16, 0.10),
    (0.40, 0.25, 0.15),
    (0.50, 0.24, 0.12),
    (0.72, 0.54, 0.32),
    (0.84, 0.70, 0.48),
    (0.55, 0.54, 0.53),
    (0.85, 0.84, 0.82),
    (0.60, 0.20, 0.35),
)
HAIR_STYLES = (
    "bald",
    "buzz",
    "short",
    "parted",
    "fringe",
    "bob",
    "long",
    "wavy",
    "curly",
    "afro",
    "bun",
    "ponytail",
)
_HAIR_SHARES = (0.05, 0.09, 0.16, 0.14, 0.08, 0.09, 0.12, 0.09, 0.07, 0.04, 0.04, 0.03)
PATTERNS = ("plain", "rows", "columns", "plaid", "dots", "flowers", "knit", "denim", "print", "blotches")
_PATTERN_SHARES = (0.36, 0.09, 0.06, 0.10, 0.06, 0.07, 0.09, 0.06, 0.06, 0.05)
TOPS = ("tee", "shirt", "hoodie", "blazer", "vneck", "turtleneck", "tank", "scarf")
_TOP_SHARES = (0.24, 0.18, 0.11, 0.16, 0.12, 0.07, 0.06, 0.06)
BOTTOMS = ("trousers", "shorts", "skirt", "dress")
_BOTTOM_SHARES = (0.55, 0.12, 0.18, 0.15)
POSES = ("down", "hip", "chest", "chin", "wave", "pocket")


@dataclass(frozen=True)
class Cloth:
    """A pattern in two colours; `size` is the length of its repeat in half head widths."""

    pattern: str
    colour: Paint
    second: Paint
    size: float


@dataclass(frozen=True)
class Person:
    """Looks and pose. Lengths in half head widths, angles in radians."""

    skin: Paint
    hair: Paint
    hair_style: str
    hair_length: float
    parting: float
    beard: str  # none, stubble, moustache, full
    eyes: Paint
    brows: float  # thickness
    lips: float  # 0 natural .. 1 painted
    smile: float
    jaw: float
    glasses: str  # none, thin, thick, dark
    hat: str  # none, cap, beanie, brim
    shoulders: float  # half width
    height: float  # heads
    yaw: float
    pitch: float
    tilt: float
    top: str
    top_cloth: Cloth
    under: Paint  # what shows at the collar
    bottom: str
    bottom_cloth: Cloth
    shoes: Paint
    left_arm: str
    right_arm: str
    held: str  # none, phone, cup, book, flowers
    bag: str  # none, shoulder, hand, backpack
    stride: float

    @classmethod
    def sample(cls, rng: np.random.Generator, whole_body: bool) -> Person:
        """Someone at random; poses suit a portrait or a whole body."""
        broad = rng.random() < 0.5
        hair_style = pick(rng, HAIR_STYLES, _HAIR_SHARES)
        long_hair = hair_style in ("bob", "long", "wavy", "bun", "ponytail")
        skin_index = int(rng.integers(len(SKINS)))
        dark_hair_only = skin_index >= 4
        hair_index = int(rng.integers(4 if dark_hair_only else len(HAIRS)))
        arms = (0.40, 0.18, 0.12, 0.0, 0.04, 0.26) if whole_body else (0.62, 0.05, 0.14, 0.10, 0.06, 0.03)
        return cls(
            skin=near(rng, SKINS[skin_index], 0.03),
            hair=near(rng, HAIRS[hair_index], 0.03),
            hair_style=hair_style,
            hair_length=float(rng.uniform(1.9, 3.6)),
            parting=float(rng.uniform(-0.55, 0.55)),
            beard=pick(
                rng,
                ("none", "stubble", "moustache", "full"),
                (0.9, 0.1, 0, 0) if long_hair else (0.5, 0.18, 0.1, 0.22),
            ),
            eyes=pick(rng, ((0.22, 0.13, 0.08), (0.35, 0.24, 0.12), (0.28, 0.42, 0.55), (0.30, 0.42, 0.28))),
            brows=float(rng.uniform(0.035, 0.075)),
            lips=float(rng.uniform(0.3, 1) if long_hair else rng.uniform(0, 0.4)),
            smile=float(rng.uniform(-0.03, 0.16)),
            jaw=float(rng.uniform(0.0, 1.0) if broad else rng.uniform(-0.6, 0.4)),
            glasses=pick(rng, ("none", "thin", "thick", "dark"), (0.77, 0.1, 0.1, 0.03)),
            hat=pick(rng, ("none", "cap", "beanie", "brim"), (0.86, 0.05, 0.05, 0.04)),
            shoulders=float(rng.uniform(2.3, 2.75) if broad else rng.uniform(2.0, 2.35)),
            height=float(rng.uniform(6.1, 6.8)),
            yaw=float(np.clip(rng.normal(0, 0.22), -0.5, 0.5)),
            pitch=float(rng.uniform(-0.1, 0.1)),
            tilt=float(np.clip(rng.normal(0, 0.09), -0.28, 0.28)),
            top=pick(rng, TOPS, _TOP_SHARES),
            top_cloth=sample_cloth(rng),
            under=near(rng, pick(rng, ((0.93, 0.93, 0.94), (0.6, 0.7, 0.85), (0.15, 0.15, 0.18))), 0.03),
            bottom=pick(rng, BOTTOMS, _BOTTOM_SHARES),
            bottom_cloth=sample_cloth(rng),
            shoes=near(
                rng, pick(rng, ((0.1, 0.1, 0.1), (0.9, 0.9, 0.9), (0.35, 0.2, 0.12), (0.7, 0.15, 0.2))), 0.05
            ),
            left_arm=pick(rng, POSES, arms),
            right_arm=pick(rng, POSES, arms),
            held=pick(rng, ("none", "phone", "cup", "book", "flowers"), (0.6, 0.14, 0.12, 0.08, 0.06)),
            bag=pick(
                rng,
                ("none", "shoulder", "hand", "backpack"),
                (0.5, 0.2, 0.2, 0.1) if whole_body else (0.88, 0.05, 0, 0.07),
            ),
            stride=float(rng.uniform(-0.16, 0.16)),
        )


def sample_cloth(rng: np.random.Generator) -> Cloth:
    """A pattern in two colours that go together or do not."""
    return Cloth(
        pattern=pick(rng, PATTERNS, _PATTERN_SHARES),
        colour=sample_colour(rng),
        second=sample_colour(rng),
        size=float(rng.uniform(0.18, 0.7)),
    )


def sample_colour(rng: np.random.Generator) -> Paint:
    """Clothes are mostly dull, dark or white, at times loud."""
    grey = rng.uniform(0.06, 0.95)
    loud = rng.uniform(0, 0.22) if rng.random() < 0.6 else rng.uniform(0.22, 0.5)
    red, green, blue = np.clip(grey + loud * rng.uniform(-1, 1, 3), 0.03, 0.97)
    return (float(red), float(green), float(blue))


def near(rng: np.random.Generator, colour: Paint, spread: float) -> Paint:
    """A colour close to another."""
    red, green, blue = np.clip(
        np.asarray(colour) + rng.normal(0, spread) + rng.normal(0, spread / 2, 3), 0.02, 0.98
    )
    return (float(red), float(green), float(blue))


def pick(
    rng: np.random.Generator, options: tuple[_Choice, ...], shares: tuple[float, ...] | None = None
) -> _Choice:
    """One of the options by lot."""
    if shares is None:
        return options[int(rng.integers(len(options)))]
    edges = np.cumsum(shares) / np.sum(shares)
    return options[min(int(np.searchsorted(edges, rng.random(), side="right")), len(options) - 1)]
