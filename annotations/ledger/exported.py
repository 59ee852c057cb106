"""What people said on the server: an export of Label Studio as reviews, skips, drafts and waiting tasks.

A task or an annotation that cannot be read is named: where its words are safe to hold apart it is an unclear review,
else a ReviewError.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from annotations.errors import ReviewError
from annotations.ledger.answer import Answer, AnswerError, read_answer
from annotations.ledger.lock import KEEPS, NAMELESS, Key
from annotations.ledger.shards import faults
from annotations.masks.brush import BrushError, fingerprint, regions_to_mask, type_name
from annotations.masks.packed import PackedMask
from annotations.quality.reviewers import Purpose, Said
from annotations.tasks.purpose import FIELD as SEAL
from annotations.tasks.purpose import unseal
from annotations.tasks.task import region_id
from sinet.images.decode import MAX_PIXELS, Array

# What a review comes to. `unclear` says that somebody must look again: it agrees with nothing.
Outcome = Literal["keep", "reject", "unsure", "unclear"]

_DECODER = json.JSONDecoder()
_OURS = ({"parent_sha256"}, {"crop_box"}, {"key", "version"})  # names in `data`, which no task of others has


@dataclass(frozen=True)
class Subject:
    """The task that a review is of, with all that the lock needs to know."""

    task: int
    key: str
    version: str
    id: str  # of the picture
    parent_sha256: str
    crop_box: str
    width: int
    height: int
    teacher: str | None
    purpose: Purpose
    round: int  # 2: after a conflict
    uncertainty: float | None  # of the proposed mask, 0 = certain, 1 = doubtful
    proposed: str | None  # fingerprint of the mask that it shows
    truth: str | None  # of a gold task: the right mask, packed


@dataclass(frozen=True, eq=False)
class Review:
    """One submitted annotation."""

    subject: Subject
    annotation: int
    mark: str  # of the annotation, on whatever server
    reviewer: str  # a pseudonym: the number on the server of the user who wrote last, or NAMELESS and the annotation's
    begun_by: str | None  # the same of the user who submitted it first, where that is known
    at: datetime  # of the last change
    outcome: Outcome
    said: Said
    kept: PackedMask | None  # the mask, where kept
    shown: PackedMask | None  # the proposed mask, where the export tells it
    changed: bool  # the mask is not the proposed one
    reasons: tuple[str, ...]
    why: str  # it is unclear; "" otherwise
    seconds: float | None  # that the reviewer took
    clicks: bool = False  # the mask was repaired with clicks, maybe with strokes too
    over: bool = False  # written over, or copied from, an answer that was there: no look of one's own
    doubtful: bool = False  # its author may be somebody who has another voice
    server: str | None = None  # on which it was said, where that is another one than was exported

    @property
    def mask(self) -> Array | None:
        """The mask (H, W) uint8 {0, 1} where kept; each time an array of its own."""
        return None if self.kept is None else self.kept.unpack()


@dataclass(frozen=True)
class Reading:
    """An export, read."""

    subjects: list[Subject]
    reviews: list[Review]
    skipped: set[str] = field(default_factory=set)  # keys; a skip is no review
    drafts: set[str] = field(default_factory=set)  # keys; begun but not submitted
    notes: list[str] = field(default_factory=list)  # what was passed over, a sentence each
    marks: dict[str, int] = field(default_factory=dict)  # of all annotations, with their numbers
    server: str | None = None  # that was exported, as the judgements name it (annotations/ledger/voices.py)
    remembered: list[Review] = field(default_factory=list)  # of the same crops, as earlier pulls heard them


class _Data(BaseModel):
    """What this review wrote into a task's `data`, as far as the lock needs it."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    key: Key
    parent_sha256: str
    crop_box: str
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    version: str = ""
    id: str = ""
    teacher: str | None = None
    round: Annotated[int, Field(ge=1)] = 1
    uncertainty: float | None = None
    proposed: str | None = None
    seal: str | None = None

    @model_validator(mode="after")
    def _fills_its_box(self) -> "_Data":
        x0, y0, x1, y1 = (int(part) for part in self.crop_box.split(","))
        if (self.width, self.height) != (x1 - x0, y1 - y0):
            raise ValueError(
                f"{self.width}x{self.height} pixels do not fill the crop box {type_name(self.crop_box)}"
            )
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(
                f"{self.width}x{self.height} pixels are more than the {MAX_PIXELS} of any picture"
            )
        if self.version and not self.seal:  # push gives both
            raise ValueError(f"its {SEAL} is missing, and with it what the task is for")
        return self


