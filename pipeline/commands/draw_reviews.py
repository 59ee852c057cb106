"""Play the reviewer of the drawn world, whose exact masks are known, and write the lock in the repository.

Reads data/pseudo. Writes the lock at reviews.path, with the judgements beside it, of which some come from a second
reviewer with a habit of their own.
Run `python -m pipeline.commands.draw_reviews` when `dvc repro` has made data/pseudo; it is no stage, as reviews come
from outside the recipe.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from annotations.ledger.judgements import JudgedTask, Opinion, edit_of, write_judgements
from annotations.ledger.lock import LockEntry, Verdict, pack_mask, review_key, write_lock
from annotations.masks.overlap import AGREE_IOU, mask_iou
from annotations.quality.random_slice import hashed_share
from annotations.quality.reviewers import Purpose
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import PSEUDO
from pipeline.core.records import read_records
from pipeline.core.stage import run
from pipeline.drawing.layouts import DrawnSource, crawl_index, crawl_name, draw_picture
from pipeline.faces.portrait import cut
from sinet.images.decode import Array, read_mask

log = logging.getLogger("pipeline")


REVIEWS = 60  # enough to show every verdict, few enough for a small lock
ACCEPT_IOU, FIX_IOU = 0.90, 0.60  # a better mask is kept, a worse one is beyond repair
MIN_PERSON = 0.02  # share of the crop
UNSURE_SHARE, REJECT_SHARE = (
    0.05,
    0.05,
)  # people hesitate, and dislike pictures for reasons that no mask shows
REVIEWERS = ("curator-1", "curator-2", "curator-3")
SECOND_SHARE = 0.25  # of the pictures are judged by two
HABIT = {
    "curator-1": 0,
    "curator-2": 1,
    "curator-3": -1,
}  # pixels that a second mask reaches too far, all around
SECONDS: dict[Verdict, tuple[int, int]] = {
    "accept": (3, 9),
    "fix": (20, 70),
    "reject": (4, 12),
    "unsure": (8, 25),
}
_FIRST_DAY = datetime(2025, 1, 6, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Pseudo:
    """A pseudo label to review: its crop box in the parent, and the teacher's mask (H, W) uint8 {0, 1}."""

    index: int  # of the drawn crawl picture
    parent_sha256: str
    crop_box: str
    mask: Array
    teacher: str | None
    uncertainty: float | None = None  # 0 = certain, 1 = doubtful

    @property
    def key(self) -> str:
        return review_key(self.parent_sha256, self.crop_box)


def draw_review(pseudo: Pseudo, exact_parent: Array) -> LockEntry:
    """What a reviewer says who knows the exact mask of the whole crawl picture."""
    exact = cut(exact_parent, Box.parse(pseudo.crop_box), 0)
    if exact.shape != pseudo.mask.shape:
        raise PipelineError(
            f"the crop {pseudo.crop_box} of crawl picture {pseudo.index} is {_size(exact)}, the mask "
            f"is {_size(pseudo.mask)}; run `dvc repro pseudo_label` so that both belong to one drawn world"
        )
    verdict, reasons = _judge(pseudo, exact)
    masks: dict[Verdict, Array | None] = {"accept": pseudo.mask, "fix": exact, "reject": None, "unsure": None}
    return LockEntry.of(
        parent_sha256=pseudo.parent_sha256,
        crop_box=pseudo.crop_box,
        shape=(pseudo.mask.shape[0], pseudo.mask.shape[1]),
        verdict=verdict,
        mask=masks[verdict],
        reasons=reasons,
        reviewer=REVIEWERS[int(hashed_share(pseudo.key, "reviewer") * len(REVIEWERS))],
        reviewed_at=(
            _FIRST_DAY + timedelta(seconds=int(hashed_share(pseudo.key, "moment") * 14 * 86400))
        ).isoformat(),
        teacher=pseudo.teacher,
    )


def chosen(pseudos: Iterable[Pseudo], count: int = REVIEWS) -> list[Pseudo]:
    """At most `count` of them by a hash of the key, so that more pictures hardly change who is chosen."""
    return sorted(sorted(pseudos, key=lambda one: _hash(one.key, "chosen"))[:count], key=lambda one: one.key)


def review_all(pseudos: Iterable[Pseudo], exact_mask: Callable[[int], Array]) -> list[LockEntry]:
    """A review of each chosen pseudo label; `exact_mask` gives the mask of a crawl picture by its index."""
    return [draw_review(pseudo, exact_mask(pseudo.index)) for pseudo in chosen(pseudos)]


def draw_judgements(pseudo: Pseudo, entry: LockEntry) -> list[JudgedTask]:
    """The judgements that led to this entry: one, or two that agree, or two in conflict and a third for the first.

    A second reviewer says the same of a picture, but their mask has their HABIT.
    """
    mask = None if entry.mask is None else entry.mask_array()
    tasks = [_judged(pseudo, entry, "review", 1, entry.reviewer, mask)]
    if hashed_share(pseudo.key, "second") >= SECOND_SHARE:
        return tasks
    place = REVIEWERS.index(entry.reviewer)
    second, third = REVIEWERS[(place + 1) % 3], REVIEWERS[(place + 2) % 3]
    other = mask if mask is None or entry.verdict != "fix" else _with_habit(mask, HABIT[second])
    tasks.append(_judged(pseudo, entry, "second", 1, second, other))
    if mask is not None and other is not None and mask_iou(mask, other) < AGREE_IOU:
        tasks.append(_judged(pseudo, entry, "second", 2, third, mask))
    return tasks


