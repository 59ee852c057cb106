"""Label the crawl's portraits with the teacher, and say how doubtful each mask is.

Whatever looks wrong with a mask is flagged for the curators, not hidden: every portrait has its label.
"""

import functools
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.folder import PictureFolder
from pipeline.core.params import PseudoLabelParams, load_params
from pipeline.core.paths import CACHE, CROP, PSEUDO, TEACHER
from pipeline.core.records import COLUMNS, account, make_records, read_records, teacher_name
from pipeline.core.stage import run, write_metrics, write_text
from pipeline.core.store import Head, Result, Store, key_of
from pipeline.deeplab.uncertainty import Parts, combine, doubt, quality_flags
from sinet.images.decode import Array, decode_own_mask, encode_mask, encode_png, read_image

if TYPE_CHECKING:
    from pipeline.deeplab import network as deeplab

_Probabilities = NDArray[np.float32]  # (size, size) in 0..1

PARTS = ("flip", "stability", "entropy")


@dataclass(frozen=True)
class LabelSettings:
    """All that a pseudo label depends on, beside the portrait."""

    label: PseudoLabelParams
    teacher: Path
    teacher_hash: str
    cache: Path

    def label_key(self, id_: str, face: str) -> str:
        """The store's key of a portrait's pseudo label; the face, "x0,y0,x1,y1", decides a flag."""
        return key_of(
            "pseudo_label",
            code_of("pipeline.pseudo_label"),
            id_,
            face,
            self.teacher_hash,
            self.label.model_dump(),
        )

    def opinion_key(self, id_: str) -> str:
        """The store's key of what the teacher said of a portrait, which no flag and no weight of a part decides."""
        measured = self.label.uncertainty.model_dump(exclude={"weights"})
        return key_of("opinion", code_of("pipeline.pseudo_label"), id_, self.teacher_hash, measured)


@dataclass(frozen=True)
class _Task:
    """One portrait for a worker, with its face as "x0,y0,x1,y1"."""

    id: str
    image: str
    face: str
    settings: LabelSettings