def read_export(content: bytes) -> Reading:
    """Read the JSON of `Client.export`; tasks that this review did not send are counted and passed over."""
    reading = Reading([], [])
    others: list[object] = []
    for task in _tasks(content):
        if not isinstance(task["data"], dict) or not any(task["data"].keys() >= names for names in _OURS):
            others.append(task.get("id"))
            continue
        subject = _subject(_number(task.get("id"), "the export has a task"), task["data"])
        reading.subjects.append(subject)
        if task.get("drafts"):
            reading.drafts.add(subject.key)
        for annotation in _annotations(subject.task, task):
            number = _number(annotation.get("id"), f"task {subject.task} has an annotation")
            reading.marks[_mark(annotation)] = number
            if annotation.get("was_cancelled") is True:
                reading.skipped.add(subject.key)
            else:
                review = _review(subject, annotation)
                reading.reviews.append(review)
                reading.notes.extend(_untimed(review, annotation))
    if others:
        passed_over = f"{len(others)} tasks are not of this review and were passed over: {type_name(others)}"
        reading.notes.insert(0, passed_over)
    return reading


def _tasks(content: bytes) -> Iterator[dict[str, Any]]:
    """The tasks of a JSON list, parsed one at a time: an edited mask takes many times the memory of its text.

    Not by ijson, which takes all memory for a hundred thousand brackets, and stops at integers past 64 bits.
    """
    try:
        text = content.decode().strip()
        if not (text.startswith("[") and text.endswith("]")):
            raise ValueError(f"expected a list, found {text[:20]!r} to {text[-20:]!r}")
        end, place = len(text) - 1, _past_space(text, 1)
        while place < end:
            task, place = _DECODER.raw_decode(text, place)
            if not isinstance(task, dict) or "data" not in task:
                raise ValueError(f"expected a task, found {str(task)[:20]!r}")
            yield task
            place = _past_space(text, place)
            if place < end:
                if text[place] != ",":
                    raise ValueError(f"expected a comma at {place}, found {text[place : place + 20]!r}")
                place = min(_past_space(text, place + 1), end - 1)  # a task must follow
    except (ValueError, RecursionError) as error:
        raise ReviewError(f"the server's export is no JSON ({error}); pull again") from error


def _past_space(text: str, place: int) -> int:
    while text[place].isspace():
        place += 1
    return place


def _number(found: object, what: str) -> int:
    """The number that the server gave to something."""
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    raise ReviewError(f"{what} without its number, found {type_name(found)}; pull again")


