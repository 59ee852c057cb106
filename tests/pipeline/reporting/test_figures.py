"""Plots as SVG: well-formed, the same bytes twice, each series in its own colour, every value in a bin."""

import re
from collections.abc import Callable
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.figures import (
    BACKGROUND,
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    histogram_edges,
    iou_histogram,
    spread_by_group,
    teacher_curves,
    train_curves,
)

TEACHER = pd.DataFrame(
    {"epoch": [1, 2, 3], "loss": [0.9, 0.7, 0.6], "dev_foreground_iou": [0.48, 0.71, 0.75]}
)
TRAIN = pd.DataFrame(
    {
        "phase": ["encoder", "encoder", "full", "full", "full"],
        "epoch": [1, 2, 3, 4, 5],
        "segmentation": [0.5, 0.4, 0.3, 0.2, 0.1],
        "boundary": [0.6, 0.5, 0.5, 0.4, 0.4],
        "dev_foreground_iou": [None, 0.7, None, 0.8, 0.9],
    }
)
SCORES = {"drawn by people": [0.91, 0.95, 0.97], "portrait crops": [0.88, 0.93]}
FACTS = pd.DataFrame(
    {
        "face_height": [0.4, 0.5, None],
        "brightness": [0.3, 0.5, 0.7],
        "sharpness": [90.0, 300.0, 4000.0],
        "centre_x": [0.5, 0.5, 0.6],
        "skin_tone": [None, None, None],
    },
    dtype="float64",
)
PLOTS: dict[str, Callable[[], str]] = {
    "teacher": partial(teacher_curves, TEACHER, 2),
    "train": partial(train_curves, TRAIN, 2),
    "iou": partial(iou_histogram, SCORES),
    "balance": partial(spread_by_group, {"side train": FACTS, "mine": FACTS[2:]}),
    "iou_of_one": partial(iou_histogram, {"drawn by people": [0.9]}),
}
NAMESPACE = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    """What can be read in a plot; its letters are text, not outlines."""
    lines = ElementTree.fromstring(svg).iter(f"{NAMESPACE}text")
    return ["".join(line.itertext()).strip() for line in lines]


def lines_of(svg: str, colour: str) -> int:
    """How many curves (without markers, axes, and dashes) have this colour."""
    paths = ElementTree.fromstring(svg).iter(f"{NAMESPACE}path")
    styles = [path.attrib.get("style", "") for path in paths]
    return sum(f"stroke: {colour}; stroke-width: 1.8" in style for style in styles)


def bars_of(svg: str, colour: str) -> int:
    """How many bars of some height have this colour."""
    paths = ElementTree.fromstring(svg).iter(f"{NAMESPACE}path")
    corners = [
        re.findall(r"[ML] \S+ (\S+)", path.attrib["d"])
        for path in paths
        if f"fill: {colour}" in path.attrib.get("style", "") and "clip-path" in path.attrib
    ]
    return sum(len(set(heights)) > 1 for heights in corners)


@pytest.mark.parametrize("draw", PLOTS.values(), ids=PLOTS)
def test_the_same_numbers_give_the_same_well_formed_bytes(draw: Callable[[], str]) -> None:
    svg = draw()
    assert ElementTree.fromstring(svg).tag == f"{NAMESPACE}svg"
    assert "<image" not in svg and "data:" not in svg
    assert svg == draw()


@pytest.mark.parametrize("draw", PLOTS.values(), ids=PLOTS)
def test_a_page_can_put_its_own_ink_in(draw: Callable[[], str]) -> None:
    """Axes, letters and ground are INK on BACKGROUND: whatever is black or white would not change with them."""
    svg = draw()
    assert INK in svg and BACKGROUND in svg
    assert not re.search(r"#000000|#ffffff|: (black|white)", svg)
    letters = ElementTree.fromstring(svg).iter(f"{NAMESPACE}text")
    assert all("fill: #" in letter.attrib["style"] for letter in letters)  # letters without it are black


def test_curves_of_the_teacher() -> None:
    svg = teacher_curves(TEACHER, 2)
    assert lines_of(svg, ORANGE) == lines_of(svg, BLUE) == 1
    assert {"loss", "dev", "kept: epoch 2", "Loss of the teacher on train", "epoch"} <= set(words(svg))


def test_curves_of_sinet_count_the_kept_epoch_through_both_phases() -> None:
    svg = train_curves(TRAIN, 2)
    assert lines_of(svg, BLUE) == 2  # a part of the loss, and the IoU on dev
    assert lines_of(svg, ORANGE) == 1
    assert {"segmentation loss", "boundary loss", "dev", "kept: epoch 4"} <= set(words(svg))
    assert words(svg).count("encoder | all") == 2


@pytest.mark.parametrize("phase", ["encoder", "full"])
def test_a_single_phase_has_no_border(phase: str) -> None:
    svg = train_curves(TRAIN[TRAIN["phase"] == phase], 1)
    assert "encoder | all" not in words(svg)
    assert lines_of(svg, ORANGE) == 1


def test_an_epoch_that_was_not_measured_is_no_gap() -> None:
    """Of five epochs three were measured on dev: one curve through three points, without a break."""
    curve = rf'd="([^"]*)"[^>]*stroke: {BLUE}; stroke-width: 1.8'
    loss, dev = (re.findall("[ML]", found) for found in re.findall(curve, train_curves(TRAIN, 2)))
    assert "".join(loss) == "MLLLL"
    assert "".join(dev) == "MLL"


@pytest.mark.parametrize("kinds", [1, 2, 3, 4])
def test_one_series_for_each_kind_of_mask(kinds: int) -> None:
    names = [f"kind {number}" for number in range(kinds)]
    svg = iou_histogram({name: [0.90, 0.9625] for name in names})
    used = [BLUE, ORANGE, GREEN, PURPLE]
    assert [bars_of(svg, colour) for colour in used] == [2] * kinds + [0] * (4 - kinds)
    assert [word for word in words(svg) if word.startswith("kind")] == (names if kinds > 1 else [])


@pytest.mark.parametrize(
    ("lowest", "step", "bins"),
    [
        (1.0, 0.005, 4),
        (0.99, 0.005, 4),
        (0.95, 0.005, 10),
        (0.85, 0.005, 30),
        (0.84, 0.01, 16),
        (0.0, 0.05, 20),
    ],
)
def test_steps_of_the_histogram(lowest: float, step: float, bins: int) -> None:
    edges = histogram_edges(np.array([1.0, lowest]))
    assert len(edges) == bins + 1
    assert np.diff(edges) == pytest.approx(step)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_every_value_has_its_bin(values: list[float]) -> None:
    edges = histogram_edges(np.array(values))
    assert edges[-1] == 1
    assert edges[0] <= min(values)
    assert 4 <= len(edges) - 1 <= 30
    assert np.diff(edges) == pytest.approx(edges[1] - edges[0])
    assert np.histogram(values, edges)[0].sum() == len(values)


@given(st.integers(0, 10**6))
def test_no_bin_below_the_lowest_value_is_empty(millionths: int) -> None:
    lowest = millionths / 10**6
    edges = histogram_edges(np.array([lowest]))
    assert edges[1] > lowest or len(edges) == 5


def test_nothing_is_marked_where_no_epoch_is_kept() -> None:
    assert any("kept" in word for word in words(train_curves(TRAIN, 2)))
    assert not any("kept" in word for word in words(train_curves(TRAIN, 0)))
