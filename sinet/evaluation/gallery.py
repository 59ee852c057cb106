"""Where a model is wrong: the picture, the same with its mistakes in colour, and what the colours mean."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sinet.core import atomic
from sinet.evaluation.protocol import Evaluation, read_pair
from sinet.images.decode import Array, encode_png
from sinet.images.sample import Sample
from sinet.inference.predictor import Predictor

PANEL_HEIGHT = 400  # pixels
LEGEND_WIDTH = 300
METRIC_LABELS = {
    "foreground_iou": "foreground IoU",
    "mean_iou": "two-class mean IoU",
    "boundary_f1": "boundary F1",
    "foreground_iou_native": "foreground IoU, native",
}

# Okabe and Ito's palette: told apart with any kind of colour blindness, and by lightness alone.
TRUE_POSITIVE = (0, 114, 178)  # blue
FALSE_POSITIVE = (213, 94, 0)  # vermilion
FALSE_NEGATIVE = (240, 228, 66)  # yellow
# Mistakes are nearly opaque; what is right lets the picture through.
OPACITY = {TRUE_POSITIVE: 0.35, FALSE_POSITIVE: 0.8, FALSE_NEGATIVE: 0.8}
MEANINGS = (
    (TRUE_POSITIVE, "person, found"),
    (FALSE_POSITIVE, "background, taken for person"),
    (FALSE_NEGATIVE, "person, missed"),
)


def write_gallery(
    folder: Path, predictor: Predictor, samples: Sequence[Sample], evaluation: Evaluation, number: int
) -> None:
    """Write the `number` worst pictures by foreground IoU as FOLDER/01-ID.png, ..., and FOLDER/gallery.json.

    `samples` are those that `evaluation` was made of, in the same order. The folder is replaced.
    """
    if tuple(sample.id for sample in samples) != evaluation.ids:
        raise ValueError("the evaluation was made of other samples than those of the gallery")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = evaluation.rows()
    entries = []
    for rank, index in enumerate(evaluation.worst(number), start=1):
        sample, row = samples[index], rows[index]
        image, mask = read_pair(sample)
        name = f"{rank:02d}-{sample.id}.png"
        scores = {metric: row[metric] for metric in METRIC_LABELS}
        content = encode_png(panel(image, predictor.mask(image), mask, sample.id, scores))
        atomic.write_atomic(folder / name, content)
        entries.append(
            {"id": sample.id, "file": name, **{key: round(value, 6) for key, value in scores.items()}}
        )
    atomic.write_atomic(folder / "gallery.json", (json.dumps(entries, indent=2) + "\n").encode())


def overlay(image: Array, pred: Array, target: Array) -> Array:
    """The picture (H, W, 3) with found, wrongly found and missed person in colour; masks (H, W) in {0, 1}."""
    said, true = pred.astype(bool), target.astype(bool)
    blended = image.astype(np.float32)
    for where, colour in (
        (said & true, TRUE_POSITIVE),
        (said & ~true, FALSE_POSITIVE),
        (~said & true, FALSE_NEGATIVE),
    ):
        alpha = OPACITY[colour]
        blended[where] = (1 - alpha) * blended[where] + alpha * np.array(colour, np.float32)
    return np.asarray(np.rint(blended), np.uint8)


def panel(image: Array, pred: Array, target: Array, title: str, scores: dict[str, float]) -> Array:
    """Picture | picture with its mistakes | legend, (PANEL_HEIGHT, ?, 3) uint8 RGB."""
    height, width = image.shape[:2]
    size = (max(1, round(width * PANEL_HEIGHT / height)), PANEL_HEIGHT)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    masks = [
        np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        for mask in (pred, target)
    ]
    gap = np.full((PANEL_HEIGHT, 8, 3), 255, np.uint8)
    return np.hstack((small, gap, overlay(small, *masks), gap, _legend(title, scores)))


def _legend(title: str, scores: dict[str, float]) -> Array:
    canvas = Image.new("RGB", (LEGEND_WIDTH, PANEL_HEIGHT), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(16)
    draw.text((12, 12), title, fill="black", font=ImageFont.load_default(18))
    for line, (colour, meaning) in enumerate(MEANINGS):
        top = 56 + 30 * line
        draw.rectangle((12, top, 34, top + 20), fill=colour, outline="black")
        draw.text((44, top), meaning, fill="black", font=font)
    for line, (metric, value) in enumerate(scores.items()):
        top = 170 + 28 * line
        draw.text((12, top), METRIC_LABELS[metric], fill="black", font=font)
        draw.text((LEGEND_WIDTH - 12, top), f"{100 * value:.1f} %", fill="black", font=font, anchor="ra")
    return np.asarray(canvas)