def _annotations(task: int, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    annotations = found.get("annotations")
    if isinstance(annotations, list) and all(isinstance(one, dict) for one in annotations):
        return annotations
    raise ReviewError(
        f"expected the annotations of task {task} as a list, found {type_name(annotations)}; pull again"
    )


def _subject(task: int, found: Mapping[str, Any]) -> Subject:
    try:
        data = _Data.model_validate(found)
    except ValidationError as error:
        raise ReviewError(
            f"task {task} has other data than this review gave it ({faults(error)}): it was changed on the server; "
            "delete that task there and push again"
        ) from error
    sealed = unseal(data.seal, task)
    return Subject(
        task=task,
        key=data.key,
        version=data.version,
        id=data.id,
        parent_sha256=data.parent_sha256,
        crop_box=data.crop_box,
        width=data.width,
        height=data.height,
        teacher=data.teacher or None,
        purpose=sealed.purpose,
        round=data.round,
        uncertainty=data.uncertainty,
        proposed=data.proposed,
        truth=sealed.truth,
    )


def _review(subject: Subject, annotation: Mapping[str, Any]) -> Review:
    number = annotation["id"]
    answer, changed, why = _read(subject, annotation)
    outcome, said = _outcome(answer, changed, why)
    kept = PackedMask.of(answer.mask) if answer is not None and outcome == "keep" else None
    reviewer, begun_by = _last_writer(annotation), _person(annotation.get("completed_by"))
    return Review(
        subject=subject,
        annotation=number,
        mark=_mark(annotation),
        reviewer=reviewer or f"{NAMELESS}{number}",
        begun_by=begun_by,
        at=_changed_at(subject, annotation),
        outcome=outcome,
        said=said,
        kept=kept,
        shown=_shown(annotation, subject) if kept is None or changed else kept,
        changed=changed and outcome == "keep",
        reasons=answer.reasons if answer is not None and outcome != "unclear" else (),
        why=why,
        seconds=_seconds(annotation),
        clicks=changed and outcome == "keep" and _clicked(annotation["result"], subject.key),
        over=begun_by not in (None, reviewer) or annotation.get("parent_annotation") is not None,
    )


def _mark(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("unique_id") or annotation["id"])


def _read(subject: Subject, annotation: Mapping[str, Any]) -> tuple[Answer | None, bool, str]:
    """The answer, whether its mask is another one than was proposed, and why somebody must look again."""
    cancelled = annotation.get("was_cancelled")
    if cancelled not in (None, False):
        return None, False, f"expected was_cancelled as true or false, found {type_name(cancelled)}"
    try:
        answer = read_answer(annotation.get("result"), subject.height, subject.width)
    except AnswerError as error:
        return None, False, str(error)
    if answer.verdict not in KEEPS:
        return answer, False, ""
    changed = _changed(answer.mask, annotation["result"], subject.proposed)
    return answer, changed, _unclear(answer.verdict, answer.mask, changed)


def _outcome(answer: Answer | None, changed: bool, why: str) -> tuple[Outcome, Said]:
    if answer is None or why:
        return "unclear", "unclear"
    if answer.verdict == "reject" or answer.verdict == "unsure":
        return answer.verdict, answer.verdict
    return "keep", "fix" if changed else "accept"


def _last_writer(annotation: Mapping[str, Any]) -> str | None:
    """Who wrote what the annotation says now; None where the server no longer knows.

    An answer that a colleague updated keeps the first person as `completed_by`. An import leaves `updated_by` empty,
    and so does the deletion of the colleague, whose change then came after the annotation was made.
    """
    first, last = annotation.get("completed_by"), annotation.get("updated_by")
    if last is None:
        made, changed = annotation.get("created_at"), annotation.get("updated_at")
        same = "updated_by" not in annotation or not _is_later(changed, made)
        return _person(first) if same else None
    return _person(last)


def _person(found: object) -> str | None:
    """The pseudonym of a user, as a number or a dict; None where it is neither."""
    number = found.get("id") if isinstance(found, dict) else found
    return f"curator-{number}" if isinstance(number, int) and not isinstance(number, bool) else None


def _is_later(one: object, other: object) -> bool:
    """Whether a time is a second or more after another; also where one of them cannot be read."""
    try:
        return (_moment(one) - _moment(other)).total_seconds() >= 1
    except ValueError:
        return True


def _unclear(verdict: str, mask: Array, changed: bool) -> str:
    """Why a kept mask needs a second look: a stroke can miss silently, and an empty mask keeps nobody."""
    if not mask.any():
        return f"{verdict} of a mask that holds nobody"
    if verdict == "fix" and not changed:
        return "fix, but no pixel changed"
    return ""


def _changed(mask: Array, results: Iterable[Mapping[str, Any]], proposed: str | None) -> bool:
    if proposed is not None:
        return fingerprint(mask) != proposed
    # A task imported by hand does not say what was proposed; the editor marks the regions that it changed.
    return any(one.get("origin") != "prediction" for one in results if one.get("type") == "brushlabels")


def _clicked(results: Iterable[Mapping[str, Any]], key: str) -> bool:
    """Whether clicks repaired the proposed region: the editor calls what comes of them `manual`, also after strokes.

    A stroke alone leaves the region `prediction-changed`, and a mask that is drawn anew is another region.
    """
    return any(one.get("id") == region_id(key) and one.get("origin") == "manual" for one in results)


def _shown(annotation: Mapping[str, Any], subject: Subject) -> PackedMask | None:
    """The proposed mask as the server noted it when the review was submitted, if it is that of the task."""
    noted = annotation.get("prediction")
    try:  # it is the server's note, on which no review rests
        mask = regions_to_mask(noted["result"], subject.height, subject.width) if noted else None
    except (KeyError, TypeError, BrushError):
        return None
    return PackedMask.of(mask) if mask is not None and fingerprint(mask) == subject.proposed else None


def _seconds(annotation: Mapping[str, Any]) -> float | None:
    """How long the reviewer took; None where the server's clock did not say."""
    found = annotation.get("lead_time")
    if not isinstance(found, int | float) or isinstance(found, bool):
        return None
    return float(found) if 0 <= found <= sys.float_info.max else None


def _untimed(review: Review, annotation: Mapping[str, Any]) -> Iterator[str]:
    if review.seconds is None and annotation.get("lead_time") is not None:
        yield (
            f"task {review.subject.task}, annotation {review.annotation}: expected its time in seconds, found "
            f"{type_name(annotation['lead_time'])}; the answer counts, its time does not"
        )


def _changed_at(subject: Subject, annotation: Mapping[str, Any]) -> datetime:
    found = annotation.get("updated_at") or annotation.get("created_at")
    try:
        return _moment(found).replace(microsecond=0)
    except ValueError as error:
        raise ReviewError(
            f"task {subject.task}, annotation {annotation['id']}: expected the time of its last change, "
            f"found {type_name(found)}; without it nobody can tell whose word is the last: "
            "delete that annotation on the server"
        ) from error


def _moment(found: object) -> datetime:
    """A time of the server in UTC; ValueError where it is none, or has no zone."""
    try:
        moment = datetime.fromisoformat(found) if isinstance(found, str) else None
        if moment is None or moment.tzinfo is None:
            raise ValueError(f"expected a time with its zone, found {type_name(found)}")
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error
