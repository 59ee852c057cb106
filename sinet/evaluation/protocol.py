"""Measure a predictor, or the masks of another tool, against true masks: each picture is counted once.

All figures come from that table. The protocol: picture squashed to `size` x `size` (224) by bilinear resize
without antialias, mask by nearest; mask foreground where grey > 127 (see `sinet.images.mask_file`);
`foreground_iou_native` compares at the picture's own size instead.
"""

import functools
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from sinet.core.progress import bar_interval
from sinet.core.recipe import EvaluateRecipe, MaskClasses
from sinet.evaluation.metrics import (
    Counts,
    PixelCounts,
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
from sinet.evaluation.plain_facts import mask_alone, picture_alone
from sinet.evaluation.slices import SLICES, Known, in_slices
from sinet.images.decode import Array, ImageError, ReadError, read_bytes, read_image
from sinet.images.listed import ListError, nfc, numbered, read_list, stem_of
from sinet.images.mask_file import NO_MASK, MaskRules, decode_mask, decode_probability
from sinet.images.sample import Sample
from sinet.inference.files import PICTURE_SUFFIXES
from sinet.inference.predictor import Probability, enlarge
from sinet.network.preprocess import squash_mask

MASK_ENDINGS = ("_mask", "-profile", "_profile")  # EG1800's and Baidu's names of masks
_MATLAB = ".mat"


class EvaluateError(ValueError):
    """Pictures and masks that cannot be evaluated; the message says what to do."""


@dataclass(frozen=True)
class Evaluation:
    """The table: `ids`, the counts at the protocol's size and those at the picture's own, a row a picture.

    `facts` are those of `sinet.evaluation.plain_facts` that were to be seen.
    """

    ids: tuple[str, ...]
    table: Table
    native: Table
    facts: Known = field(default_factory=dict)

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
        facts = {name: values[keep] for name, values in self.facts.items()}
        return Evaluation(ids, self.table[keep], self.native[keep], facts)

    def by_kind(self, kinds: Iterable[str]) -> dict[str, dict[str, float | int]]:
        """The figures of each kind of picture; `kinds` has one a row."""
        of_row = np.array(list(kinds), dtype=object)
        return {kind: self.select(of_row == kind).figures() for kind in sorted(set(of_row))}

    def by_slice(self, known: Known) -> dict[str, dict[str, float | int] | None]:
        """The figures of the worst tenth of the pictures (`worst`) and of each of SLICES, by its name.

        `known` are facts beside what pictures and masks showed here. A count of 0 alone where no picture is in a slice,
        None where of no picture it is known.
        """
        found = in_slices({**known, **self.facts})
        worst = set(self.worst(-(-len(self.ids) // 10)))
        rows: dict[str, dict[str, float | int] | None] = {
            "worst_tenth": self.select(row in worst for row in range(len(self.ids))).figures()
        }
        for name in SLICES:
            inside = found.get(name, np.array([]))
            if not (~np.isnan(inside)).any():
                rows[name] = None
            else:
                rows[name] = self.select(inside == 1).figures() if (inside == 1).any() else {"count": 0}
        return rows

    def worst(self, number: int) -> list[int]:
        """Row numbers of the lowest foreground IoU, worst first, ties by id."""
        scores = foreground_iou_each(self.table)
        return sorted(range(len(self.ids)), key=lambda row: (scores[row], self.ids[row]))[:number]


class Predicts(Protocol):
    """What is measured: a `Predictor`, or an exported file at work."""

    def square_probability(self, image: Array) -> Probability:
        """(H, W, 3) uint8 RGB to (S, S) float32 in 0..1."""


def evaluate(
    predictor: Predicts,
    samples: Sequence[Sample],
    recipe: EvaluateRecipe,
    classes: MaskClasses | None = None,
) -> Evaluation:
    """Count every sample once, in their order; EvaluateError where there is none or a file cannot be used.

    `classes` says which levels of the masks are person, where these are label images.
    """
    return _evaluate(samples, recipe, read_image, predictor.square_probability, classes, picture_alone)


def evaluate_masks(
    samples: Sequence[Sample], recipe: EvaluateRecipe, classes: MaskClasses | None = None
) -> Evaluation:
    """The same of masks that any other tool wrote, which stand in place of the samples' images.

    They are of the picture's own size, black and white or grey: 255 is certainly person, above 127 is person; levels
    of 0 and 1 alone are black and white.
    """
    return _evaluate(samples, recipe, _read_probability, lambda found: found, classes, lambda _: {})


def _evaluate(
    samples: Sequence[Sample],
    recipe: EvaluateRecipe,
    reader: Callable[[Path], Any],
    probability: Callable[[Any], Probability],
    classes: MaskClasses | None,
    seen: Callable[[Any], dict[str, float]],
) -> Evaluation:
    if not samples:
        raise EvaluateError("expected at least one picture with its mask, found none")
    rows: list[Counts] = []
    native: list[PixelCounts] = []
    facts: list[dict[str, float]] = []
    for sample in tqdm(samples, desc="evaluate", unit="img", file=sys.stderr, mininterval=bar_interval()):
        image, mask = _read_both(sample, reader, classes)
        small, full = count_picture(probability(image), mask, recipe)
        rows.append(small)
        native.append(full)
        facts.append({**seen(image), **mask_alone(mask)})
    known = {name: np.array([one[name] for one in facts], np.float64) for name in facts[0]}
    return Evaluation(tuple(sample.id for sample in samples), tabulate(rows), tabulate(native), known)


def slice_table(by_slice: Mapping[str, Mapping[str, float | int] | None]) -> str:
    """Lines of name, pictures, foreground IoU and boundary F1; the last one names the slices that nobody knows of."""
    width = max(map(len, by_slice))
    lines = [f"{'':{width}}  pictures  foreground IoU  boundary F1"]
    for name, one in by_slice.items():
        if one is not None:
            figures = f"{one['foreground_iou']:16.4f}{one['boundary_f1']:13.4f}" if one["count"] else ""
            lines.append(f"{name.replace('_', ' '):{width}}{one['count']:10,}{figures}")
    unknown = [name.replace("_", " ") for name, one in by_slice.items() if one is None]
    return "\n".join(lines + ([f"not known of these pictures: {', '.join(unknown)}"] if unknown else []))


def count_picture(
    probability: Probability, mask: Array, recipe: EvaluateRecipe
) -> tuple[Counts, PixelCounts]:
    """Counts at the protocol's size and at the picture's own, of a probability of any size; mask (H, W) {0, 1}."""
    height, width = mask.shape
    found = enlarge(probability, recipe.size, recipe.size) > 0.5
    found_native = enlarge(probability, width, height) > 0.5
    return (
        count(found.astype(np.uint8), squash_mask(mask, recipe.size), recipe.boundary_kernel),
        count_pixels(found_native.astype(np.uint8), mask),
    )


def read_pair(sample: Sample) -> tuple[Array, Array]:
    """Image (H, W, 3) uint8 RGB and mask (H, W) uint8 {0, 1} of a sample; masks of any published kind."""
    return _read_both(sample, read_image, None)


def _read_both(
    sample: Sample, reader: Callable[[Path], Any], classes: MaskClasses | None
) -> tuple[Any, Array]:
    image = _read(reader, sample.image)
    mask = _read(functools.partial(_read_mask, MaskRules(classes=classes)), sample.mask)
    if image.shape[:2] != mask.shape:
        raise EvaluateError(
            f"{sample.id}: expected a mask of the size of {sample.image}, {image.shape[1]}x{image.shape[0]}, "
            f"found {mask.shape[1]}x{mask.shape[0]} in {sample.mask}"
        )
    return image, mask


def _read_mask(rules: MaskRules, path: Path) -> Array:
    return decode_mask(read_bytes(path), rules, matlab=path.suffix.lower() == _MATLAB).person


def _read_probability(path: Path) -> Probability:
    return decode_probability(read_bytes(path))


def _read(reader: Callable[[Path], Any], path: Path) -> Any:
    try:
        return reader(path)
    except (ImageError, ReadError) as error:
        if isinstance(error, ImageError) and error.reason == NO_MASK:
            raise EvaluateError(f"{path}: {error} (--person and --background say it of --masks)") from error
        raise EvaluateError(f"{path} cannot be used: {error}") from error


def pair(images: Path, masks: Path, listed: Sequence[str] | None = None) -> tuple[list[Sample], list[str]]:
    """Pictures and masks of two folders matched by stem, and a line for each file or list entry left over.

    A stem that the other folder does not have is looked for without `_mask` or `-profile` at its end, in both folders.
    `listed` restricts the pictures to these stems; a whole number also matches a zero-padded stem (1 matches 00001).
    EvaluateError where two files of a folder could be meant, or nothing at all meets.
    """
    pictures, drawn = _files(images, PICTURE_SUFFIXES), _files(masks, PICTURE_SUFFIXES | {_MATLAB})
    picture_of, mask_of = _by_stem(pictures, drawn), _by_stem(drawn, pictures)
    if pictures and drawn and not picture_of.keys() & mask_of.keys():
        raise EvaluateError(
            f"no name in {images} meets one in {masks}: {_some(pictures)} there, {_some(drawn)} here; a mask has the "
            f"stem of its picture, or that and {' or '.join(MASK_ENDINGS)}"
        )
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


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of a folder by suffix, those included that cannot be read: reading them says why."""
    if not folder.is_dir():
        raise EvaluateError(f"expected a folder, found none: {folder}")
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise EvaluateError(f"{folder} cannot be read: {error.strerror}") from error
    return [path for path in paths if path.suffix.lower() in suffixes and not path.name.startswith(".")]


def _by_stem(files: Sequence[Path], others: Sequence[Path]) -> dict[str, Path]:
    """Each file by the stem under which it meets one of the other folder; EvaluateError where two have the same."""
    theirs = {stem_of(path.name) for path in others}
    found: dict[str, Path] = {}
    for path in files:
        stem = stem_of(path.name)
        stem = stem if stem in theirs else _without_ending(stem)
        if stem in found:
            raise EvaluateError(
                f"{found[stem].name} and {path.name} in {path.parent} both belong to {stem!r}; remove one of them"
            )
        found[stem] = path
    return found


def _without_ending(stem: str) -> str:
    ending = next((one for one in MASK_ENDINGS if stem.lower().endswith(one)), "")
    return stem.removesuffix(stem[len(stem) - len(ending) :]) if ending else stem


def _some(files: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in files[:3])
    return f"{names}{f' and {len(files) - 3:,} more' if len(files) > 3 else ''}"


def _listed_stems(listed: Sequence[str], stems: Iterable[str]) -> tuple[set[str], list[str]]:
    known: dict[str, list[str]] = {}
    for stem in sorted(stems):
        known.setdefault(_key(stem), []).append(stem)
    chosen: set[str] = set()
    missing: list[str] = []
    try:
        words = read_list(listed, _key, known)
    except ListError as error:
        raise EvaluateError(f"the list is not understood: {error}") from error
    for word in words:
        candidates = known.get(_key(word), [])
        exact = [stem for stem in candidates if stem in (stem_of(word), nfc(word))]
        if len(exact or candidates) > 1:
            raise EvaluateError(f"the list's {word} matches {' and '.join(candidates)}; write the whole stem")
        if not candidates:
            missing.append(f"{word} is listed, but has neither picture nor mask")
        chosen.update(exact or candidates)
    return chosen, missing


def _key(name: str) -> str:
    """Which picture a word of a list, or a stem, is."""
    return numbered(_without_ending(stem_of(name)))
