"""Write tasks as Label Studio import files with the pictures that they show, for the stages push and second_look."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from annotations.masks.gold import damaged
from annotations.quality.reviewers import Purpose
from annotations.settings import brings_pictures
from annotations.tasks import guidelines
from annotations.tasks.purpose import TooRoughError
from annotations.tasks.task import (
    LABEL_CONFIG,
    Proposal,
    TaskPictures,
    build_task,
    cutout,
    encode_jpeg,
    outline_view,
    task_version,
    text_batches,
    with_score,
    without_score,
)
from pipeline.core.code import code_of
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.folder import FileNotes, PictureFolder
from pipeline.core.params import LabelStudioParams
from pipeline.core.stage import write_json
from pipeline.core.store import Head, Result, Store, key_of
from pipeline.review.disguise import fitted
from sinet.core import atomic
from sinet.images.decode import Array, ImageError, read_image, read_mask

log = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Candidate:
    """A queued pseudo label, a labelled picture as a gold task, or a reviewed one for a second look; and its files."""

    candidate: Proposal
    image: Path
    mask: Path
    purpose: Purpose
    size: tuple[int, int] | None = (
        None  # (width, height) that picture and mask are brought to; as they are: None
    )


def write_import_folder(
    folder: Path, items: Sequence[Candidate], params: LabelStudioParams, store: Store
) -> dict[str, Any]:
    """Write pictures, task files, label config and receipt ("not sent") into FOLDER, and return the receipt.

    A gold task whose seal would tell it apart is left out, and counted as `too_rough`.
    """
    out, masks = PictureFolder(folder, store.root), FileNotes(f"masks of {folder.absolute()}", store.root)
    page = guidelines.page()
    shown = [out.put(f"images/{guidelines.PAGE_NAME}", hashlib.sha256(page).hexdigest(), lambda: page)]
    config = LABEL_CONFIG.read_text()
    keyed = [(_task_key(item, params.picture_root, config, masks), item) for item in items]
    masks.save()
    known = store.complete(
        keyed,
        lambda one: store.head(one[0]),
        lambda todo: map_images(partial(_make_one, root=params.picture_root, store=store), todo, desc="push"),
    )
    tasks = []
    for (key, item), made in zip(keyed, known, strict=True):
        task, pictures = _written(item, key, made, out, store)
        tasks += [task] if task is not None else []
        shown += pictures
    out.keep(shown)
    files = [_write(folder / "label_config.xml", LABEL_CONFIG.read_bytes())]
    if too_rough := len(items) - len(tasks):
        log.info("push: %d gold tasks left out, as their right masks have too rough an outline", too_rough)
    for number, content in enumerate(text_batches(tasks), start=1):
        files.append(_write(folder / f"tasks-{number:04d}.json", content))
    receipt: dict[str, Any] = {
        "state": "not sent",
        "tasks": len(tasks),
        "too_rough": too_rough,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "hint": _hint(folder, params),
    }
    write_json(folder / "receipt.json", receipt)
    return receipt


def _task_key(item: Candidate, root: str, config: str, masks: FileNotes) -> str:
    """The store's key of a task, a hash of all that it depends on but for its place in the queue."""
    candidate = asdict(replace(item.candidate, score=0.0))
    try:
        mask = masks.hash_of(str(item.mask))
    except ImageError:  # who makes the task says why
        mask = ""
    shown = item.image.suffix, item.purpose, item.size, root, config
    return key_of("task", code_of(__name__), candidate, mask, shown)


def _written(
    item: Candidate, key: str, made: Head, out: PictureFolder, store: Store
) -> tuple[str | None, list[Path]]:
    """Write the pictures of a stored task; the text of the task, None if it is too rough, and where they are."""
    unscored: str | None = made.meta["task"]
    task = None if unscored is None else with_score(unscored, item.candidate.score)
    stem = made.meta["stem"]
    pictures = [
        out.put(f"images/{stem}-{name}.jpg", f"{key} {name}", partial(store.blob, key, name))
        for name in made.blobs
    ]
    return task, pictures


def _make_one(keyed: tuple[str, Candidate], root: str, store: Store) -> None:
    """Store a task with its three pictures, as text but for its score: its place in the queue is another each run."""
    key, item = keyed
    # A second look has names of its own: a server may show both folders' pictures at one address.
    stem = f"{item.candidate.key}-again" if item.purpose == "student" else item.candidate.key
    task, drawn = _make_task(item, stem, root)
    unscored = None if task is None else without_score(task)
    store.put(key, Result({"stem": stem, "task": unscored}, drawn), item.candidate.id)


def _make_task(item: Candidate, stem: str, root: str) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """One task and its pictures; None, and no picture, if TooRoughError."""
    try:
        read = read_mask(item.mask)
        right = read if item.size is None else fitted(read, *item.size)
        mask = _shown(item, right)
        # A second task shows the pictures of the first.
        drawn = {} if item.purpose == "second" else _draw(item, mask, read)
    except ImageError as error:
        kind = {"gold": "gold task", "student": "reviewed picture"}.get(item.purpose, "pseudo label")
        stage = "pseudo_label" if kind == "pseudo label" else "merge"
        raise PipelineError(
            f"a {kind} cannot be shown: {error.detail}; run `dvc repro --force {stage}`"
        ) from error
    pictures = TaskPictures(
        image=f"{root}/{stem}-image.jpg",
        outline=f"{root}/{stem}-outline.jpg",
        cutout=f"{root}/{stem}-cutout.jpg",
        guidelines=f"{root}/{guidelines.PAGE_NAME}",
    )
    version = task_version(item.candidate, mask, LABEL_CONFIG.read_text(), item.purpose)
    truth = right if item.purpose == "gold" else None
    try:
        task = build_task(item.candidate, mask, pictures, version, item.purpose, truth)
    except TooRoughError:
        return None, {}
    return task, drawn


def _shown(item: Candidate, mask: Array) -> Array:
    """The mask that the task proposes."""
    if item.purpose == "scratch":
        return np.zeros_like(mask)
    if item.purpose != "gold":
        return mask
    try:
        return damaged(mask, item.candidate.key)
    except ValueError as error:
        raise PipelineError(f"the picture {item.candidate.id} makes no gold task: {error}") from error


def _draw(item: Candidate, mask: Array, read: Array) -> dict[str, bytes]:
    """JPEG bytes of "image", "outline" and "cutout"; `read` is the mask as its file has it."""
    image = read_image(item.image)
    if image.shape[:2] != read.shape:
        raise ImageError("mask_size", f"{item.image.name} is {_size(image)} pixels, its mask {_size(read)}")
    image = image if item.size is None else fitted(image, *item.size)
    pictures = {"image": image, "outline": outline_view(image, mask), "cutout": cutout(image, mask)}
    return {name: encode_jpeg(pixels) for name, pixels in pictures.items()}


def _size(pixels: Array) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _write(path: Path, content: bytes) -> Path:
    atomic.write_atomic(path, content)
    return path


def _hint(folder: Path, params: LabelStudioParams) -> str:
    shown = f"must show {folder}/images at {params.picture_root}"
    if brings_pictures(params.picture_root):
        shown = "gets their pictures with them"
    return (
        f"`make review` sends them to a Label Studio on this machine, `python -m annotations push` to the one at "
        f"{params.url}, which {shown}; both send each task once, and "
        "`python -m annotations status` says what is there"
    )
