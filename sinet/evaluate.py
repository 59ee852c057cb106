"""Measure a predictor, or the masks of another tool, against true masks: each picture is counted once.

All figures come from that table. The protocol: picture squashed to `size` x `size` (224) by bilinear resize
without antialias, mask by nearest; mask foreground where grey > 127; `foreground_iou_native` compares at the
picture's own size instead.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from sinet.data import Sample
from sinet.files import PICTURES
from sinet.images import Array, ImageError, ReadError, decode_grey, read_bytes, read_image
from sinet.metrics import (
    Counts,
    Pixels,
    Table,
    boundary_f1,
    boundary_f1_each,
    count,
    count_pixels,
    foreground_iou,
    foreground_iou_each,
    mean_iou,
    mean_iou_each,
    tabulate,
)
from sinet.predict import Probability, enlarge
from sinet.preprocess import squash_mask
from sinet.progress import bar_interval
from sinet.recipe import EvaluateRecipe

MASK_THRESHOLD = 127  # grey levels; above it is person
MASK_ENDINGS = ("_mask", "-profile")  # EG1800's and Baidu's names of masks


class EvaluateError(ValueError):
    """Pictures and masks that cannot be evaluated; the message says what to do."""


@dataclass(frozen=True)
class Evaluation:
    """The table: `ids`, the counts at the protocol's size and those at the picture's own, a row a picture."""

    ids: tuple[str, ...]
    table: Table
    native: Table

    def figures(self) -> dict[str, float | int]:
        """The four metrics in 0..1 and `count`."""
        return {
            "foreground_iou": foreground_iou(self.table),
            "mean_iou": mean_iou(self.table),
            "boundary_f1": boundary_f1(self.table),
            "foreground_iou_native": foreground_iou(self.native),
            "count": len(self.ids),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row a picture: id, its four numbers in 0..1 (`mean_iou` of this picture alone), its counts."""
        columns: dict[str, Sequence[Any]] = {
            "id": self.ids,
            "foreground_iou": foreground_iou_each(self.table).tolist(),
            "mean_iou": mean_iou_each(self.table).tolist(),
            "boundary_f1": boundary_f1_each(self.table).tolist(),
            "foreground_iou_native": foreground_iou_each(self.native).tolist(),
        }
        columns |= {name: self.table[name].tolist() for name in self.table.dtype.names or ()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def select(self, chosen: Iterable[bool]) -> "Evaluation":
        """The pictures for which `chosen`, one a row, is true."""
        keep = np.fromiter(chosen, bool, len(self.ids))
        ids = tuple(name for name, kept in zip(self.ids, keep, strict=True) if kept)
        return Evaluation(ids, self.table[keep], self.native[keep])

    def worst(self, number: int) -> list[int]:
        """Row numbers of the lowest foreground IoU, worst first, ties by id."""
        scores = foreground_iou_each(self.table)
        return sorted(range(len(self.ids)), key=lambda row: (scores[row], self.ids[row]))[:number]


class Predicts(Protocol):
    """What is measured: a `Predictor`, or an exported file at work."""

    def square_probability(self, image: Array) -> Probability:
        """(H, W, 3) uint8 RGB to (S, S) float32 in 0..1."""


def evaluate(predictor: Predicts, samples: Sequence[Sample], recipe: EvaluateRecipe) -> Evaluation:
    """Count every sample once, in their order; EvaluateError where there is none or a file cannot be used."""
    return _evaluate(samples, recipe, read_image, predictor.square_probability)


def evaluate_masks(samples: Sequence[Sample], recipe: EvaluateRecipe) -> Evaluation:
    """The same of masks that any other tool wrote, which stand in place of the samples' images.

    They are of the picture's own size, black and white or grey: 255 is certainly person, above 127 is person; levels
    of 0 and 1 alone are black and white.
    """
    return _evaluate(samples, recipe, _read_grey, lambda grey: np.asarray(grey / 255, np.float32))


def _evaluate(
    samples: Sequence[Sample],
    recipe: EvaluateRecipe,
    reader: Callable[[Path], Array],
    probability: Callable[[Array], Probability],
) -> Evaluation:
    if not samples:
        raise EvaluateError("expected at least one picture with its mask, found none")
    rows: list[Counts] = []
    native: list[Pixels] = []
    for sample in tqdm(samples, desc="evaluate", unit="img", file=sys.stderr, mininterval=bar_interval()):
        image, mask = read_pair(sample, reader)
        small, full = count_picture(probability(image), mask, recipe)
        rows.append(small)
        native.append(full)
    return Evaluation(tuple(sample.id for sample in samples), tabulate(rows), tabulate(native))


def count_picture(probability: Probability, mask: Array, recipe: EvaluateRecipe) -> tuple[Counts, Pixels]:
    """Counts at the protocol's size and at the picture's own, of a probability of any size; mask (H, W) {0, 1}."""
    height, width = mask.shape
    found = enlarge(probability, recipe.size, recipe.size) > 0.5
    found_native = enlarge(probability, width, height) > 0.5
    return (
        count(found.astype(np.uint8), squash_mask(mask, recipe.size), recipe.boundary_kernel),
        count_pixels(found_native.astype(np.uint8), mask),
    )


def read_pair(sample: Sample, reader: Callable[[Path], Array] = read_image) -> tuple[Array, Array]:
    """Image (H, W, 3) uint8 RGB and mask (H, W) uint8 {0, 1} of a sample; masks of any published kind."""
    image = _read(reader, sample.image)
    grey = _read(_read_grey, sample.mask)
    if image.shape[:2] != grey.shape:
        raise EvaluateError(
            f"{sample.id}: expected a mask of the size of {sample.image}, {image.shape[1]}x{image.shape[0]}, "
            f"found {grey.shape[1]}x{grey.shape[0]} in {sample.mask}"
        )
    return image, (grey > MASK_THRESHOLD).astype(np.uint8)


def _read_grey(path: Path) -> Array:
    return decode_grey(read_bytes(path))


def _read(reader: Callable[[Path], Array], path: Path) -> Array:
    try:
        return reader(path)
    except (ImageError, ReadError) as error:
        raise EvaluateError(f"{path} cannot be used: {error}") from error


def pair(images: Path, masks: Path, listed: Sequence[str] | None = None) -> tuple[list[Sample], list[str]]:
    """Pictures and masks of two folders matched by stem, and a line for each file or list entry left over.

    `_mask` and `-profile` at the end of a mask's stem are dropped. `listed` restricts the pictures to these
    stems; a whole number also matches a zero-padded stem (1 matches 00001).
    """
    picture_of = _by_stem(images, endings=())
    mask_of = _by_stem(masks, endings=MASK_ENDINGS)
    unmatched: list[str] = []
    if listed is not None:
        stems, unmatched = _listed_stems(listed, picture_of.keys() | mask_of.keys())
        picture_of = {stem: path for stem, path in picture_of.items() if stem in stems}
        mask_of = {stem: path for stem, path in mask_of.items() if stem in stems}
    both = sorted(picture_of.keys() & mask_of.keys())
    unmatched += [
        f"{picture_of[stem].name} has no mask" for stem in sorted(picture_of.keys() - mask_of.keys())
    ]
    unmatched += [
        f"{mask_of[stem].name} has no picture" for stem in sorted(mask_of.keys() - picture_of.keys())
    ]
    return [Sample(stem, picture_of[stem], mask_of[stem]) for stem in both], unmatched


def _by_stem(folder: Path, endings: tuple[str, ...]) -> Mapping[str, Path]:
    if not folder.is_dir():
        raise EvaluateError(f"expected a folder, found none: {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURES or path.name.startswith("."):
            continue
        stem = path.stem
        for ending in endings:
            stem = stem.removesuffix(ending)
        if stem in found:
            raise EvaluateError(
                f"{found[stem].name} and {path.name} in {folder} both belong to {stem!r}; remove one of them"
            )
        found[stem] = path
    return found


def _listed_stems(listed: Sequence[str], stems: Iterable[str]) -> tuple[set[str], list[str]]:
    known = set(stems)
    by_number: dict[int, list[str]] = {}
    for stem in sorted(known):
        if _is_number(stem):
            by_number.setdefault(int(stem), []).append(stem)
    chosen: set[str] = set()
    missing: list[str] = []
    for entry in filter(None, (line.strip() for line in listed)):
        candidates = by_number.get(int(entry), []) if _is_number(entry) else []
        if entry in known:
            chosen.add(entry)
        elif len(candidates) > 1:
            raise EvaluateError(
                f"the list's {entry} matches {' and '.join(candidates)}; write the whole stem"
            )
        elif candidates:
            chosen.add(candidates[0])
        else:
            missing.append(f"{entry} is listed, but has neither picture nor mask")
    return chosen, missing


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
