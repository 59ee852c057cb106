"""A video in, a mask video or a composed video out: same times, size, shape and sound; cameras likewise."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from sinet.images.decode import Array, upright
from sinet.inference import footage, recording, video
from sinet.inference.compose import Blur, Colour
from sinet.inference.compose import PictureBackground as Backdrop
from sinet.inference.footage import ORIENTATIONS, TimedPicture, VideoError, opened
from sinet.inference.predictor import Predictor
from sinet.inference.recording import check_written
from sinet.inference.video import is_late, predict_video, record
from tests.sinet.films import SIZE, film, full_disk, see, watch, write_film
from tests.sinet.portraits import portrait

NO_VIDEO = "the file is no video that FFmpeg can read, or it is damaged"
UNEVEN = [Fraction(ms, 1000) for ms in (0, 40, 47, 400, 1234, 2000, 2011, 3500)]


class Sure(Predictor):
    """Knows no doubt: how sure the quickly trained network is depends on the processor that trained it."""

    def probability(self, image: Array) -> Array:
        return (super().probability(image) > 0.5).astype(np.float32)


@pytest.fixture
def nobody(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """Sees no person, so that a composed video shows the background alone."""
    monkeypatch.setattr(predictor, "probability", lambda image: np.zeros(image.shape[:2], np.float32))
    return predictor


def portraits(count: int, size: tuple[int, int] = SIZE) -> list[Array]:
    image, _ = portrait(3, *size)
    return [np.roll(image, 2 * number, axis=1) for number in range(count)]


def test_a_mask_video(tmp_path: Path, predictor: Predictor) -> None:
    film(tmp_path / "in.mp4")
    assert predict_video(tmp_path / "in.mp4", tmp_path / "new" / "m.mp4", None, predictor, None) == 6
    source, rate = watch(tmp_path / "in.mp4")
    masks, mask_rate = watch(tmp_path / "new" / "m.mp4")
    assert mask_rate == pytest.approx(rate) == pytest.approx(12.5)
    assert len(masks) == len(source) == 6
    for frame, mask in zip(source, masks, strict=True):
        assert mask.shape == frame.shape
        assert np.array_equal(
            mask[..., 1] > 127, predictor.mask(frame) == 1
        )  # threshold at 127 gives it back
    assert 0.05 < (masks[0] > 127).mean() < 0.95
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.mp4"]


def test_a_composed_video_has_the_right_colours(tmp_path: Path, predictor: Predictor) -> None:
    film(tmp_path / "in.mp4")
    sure = Sure(predictor.model, predictor.preprocessing)
    predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", tmp_path / "c.mp4", sure, Colour((200, 60, 20)))
    source, _ = watch(tmp_path / "in.mp4")
    composed, _ = watch(tmp_path / "c.mp4")
    assert len(composed) == 6
    probability = sure.probability(source[2])
    behind, person = probability < 0.02, probability > 0.98
    kernel = np.ones((9, 9), np.uint8)  # away from the edge, where the codec mixes colours
    behind = cv2.erode(behind.astype(np.uint8), kernel) == 1
    person = cv2.erode(person.astype(np.uint8), kernel) == 1
    assert np.abs(composed[2][behind].mean(0) - (200, 60, 20)).max() < 6
    assert np.abs(composed[2][person].mean(0) - source[2][person].mean(0)).max() < 6


def test_a_browsers_recording_keeps_its_times_and_its_sound(tmp_path: Path, predictor: Predictor) -> None:
    """MediaRecorder says neither how long it is nor how fast, and counts milliseconds, which looks like 1000 fps."""
    write_film(
        tmp_path / "in.webm",
        portraits(8, (97, 75)),
        UNEVEN,
        rate=Fraction(1000),
        sound="libopus",
        options={"live": "1"},
    )
    with av.open(str(tmp_path / "in.webm")) as container:
        assert container.streams.video[0].guessed_rate == 1000
    source = see(tmp_path / "in.webm")
    assert predict_video(tmp_path / "in.webm", tmp_path / "m.mp4", tmp_path / "c.mp4", predictor, Blur()) == 8
    for name in ("m.mp4", "c.mp4"):
        result = see(tmp_path / name)
        assert result.times == pytest.approx([float(time) for time in UNEVEN], abs=1e-3)
        assert result.times == pytest.approx(source.times, abs=1e-3)
        assert result.end == pytest.approx(
            3.5 + 1.489, abs=0.01
        )  # the last is shown as long as the one before
        assert result.sounds == ["opus"]
        assert result.packets == source.packets
        assert result.hum == pytest.approx(source.hum, abs=0.01)
        assert result.frames[0].shape == (75, 97, 3)
    for frame, mask in zip(source.frames, see(tmp_path / "m.mp4").frames, strict=True):
        assert np.array_equal(mask[..., 1] > 127, predictor.mask(frame) == 1)


@pytest.mark.parametrize(
    ("name", "codec", "copied"),
    [
        ("in.mov", "aac", True),
        ("in.mkv", "libmp3lame", True),
        ("in.mkv", "flac", True),
        ("in.ts", "aac", True),  # begins at 1.4 seconds, without the header that MP4 wants
        ("in.mov", "pcm_s16le", False),
        ("in.webm", "vorbis", False),
        ("in.avi", "pcm_s16le", False),
        ("in.ts", "mp2", False),
    ],
)
def test_sound(name: str, codec: str, copied: bool, tmp_path: Path, nobody: Predictor) -> None:
    film(tmp_path / name, count=31, rate=25, sound=codec)
    assert predict_video(tmp_path / name, tmp_path / "m.mp4", None, nobody, None) == 31
    source, result = see(tmp_path / name), see(tmp_path / "m.mp4")
    assert result.times == pytest.approx(source.times, abs=0.041 if name == "in.avi" else 2e-3)
    assert result.hum == pytest.approx(0.5, abs=0.08)
    assert result.hum - result.times[0] == pytest.approx(source.hum - source.times[0], abs=0.05)
    if copied:
        assert result.sounds == source.sounds
        if name != "in.ts":
            assert result.packets == source.packets
    else:
        assert result.sounds == ["aac"]


def test_each_sound_track(tmp_path: Path, nobody: Predictor) -> None:
    film(tmp_path / "one.mkv", count=8, sound="aac")
    film(tmp_path / "two.mkv", count=8, sound="pcm_s16le")
    with (
        av.open(str(tmp_path / "one.mkv")) as one,
        av.open(str(tmp_path / "two.mkv")) as two,
        av.open(str(tmp_path / "in.mkv"), "w") as both,
    ):
        sources = [(one, one.streams.video[0]), (one, one.streams.audio[0]), (two, two.streams.audio[0])]
        copies = [both.add_stream_from_template(stream) for _, stream in sources]
        for (container, stream), copy in zip(sources, copies, strict=True):
            container.seek(0)
            for packet in container.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    both.mux(packet)
    predict_video(tmp_path / "in.mkv", tmp_path / "m.mp4", None, nobody, None)
    assert see(tmp_path / "m.mp4").sounds == ["aac", "aac"]


def test_pixels_that_are_not_square_stay_so(tmp_path: Path, nobody: Predictor) -> None:
    aspect = Fraction(16, 11)
    film(tmp_path / "in.mp4", count=1, aspect=aspect)
    disc = cv2.circle(np.zeros((200, 200, 3), np.uint8), (100, 100), 60, (255, 255, 255), -1)
    predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", tmp_path / "c.mp4", nobody, Backdrop(disc))
    assert see(tmp_path / "m.mp4").aspect == see(tmp_path / "c.mp4").aspect == aspect
    light = see(tmp_path / "c.mp4").frames[0][..., 1] > 127
    wide, tall = light.any(0).sum(), light.any(1).sum()
    assert wide * float(aspect) == pytest.approx(tall, abs=2), "shown, the disc is round"


@pytest.mark.parametrize(("turn", "orientation"), ORIENTATIONS.items())
def test_a_turned_video_comes_upright(
    turn: tuple[int, int, int, int], orientation: int, tmp_path: Path, nobody: Predictor
) -> None:
    a, b, c, d = (65536 * one for one in turn)
    film(tmp_path / "in.mp4", 1, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30), aspect=Fraction(2))
    predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", tmp_path / "c.mp4", nobody, Colour((9, 9, 9)))
    with opened(tmp_path / "in.mp4") as source:
        (shown,) = source
    assert isinstance(shown, TimedPicture)
    wanted = upright(see(tmp_path / "in.mp4").frames[0], orientation)
    assert np.abs(shown.pixels.astype(int) - wanted).mean() < 1
    result = see(tmp_path / "m.mp4")
    assert result.frames[0].shape == wanted.shape
    assert result.aspect == (Fraction(1, 2) if orientation >= 5 else 2)


def test_a_turn_that_is_not_by_quarters_is_refused(tmp_path: Path, nobody: Predictor) -> None:
    film(tmp_path / "in.mp4", 1, matrix=(63858, 14742, 0, -14742, 63858, 0, 0, 0, 1 << 30))
    with pytest.raises(VideoError, match=r"turned by -1[23] degrees, expected quarter turns"):
        predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", None, nobody, None)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("gray", 3), ("yuv420p10le", 3), ("yuv444p", 3), ("bgra", 1), ("yuv422p", 3), ("gray16le", 3)],
)
def test_pixels_of_every_kind(kind: str, tolerance: float, tmp_path: Path) -> None:
    drawn = cv2.GaussianBlur(portraits(1)[0], (0, 0), 4)  # halved colours lose nothing of it
    pixels = np.dstack((drawn, np.full(drawn.shape[:2], 255, np.uint8))) if kind == "bgra" else drawn
    if kind == "bgra":
        pixels[:40, :, 3] = 0
        drawn = drawn.copy()
        drawn[:40] = 255  # on white, as pictures
    write_film(tmp_path / "in.mkv", [pixels], [Fraction(0)], codec="ffv1", kind=kind)
    with opened(tmp_path / "in.mkv") as source:
        (shown,) = source
    assert isinstance(shown, TimedPicture)
    wanted = drawn @ (0.299, 0.587, 0.114) if kind.startswith("gray") else drawn
    found = shown.pixels[..., 0] if kind.startswith("gray") else shown.pixels
    assert np.abs(found.astype(int) - wanted).mean() < tolerance


def test_high_definition_is_read_and_written_as_such(tmp_path: Path, nobody: Predictor) -> None:
    """What names no colours means BT.709 from 720 lines on; read as BT.601, a face turns green."""
    red = np.full((720, 64, 3), (200, 60, 20), np.uint8)
    write_film(tmp_path / "in.mkv", [red], [Fraction(0)], codec="ffv1", kind="yuv444p")
    with opened(tmp_path / "in.mkv") as source:
        (shown,) = source
    assert np.abs(shown.pixels.mean((0, 1)) - red[0, 0]).max() > 5, "the test's own film is BT.601"
    predict_video(tmp_path / "in.mkv", tmp_path / "m.mp4", tmp_path / "c.mp4", nobody, Colour((200, 60, 20)))
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1
    assert np.abs(see(tmp_path / "c.mp4").frames[0].mean((0, 1)) - (200, 60, 20)).max() < 3


def sound_only(path: Path) -> None:
    film(path.with_suffix(".mkv"), count=8, sound="aac")
    with av.open(str(path.with_suffix(".mkv"))) as source, av.open(str(path), "w", format="mp4") as out:
        track = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    path.with_suffix(".mkv").unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_bytes(b"no video\n" * 50), NO_VIDEO),
    "zero bytes": (lambda path: path.write_bytes(b""), NO_VIDEO),
    "missing": (lambda path: None, "expected a video, found no such file"),
    "a folder": (lambda path: path.mkdir(), "expected a video, found no such file"),
    "a pipe": (os.mkfifo, "expected a video, found no such file"),
    "a list of other files": (
        lambda path: path.write_text(f"ffconcat version 1.0\nfile '{path.parent / 'secret.mp4'}'\n"),
        NO_VIDEO,
    ),
    "sound only": (sound_only, "expected a video, found a file with sound only"),
    "a header alone": (lambda path: film(path, 1) and path.write_bytes(path.read_bytes()[:40]), NO_VIDEO),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_video_says_so(tmp_path: Path, predictor: Predictor, kind: str) -> None:
    film(tmp_path / "secret.mp4", 1)
    make, message = BROKEN[kind]
    make(tmp_path / "in.mp4")
    with pytest.raises(VideoError, match=message):
        predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", None, predictor, None)
    assert {path.name for path in tmp_path.iterdir()} <= {"in.mp4", "secret.mp4"}


def test_a_cover_picture_is_no_video(tmp_path: Path, nobody: Predictor) -> None:
    sound_only(tmp_path / "song.mp4")
    with av.open(str(tmp_path / "song.mp4")) as song, av.open(str(tmp_path / "in.mp4"), "w") as out:
        cover = out.add_stream("png", rate=1, width=8, height=8, pix_fmt="rgb24")
        cover.disposition = av.stream.Disposition.attached_pic
        track = out.add_stream_from_template(song.streams.audio[0])
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8), "rgb24")))
        for packet in song.demux():
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    with pytest.raises(VideoError, match="expected a video, found a file with sound and cover picture only"):
        predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", None, nobody, None)


@pytest.mark.parametrize("name", ["in.avi", "in.mkv", "in.mp4"])
def test_half_a_video_is_told_and_its_half_is_kept(tmp_path: Path, nobody: Predictor, name: str) -> None:
    film(tmp_path / name, count=40, options={"movflags": "faststart"} if name == "in.mp4" else None)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"ends after 1\.\d of 3\.2 seconds; the result has"):
        predict_video(tmp_path / name, tmp_path / "m.mp4", None, nobody, None)
    assert 5 < len(watch(tmp_path / "m.mp4")[0]) < 36


@pytest.mark.parametrize("name", ["in.ts", "in.mp4"])
def test_a_hole_in_a_video_is_told_and_the_rest_is_kept(tmp_path: Path, nobody: Predictor, name: str) -> None:
    film(tmp_path / name, count=40)
    content = bytearray((tmp_path / name).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 9000] = bytes(9000)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        VideoError, match=r"the video is damaged, \d+ of its pieces cannot be used; the result has"
    ):
        predict_video(tmp_path / name, tmp_path / "m.mp4", None, nobody, None)
    result = see(tmp_path / "m.mp4")
    assert 5 < len(result.times) < 40
    assert result.times[-1] == pytest.approx(39 / 12.5, abs=0.1), "what comes after the hole keeps its time"


@pytest.mark.parametrize(
    ("name", "codec", "sound", "options", "left"),
    [
        ("hole.mkv", "libx264", None, {"cluster_time_limit": "200"}, 1),  # zeros, from 0.6 of it on
        ("fragments.mp4", "mpeg4", "aac", {"movflags": "frag_keyframe+empty_moov"}, 0.6),
        ("cut.m2ts", "mpeg2video", "aac", {}, 0.5),
        ("cut.mpg", "mpeg2video", "mp2", {}, 0.5),
    ],
)
def test_damage_that_only_a_flag_of_a_picture_or_of_sound_tells(
    name: str,
    codec: str,
    sound: str | None,
    options: dict[str, str],
    left: float,
    tmp_path: Path,
    nobody: Predictor,
) -> None:
    path = tmp_path / name
    film(path, count=50, rate=25, codec=codec, sound=sound, options=options)
    with opened(path) as whole:
        list(whole)
        assert whole.complaint(50, 0) is None
    content = bytearray(path.read_bytes())[: round(path.stat().st_size * left)]
    if left == 1:
        start = int(len(content) * 0.6)
        content[start : start + 1500] = bytes(1500)
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"the video is damaged, \d+ of its pieces cannot be used"):
        predict_video(path, tmp_path / "m.mp4", None, nobody, None)
    assert 10 < len(watch(tmp_path / "m.mp4")[0]) < 50


def shifted(source: Path, path: Path, by: Fraction, options: dict[str, str] | None = None) -> None:
    """Write the same packets, all of them later."""
    with av.open(str(source)) as old, av.open(str(path), "w", container_options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.pts += int(by / packet.time_base)
                packet.dts += int(by / packet.time_base)
                packet.stream = stream
                new.mux(packet)


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".wmv", ".mp4", ".ts"])
def test_a_whole_video_that_begins_late_is_whole(suffix: str, tmp_path: Path, nobody: Predictor) -> None:
    early, late = tmp_path / f"early{suffix}", tmp_path / f"late{suffix}"
    film(early, count=50, rate=25, codec="wmv2" if suffix == ".wmv" else None)
    shifted(early, late, Fraction(100))
    assert predict_video(late, tmp_path / "m.mp4", None, nobody, None) == 50


def test_pictures_that_an_edit_list_leaves_out_are_not_missing(tmp_path: Path, nobody: Predictor) -> None:
    film(tmp_path / "in.mp4", count=50, rate=25)
    shifted(tmp_path / "in.mp4", tmp_path / "cut.mp4", Fraction(-1), {"avoid_negative_ts": "disabled"})
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert container.streams.video[0].frames == 50 and container.duration == 1_000_000
    assert predict_video(tmp_path / "cut.mp4", tmp_path / "m.mp4", None, nobody, None) == 25


@pytest.mark.parametrize("sound", ["alac", "flac", "libmp3lame", "ac3"])
def test_the_last_piece_of_copied_sound_is_heard(sound: str, tmp_path: Path, nobody: Predictor) -> None:
    film(tmp_path / "in.mkv", count=50, rate=25, sound=sound)
    predict_video(tmp_path / "in.mkv", tmp_path / "m.mp4", tmp_path / "c.mp4", nobody, Blur())
    for name in ("m.mp4", "c.mp4"):
        assert samples(tmp_path / name) >= samples(tmp_path / "in.mkv") - 32  # a millisecond is 48


def samples(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(frame.samples for frame in container.decode(container.streams.audio[0]))


def test_a_full_disk_is_told_where_it_is_written_to_and_not_when_ffmpeg_seeks(tmp_path: Path) -> None:
    film(tmp_path / "in.mp4", 2)
    (tmp_path / "out").mkdir()
    with opened(tmp_path / "in.mp4") as source, full_disk(tmp_path / "out"):
        one = recording.Recording(tmp_path / "out" / "m.mp4", source.clip, (), "14")
        try:
            for data in (bytes(16_000), b"x"):
                with pytest.raises(OSError, match="No space left"):
                    one._file.write(data)
            assert one._file.seek(0) == 0
        finally:
            one.remove()


def test_times_that_go_back_are_refused(tmp_path: Path, nobody: Predictor) -> None:
    film(tmp_path / "one.ts", count=40)
    (tmp_path / "in.ts").write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    with pytest.raises(VideoError, match=r"expected times that rise, found .* ffmpeg -i VIDEO"):
        predict_video(tmp_path / "in.ts", tmp_path / "m.mp4", None, nobody, None)
    assert not (tmp_path / "m.mp4").exists()


def test_frames_of_another_size_are_refused(tmp_path: Path, nobody: Predictor) -> None:
    """As a browser records a window that is made smaller."""
    for number, size in enumerate(((96, 128), (64, 80))):
        film(tmp_path / f"{number}.webm", count=2, size=size)
    with (
        av.open(str(tmp_path / "0.webm")) as first,
        av.open(str(tmp_path / "1.webm")) as second,
        av.open(str(tmp_path / "in.webm"), "w") as out,
    ):
        stream = out.add_stream_from_template(first.streams.video[0], opaque=True)
        for late, part in ((0, first), (160, second)):
            for packet in part.demux():
                if packet.dts is not None:
                    packet.pts += late
                    packet.dts += late
                    packet.stream = stream
                    out.mux(packet)
    with pytest.raises(VideoError, match="expected frames of 96x128 pixels to the end, found one of 64x80"):
        predict_video(tmp_path / "in.webm", tmp_path / "m.mp4", None, nobody, None)
    assert not (tmp_path / "m.mp4").exists()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 200), (64, 33)])
def test_small_and_odd_sizes(size: tuple[int, int], tmp_path: Path, nobody: Predictor) -> None:
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    write_film(tmp_path / "in.mkv", [image, image], [Fraction(0), Fraction(1)], codec="ffv1", kind="bgr0")
    assert predict_video(tmp_path / "in.mkv", tmp_path / "m.mp4", None, nobody, None) == 2
    assert see(tmp_path / "m.mp4").frames[1].shape == image.shape


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "%03d.mp4", os.fsdecode(b"caf\xe9.mp4"), "-i.mp4"])
def test_any_name(name: str, tmp_path: Path, nobody: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "in.mp4", 2)
    Path("in.mp4").rename(name)
    assert predict_video(Path(name), Path("out") / name, None, nobody, None) == 2
    assert (tmp_path / "out" / name).stat().st_size > 500


def test_a_title_in_other_letters(tmp_path: Path, nobody: Predictor) -> None:
    film(tmp_path / "in.avi", 2, metadata={"title": "cafX"})
    (tmp_path / "in.avi").write_bytes((tmp_path / "in.avi").read_bytes().replace(b"cafX", b"caf\xe9"))
    assert predict_video(tmp_path / "in.avi", tmp_path / "m.mp4", None, nobody, None) == 2


def test_a_kill_in_the_middle_leaves_no_half_video(
    tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "in.mp4")
    (tmp_path / "m.mp4").write_text("of an earlier run")
    calls = iter([None, None, KeyboardInterrupt()])

    def probability(frame: Array) -> Array:
        error = next(calls)
        if error is not None:
            raise error
        return np.zeros(frame.shape[:2], np.float32)

    monkeypatch.setattr(predictor, "probability", probability)
    with pytest.raises(KeyboardInterrupt):
        predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", tmp_path / "c.mp4", predictor, Blur())
    assert (tmp_path / "m.mp4").read_text() == "of an earlier run"
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "m.mp4"}


@contextmanager
def small_files(folder: Path) -> Iterator[None]:
    """No file may become larger than 12 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("limit", "code"), [(full_disk, errno.ENOSPC), (small_files, errno.EFBIG)])
