"""Pseudo labels: in go the crawl's records and the teacher; out come portraits with the teacher's masks and doubts.

A picture of a whole body is cut to its portrait first. Whatever looks wrong is flagged for the curators, not hidden.
"""

import functools
import shutil
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.ingested import read_ingested
from pipeline.core.params import CropParams, PseudoLabelParams, load_params
from pipeline.core.paths import CACHE, INGEST, PSEUDO, TEACHER
from pipeline.core.records import Rejected, account, make_records, write_records, write_rejected
from pipeline.core.stage import run, write_metrics, write_text
from pipeline.core.store import Result, Store, code_of, key_of
from pipeline.deeplab import network as deeplab
from pipeline.deeplab.uncertainty import combine, doubt, quality_flags
from pipeline.faces import detector as faces
from pipeline.faces.portrait import choose_portrait, cut, is_confident
from sinet.core import atomic
from sinet.images.decode import Array, encode_mask, encode_png, pixel_id, read_image

if TYPE_CHECKING:
    from pipeline.faces.detector import Face, FaceFinder

_Probabilities = NDArray[np.float32]  # (size, size) in 0..1

_FACE_CODE = ("pipeline.faces.detector",)
_LABEL_CODE = (
    "pipeline.pseudo_label",
    "pipeline.faces.portrait",
    "pipeline.deeplab.network",
    "pipeline.deeplab.uncertainty",
    "sinet.network.preprocess",
)
_INHERITED = ("source", "source_key", "sha256", "url", "author", "licence", "retrieved_at", "published_side")
PARTS = ("flip", "stability", "entropy")


@dataclass(frozen=True)
class LabelSettings:
    """All that a pseudo label depends on, beside the picture."""

    crop: CropParams
    label: PseudoLabelParams
    teacher: Path
    teacher_hash: str
    cache: Path

    def face_key(self, id_: str) -> str:
        """The store's key of a picture's faces, which no teacher changes."""
        search = self.crop.faces.model_dump(include={"min_size", "max_side"})
        return key_of("faces", code_of(*_FACE_CODE), id_, search, faces.weights_hash())

    def label_key(self, id_: str) -> str:
        """The store's key of a picture's pseudo label."""
        crop = self.crop.model_dump(include={"faces", "geometry", "fill", "whole_from"})
        label = self.label.model_dump(exclude={"max_reject_rate"})
        return key_of(
            "pseudo_label", code_of(*_LABEL_CODE), self.face_key(id_), self.teacher_hash, crop, label
        )


@dataclass(frozen=True)
class _Task:
    """One picture for a worker."""

    id: str
    image: str
    settings: LabelSettings


