"""A video file or a camera as pictures with their times, and its sound beside them.

Pictures come upright and as RGB; times are those of the file, moved so that it begins at 0.
"""

import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from sinet.images.decode import Array, upright

DEFAULT_RATE = Fraction(25)  # frames a second, where the source does not say
FASTEST = 240  # frames a second; what is above is the fineness of a clock, as in a browser's recording
HD = 720  # lines; from here on a video that does not name its colours means BT.709, below BT.601
COPIED = frozenset({"aac", "mp3", "opus", "flac", "alac", "ac3", "eac3"})  # sound that players take in MP4
# Whose length is the time at which they end, as FFmpeg writes them.
COUNTED_FROM_ZERO = ("matroska,webm", "asf")
GBR, BT709, UNSPECIFIED, BT601 = 0, 1, 2, 6  # matrices, in the numbers of H.273
# What reading damaged bytes raises: FFmpeg's errors, and Python's where it is sent to a place that no file has.
BROKEN = (av.FFmpegError, OSError, ValueError)
# The turn of a display matrix, (a, b, c, d) for x' = a x + c y and y' = b x + d y, as an EXIF orientation.
ORIENTATIONS: dict[tuple[float, ...], int] = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


class VideoError(ValueError):
    """A video or camera that cannot be used; the message says what was expected and found."""


@dataclass(frozen=True)
class Colours:
    """How YUV means RGB, in the numbers of H.273."""

    matrix: int
    primaries: int
    transfer: int


@dataclass(frozen=True)
class Clip:
    """What a video is, upright; `frames` is an estimate, 0 where there is none (a camera)."""

    width: int
    height: int
    aspect: Fraction  # width of a pixel to its height
    time_base: Fraction  # seconds; what times count
    rate: Fraction  # frames a second, about
    frames: int
    colours: Colours


@dataclass(frozen=True)
class TimedPicture:
    """(H, W, 3) uint8 RGB, upright, shown from the time `at` in units of `Clip.time_base`."""

    pixels: Array
    at: int


@dataclass(frozen=True)
class Sound:
    """A piece of the sound track of that number: as it is where MP4 takes its kind, else decoded."""

    track: int
    data: "Packet[Any] | AudioFrame"


