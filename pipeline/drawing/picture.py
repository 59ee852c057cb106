"""Composition: who stands where in a portrait, a full body, a wide scene or a picture without anyone.

Every picture has a generator of its own, seeded by (seed, kind, index): more pictures never change old ones.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.drawing.camera import Camera, Pixels, jpeg, take
from pipeline.drawing.figure import cast_shadow, draw_person, ground_shadow
from pipeline.drawing.paint import Frame, Layer, Light, blurred
from pipeline.drawing.person import Person, pick
from pipeline.drawing.portable import plain_opencv
from pipeline.drawing.scene import draw_scene


@dataclass(frozen=True)
class Drawn:
    """A finished picture: (H, W, 3) uint8 RGB, its exact mask (H, W) uint8 {0, 1}, and its JPEG quality."""

    image: Pixels
    mask: Pixels
    quality: int

    def jpeg(self) -> bytes:
        return jpeg(self.image, self.quality)


@dataclass(frozen=True)
class Stand:
    """One person's place: between the eyes, and half a head's width, as shares of the picture's width."""

    x: float
    y: float
    unit: float


def generator(seed: int, kind: str, index: int) -> np.random.Generator:
    """The generator of one picture."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), index])


def portrait(rng: np.random.Generator, width: int = 300, height: int = 400, tilted: bool = False) -> Drawn:
    """Head and shoulders, at times two people; all large people are person."""
    unit = float(rng.uniform(0.115, 0.25))
    tall = height / width
    x = float(np.clip(rng.normal(0.5, 0.13), 0.2, 0.8))
    y = float(rng.uniform(1.55 * unit + 0.02, max(1.75 * unit + 0.03, tall - 3.4 * unit)))
    stands = [Stand(x, y, unit)]
    if rng.random() < 0.06:
        unit = min(unit, 0.15)
        stands = [
            Stand(0.27, y, unit),
            Stand(
                0.73, float(np.clip(y + rng.normal(0, 0.06), 0.25, 0.7)), unit * float(rng.uniform(0.9, 1.05))
            ),
        ]
    outdoors = rng.random() < 0.2
    strangers = _strangers(rng, tall, 1 if rng.random() < 0.06 else 0)
    return _compose(rng, width, height, stands, strangers, outdoors, False, tilted)


def body(rng: np.random.Generator, size: tuple[int, int] | None = None, tilted: bool = False) -> Drawn:
    """One person from head to feet; others far behind are background."""
    if size is None:
        width = int(rng.integers(330, 401))
        size = (width, int(width * 1.5))
    width, height = size
    stand = _whole(rng, width, height)
    strangers = _strangers(rng, height / width, int(rng.integers(1, 3)) if rng.random() < 0.2 else 0)
    return _compose(rng, width, height, [stand], strangers, rng.random() < 0.85, True, tilted)


def wide(rng: np.random.Generator, width: int = 480, height: int = 330) -> Drawn:
    """A landscape picture with one to three people, seen to the waist or whole."""
    people = int(rng.integers(1, 4))
    places = (np.arange(people) + 0.5) / people + rng.normal(0, 0.04, people)
    unit = float(rng.uniform(0.055, 0.10) if people > 1 else rng.uniform(0.07, 0.15))
    y = float(rng.uniform(1.7 * unit, 0.3))
    stands = [
        Stand(float(x), y + float(rng.normal(0, 0.015)), unit * float(rng.uniform(0.92, 1.08)))
        for x in places
    ]
    return _compose(rng, width, height, stands, [], rng.random() < 0.5, False, False)


def nobody(rng: np.random.Generator, width: int = 360, height: int = 360) -> Drawn:
    """A scene without anyone in it."""
    return _compose(rng, width, height, [], [], rng.random() < 0.5, False, False)


@plain_opencv()
def another_picture(drawn: Drawn, rng: np.random.Generator) -> Drawn:
    """A near-duplicate as crawls bring them: scaled, slightly brighter, re-encoded, at times mirrored."""
    height, width = drawn.mask.shape
    scale = float(rng.uniform(0.7, 1.25))
    size = (round(width * scale), round(height * scale))
    image = cv2.resize(drawn.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    cover = cv2.resize(
        drawn.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    if rng.random() < 0.25:
        image, cover = image[:, ::-1], cover[:, ::-1]
    brighter = np.clip(image * np.float32(rng.uniform(0.93, 1.07)), 0, 255).astype(np.uint8)
    return Drawn(
        np.ascontiguousarray(brighter),
        np.ascontiguousarray(cover > 0.5).astype(np.uint8),
        int(rng.integers(45, 90)),
    )


def _whole(rng: np.random.Generator, width: int, height: int) -> Stand:
    """A place from which head and feet are inside the picture."""
    unit = float(rng.uniform(0.062, 0.071)) * (height / width) / 1.5
    room = height / width - 18.6 * unit
    return Stand(
        float(rng.uniform(0.36, 0.64)), 1.95 * unit + float(rng.uniform(0.1, 0.7)) * max(0.0, room), unit
    )


def _strangers(rng: np.random.Generator, tall: float, count: int) -> list[Stand]:
    """Passers-by, small and far to a side."""
    return [
        Stand(
            float(pick(rng, (0.1, 0.9)) + rng.normal(0, 0.05)),
            tall * float(rng.uniform(0.25, 0.4)),
            float(rng.uniform(0.018, 0.03)),
        )
        for _ in range(count)
    ]


@plain_opencv()
def _compose(
    rng: np.random.Generator,
    width: int,
    height: int,
    stands: list[Stand],
    strangers: list[Stand],
    outdoors: bool,
    whole_body: bool,
    tilted: bool,
) -> Drawn:
    light, camera = Light.sample(rng), Camera.sample(rng, tilted)
    background = draw_scene(rng, width, height, outdoors)
    for stand in strangers:
        far = Layer(width, height)
        _place(far, stand, Person.sample(rng, True), light, rng)
        soft = float(rng.uniform(0.8, 2.5))
        background *= (1 - blurred(far.cover, soft))[..., None]
        background += blurred(far.colour, soft)
    layer = Layer(width, height)
    for stand in stands:
        person = Person.sample(rng, whole_body)
        if camera.roll:  # people stand upright in the world while the camera rolls: half of it is enough
            person = replace(person, tilt=0.5 * person.tilt)
        frame = _place(layer, stand, person, light, rng)
        if whole_body:
            ground_shadow(background, frame, person.height)
    if stands and rng.random() < 0.35:
        cast_shadow(background, layer, light, stands[0].unit * width, float(rng.uniform(0.2, 0.5)))
    picture = background * (1 - layer.cover)[..., None] + layer.colour
    image, mask = take(picture, layer.cover, camera, rng)
    return Drawn(image, mask, camera.quality)


def _place(layer: Layer, stand: Stand, person: Person, light: Light, rng: np.random.Generator) -> Frame:
    width = layer.box.width
    lean = float(np.clip(rng.normal(0, 0.03), -0.08, 0.08))
    frame = Frame(stand.x * width, stand.y * width, stand.unit * width, lean)
    draw_person(layer, frame, person, light, rng)
    return frame
