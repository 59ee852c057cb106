"""Small videos for tests, made and read by PyAV, with the times, sound, shape and turn that a test asks for."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sinet.images.decode import Array
from tests.sinet.portraits import portrait

SIZE = (96, 128)  # width, height
CODECS = {
    ".webm": "libvpx",
    ".mkv": "mpeg4",
    ".avi": "mpeg4",
    ".mp4": "mpeg4",
    ".mov": "mpeg4",
    ".ts": "mpeg2video",
}
RATE = 48_000


def film(
    path: Path, count: int = 6, rate: float = 12.5, size: tuple[int, int] = SIZE, **more: object
) -> list[Array]:
    """Write COUNT frames of one portrait that moves to the right; returns them, (H, W, 3) uint8 RGB."""
    image, _ = portrait(3, *size)
    drawn = [np.roll(image, 2 * number, axis=1) for number in range(count)]
    step = Fraction(1) / Fraction(rate)
    write_film(path, drawn, [number * step for number in range(count)], rate=Fraction(rate), **more)
    return drawn


def write_film(
    path: Path,
    frames: Sequence[Array],
    times: Sequence[Fraction],
    *,
    rate: Fraction = Fraction(25),
    codec: str | None = None,
    kind: str | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    sound: str | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Write frames, (H, W, 3) or (H, W, 4), at these times in seconds; SOUND is a codec that hums from 0.5 s on."""
    with av.open(str(path), "w", container_options=options or {}) as container:
        container.metadata.update(metadata or {})
        base = Fraction(1, 1000) if path.suffix in (".webm", ".mkv") else Fraction(1) / rate
        stream = container.add_stream(codec or CODECS[path.suffix], rate=rate, time_base=base)
        height, width = frames[0].shape[:2]
        stream.width, stream.height = width, height
        stream.pix_fmt = kind or stream.pix_fmt
        stream.codec_context.qmin, stream.codec_context.qmax, stream.bit_rate = 2, 6, 4_000_000
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        hum = (
            container.add_stream(sound, rate=RATE, layout="stereo", options={"strict": "-2"})
            if sound
            else None
        )
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, "rgba" if pixels.shape[2] == 4 else "rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = round(time / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if hum is not None:
            resampler = av.AudioResampler(hum.format, "stereo", RATE, hum.codec_context.frame_size or 1024)
            tone = av.AudioFrame.from_ndarray(_tone(float(times[-1])), "fltp", "mono")
            tone.sample_rate, tone.pts, tone.time_base = RATE, 0, Fraction(1, RATE)
            for piece in [*resampler.resample(tone), *resampler.resample(None), None]:
                container.mux(hum.encode(piece))


def _tone(seconds: float) -> np.ndarray:
    at = np.arange(int(seconds * RATE)) / RATE
    return (0.5 * np.sin(at * 2 * np.pi * 440) * (at >= 0.5))[None].astype(np.float32)


@dataclass(frozen=True)
class Seen:
    """What a reader finds in a video file; times in seconds from the file's beginning."""

    frames: list[Array]
    times: list[float]
    end: float
    aspect: Fraction
    sounds: list[str]  # codecs
    packets: list[bytes]  # of the first sound track
    hum: float | None  # when it can first be heard


def see(path: Path) -> Seen:
    """Read all of a video file."""
    frames, times, packets, loud = [], [], [], []
    with av.open(str(path)) as container:
        (video,) = container.streams.video
        start = (container.start_time or 0) / 1_000_000
        for packet in container.demux():
            if packet.stream.type == "audio":
                packets += [bytes(packet)] if packet.size else []
            for frame in packet.decode():
                if packet.stream is video:
                    frames.append(frame.to_ndarray(format="rgb24"))
                    times.append(frame.time - start)
                elif np.abs(frame.to_ndarray().astype(float)).max() > 0.05:
                    loud.append(frame.time - start)
        return Seen(
            frames,
            times,
            (container.duration or 0) / 1_000_000,
            video.sample_aspect_ratio,
            [sound.codec_context.codec.canonical_name for sound in container.streams.audio],
            packets,
            loud[0] if loud else None,
        )


def watch(path: Path) -> tuple[list[Array], float]:
    """All frames of a video, RGB, and its rate."""
    with av.open(str(path)) as container:
        (video,) = container.streams.video
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video)], float(
            video.average_rate
        )


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """A file system of 12 kB, where this user may make one."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
