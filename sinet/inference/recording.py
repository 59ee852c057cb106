"""An MP4 with H.264 pictures and the sound of what it was made from, which gets its name once it was read again.

H.264 is what browsers, phones and editors play. Sides of an odd number of pixels need its 4:4:4 profile, which some
players (Firefox, Safari) do not show.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from sinet.images.decode import Array
from sinet.inference.files import TEMPORARY
from sinet.inference.footage import BROKEN, Clip, Sound, VideoError, is_copied, time_base

CODEC = "libx264"
# Without B-frames pictures are stored in the order of their times, so that every reader finds the first one at 0.
OPTIONS = {"preset": "veryfast", "bf": "0"}
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
QUALITY = {"mask": "14", "composed": "20"}  # x264's crf; a mask's levels must stay on their side of 127


class Recording:
    """An MP4 under a hidden name, until it is finished, checked and named."""

    def __init__(self, path: Path, clip: Clip, sounds: Sequence[AudioStream], quality: str) -> None:
        """VideoError where H.264 has no such pictures."""
        self.path, self._clip = path, clip
        self._count, self._times = 0, [0, 0]
        self._durations: dict[int | None, int] = {}  # by time, of what the encoder still holds
        self._waiting: tuple[VideoFrame, int] | None = None
        self._reformatter = VideoReformatter()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = TemporaryDirectory(dir=path.parent, prefix=TEMPORARY)
        try:
            self._temporary = Path(self._folder.name) / "video.mp4"
            self._file = _Whole(self._temporary, "wb")
            self._container = av.open(self._file, "w", format="mp4")
            self._stream = _video_stream(self._container, clip, quality)
            self._tracks = [_track(self._container, sound) for sound in sounds]
            self._container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            self.remove()
            raise VideoError(
                f"{path} cannot be written as a video of {clip.width}x{clip.height} pixels: {error}"
            ) from error

    def write(self, pixels: Array, at: int) -> None:
        """(H, W) grey or (H, W, 3) RGB uint8 of the clip's size, shown from `at` until the next one's time."""
        if pixels.shape[:2] != (self._clip.height, self._clip.width):
            raise VideoError(
                f"expected frames of {self._clip.width}x{self._clip.height} pixels to the end, found one of "
                f"{pixels.shape[1]}x{pixels.shape[0]}; make them one size first: ffmpeg -i VIDEO NEW.mp4"
            )
        self._encode_waiting(at)
        rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else np.ascontiguousarray(pixels)
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(rgb, format="rgb24"),
            format=self._stream.pix_fmt,
            dst_colorspace=_colorspace(self._clip.colours.matrix),
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = at, self._clip.time_base
        self._waiting = frame, at

    def hear(self, sound: Sound) -> None:
        """Add a piece of sound."""
        self._tracks[sound.track].take(sound.data)

    @property
    def refused(self) -> int:
        """Pieces of sound that were too damaged to be written."""
        return sum(track.refused for track in self._tracks)

    def finish(self, end: int) -> None:
        """Write all to the end, the last picture shown until `end`, and read the file again.

        OSError where the disk does not take it, VideoError where it then does not hold what was written.
        """
        self._encode_waiting(end)
        self._mux(self._stream.encode(None))
        for track in self._tracks:
            track.end()
        self._container.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        length = (self._times[1] - self._times[0]) * self._clip.time_base
        check_written(self._temporary, self._count, length, [track.count for track in self._tracks])

    def name(self) -> None:
        """Give a finished file its name."""
        self._temporary.replace(self.path)

    def remove(self) -> None:
        """Remove what did not get its name."""
        with suppress(AttributeError, OSError, ValueError, av.FFmpegError):  # the disk may be full
            self._container.close()
        with suppress(AttributeError, OSError):
            self._file.close()
        self._folder.cleanup()

    def _encode_waiting(self, until: int) -> None:
        """A picture waits for the time of the next one, since only then it is known how long it is shown."""
        if self._waiting is None:
            return
        frame, at = self._waiting
        self._times = [self._times[0] if self._count else at, at]
        self._durations[at] = until - at
        self._mux(self._stream.encode(frame))
        self._count += 1
        self._waiting = None

    def _mux(self, packets: "list[Packet[Any]]") -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts)  # the encoder does not pass it on
            self._container.mux(packet)


class _Whole(io.FileIO):
    """A file without a buffer, which would be written where FFmpeg cannot be told of a full disk: when it seeks."""

    def write(self, data: Any, /) -> int:
        """Write all of it: a raw file may take less than it was given."""
        left = memoryview(data).cast("B")
        while left:
            left = left[super().write(left) or 0 :]
        return memoryview(data).nbytes


class _Copied:
    """A sound track whose packets are taken over as they are."""

    def __init__(self, container: OutputContainer, sound: AudioStream) -> None:
        self.count = self.refused = 0
        self._container, self._stream = container, container.add_stream_from_template(sound)

    def take(self, packet: "Packet[Any] | AudioFrame") -> None:
        assert isinstance(packet, Packet), "this kind of sound is not decoded"
        packet.stream = self._stream  # a packet can go into several files one after the other
        try:
            self._container.mux(packet)
        except av.InvalidDataError:  # damaged sound has no place in an MP4
            self.refused += 1
        else:
            self.count += 1

    def end(self) -> None:
        pass


class _Encoded:
    """A sound track that MP4 does not take, as AAC."""

    def __init__(self, container: OutputContainer, sound: AudioStream) -> None:
        context = sound.codec_context
        rate = context.sample_rate if context.sample_rate in AAC_RATES else 48_000
        layout = "mono" if context.layout.nb_channels == 1 else "stereo"  # what all players know
        self.count = self.refused = 0
        self._container, self._stream = container, container.add_stream("aac", rate=rate, layout=layout)
        self._resampler = AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=1024)

    def take(self, frame: "Packet[Any] | AudioFrame") -> None:
        assert isinstance(frame, AudioFrame), "this kind of sound is decoded"
        try:
            resampled = self._resampler.resample(frame)
        except (ValueError, av.FFmpegError):  # of another kind than the frames before
            self.refused += 1
        else:
            self._encode(resampled)

    def end(self) -> None:
        if self.count:
            self._encode([*self._resampler.resample(None), None])

    def _encode(self, frames: Sequence[AudioFrame | None]) -> None:
        for frame in frames:
            packets = self._stream.encode(frame)
            self._container.mux(packets)
            self.count += len(packets)


@contextmanager
def recordings(
    mask: Path, composed: Path | None, clip: Clip, sounds: Sequence[AudioStream]
) -> Iterator[list[Recording]]:
    """A recording for the mask, and one for the composed video where there is a path.

    Who uses them finishes them; then all get their names, or none where something failed.
    """
    made: list[Recording] = []
    try:
        made.append(Recording(mask, clip, sounds, QUALITY["mask"]))
        if composed is not None:
            made.append(Recording(composed, clip, sounds, QUALITY["composed"]))
        yield made
        for recording in made:
            recording.name()
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise VideoError(f"FFmpeg cannot write the video: {error.strerror}") from error
    finally:
        for recording in made:
            recording.remove()


def check_written(path: Path, pictures: int, length: Fraction, packets: Sequence[int]) -> None:
    """VideoError where a file does not hold so many pictures over that time, in seconds, and so much of each sound.

    A writer that reports no error is not trusted: some file systems take what they then do not have.
    """
    times: list[int] = []
    heard = [0 for _ in packets]
    try:
        with (
            path.open("rb") as file,
            av.open(file, "r", container_options={"ignore_editlist": "1"}) as container,
        ):
            (video,) = container.streams.video
            video.codec_context.thread_type, base = "AUTO", time_base(video)
            for packet in container.demux():
                if packet.stream is video:
                    times += [frame.pts or 0 for frame in video.decode(packet)]
                else:
                    heard[packet.stream.index - 1] += packet.size > 0
    except (*BROKEN, IndexError) as error:
        raise VideoError(
            f"the video that was written cannot be read again, and is not kept: {error}"
        ) from error
    over = (times[-1] - times[0]) * base if times else Fraction(0)
    if len(times) != pictures or heard != list(packets) or abs(over - length) > Fraction(1, 1000):
        raise VideoError(
            f"the video that was written is damaged, and is not kept: expected {pictures} pictures over "
            f"{float(length):.3f} seconds and {list(packets)} pieces of sound, found {len(times)} over "
            f"{float(over):.3f} and {heard}"
        )


def _video_stream(container: OutputContainer, clip: Clip, quality: str) -> VideoStream:
    options = {**OPTIONS, "crf": quality}
    stream = container.add_stream(CODEC, rate=clip.rate, options=options, time_base=clip.time_base)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = clip.width, clip.height
    stream.pix_fmt = "yuv420p" if clip.width % 2 == 0 and clip.height % 2 == 0 else "yuv444p"
    context = stream.codec_context
    context.time_base = clip.time_base
    context.sample_aspect_ratio = clip.aspect
    context.colorspace, context.color_range = clip.colours.matrix, ColorRange.MPEG
    context.color_primaries, context.color_trc = clip.colours.primaries, clip.colours.transfer
    return stream


def _colorspace(matrix: int) -> Colorspace:
    """The number of H.273 as FFmpeg's scaler counts it; what it does not know is BT.601."""
    return Colorspace(matrix) if matrix in (1, 4, 7, 9) else Colorspace.ITU601


def _track(container: OutputContainer, sound: AudioStream) -> _Copied | _Encoded:
    return _Copied(container, sound) if is_copied(sound) else _Encoded(container, sound)
