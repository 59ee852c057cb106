"""Videos and cameras: frame by frame in, a mask video or a composed video out, at the same size and speed.

MP4 with MPEG-4 pictures, which OpenCV can write everywhere; sound is not copied.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from tqdm import tqdm

from sinet.compose import Background, compose, mask_of
from sinet.files import TEMPORARY
from sinet.images import Array
from sinet.predict import Predictor
from sinet.progress import bar_interval

DEFAULT_RATE = 25.0  # frames a second, where the source does not say


class VideoError(ValueError):
    """A video or camera that cannot be used; the message says what was expected and found."""


@dataclass(frozen=True)
class Clip:
    """What a video says of itself; `frames` is an estimate, 0 where there is none (a camera)."""

    width: int
    height: int
    rate: float  # frames a second
    frames: int


@contextmanager
def opened(source: Path | int) -> Iterator[tuple[Clip, cv2.VideoCapture]]:
    """A video file, or the camera of that number; VideoError where it cannot be opened."""
    with _quiet():
        # Naming FFmpeg keeps OpenCV from taking a % in a file's name for a series of pictures.
        capture = (
            cv2.VideoCapture(source)
            if isinstance(source, int)
            else cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
        )
    try:
        clip = Clip(
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            _rate(capture.get(cv2.CAP_PROP_FPS)),
            max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))),
        )
        if not capture.isOpened() or clip.width <= 0 or clip.height <= 0:
            raise VideoError(_why_not(source))
        yield clip, capture
    finally:
        capture.release()


def frames(capture: cv2.VideoCapture) -> Iterator[Array]:
    """All that is left, each (H, W, 3) uint8 RGB; a phone's turned video comes upright."""
    while True:
        there, frame = capture.read()
        if not there:
            return
        if frame.ndim == 2:
            frame = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


class Recording:
    """An MP4 that takes its final name when it is closed without an error."""

    def __init__(self, path: Path, width: int, height: int, rate: float) -> None:
        self.path = path
        self._size = (width, height)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = TemporaryDirectory(dir=path.parent, prefix=TEMPORARY)
        self._temporary = Path(self._folder.name) / path.name  # the suffix chooses the format
        with _quiet():
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, code, rate, self._size)
        if not self._writer.isOpened():
            self._folder.cleanup()
            raise VideoError(f"{path} cannot be written as a video of {width}x{height} pixels")

    def write(self, frame: Array, times: int = 1) -> None:
        """(H, W) grey or (H, W, 3) RGB uint8 of the video's size; another size would be dropped in silence."""
        if frame.shape[1::-1] != self._size:
            raise VideoError(
                f"expected frames of {self._size[0]}x{self._size[1]} pixels to the end, found one of "
                f"{frame.shape[1]}x{frame.shape[0]}"
            )
        code = cv2.COLOR_GRAY2BGR if frame.ndim == 2 else cv2.COLOR_RGB2BGR
        turned = cv2.cvtColor(frame, code)
        for _ in range(times):
            self._writer.write(turned)

    def close(self, keep: bool) -> None:
        """Finish the file under its name, or remove it."""
        self._writer.release()
        if keep:
            self._temporary.replace(self.path)
        self._folder.cleanup()


@contextmanager
def recordings(paths: Iterable[Path | None], clip: Clip) -> Iterator[list[Recording | None]]:
    """A recording for each path, None for None; all of them are kept, or none where something fails."""
    made: list[Recording | None] = []
    keep = False
    try:
        for path in paths:
            made.append(None if path is None else Recording(path, clip.width, clip.height, clip.rate))
        yield made
        keep = True
    finally:
        for recording in made:
            if recording is not None:
                recording.close(keep)


def result(predictor: Predictor, frame: Array, background: Background | None) -> tuple[Array, Array | None]:
    """Mask (H, W) uint8 0/255 of a frame, and the frame before `background` where there is one."""
    probability = predictor.probability(frame)
    composed = None if background is None else compose(frame, probability, background)
    return mask_of(probability), composed


def convert(
    source: Path, mask: Path, composed: Path | None, predictor: Predictor, background: Background | None
) -> int:
    """Write the mask video, and the composed one where there is a background; returns the number of frames.

    VideoError where the file is no video, holds no frame, or ends long before it says it does.
    """
    count = 0
    with opened(source) as (clip, capture), recordings((mask, composed), clip) as written:
        bar = tqdm(
            frames(capture),
            desc=source.name,
            total=clip.frames or None,
            unit="frame",
            file=sys.stderr,
            mininterval=bar_interval(0.1),
            leave=False,
        )
        for frame in bar:
            _write(written, result(predictor, frame, background), 1)
            count += 1
        if not count:
            raise VideoError("the video holds no frame that can be read")
    if count < 0.9 * clip.frames:  # containers count a little wrong, so not every difference is damage
        raise VideoError(
            f"the video ends after {count} of {clip.frames} frames; the result has those {count}"
        )
    return count


def record(
    camera: int,
    mask: Path,
    composed: Path | None,
    predictor: Predictor,
    background: Background | None,
    seconds: float | None,
) -> int:
    """The same from a camera, until `seconds` are over, the camera ends or Ctrl-C; returns the frames written.

    Where the network is slower than the camera a frame is written several times: the video keeps real time.
    """
    count = 0
    with opened(camera) as (clip, capture), recordings((mask, composed), clip) as written:
        start = time.monotonic()
        try:
            for frame in frames(capture):
                both = result(predictor, frame, background)
                passed = time.monotonic() - start
                times = due(passed if seconds is None else min(passed, seconds), clip.rate, count)
                _write(written, both, times)
                count += times
                if seconds is not None and passed >= seconds:
                    break
        except KeyboardInterrupt:
            pass  # the usual way to end
        if not count:
            raise VideoError(f"camera {camera} gave no frame")
    return count


def due(passed: float, rate: float, written: int) -> int:
    """How many frames must be written now so that the video is as long as the `passed` seconds."""
    return max(0, 1 + int(passed * rate) - written)


def _write(written: list[Recording | None], pictures: tuple[Array, Array | None], times: int) -> None:
    for recording, picture in zip(written, pictures, strict=True):
        if recording is not None and picture is not None:
            recording.write(picture, times)


def _rate(said: float) -> float:
    return said if np.isfinite(said) and 0 < said <= 1000 else DEFAULT_RATE


def _why_not(source: Path | int) -> str:
    if isinstance(source, int):
        return f"camera {source} cannot be opened; cameras are numbered from 0"
    if not source.is_file():
        return "expected a video, found no such file"
    return "the file is no video that OpenCV can read, or it is damaged"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that OpenCV and FFmpeg print about a broken file: none of them says what to do."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    before = cv2.getLogLevel()
    cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(before)