def pseudo_label(
    records: pd.DataFrame, settings: LabelSettings, folder: Path = PSEUDO
) -> tuple[pd.DataFrame, pd.DataFrame, list[Rejected]]:
    """Label each record; return the new records, the parts of their uncertainty by id, and what was rejected.

    Writes FOLDER/images, FOLDER/masks and FOLDER/probability. A picture labelled before comes from the cache, and
    so do its faces where only the teacher is new.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("images", "masks", "probability"):
        (folder / part).mkdir(parents=True)
    parents = records.sort_values("source_key").to_dict("records")
    tasks = [_Task(row["id"], row["image"], settings) for row in parents]
    keys = map_images(_label_one, tasks, desc="pseudo_label", initializer=_one_thread)
    rows: dict[str, dict[str, Any]] = {}
    parts: dict[str, dict[str, float]] = {}
    rejected = []
    for parent, key in zip(parents, keys, strict=True):
        result = Store("pseudo_label", settings.cache).get(key)
        if result is None:
            raise PipelineError(
                f"{settings.cache}/pseudo_label lost a result while the stage ran; run it again"
            )
        reason = _reason(result, rows)
        if reason is not None:
            rejected.append(Rejected(str(parent["source"]), str(parent["source_key"]), *reason))
            continue
        meta = dict(result.meta)
        parts[meta["id"]] = {name: meta.pop(name) for name in PARTS}
        paths = _write_pictures(result, Path(str(parent["image"])), folder)
        label = {"label": "pseudo", "teacher": settings.teacher_hash}
        rows[meta["id"]] = {**_inherited(parent), **meta, **paths, **label}
    table = pd.DataFrame.from_dict(parts, orient="index", columns=list(PARTS), dtype="float64")
    return make_records(list(rows.values())), table.rename_axis("id").sort_index(), rejected


def summarise(records: pd.DataFrame, parts: pd.DataFrame) -> dict[str, Any]:
    """Quantiles of the uncertainty and its parts, how often each flag is set, and the share taken whole."""
    flags = records["flags"].str.split().explode().dropna()
    boxes = [Box.parse(box) for box in records["crop_box"]]
    whole = records["id"] == records["parent_id"]
    columns = {"uncertainty": records["uncertainty"], **{name: parts[name] for name in PARTS}}
    return {
        "uncertainty": {
            column: {f"p{at:02d}": float(values.quantile(at / 100)) for at in (5, 25, 50, 75, 95)}
            for column, values in columns.items()
            if len(values)
        },
        "flags": {str(name): int(count) for name, count in flags.value_counts().sort_index().items()},
        "flagged": int((records["flags"] != "").sum()),
        "whole": int(whole.sum()),
        "cropped": len(boxes) - int(whole.sum()),
        "whole_share": float(whole.mean()) if len(records) else 0.0,
    }


def label_portrait(
    image: Array, box: Box, face: "Face", settings: LabelSettings
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The teacher on one portrait of a picture: what the record says of it, and its mask and probability as PNG.

    What the record says is the doubt and the flags of that mask.
    """
    model, card = _teacher(settings.teacher)
    pixels = cut(image, box, settings.crop.fill)
    straight, mirrored = deeplab.two_opinions(model, card.preprocessing, pixels)
    probability, mask = joined(straight, mirrored, (box.width, box.height))
    inside = face.box.moved(-box.x0, -box.y0).clipped(box.width, box.height)
    parts = doubt(straight, mirrored, settings.label.uncertainty)
    meta = {
        "id": pixel_id(pixels),
        "crop_box": str(box),
        "face": str(inside),
        "face_probability": face.probability,
        "width": box.width,
        "height": box.height,
        "uncertainty": combine(parts, settings.label.uncertainty),
        "flags": " ".join(quality_flags(mask, inside, settings.label.flags)),
        **asdict(parts),
    }
    return meta, {"mask": encode_mask(mask), "probability": encode_png(probability)}


def joined(straight: _Probabilities, mirrored: _Probabilities, size: tuple[int, int]) -> tuple[Array, Array]:
    """Probability (H, W) uint8 0..255 and mask {0, 1} at a picture's (width, height), from the teacher's two opinions.

    The probability is the mean of the picture's and of its mirror image's; person is where it is above 0.5.
    """
    mean = cv2.resize((straight + mirrored) / 2, size, interpolation=cv2.INTER_LINEAR)
    probability = np.asarray(np.rint(mean * 255), np.uint8)
    return probability, (probability > 127).astype(np.uint8)


def find_faces(id_: str, image: Array, settings: LabelSettings) -> list["Face"]:
    """The faces of a picture (H, W, 3) uint8 RGB, from the store where they were found before."""
    store, key = Store("faces", settings.cache), settings.face_key(id_)
    known = store.get(key)
    if known is not None:
        return [faces.Face(Box.parse(box), probability) for box, probability in known.meta["faces"]]
    found = _finder(settings.crop).find(image)
    store.put(key, Result({"faces": [[str(face.box), face.probability] for face in found]}))
    return found


def _label_one(task: _Task) -> str:
    """Label one picture unless the store knows it; return the store's key."""
    store, key = Store("pseudo_label", task.settings.cache), task.settings.label_key(task.id)
    if store.get(key) is None:
        store.put(key, _result(task))
    return key


