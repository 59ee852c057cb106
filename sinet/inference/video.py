"""Videos and cameras: frame by frame in, a mask video or a composed video out, with the times, shape and sound of what
was read."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from sinet.core.progress import bar_interval
from sinet.images.decode import Array
from sinet.inference import compose as composing
from sinet.inference.compose import Background, compose, mask_of
from sinet.inference.footage import Clip, Sound, TimedPicture, VideoError, opened, opened_camera
from sinet.inference.predictor import Predictor
from sinet.inference.recording import Recording, recordings

BEHIND = 0.2  # seconds behind a camera from which on frames are left out, to keep up
LONGEST_GAP = 1.0  # seconds of a recording without a frame, however slow the network


def result(predictor: Predictor, frame: Array, background: Background | None) -> tuple[Array, Array | None]:
    """Mask (H, W) uint8 0/255 of a frame, and the frame before `background` where there is one."""
    probability = predictor.probability(frame)
    composed = None if background is None else compose(frame, probability, background)
    return mask_of(probability), composed


def predict_video(
    source: Path, mask: Path, composed: Path | None, predictor: Predictor, background: Background | None
) -> int:
    """Write the mask video, and the composed one where there is a background; returns the number of frames.

    VideoError where the file is no video, holds no frame, ends long before it says it does or is damaged; in the last
    two cases what could be read is written.
    """
    count = 0
    with opened(source) as footage:
        clip = footage.clip
        behind = _as_shown(background, clip)
        bar = tqdm(
            desc=source.name,
            total=clip.frames or None,
            unit="frame",
            file=sys.stderr,
            mininterval=bar_interval(0.1),
            leave=False,
        )
        with bar, recordings(mask, composed, clip, footage.sounds) as written:
            for piece in footage:
                if isinstance(piece, Sound):
                    for recording in written:
                        recording.hear(piece)
                    continue
                _write(written, result(predictor, piece.pixels, behind), piece.at)
                count += 1
                bar.update()
            for recording in written:
                recording.finish(footage.end)
        complaint = footage.complaint(count, written[0].refused)
    if complaint is not None:
        raise VideoError(complaint)
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

    Frames keep the times at which the camera took them. Where the network is slower than the camera some are left out.
    """
    count, last, end = 0, -LONGEST_GAP, None
    with opened_camera(camera) as footage, recordings(mask, composed, footage.clip, ()) as written:
        behind = _as_shown(background, footage.clip)
        start = time.monotonic()
        try:
            for piece in footage:
                if not isinstance(piece, TimedPicture):
                    continue
                at = float(piece.at * footage.clip.time_base)
                if seconds is not None and at >= seconds:
                    end = piece.at
                    break
                if is_late(time.monotonic() - start, at, last):
                    continue
                _write(written, result(predictor, piece.pixels, behind), piece.at)
                count, last = count + 1, at
        except KeyboardInterrupt:
            pass  # the usual way to end
        if not count:
            raise VideoError(f"camera {camera} gave no frame")
        for recording in written:
            recording.finish(footage.end if end is None else end)
    return count


def is_late(passed: float, at: float, last: float) -> bool:
    """Whether a frame taken `at` that time is left out when `passed` seconds are over and the `last` was written."""
    return passed - at > BEHIND and at - last < LONGEST_GAP


def _as_shown(background: Background | None, clip: Clip) -> Background | None:
    """A background picture squeezed as the video's pixels are, so that it is shown in its own shape."""
    if not isinstance(background, composing.PictureBackground) or clip.aspect == 1:
        return background
    height, width = background.pixels.shape[:2]
    size = (max(1, round(width / clip.aspect)), height)
    squeezed = cv2.resize(background.pixels, size, interpolation=cv2.INTER_AREA)
    return replace(background, pixels=np.asarray(squeezed, np.uint8))


def _write(written: list[Recording], pictures: tuple[Array, Array | None], at: int) -> None:
    for recording, picture in zip(written, pictures, strict=False):
        if picture is not None:
            recording.write(picture, at)
