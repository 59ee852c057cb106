"""How many planted copies stage cluster finds, how many unrelated pictures it joins, and what that takes.

`python -m pipeline benchmark copies [DIR...]`: the pictures of the folders, and copies of them as people make them.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.cluster.vq import kmeans2

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.store import Store
from pipeline.look_alikes.finder import look_alikes, prints_of
from pipeline.look_alikes.local_features import halves_of, local_features
from sinet.images.decode import Array, ImageError, encode_png, read_image

Change = Callable[[Array, np.random.Generator], Array]
_LONGEST = 900  # pixels of a planted copy
_CENTRES = 2048
MASK_FOLDERS = ("profiles", "masks", "GT_png")


def encoded(image: Array, rng: np.random.Generator) -> Array:
    """As a JPEG of quality 30 to 90."""
    quality = int(rng.integers(30, 91))
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def resized(image: Array, rng: np.random.Generator) -> Array:
    """To 0.4 to 1.5 times its size, one side up to a tenth more or less than the other."""
    height, width = image.shape[:2]
    factor, squeeze = rng.uniform(0.4, 1.5), rng.uniform(0.9, 1.1)
    size = (max(96, round(width * factor)), max(96, round(height * factor * squeeze)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def mirrored(image: Array, _: np.random.Generator) -> Array:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def cropped(image: Array, rng: np.random.Generator) -> Array:
    """To 0.6 to 0.95 of its sides, anywhere; half of them to 0.6, a corner, an edge or the middle."""
    height, width = image.shape[:2]
    share, place = (
        (0.6, rng.integers(0, 3, 2) / 2) if rng.random() < 0.5 else (rng.uniform(0.6, 0.95), rng.random(2))
    )
    high, wide = round(height * share), round(width * share)
    top, left = round((height - high) * place[0]), round((width - wide) * place[1])
    return np.ascontiguousarray(image[top : top + high, left : left + wide])


def bordered(image: Array, rng: np.random.Generator) -> Array:
    """With a border of one colour, 3 to 20 % of the picture at each side."""
    height, width = image.shape[:2]
    shares = rng.uniform(0.03, 0.2, 4) * (height, height, width, width)
    top, bottom, left, right = shares.astype(int).tolist()
    colour = rng.integers(0, 256, 3).tolist()
    framed = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour)
    return np.asarray(framed, np.uint8)


def tilted(image: Array, rng: np.random.Generator) -> Array:
    """By up to 15 degrees, black in the corners."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-15, 15), 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def quarter_turned(image: Array, rng: np.random.Generator) -> Array:
    """By 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(image, int(rng.integers(1, 4))))


def recoloured(image: Array, rng: np.random.Generator) -> Array:
    """Each channel by 0.6 to 1.4, brighter or darker, and with another gamma."""
    light = np.clip(image * rng.uniform(0.6, 1.4, 3) + rng.uniform(-30, 30), 0, 255) / 255
    return np.asarray(light ** rng.uniform(0.6, 1.6) * 255).astype(np.uint8)


def greyed(image: Array, _: np.random.Generator) -> Array:
    """Black and white."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)


def captioned(image: Array, rng: np.random.Generator) -> Array:
    """With a line of text above or below, on a bar or without."""
    written = image.copy()
    height, width = image.shape[:2]
    top, bar = round(height * (0.02 if rng.random() < 0.5 else 0.8)), round(height * 0.17)
    if rng.random() < 0.5:
        cv2.rectangle(written, (0, top), (width, top + bar), (0, 0, 0), -1)
    place, scale = (round(width * 0.03), top + round(bar * 0.65)), width / 420
    white, thick = (255, 255, 255), max(1, width // 200)
    cv2.putText(written, "THE BEST DAY OF MY LIFE", place, cv2.FONT_HERSHEY_SIMPLEX, scale, white, thick)
    return written


def in_collage(others: Sequence[Array]) -> Change:
    """As one of two pictures beside each other, or one of four."""

    def change(image: Array, rng: np.random.Generator) -> Array:
        size = (max(96, round(image.shape[1] * 0.5)), max(96, round(image.shape[0] * 0.5)))
        count = 2 if rng.random() < 0.5 else 4
        chosen = [image, *(others[int(one)] for one in rng.integers(0, len(others), count - 1))]
        parts = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in chosen]
        order = [parts[at] for at in rng.permutation(count)]
        rows = [np.concatenate(order[at : at + 2], axis=1) for at in range(0, count, 2)]
        return np.asarray(np.concatenate(rows), np.uint8)

    return change


