"""A video in, a mask video or a composed video out: same size, same rate, same frames; cameras likewise."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinet import video
from sinet.compose import Blur, Colour
from sinet.predict import Predictor
from sinet.video import Clip, VideoError, convert, due, frames, opened, record
from tests.sinet.films import SIZE, film, watch


def test_a_mask_video(tmp_path: Path, predictor: Predictor) -> None:
    film(tmp_path / "in.mp4")
    assert convert(tmp_path / "in.mp4", tmp_path / "new" / "m.mp4", None, predictor, None) == 6
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


class Sure(Predictor):
    """Knows no doubt: how sure the quickly trained network is depends on the processor that trained it."""

    def probability(self, image: np.ndarray) -> np.ndarray:
        return (super().probability(image) > 0.5).astype(np.float32)


def test_a_composed_video_has_the_right_colours(tmp_path: Path, predictor: Predictor) -> None:
    film(tmp_path / "in.mp4")
    sure = Sure(predictor.model, predictor.preprocessing)
    convert(tmp_path / "in.mp4", tmp_path / "m.mp4", tmp_path / "c.mp4", sure, Colour((200, 60, 20)))
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


def test_frames_are_red_green_blue(tmp_path: Path) -> None:
    drawn = film(tmp_path / "in.mp4", count=1)
    with opened(tmp_path / "in.mp4") as (clip, capture):
        assert clip == Clip(*SIZE, 12.5, 1)
        (frame,) = frames(capture)
    assert np.abs(frame.mean((0, 1)) - drawn[0].mean((0, 1))).max() < 4


BROKEN = {
    "text": (b"no video\n" * 50, "is no video that OpenCV can read, or it is damaged"),
    "zero bytes": (b"", "is no video that OpenCV can read, or it is damaged"),
    "missing": (None, "expected a video, found no such file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_video_says_so(tmp_path: Path, predictor: Predictor, kind: str) -> None:
    content, message = BROKEN[kind]
    if content is not None:
        (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=message):
        convert(tmp_path / "in.mp4", tmp_path / "m.mp4", None, predictor, None)
    assert {path.name for path in tmp_path.iterdir()} <= {"in.mp4"}


def test_half_a_video_is_told_and_its_half_is_kept(tmp_path: Path, predictor: Predictor) -> None:
    film(tmp_path / "in.avi", count=40)
    content = (tmp_path / "in.avi").read_bytes()
    (tmp_path / "in.avi").write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"the video ends after \d+ of 40 frames; the result has those"):
        convert(tmp_path / "in.avi", tmp_path / "m.mp4", None, predictor, None)
    assert 5 < len(watch(tmp_path / "m.mp4")[0]) < 36


def test_a_kill_in_the_middle_leaves_no_half_video(
    tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "in.mp4")
    (tmp_path / "m.mp4").write_text("of an earlier run")
    calls = iter([None, None, KeyboardInterrupt()])

    def probability(frame: np.ndarray) -> np.ndarray:
        error = next(calls)
        if error is not None:
            raise error
        return np.zeros(frame.shape[:2], np.float32)

    monkeypatch.setattr(predictor, "probability", probability)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "in.mp4", tmp_path / "m.mp4", tmp_path / "c.mp4", predictor, Blur())
    assert (tmp_path / "m.mp4").read_text() == "of an earlier run"
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "m.mp4"}


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Camera 0 shows this film, once; there is no camera 1."""
    path = tmp_path / "camera.mp4"
    film(path, count=9, rate=10)
    capture = cv2.VideoCapture
    monkeypatch.setattr(
        "cv2.VideoCapture",
        lambda source, *more: capture({0: str(path), 1: "nothing"}.get(source, source), cv2.CAP_FFMPEG),
    )
    return path


def clock(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """A clock that goes on by `step` seconds whenever it is looked at."""
    times = iter(np.arange(1000, 2000) * step)
    monkeypatch.setattr(video.time, "monotonic", lambda: float(next(times)))


def test_a_camera_in_real_time(
    camera: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0.1)
    count = record(0, tmp_path / "m.mp4", tmp_path / "c.mp4", predictor, Blur(), None)
    masks, rate = watch(tmp_path / "m.mp4")
    assert (count, len(masks), rate) == (10, 10, 10)  # the ninth frame came after 0.9 seconds


def test_a_slow_network_repeats_frames(
    camera: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0.25)
    # The ninth frame came after 2.25 seconds of 10 frames each.
    assert record(0, tmp_path / "m.mp4", None, predictor, None, None) == 1 + 22


def test_seconds_end_a_recording(
    camera: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0.1)
    assert record(0, tmp_path / "m.mp4", None, predictor, None, 0.45) == 5


def test_ctrl_c_ends_a_recording_and_keeps_it(
    camera: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(monkeypatch, 0.1)
    left = iter([1, 1, 1])

    def probability(frame: np.ndarray) -> np.ndarray:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return np.zeros(frame.shape[:2], np.float32)

    monkeypatch.setattr(predictor, "probability", probability)
    assert record(0, tmp_path / "m.mp4", None, predictor, None, None) == 4
    assert (tmp_path / "m.mp4").is_file()


def test_a_camera_that_is_not_there(camera: Path, tmp_path: Path, predictor: Predictor) -> None:
    with pytest.raises(VideoError, match="camera 1 cannot be opened; cameras are numbered from 0"):
        record(1, tmp_path / "m.mp4", None, predictor, None, None)


@given(
    st.floats(1, 60),
    st.lists(st.floats(0, 2), min_size=1, max_size=50),
)
def test_a_recording_is_as_long_as_the_time(rate: float, steps: list[float]) -> None:
    written, now = 0, 0.0
    for step in steps:
        now += step
        times = due(now, rate, written)
        assert times >= 0
        written += times
        assert abs(written - now * rate) <= 1 + 1e-6