class Footage:
    """The pictures and sounds of an opened video, to be iterated over once."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        """VideoError where there is no picture that can be read."""
        self._container, self._stream, self._base = container, stream, time_base(stream)
        self.sounds = [one for one in container.streams.audio if one.codec_context is not None]
        self._begin = Fraction(container.start_time or 0, 1_000_000)
        self._reached, self._declared = self._begin, _declared_end(container, stream, self._begin)
        self._damaged = 0  # packets that are not whole or cannot be decoded, and pictures with holes
        # Whether a whole picture was seen: before it, those of a cut at any place lack others.
        self._whole = False
        self._sound_times: dict[int, int] = {}  # of each track: of the last packet, or where its samples end
        self._reformatter = VideoReformatter()
        self._last, self._interval, self._late = -1, 0, 0  # of the pictures, in the stream's time base
        stream.codec_context.thread_type = "AUTO"
        pieces = self._pieces()
        before: list[TimedPicture | Sound] = []
        for piece in pieces:
            before.append(piece)
            if isinstance(piece, TimedPicture):
                break
        else:
            raise VideoError("the video holds no frame that can be read")
        self._left = chain(before, pieces)
        self.clip = self._clip(piece.pixels)

    def __iter__(self) -> Iterator[TimedPicture | Sound]:
        return self._left

    @property
    def end(self) -> int:
        """Until when the last picture that was read is shown: as the file says, or as long as the one before it."""
        stream = self._stream
        if stream.duration is not None:
            said = (stream.start_time or 0) + stream.duration - self._start(stream)
            if said > self._last:
                return said
        return self._last + max(1, self._interval or round(1 / self.clip.rate / self._base))

    def complaint(self, count: int, refused: int) -> str | None:
        """What is wrong with a video that was read to its end and gave `count` pictures, `refused` pieces unusable."""
        length, missing = self._declared - self._begin, self._declared - self._reached
        if missing > max(Fraction(1, 5), length / 200):  # containers count a little wrong
            return (
                f"the video ends after {float(length - missing):.1f} of {float(length):.1f} seconds; the result has "
                f"those {count} frames. With the whole video, run again with --existing replace"
            )
        if self._damaged + refused:
            return (
                f"the video is damaged, {self._damaged + refused} of its pieces cannot be used; the result has the "
                f"{count} frames that can"
            )
        return None

    def _pieces(self) -> Iterator[TimedPicture | Sound]:
        for packet in self._packets():
            if packet.stream is self._stream:  # not by its number, which the empty one at the end lacks
                yield from self._pictures(packet)
            elif isinstance(packet.stream, AudioStream) and packet.stream in self.sounds:
                yield from self._sounds(packet, packet.stream)

    def _packets(self) -> "Iterator[Packet[Any]]":
        """All packets, and at the end an empty one of each stream; what the machine cannot read is damage too."""
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except BROKEN:
                self._damaged += 1
                yield from self._empty()
                return
            if packet.pts is not None:
                self._reached = max(self._reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
            yield packet

    def _empty(self) -> "Iterator[Packet[Any]]":
        for stream in (self._stream, *self.sounds):
            packet: Packet[Any] = Packet()
            packet.stream = stream
            packet.time_base = time_base(stream)
            yield packet

    def _pictures(self, packet: "Packet[Any]") -> Iterator[TimedPicture]:
        self._damaged += packet.is_corrupt
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            self._damaged += 1
            return
        for frame in frames:
            self._whole = self._whole or not frame.is_corrupt
            self._damaged += self._whole and frame.is_corrupt and not packet.is_corrupt
            yield TimedPicture(self._pixels(frame), self._time(frame))

    def _time(self, frame: VideoFrame) -> int:
        """When a picture is shown. A time that does not rise is moved a little; VideoError where that is too much."""
        said = frame.pts if frame.pts is not None else frame.dts
        if self._container.format.name == "avi":  # it has the times of decoding alone
            said = frame.dts
            self._late = said or 0 if self._last < 0 else self._late
        if said is None:
            return self._advance(self._last + max(1, self._interval))
        at = said - self._late - self._start(self._stream)
        if (self._last - at) * self._base > 1:
            raise VideoError(
                f"expected times that rise, found {float(at * self._base):.1f} seconds after "
                f"{float(self._last * self._base):.1f}; write the video anew first: "
                "ffmpeg -i VIDEO -c copy NEW.mkv"
            )
        return self._advance(max(at, self._last + 1))

    def _advance(self, at: int) -> int:
        if self._last >= 0:
            self._interval = at - self._last
        self._last = at
        return at

    def _sounds(self, packet: "Packet[Any]", stream: AudioStream) -> Iterator[Sound]:
        track = self.sounds.index(stream)
        self._damaged += packet.is_corrupt
        if not is_copied(stream):
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                self._damaged += 1
                return
            yield from (Sound(track, self._timed(track, frame)) for frame in frames)
            return
        if packet.dts is None or packet.pts is None:  # the empty one at the end
            return
        shift = self._start(stream)
        packet.dts = max(packet.dts - shift, self._sound_times.get(track, packet.dts - shift - 1) + 1)
        packet.pts = max(packet.pts - shift, packet.dts)
        if not packet.duration and track in self._sound_times:  # an MP4's last piece would be over at once
            packet.duration = packet.dts - self._sound_times[track]
        self._sound_times[track] = packet.dts
        yield Sound(track, packet)

    def _timed(self, track: int, frame: AudioFrame) -> AudioFrame:
        """A decoded piece right after the one before it, unless its own time leaves a gap that can be heard."""
        after = self._sound_times.get(track, 0)
        said = after
        if frame.pts is not None and frame.time_base is not None:
            said = round((frame.pts * frame.time_base - self._begin) * frame.sample_rate)
        at = said if track not in self._sound_times or said > after + frame.sample_rate / 10 else after
        frame.pts, frame.time_base = at, Fraction(1, frame.sample_rate)
        self._sound_times[track] = at + frame.samples
        return frame

    def _start(self, stream: VideoStream | AudioStream) -> int:
        return round(self._begin / time_base(stream))

    def _pixels(self, frame: VideoFrame) -> Array:
        matrix = None if frame.colorspace != UNSPECIFIED else _matrix(frame)
        kind = "rgba" if any(part.is_alpha for part in frame.format.components) else "rgb24"
        try:
            made = self._reformatter.reformat(frame, format=kind, src_colorspace=matrix)
        except av.FFmpegError as error:
            raise VideoError(
                f"frames of the kind {frame.format.name} cannot be turned into RGB: {error.strerror}"
            ) from error
        pixels = np.asarray(made.to_ndarray(), np.uint8)
        if kind == "rgba":
            pixels = _on_white(pixels)
        self._orientation = _orientation(frame)
        return upright(pixels, self._orientation)

    def _clip(self, first: Array) -> Clip:
        stream, aspect = self._stream, self._stream.sample_aspect_ratio or Fraction(1)
        rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        rate = rate if 0 < rate <= FASTEST else DEFAULT_RATE
        seconds = self._declared - self._begin
        height, width = first.shape[:2]
        context = stream.codec_context
        matrix = context.colorspace
        if matrix in (GBR, UNSPECIFIED):
            matrix = BT709 if height >= HD else BT601
        return Clip(
            width,
            height,
            1 / aspect if self._orientation >= 5 else aspect,
            self._base,
            rate.limit_denominator(1001),
            stream.frames or round(seconds * rate),
            Colours(matrix, context.color_primaries, context.color_trc),
        )


def _declared_end(container: InputContainer, stream: VideoStream, begin: Fraction) -> Fraction:
    """When the file says that it ends, in seconds; `begin` where it does not say it."""
    length, kind = Fraction(container.duration or 0, 1_000_000), container.format.name
    if kind in COUNTED_FROM_ZERO:
        return max(begin, length)
    if kind == "avi" and stream.average_rate:  # of half an AVI FFmpeg reckons the length by its bytes
        length = max(length, stream.frames / stream.average_rate)
    return begin + length


def time_base(stream: Stream) -> Fraction:
    """What a stream's times count, in seconds."""
    if stream.time_base is None:
        raise VideoError("expected a video with times, found none")
    return stream.time_base


