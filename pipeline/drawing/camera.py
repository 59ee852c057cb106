"""From a painted picture to a file: exposure, roll, blur, sensor noise, JPEG."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.drawing.paint import Floats, blurred

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """What one camera does. `roll` in radians, `noise` in 1/255, `blur` in pixels."""

    exposure: float
    contrast: float
    warmth: float
    grey: bool
    vignette: float
    blur: float
    noise: float
    roll: float
    quality: int

    @classmethod
    def sample(cls, rng: np.random.Generator, tilted: bool = False) -> Camera:
        return cls(
            exposure=float(rng.uniform(0.72, 1.2)),
            contrast=float(rng.uniform(0.85, 1.2)),
            warmth=float(rng.normal(0, 0.05)),
            grey=bool(rng.random() < 0.05),
            vignette=float(rng.uniform(0, 0.35) if rng.random() < 0.4 else 0),
            blur=float(rng.uniform(0, 0.9) if rng.random() < 0.8 else rng.uniform(0.9, 1.6)),
            noise=float(rng.uniform(0.5, 5) if rng.random() < 0.8 else rng.uniform(5, 12)),
            roll=float(rng.choice([-1, 1]) * rng.uniform(0.15, 0.4)) if tilted else 0.0,
            quality=int(rng.integers(62, 96)),
        )


def take(picture: Floats, cover: Floats, camera: Camera, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """The photograph (H, W, 3) uint8 RGB and its exact mask (H, W) uint8 {0, 1}.

    Roll moves picture and cover alike. Blur and noise change the picture only, as a lens and a sensor would.
    """
    if camera.roll:
        picture, cover = _rolled(picture, camera.roll), _rolled(cover, camera.roll)
    picture = blurred(picture, camera.blur)
    picture = (picture - np.float32(0.5)) * np.float32(camera.contrast) + np.float32(0.5)
    gains = np.array([1 + camera.warmth, 1, 1 - camera.warmth], np.float32) * np.float32(camera.exposure)
    picture *= gains
    height, width = cover.shape
    if camera.vignette:
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        picture *= (1 - np.float32(camera.vignette * 0.5) * (x * x + y * y))[..., None]
    if camera.grey:
        red, green, blue = (picture[..., channel] for channel in range(3))
        picture[:] = (np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue)[
            ..., None
        ]
    picture *= 255
    picture += rng.standard_normal((height, width, 1), np.float32) * np.float32(camera.noise)
    tint = rng.standard_normal(((height + 1) // 2, (width + 1) // 2, 3), np.float32) * np.float32(
        camera.noise * 0.4
    )
    if not camera.grey:
        picture += np.asarray(cv2.resize(tint, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.clip(picture + np.float32(0.5), 0, 255).astype(np.uint8), (cover > 0.5).astype(np.uint8)


def _rolled(array: Floats, roll: float) -> Floats:
    """Turned about the middle and enlarged until no corner is empty."""
    height, width = array.shape[:2]
    cos, sin = abs(np.cos(roll)), abs(np.sin(roll))
    scale = max((width * cos + height * sin) / width, (width * sin + height * cos) / height)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(np.degrees(roll)), scale)
    return np.asarray(cv2.warpAffine(array, matrix, (width, height), flags=cv2.INTER_LINEAR), np.float32)


def jpeg(pixels: Pixels, quality: int) -> bytes:
    """JPEG bytes of RGB (H, W, 3) or grey (H, W) pixels."""
    bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def png(pixels: Pixels) -> bytes:
    """PNG bytes of RGB (H, W, 3) or grey (H, W) pixels."""
    bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes())