def _exact_mask(seed: int, index: int, sha256: str) -> Array:
    """The exact mask of crawl picture `index`; PipelineError where its file is not the one with this sha256."""
    drawn = draw_picture(DrawnSource(seed, "crawl", index))
    if hashlib.sha256(drawn.jpeg()).hexdigest() != sha256:
        raise PipelineError(
            f"{crawl_name(index)} of params.yaml's drawn world is another file than the one that {PSEUDO} was "
            "made from; run `dvc repro pseudo_label` so that both belong to one drawn world"
        )
    return drawn.mask


def summarise(entries: Iterable[LockEntry]) -> dict[str, int]:
    """How many reviews gave each verdict."""
    return dict(sorted(Counter(entry.verdict for entry in entries).items()))


def _judge(pseudo: Pseudo, exact: Array) -> tuple[Verdict, tuple[str, ...]]:
    if exact.mean() < MIN_PERSON:
        return "reject", ("no_person",)
    lot = hashed_share(pseudo.key, "verdict")
    if lot < UNSURE_SHARE:
        return "unsure", ("hidden_edge",)
    if lot < UNSURE_SHARE + REJECT_SHARE:
        return "reject", ("damaged_picture",)
    iou = float((exact & pseudo.mask).sum() / max(1, (exact | pseudo.mask).sum()))
    if iou >= ACCEPT_IOU:
        return "accept", ()
    return ("fix", ()) if iou >= FIX_IOU else ("reject", ("bad_mask",))


def _judged(
    pseudo: Pseudo, entry: LockEntry, purpose: Purpose, round_: int, reviewer: str, mask: Array | None
) -> JudgedTask:
    """What one reviewer said of one task, with the entry's verdict."""
    low, high = SECONDS[entry.verdict]
    opinion = Opinion(
        reviewer=reviewer,
        at=(datetime.fromisoformat(entry.reviewed_at) + timedelta(days=_day(purpose, round_))).isoformat(),
        said=entry.verdict,
        reasons=entry.reasons,
        seconds=round(low + (high - low) * hashed_share(pseudo.key, f"seconds {reviewer}"), 1),
        edit=None if mask is None else edit_of(mask, pseudo.mask),
    )
    return JudgedTask(
        key=pseudo.key,
        version=_hash(pseudo.key, f"version {purpose} {round_}")[:16],
        purpose=purpose,
        round=round_,
        width=entry.width,
        height=entry.height,
        uncertainty=pseudo.uncertainty,
        teacher=pseudo.teacher,
        proposed=pack_mask(pseudo.mask),
        truth=None,
        opinions=(opinion,),
    )


def _day(purpose: Purpose, round_: int) -> int:
    """How many days after the first review this one is made."""
    return {"review": 0}.get(purpose, round_)


def _with_habit(mask: Array, pixels: int) -> Array:
    """The mask grown by so many pixels, or shrunk where they are below 0."""
    size = 2 * abs(pixels) + 1
    change = cv2.dilate if pixels > 0 else cv2.erode
    return np.asarray(change(mask, np.ones((size, size), np.uint8)), np.uint8)


def _hash(key: str, purpose: str) -> str:
    return hashlib.sha256(f"{purpose} {key}".encode()).hexdigest()


def _size(mask: Array) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"


def _pseudo(row: Any) -> Pseudo | None:
    """A row of the pseudo records; None where its parent is none of the drawn pictures (a broken one)."""
    index = crawl_index(str(row.source_key))
    if index is None:
        return None
    teacher = row.teacher if isinstance(row.teacher, str) else None
    doubt = None if pd.isna(row.uncertainty) else round(float(row.uncertainty), 6)
    mask = read_mask(Path(row.mask))
    return Pseudo(index, str(row.parent_sha256), str(row.crop_box), mask, teacher, doubt)


def main() -> None:
    params = load_params()
    rows = read_records(PSEUDO).itertuples()
    pseudos = [pseudo for row in rows if (pseudo := _pseudo(row)) is not None]
    if not pseudos:
        raise PipelineError(
            f"expected pseudo labels of drawn pictures (photo-00001.jpg ...) in {PSEUDO}, found none; "
            "run `python -m pipeline configure sample` and `dvc repro` first"
        )
    files = {pseudo.index: pseudo.parent_sha256 for pseudo in pseudos}
    seed = params.sample.seed
    entries = review_all(pseudos, lambda index: _exact_mask(seed, index, files[index]))
    by_key = {pseudo.key: pseudo for pseudo in pseudos}
    lock = Path(params.reviews.path)
    write_lock(lock, entries)
    write_judgements(lock, [task for entry in entries for task in draw_judgements(by_key[entry.key], entry)])
    log.info("drawn_reviews: %d of %d reviewed: %s", len(entries), len(pseudos), summarise(entries))


if __name__ == "__main__":
    run("drawn_reviews", main)
