"""Mistakes in colour, and the worst pictures first."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinet.core.recipe import EvaluateRecipe
from sinet.evaluation.gallery import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    METRIC_LABELS,
    PANEL_HEIGHT,
    TRUE_POSITIVE,
    overlay,
    panel,
    write_gallery,
)
from sinet.evaluation.protocol import evaluate
from sinet.images.decode import read_image
from sinet.inference.predictor import Predictor
from tests.sinet.portraits import portrait, write_portraits

RECIPE = EvaluateRecipe(size=224, boundary_kernel=15, gallery=2)


def test_each_pixel_takes_the_colour_of_its_kind() -> None:
    image = np.full((1, 4, 3), 100, np.uint8)
    shown = overlay(image, np.array([[1, 1, 0, 0]], np.uint8), np.array([[1, 0, 1, 0]], np.uint8))[0].astype(
        int
    )
    for pixel, colour in zip(shown, (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE), strict=False):
        towards = np.sign(np.array(colour) - 100)
        assert np.array_equal(np.sign(pixel - 100), towards)
    assert shown[3].tolist() == [100, 100, 100]
    assert (image == 100).all()


def test_the_colours_differ_in_lightness() -> None:
    """What is left of a colour for someone who sees none, or on a grey print."""
    grey = sorted(np.dot([0.299, 0.587, 0.114], c) for c in (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE))
    assert min(np.diff(grey)) > 25


@pytest.mark.parametrize(("width", "height"), [(600, 800), (40, 30), (3, 900)])
def test_a_panel_has_one_height(width: int, height: int) -> None:
    image, mask = portrait(1, width, height)
    shown = panel(image, mask, mask, "0123456789abcdef", dict.fromkeys(METRIC_LABELS, 1.0))
    assert shown.shape[0] == PANEL_HEIGHT
    assert shown.dtype == np.uint8


def test_the_worst_pictures_first(tmp_path: Path, predictor: Predictor) -> None:
    samples = write_portraits(tmp_path, 4)
    evaluation = evaluate(predictor, samples, RECIPE)
    folder = tmp_path / "gallery"
    folder.mkdir()
    (folder / "old.png").touch()
    write_gallery(folder, predictor, samples, evaluation, 2)
    listed = json.loads((folder / "gallery.json").read_text())
    scores = sorted(row["foreground_iou"] for row in evaluation.rows())
    assert [entry["foreground_iou"] for entry in listed] == pytest.approx(scores[:2], abs=1e-6)
    assert [sorted(entry) for entry in listed] == [sorted(("id", "file", *METRIC_LABELS))] * 2
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["gallery.json", *(e["file"] for e in listed)]
    )
    assert read_image(folder / listed[0]["file"]).shape[0] == PANEL_HEIGHT


def test_a_gallery_of_other_samples_is_refused(tmp_path: Path, predictor: Predictor) -> None:
    samples = write_portraits(tmp_path, 2)
    evaluation = evaluate(predictor, samples, RECIPE)
    with pytest.raises(ValueError, match="made of other samples"):
        write_gallery(tmp_path / "g", predictor, [replace(samples[0], id="x"), samples[1]], evaluation, 1)
