"""Small videos for tests, made by OpenCV itself."""

from pathlib import Path

import cv2
import numpy as np

from sinet.images import Array
from tests.sinet.portraits import portrait

SIZE = (96, 128)  # width, height


def film(path: Path, count: int = 6, rate: float = 12.5, size: tuple[int, int] = SIZE) -> list[Array]:
    """Write COUNT frames of one portrait that moves to the right; returns them, (H, W, 3) uint8 RGB."""
    image, _ = portrait(3, *size)
    frames = [np.roll(image, 2 * number, axis=1) for number in range(count)]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return frames


def watch(path: Path) -> tuple[list[Array], float]:
    """All frames of a video, RGB, and its rate, by OpenCV alone."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    rate, frames = capture.get(cv2.CAP_PROP_FPS), []
    while True:
        there, frame = capture.read()
        if not there:
            capture.release()
            return frames, rate
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