def pseudo_label(
    records: pd.DataFrame, settings: LabelSettings, folder: Path = PSEUDO
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Label each portrait; return the records with their labels, and the parts of their uncertainty by id.

    Writes FOLDER/images, FOLDER/masks and FOLDER/probability, and the records. A portrait labelled before comes from
    the cache; other flags or weights ask the teacher nothing again.
    """
    out, store = PictureFolder(folder, settings.cache), Store("pseudo_label", settings.cache)
    portraits = records.to_dict("records")
    tasks = [_Task(row["id"], row["image"], row["face"], settings) for row in portraits]
    results = store.complete(
        tasks,
        lambda task: _known(task, store),
        lambda todo: map_images(_label_one, todo, desc="pseudo_label", initializer=_one_thread),
    )
    rows = []
    parts: dict[str, dict[str, float]] = {}
    for portrait, result in zip(portraits, results, strict=True):
        meta = dict(result.meta)
        parts[portrait["id"]] = {name: meta.pop(name) for name in PARTS}
        paths = _write_pictures(portrait, settings, store, out)
        label = {"label": "pseudo", "teacher": settings.teacher_hash}
        rows.append({**{name: portrait[name] for name in COLUMNS}, **meta, **paths, **label})
    table = pd.DataFrame.from_dict(parts, orient="index", columns=list(PARTS), dtype="float64")
    made = make_records(rows)
    out.finish(made)
    return made, table.rename_axis("id").sort_index()


def summarise(records: pd.DataFrame, parts: pd.DataFrame) -> dict[str, Any]:
    """Quantiles of the uncertainty and its parts, and how often each flag is set."""
    flags = records["flags"].str.split().explode().dropna()
    columns = {"uncertainty": records["uncertainty"], **{name: parts[name] for name in PARTS}}
    return {
        "uncertainty": {
            column: {f"p{at:02d}": float(values.quantile(at / 100)) for at in (5, 25, 50, 75, 95)}
            for column, values in columns.items()
            if len(values)
        },
        "flags": {str(name): int(count) for name, count in flags.value_counts().sort_index().items()},
        "flagged": int((records["flags"] != "").sum()),
    }


def label_portrait(
    image: Array, face: Box, settings: LabelSettings
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The teacher on a portrait (H, W, 3) uint8 RGB with this face: what the record says, mask and probability as PNG.

    What the record says is the doubt and the flags of that mask.
    """
    parts, mask, probability = _opinion(image, settings)
    blobs = {"mask": encode_mask(mask), "probability": encode_png(probability)}
    return _judgement(parts, mask, face, settings), blobs


def _opinion(image: Array, settings: LabelSettings) -> tuple[Parts, Array, Array]:
    """The teacher's doubt, mask and probability of a portrait."""
    from pipeline.deeplab import network as deeplab

    model, card = _teacher(settings.teacher, settings.teacher_hash)
    straight, mirrored = deeplab.two_opinions(model, card.preprocessing, image)
    probability, mask = joined(straight, mirrored, (image.shape[1], image.shape[0]))
    return doubt(straight, mirrored, settings.label.uncertainty), mask, probability


def _judgement(parts: Parts, mask: Array, face: Box, settings: LabelSettings) -> dict[str, Any]:
    """What the record says of a mask."""
    return {
        "uncertainty": combine(parts, settings.label.uncertainty),
        "flags": " ".join(quality_flags(mask, face, settings.label.flags)),
        **asdict(parts),
    }


def joined(straight: _Probabilities, mirrored: _Probabilities, size: tuple[int, int]) -> tuple[Array, Array]:
    """Probability (H, W) uint8 0..255 and mask {0, 1} at a picture's (width, height), from the teacher's two opinions.

    The probability is the mean of the picture's and of its mirror image's; person is where it is above 0.5.
    """
    mean = cv2.resize((straight + mirrored) / 2, size, interpolation=cv2.INTER_LINEAR)
    probability = np.asarray(np.rint(mean * 255), np.uint8)
    return probability, (probability > 127).astype(np.uint8)


def _known(task: _Task, store: Store) -> Head | None:
    """What the record says of a portrait; None where that or the teacher's opinion is missing."""
    judged = store.head(task.settings.label_key(task.id, task.face))
    said = judged and store.head(task.settings.opinion_key(task.id))
    return judged and said and judged


def _label_one(task: _Task) -> None:
    """Store the label of one portrait, and what the teacher says of it where that is not known."""
    store, key = Store("pseudo_label", task.settings.cache), task.settings.opinion_key(task.id)
    said = store.get(key)
    if said is None:
        parts, mask, probability = _opinion(read_image(Path(task.image)), task.settings)
        said = Result(asdict(parts), {"mask": encode_mask(mask), "probability": encode_png(probability)})
        store.put(key, said, task.id)
    else:
        parts, mask = Parts(**said.meta), decode_own_mask(said.blobs["mask"], "the stored mask")
    judged = _judgement(parts, mask, Box.parse(task.face), task.settings)
    store.put(task.settings.label_key(task.id, task.face), Result(judged), task.id)


def _write_pictures(
    portrait: dict[Hashable, Any], settings: LabelSettings, store: Store, out: PictureFolder
) -> dict[str, str]:
    """Image, mask and probability of one record; the image is the portrait's file."""
    source, key = Path(portrait["image"]), settings.opinion_key(portrait["id"])
    paths = {"image": out.link(f"images/{source.name}", source)}
    for kind, folder in (("mask", "masks"), ("probability", "probability")):
        name = f"{folder}/{portrait['id']}.png"
        paths[kind] = out.put(name, f"{key} {kind}", functools.partial(store.blob, key, kind))
    return {kind: path.as_posix() for kind, path in paths.items()}


def _one_thread() -> None:
    cv2.setNumThreads(1)
    import torch

    torch.set_num_threads(1)


@functools.lru_cache(maxsize=1)
def _teacher(path: Path, _hash: str) -> "tuple[Any, deeplab.TeacherCard]":
    """The teacher, loaded once a worker, and only where a portrait was not labelled before."""
    from pipeline.deeplab import network as deeplab

    return deeplab.load_teacher(path)


def main() -> None:
    params = load_params().pseudo_label
    portraits = read_records(CROP / "crawl")
    if not TEACHER.is_file():
        raise PipelineError(f"expected a teacher at {TEACHER}, found none; run `dvc repro teacher`")
    settings = LabelSettings(params, TEACHER, teacher_name(TEACHER), CACHE)
    records, parts = pseudo_label(portraits, settings)
    write_uncertainty(PSEUDO / "uncertainty.csv", parts)
    counts = account("pseudo_label", len(portraits), len(records), [], 0.0)
    write_metrics("pseudo_label", {**counts, **summarise(records, parts)})


def write_uncertainty(path: Path, parts: pd.DataFrame) -> None:
    """id, flip, stability, entropy as CSV."""
    write_text(path, parts.to_csv(float_format="%.6f", lineterminator="\n"))


if __name__ == "__main__":
    run("pseudo_label", main)
