"""Every judgement of a review, beside the lock: what each reviewer said of each task, for the figures of the review.

LOCK/judgements/ holds sorted JSON lines like the lock: a line a task, with the proposed mask once and each reviewer's
mask as the pixels that differ from it (mostly none). Merge reads only which crops were judged without a decision. A
lock without the folder has none.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from annotations.ledger.lock import KEEPS, Key, Moment, Pseudonym, pack_mask, unpack_mask
from annotations.ledger.shards import parse_line, read_shards, write_shards
from annotations.quality.reviewers import Judgement, Purpose, Said
from sinet.images.decode import Array

FOLDER = "judgements"  # in the lock's folder


class Opinion(BaseModel):
    """The last word of one reviewer in one annotation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    reviewer: Pseudonym
    at: Moment
    said: Said
    reasons: Annotated[tuple[str, ...], Field(strict=False)]  # sorted codes
    seconds: Annotated[float, Field(ge=0)] | None  # that it took
    edit: (
        str | None
    )  # a packed mask of the pixels that differ from the proposed one; null for none or no mask
    # The mark of the annotation that it was written into; older lines lack it, and stay as they are.
    annotation: str | None = Field(default=None, exclude_if=lambda mark: mark is None)
    # The mask was repaired with clicks, maybe with strokes too.
    clicks: bool = Field(default=False, exclude_if=lambda clicks: not clicks)
    # It was written over, or copied from, an answer that was there, of which no earlier pull may have heard.
    over: bool = Field(default=False, exclude_if=lambda over: not over)
    # Where it was said, if not on the first server that was pulled from: a mark that was found there.
    server: str | None = Field(default=None, exclude_if=lambda mark: mark is None)

    @model_validator(mode="after")
    def _belongs_together(self) -> "Opinion":
        if self.edit is not None and self.said not in KEEPS:
            raise ValueError(f"{self.said} brings no mask, found an edit")
        return self


class JudgedTask(BaseModel):
    """One version of a task and what was said of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    key: Key
    version: str  # of the task; another mask or another round is another one
    purpose: Purpose
    round: Annotated[int, Field(ge=1)]  # 2: after a conflict
    width: Annotated[int, Field(ge=1)]  # of the picture, in pixels
    height: Annotated[int, Field(ge=1)]
    uncertainty: float | None  # of the proposed mask, 0 = certain, 1 = doubtful
    teacher: str | None  # hash of the weights that proposed the mask
    proposed: str | None  # a packed mask; null where the server had none to show
    truth: str | None  # a packed mask: the right one, of a gold task
    opinions: Annotated[tuple[Opinion, ...], Field(strict=False, min_length=1)]  # oldest first

    def mask_of(self, opinion: Opinion) -> Array | None:
        """The mask (H, W) uint8 {0, 1} that this reviewer submitted; None unless accept or fix."""
        if opinion.said not in KEEPS or (self.proposed is None and opinion.edit is None):
            return None
        masks = [unpack_mask(text) for text in (self.proposed, opinion.edit) if text is not None]
        return masks[0] if len(masks) == 1 else masks[0] ^ masks[1]

    @field_validator("opinions")
    @classmethod
    def _oldest_first(cls, opinions: tuple[Opinion, ...]) -> tuple[Opinion, ...]:
        names = [(one.server, one.annotation, one.reviewer) for one in opinions]
        if len(names) != len(set(names)):
            raise ValueError("expected one opinion of each reviewer in an annotation, found several")
        return tuple(sorted(opinions, key=lambda one: (one.at, one.reviewer, one.annotation or "")))

    @model_validator(mode="after")
    def _belongs_together(self) -> "JudgedTask":
        if (self.truth is not None) != (self.purpose == "gold"):
            raise ValueError("a gold task needs its right mask, and no other has one")
        for text in (self.proposed, self.truth, *(one.edit for one in self.opinions)):
            if text is None:
                continue
            height, width = unpack_mask(text).shape
            if (width, height) != (self.width, self.height):
                raise ValueError(f"a mask is {width}x{height}, the task says {self.width}x{self.height}")
        return self


def read_judgements(lock: Path) -> list[JudgedTask]:
    """All judged tasks beside the lock, sorted by key and version; LockError names file and line of damage."""
    return read_shards(lock / FOLDER, lambda line, where: parse_line(JudgedTask, line, where), _name)


def write_judgements(lock: Path, tasks: Iterable[JudgedTask]) -> None:
    """Make LOCK/judgements hold exactly these; same tasks, same bytes, equal files stay untouched."""
    write_shards(lock / FOLDER, tasks, _name)


def edit_of(mask: Array, proposed: Array | None) -> str | None:
    """The pixels in which a mask differs from the proposed one (of which None is known: all of it), packed."""
    difference = mask if proposed is None else mask ^ proposed
    return pack_mask(difference) if difference.any() else None


def judgements(tasks: Iterable[JudgedTask]) -> list[Judgement]:
    """What the figures are made of, each reviewer's last word on a task, from the oldest to the newest."""
    listed = [
        (opinion.at, task.version, opinion.reviewer, task, opinion)
        for task in tasks
        for opinion in {(one.server, one.reviewer): one for one in task.opinions}.values()
    ]
    return [_judgement(task, opinion) for *_, task, opinion in sorted(listed, key=lambda one: one[:3])]


def _judgement(task: JudgedTask, opinion: Opinion) -> Judgement:
    return Judgement(
        unit=f"{task.key} {task.proposed or task.version}",
        purpose=task.purpose,
        first_look=task.round == 1 and not _saw_another(task, opinion),
        reviewer=opinion.reviewer,
        said=opinion.said,
        seconds=opinion.seconds,
        clicks=opinion.clicks,
        uncertainty=task.uncertainty,
        proposed=None if task.proposed is None else unpack_mask(task.proposed),
        mask=task.mask_of(opinion),
        truth=None if task.truth is None else unpack_mask(task.truth),
    )


def _saw_another(task: JudgedTask, opinion: Opinion) -> bool:
    """Whether it was written over somebody else's word, or copied from it: no look of one's own."""
    return opinion.over or any(
        (one.at, one.reviewer) < (opinion.at, opinion.reviewer)
        for one in task.opinions
        if one.annotation == opinion.annotation is not None
    )


def _name(task: JudgedTask) -> str:
    return f"key {task.key} version {task.version}"