def _result(task: _Task) -> Result:
    settings = task.settings
    image = read_image(Path(task.image))
    found = find_faces(task.id, image, settings)
    portrait = choose_portrait(image.shape[1], image.shape[0], found, settings.crop)
    if portrait is None:
        return Result(_no_portrait(found, settings.crop))
    box, face = portrait
    meta, blobs = label_portrait(image, box, face, settings)
    if meta["id"] != task.id:  # a picture taken whole is not stored a second time
        blobs["image"] = encode_png(cut(image, box, settings.crop.fill))
    return Result(meta, blobs)


def _no_portrait(found: Sequence["Face"], params: CropParams) -> dict[str, str]:
    sure = [face for face in found if is_confident(face, params)]
    if sure:
        tallest, least = max(face.box.height for face in sure), params.faces.min_height
        detail = f"the largest face is {tallest} pixels high, below {least}"
        return {"reason": "face_too_small", "detail": detail}
    if found:
        best, needed = max(face.probability for face in found), params.faces.min_probability
        detail = f"of {len(found)} faces the surest has probability {best:.3f}, below {needed:g}"
        return {"reason": "face_probability", "detail": detail}
    return {"reason": "no_face", "detail": "no face was found"}


def _reason(result: Result, rows: dict[str, dict[str, Any]]) -> tuple[str, str] | None:
    """Reason and sentence where a result makes no record."""
    if "reason" in result.meta:
        return result.meta["reason"], result.meta["detail"]
    twin = rows.get(result.meta["id"])
    if twin is not None:
        return "duplicate_pixels", f"its portrait has the same pixels as that of {twin['source_key']}"
    return None


def _write_pictures(result: Result, parent: Path, folder: Path) -> dict[str, str]:
    """Image, mask and probability of one record in FOLDER; a picture taken whole keeps its parent's file."""
    id_ = result.meta["id"]
    mask, probability = folder / "masks" / f"{id_}.png", folder / "probability" / f"{id_}.png"
    atomic.write_atomic(mask, result.blobs["mask"])
    atomic.write_atomic(probability, result.blobs["probability"])
    if "image" in result.blobs:
        image = folder / "images" / f"{id_}.png"
        atomic.write_atomic(image, result.blobs["image"])
    else:
        image = folder / "images" / f"{id_}{parent.suffix}"
        atomic.write_atomic(image, parent.read_bytes())
    return {"image": image.as_posix(), "mask": mask.as_posix(), "probability": probability.as_posix()}


def _inherited(parent: dict[Hashable, Any]) -> dict[str, Any]:
    """What a pseudo label takes over from the picture it comes from."""
    same = {name: parent[name] for name in _INHERITED}
    return {**same, "parent_id": parent["id"], "parent_sha256": parent["sha256"]}


def _one_thread() -> None:
    cv2.setNumThreads(1)
    import torch

    torch.set_num_threads(1)


@functools.cache
def _finder(params: CropParams) -> "FaceFinder":
    """The face networks, loaded once a worker, and only where a picture's faces are not known."""
    return faces.FaceFinder(params)


@functools.cache
def _teacher(path: Path) -> tuple[Any, deeplab.TeacherCard]:
    """The teacher, loaded once a worker, and only where a picture was not labelled before."""
    return deeplab.load_teacher(path)


def main() -> None:
    params = load_params()
    parents = read_ingested(INGEST / "crawl")
    if not TEACHER.is_file():
        raise PipelineError(f"expected a teacher at {TEACHER}, found none; run `dvc repro teacher`")
    settings = LabelSettings(params.crop, params.pseudo_label, TEACHER, deeplab.file_hash(TEACHER), CACHE)
    records, parts, rejected = pseudo_label(parents, settings)
    write_records(PSEUDO, records)
    write_rejected("pseudo_label", rejected)  # before the gate, whose message sends people there
    write_uncertainty(PSEUDO / "uncertainty.csv", parts)
    rate = params.pseudo_label.max_reject_rate
    counts = account("pseudo_label", len(parents), len(records), rejected, rate)
    write_metrics("pseudo_label", {**counts, **summarise(records, parts)})


def write_uncertainty(path: Path, parts: pd.DataFrame) -> None:
    """id, flip, stability, entropy as CSV."""
    write_text(path, parts.to_csv(float_format="%.6f", lineterminator="\n"))


if __name__ == "__main__":
    run("pseudo_label", main)