CHANGES: tuple[Change, ...] = (
    encoded, resized, mirrored, cropped, bordered, tilted, quarter_turned, recoloured, greyed, captioned,
)  # fmt: skip


def planted(
    image: Array, number: int, others: Sequence[Array], rng: np.random.Generator
) -> tuple[str, Array]:
    """Copy `number` of a picture, and what was done to it: each change in turn, every other time after another one.

    A collage is the last change: what is cut out of a collage may hold nothing of the picture.
    """
    changes = [*CHANGES, in_collage(others)]
    last = changes[number % len(changes)]
    todo = [last]
    if number // len(changes) % 2:
        rest = [one for one in CHANGES if one is not last]
        todo.insert(0, rest[int(rng.integers(len(rest)))])
    for change in todo:
        image = change(image, rng)
    names = ("in_collage" if one is changes[-1] else one.__name__ for one in todo)
    return " + ".join(names), encoded(image, rng)


def main(folders: Sequence[Path], copies: int, vocabulary: Path | None) -> None:
    """Print what is found of copies planted in the pictures of the folders."""
    pictures = readable_pictures(folders)
    if len(pictures) < 2:
        raise PipelineError(f"expected photographs in {', '.join(map(str, folders))}, found {len(pictures)}")
    if vocabulary is not None:
        np.save(vocabulary, train_vocabulary(pictures))
        print(f"{vocabulary}: {_CENTRES} centres for each half of a descriptor, of {len(pictures)} pictures")
        return
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as scratch:
        paths = {f"{number:016x}": str(path) for number, path in enumerate(pictures)}
        changes: dict[str, tuple[str, str]] = {}
        others = [_small(read_image(pictures[int(at)])) for at in rng.integers(0, len(pictures), 40)]
        for number, at in enumerate(rng.permutation(len(pictures))[:copies].tolist()):
            change, copy = planted(_small(read_image(pictures[at])), number, others, rng)
            name, path = f"{len(pictures) + number:016x}", Path(scratch, f"{number}.png")
            path.write_bytes(encode_png(copy))
            paths[name], changes[name] = str(path), (f"{at:016x}", change)
        start = _cpu_seconds()
        prints = prints_of(paths, Store("copies", Path(scratch)), "copies")
        looked = _cpu_seconds()
        pairs = look_alikes(prints, load_params().cluster, "copies")
        compared = _cpu_seconds()
    joined = set(pairs) | {(other, one) for one, other in pairs}
    lost = [change for name, (at, change) in changes.items() if (at, name) not in joined]
    among = [(one, other) for one, other in pairs if one not in changes and other not in changes]
    print(f"{len(changes) - len(lost)} of {len(changes)} copies joined = {1 - len(lost) / len(changes):.2%}")
    for change, count in sorted(Counter(lost).items()):
        print(f"  not joined: {count} {change}")
    print(f"{len(among)} pairs joined among {len(pictures)} pictures:")
    for one, other in among:
        print(f"  {pictures[int(one, 16)]} {pictures[int(other, 16)]}")
    each = [1000 * seconds / len(paths) for seconds in (looked - start, compared - looked)]
    print(f"ms of CPU a picture: {each[0]:.1f} to look at it, {each[1]:.1f} to compare it with the others")


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def readable_pictures(folders: Sequence[Path]) -> list[Path]:
    """The photographs of folders that can be read, in order; folders of masks are left out."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp") or path.parent.name in MASK_FOLDERS:
            continue
        try:
            read_image(path)
        except ImageError:
            continue
        found.append(path)
    return found


def train_vocabulary(pictures: Sequence[Path]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The centres of the halves of descriptors, (2, _CENTRES, 64) uint8, by k-means."""
    rng = np.random.default_rng(3)
    chosen = rng.permutation(len(pictures))[:2000].tolist()
    descriptors = np.concatenate([local_features(read_image(pictures[at])).descriptors for at in chosen])
    some = descriptors[rng.permutation(len(descriptors))[:250_000]]
    halves = halves_of(some)
    centres = [kmeans2(half, _CENTRES, iter=15, minit="points", seed=3)[0] for half in halves]
    return np.round(np.stack(centres)).astype(np.uint8)


def _small(image: Array) -> Array:
    height, width = image.shape[:2]
    factor = min(1.0, _LONGEST / max(height, width))
    size = (round(width * factor), round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