def is_copied(sound: AudioStream) -> bool:
    """Whether MP4 takes the sound as it is."""
    return sound.codec_context.codec.canonical_name in COPIED


@contextmanager
def opened(source: Path) -> Iterator[Footage]:
    """A video file; VideoError where it holds no video that can be read."""
    if not source.is_file():
        raise VideoError("expected a video, found no such file")
    with ExitStack() as stack:
        try:
            # As a file, not by its name, in which a colon or a % would mean something.
            file = stack.enter_context(source.open("rb"))
        except OSError as error:
            raise VideoError(f"the video cannot be read: {error.strerror}") from error
        alone = {"protocol_whitelist": "none"}  # it may not name other files
        try:
            container = stack.enter_context(av.open(file, "r", options=alone, metadata_errors="replace"))
        except BROKEN as error:
            raise VideoError("the file is no video that FFmpeg can read, or it is damaged") from error
        yield Footage(container, _video(container))


@contextmanager
def opened_camera(number: int) -> Iterator[Footage]:
    """The camera of that number; VideoError where it cannot be opened."""
    name, kind = camera_address(number)
    try:
        container = av.open(name, "r", format=kind)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"camera {number} cannot be opened ({error.strerror}); cameras are numbered from 0"
        ) from error
    with container:
        yield Footage(container, _video(container))


def camera_address(number: int) -> tuple[str, str]:
    """What FFmpeg calls a camera on this system: its name and the kind of its driver."""
    if sys.platform == "darwin":
        return f"{number}:none", "avfoundation"
    if sys.platform == "win32":
        cameras = [one for one in av.enumerate_input_devices("dshow") if "video" in one.media_types]
        return f"video={cameras[number].description if number < len(cameras) else number}", "dshow"
    return f"/dev/video{number}", "v4l2"


def _video(container: InputContainer) -> VideoStream:
    """The video of a file, which a cover picture is not."""
    best = container.streams.best("video")
    if not isinstance(best, VideoStream) or best.disposition & Disposition.attached_pic:
        held: set[str] = {str(one.type) for one in container.streams} - {"video"}
        held |= set() if best is None else {"cover picture"}
        found = " and ".join(sorted(held)).replace("audio", "sound")
        raise VideoError(f"expected a video, found a file with {found or 'nothing'} only")
    if best.codec_context is None:
        raise VideoError("the video is of a kind that FFmpeg cannot decode")
    return best


def _orientation(frame: VideoFrame) -> int:
    all_data: Iterable[Any] = frame.side_data
    matrix = next((one for one in all_data if one.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return 1
    a, b, _, c, d = (round(value / 65536, 2) for value in struct.unpack("=9i", bytes(matrix))[:5])
    if (a, b, c, d) not in ORIENTATIONS:
        raise VideoError(
            f"the video asks to be shown turned by {frame.rotation} degrees, expected quarter turns; write it turned "
            "first: ffmpeg -i VIDEO NEW.mp4"
        )
    return ORIENTATIONS[a, b, c, d]


def _matrix(frame: VideoFrame) -> Colorspace:
    return Colorspace.ITU709 if frame.height >= HD else Colorspace.ITU601


def _on_white(rgba: Array) -> Array:
    opaque = rgba[..., 3:].astype(np.uint16)
    return np.asarray((rgba[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255, np.uint8)
