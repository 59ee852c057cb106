"""What people said on the server: an export of Label Studio as reviews, skips, drafts and waiting tasks."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from annotations.brush import Array, BrushError, fingerprint, regions_to_mask
from annotations.errors import ReviewError
from annotations.lock import KEEPS, VERDICTS
from annotations.packed import PackedMask
from annotations.purpose import FIELD, unseal
from annotations.quality import Purpose, Said
from annotations.tasks import REASONS, VERDICT

# What a review comes to. `unclear` says that somebody must look again: it agrees with nothing.
Outcome = Literal["keep", "reject", "unsure", "unclear"]

_DECODER = json.JSONDecoder()


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
    reviewer: str  # a pseudonym: the user's number on the server
    at: datetime  # of the last change
    outcome: Outcome
    said: Said
    kept: PackedMask | None  # the mask, where kept
    shown: PackedMask | None  # the proposed mask, where the export tells it
    changed: bool  # the mask is not the proposed one
    reasons: tuple[str, ...]
    why: str  # it is unclear; "" otherwise
    seconds: float | None  # that the reviewer took

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


def read_export(content: bytes) -> Reading:
    """Read the JSON of `Client.export`; tasks without a key of ours are passed over."""
    reading = Reading([], [])
    for task in _tasks(content):
        if not {"key", "parent_sha256", "crop_box", "width", "height"} <= set(task["data"]):
            continue
        subject = _subject(task)
        reading.subjects.append(subject)
        if task.get("drafts"):
            reading.drafts.add(subject.key)
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                reading.skipped.add(subject.key)
            else:
                reading.reviews.append(_review(subject, annotation))
    return reading


def _tasks(content: bytes) -> Iterator[dict[str, Any]]:
    """The tasks of a JSON list, parsed one at a time: an edited mask takes many times the memory of its text."""
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
    except ValueError as error:
        raise ReviewError(f"the server's export is no JSON ({error}); pull again") from error


def _past_space(text: str, place: int) -> int:
    while text[place].isspace():
        place += 1
    return place


def _subject(task: Mapping[str, Any]) -> Subject:
    data = task["data"]
    sealed = unseal(data.get(FIELD), int(task["id"]))
    return Subject(
        task=int(task["id"]),
        key=str(data["key"]),
        version=str(data.get("version", "")),
        id=str(data.get("id", "")),
        parent_sha256=str(data["parent_sha256"]),
        crop_box=str(data["crop_box"]),
        width=int(data["width"]),
        height=int(data["height"]),
        teacher=str(data["teacher"]) if data.get("teacher") else None,
        purpose=sealed.purpose,
        round=int(data.get("round", 1)),
        uncertainty=None if data.get("uncertainty") is None else float(data["uncertainty"]),
        proposed=data.get("proposed"),
        truth=sealed.truth,
    )


def _review(subject: Subject, annotation: Mapping[str, Any]) -> Review:
    results = annotation["result"]
    verdicts = [one for one in _choices(results, VERDICT) if one in VERDICTS]
    outcome: Outcome = "unclear"
    mask, changed, why = None, False, ""
    if len(verdicts) != 1:
        why = f"expected one verdict, found {len(verdicts)}"
    elif verdicts[0] in KEEPS:
        try:
            mask = regions_to_mask(results, subject.height, subject.width)
            changed = _changed(mask, results, subject.proposed)
        except BrushError as error:
            why = f"its mask cannot be read: {error}"
        else:
            why = _unclear(verdicts[0], mask, changed)
        outcome = "unclear" if why else "keep"
    else:
        outcome = "reject" if verdicts[0] == "reject" else "unsure"
    kept = PackedMask.of(mask) if mask is not None and outcome == "keep" else None
    who = annotation["completed_by"]
    return Review(
        subject=subject,
        annotation=int(annotation["id"]),
        reviewer=f"curator-{who['id'] if isinstance(who, dict) else who}",
        at=_moment(annotation.get("updated_at") or annotation["created_at"]),
        outcome=outcome,
        said=("fix" if changed else "accept") if outcome == "keep" else outcome,
        kept=kept,
        shown=_shown(annotation, subject) if kept is None or changed else kept,
        changed=changed,
        reasons=tuple(sorted(set(_choices(results, REASONS)))) if outcome in ("reject", "unsure") else (),
        why=why,
        seconds=annotation.get("lead_time"),
    )


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


def _shown(annotation: Mapping[str, Any], subject: Subject) -> PackedMask | None:
    """The proposed mask as the server noted it when the review was submitted, if it is that of the task."""
    noted = annotation.get("prediction") or {}
    try:
        mask = regions_to_mask(noted["result"], subject.height, subject.width)
    except (AttributeError, KeyError, TypeError, BrushError):  # the server's note, on which no review rests
        return None
    return PackedMask.of(mask) if fingerprint(mask) == subject.proposed else None


def _choices(results: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    return [
        str(choice)
        for one in results
        if one.get("type") == "choices" and one.get("from_name") == name
        for choice in one["value"].get("choices", ())
    ]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