def test_a_full_disk_leaves_the_earlier_video(
    limit: Callable[..., Iterator[None]], code: int, tmp_path: Path, nobody: Predictor
) -> None:
    film(tmp_path / "in.mp4", count=40, sound="aac")
    out = tmp_path / "out"
    out.mkdir()
    with limit(out):
        (out / "m.mp4").write_text("of an earlier run")
        with pytest.raises(OSError) as caught:
            predict_video(tmp_path / "in.mp4", out / "m.mp4", out / "c.mp4", nobody, Blur())
        assert caught.value.errno == code
        assert (out / "m.mp4").read_text() == "of an earlier run"
        assert [path.name for path in out.iterdir()] == ["m.mp4"]


def test_a_writer_that_reports_no_error_is_not_trusted(
    tmp_path: Path, nobody: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that loses what it took: the file is cut off after all was written."""
    film(tmp_path / "in.mp4", count=30)
    (tmp_path / "m.mp4").write_text("of an earlier run")
    for share in (0.0, 0.3, 0.97):
        monkeypatch.setattr(recording.os, "fsync", lambda file, share=share: cut(file, share))
        with pytest.raises(VideoError, match=r"the video that was written .* is not kept"):
            predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", tmp_path / "c.mp4", nobody, Blur())
        assert (tmp_path / "m.mp4").read_text() == "of an earlier run"
        assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "m.mp4"}


def cut(file: int, share: float) -> None:
    os.ftruncate(file, int(os.fstat(file).st_size * share))


@pytest.mark.parametrize(
    ("pictures", "length", "packets"), [(7, 0.4, 0), (6, 0.48, 0), (6, 0.4, 1), (5, 0.4, 0), (6, 0.398, 0)]
)
def test_a_written_file_that_holds_something_else(
    pictures: int, length: float, packets: int, tmp_path: Path, nobody: Predictor
) -> None:
    film(tmp_path / "in.mp4", sound="aac")
    predict_video(tmp_path / "in.mp4", tmp_path / "m.mp4", None, nobody, None)
    sound = len(see(tmp_path / "m.mp4").packets)
    check_written(tmp_path / "m.mp4", 6, Fraction(2, 5), [sound])
    with pytest.raises(VideoError, match="is damaged, and is not kept: expected"):
        check_written(tmp_path / "m.mp4", pictures, Fraction(length), [sound + packets])


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Camera 0 shows this film, once; there is no camera 1."""
    path = tmp_path / "camera.mkv"
    write_film(path, portraits(8), UNEVEN)
    monkeypatch.setattr(
        footage, "camera_address", lambda number: (str(path if number == 0 else tmp_path / "none"), None)
    )
    return path


def clock(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """A clock that goes on by `step` seconds whenever it is looked at."""
    times = iter(np.arange(1000, 2000) * step)
    monkeypatch.setattr(video.time, "monotonic", lambda: float(next(times)))


def test_a_camera_keeps_the_times_of_its_frames(
    camera: Path, tmp_path: Path, nobody: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0)
    count = record(0, tmp_path / "m.mp4", tmp_path / "c.mp4", nobody, Blur(), None)
    assert count == 8
    for name in ("m.mp4", "c.mp4"):
        assert see(tmp_path / name).times == pytest.approx([float(time) for time in UNEVEN], abs=1e-3)


def test_a_slow_network_leaves_frames_out(
    camera: Path, tmp_path: Path, nobody: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0.5)
    record(0, tmp_path / "m.mp4", None, nobody, None, None)
    # Looked at after 0.5, 1.0, 1.5, ... seconds all are late, but no second goes by without a frame.
    assert see(tmp_path / "m.mp4").times == pytest.approx([0, 1.234, 3.5], abs=1e-3)


@pytest.mark.parametrize(
    ("passed", "at", "last", "late"),
    [
        (5.0, 5.0, 4.9, False),
        (5.1, 5.0, 4.9, False),
        (5.3, 5.0, 4.9, True),
        (9.0, 5.0, 4.1, True),
        (9.0, 5.0, 3.9, False),  # for a second nothing was written
        (5.0, 5.5, 5.4, False),
    ],
)
def test_when_a_frame_is_left_out(passed: float, at: float, last: float, late: bool) -> None:
    assert is_late(passed, at, last) is late


def test_seconds_end_a_recording(
    camera: Path, tmp_path: Path, nobody: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0)
    assert record(0, tmp_path / "m.mp4", None, nobody, None, 0.45) == 4


def test_ctrl_c_ends_a_recording_and_keeps_it(
    camera: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0)
    left = iter([1, 1, 1])

    def probability(frame: Array) -> Array:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return np.zeros(frame.shape[:2], np.float32)

    monkeypatch.setattr(predictor, "probability", probability)
    assert record(0, tmp_path / "m.mp4", None, predictor, None, None) == 3
    assert len(see(tmp_path / "m.mp4").frames) == 3


def test_a_camera_that_is_not_there(camera: Path, tmp_path: Path, predictor: Predictor) -> None:
    with pytest.raises(VideoError, match=r"camera 1 cannot be opened \(.*\); cameras are numbered from 0"):
        record(1, tmp_path / "m.mp4", None, predictor, None, None)


def test_a_real_device_is_read(tmp_path: Path, nobody: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's own test device stands for a camera: it never ends."""
    monkeypatch.setattr(footage, "camera_address", lambda number: ("testsrc=size=96x64:rate=50", "lavfi"))
    assert record(0, tmp_path / "m.mp4", None, nobody, None, 0.3) == 15
    assert see(tmp_path / "m.mp4").end == pytest.approx(0.3, abs=1e-3)
