"""What people said on the server: an export of Label Studio as reviews, skips, drafts and waiting tasks."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from annotations.brush import Array, BrushError, regions_to_mask
from annotations.errors import ReviewError
from annotations.import_files import fingerprint
from annotations.lock import KEEPS, VERDICTS
from annotations.purpose import FIELD, unseal
from annotations.quality import Purpose, Said
from annotations.tasks import REASONS, VERDICT

# What a review comes to. `unclear` says that somebody must look again: it agrees with nothing.
Outcome = Literal["keep", "reject", "unsure", "unclear"]


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
    mask: Array | None  # (H, W) uint8 {0, 1} where kept
    changed: bool  # the mask is not the proposed one
    reasons: tuple[str, ...]
    why: str  # it is unclear; "" otherwise
    seconds: float | None  # that the reviewer took


@dataclass(frozen=True)
class Reading:
    """An export, read."""

    subjects: list[Subject]
    reviews: list[Review]
    skipped: set[str] = field(default_factory=set)  # keys; a skip is no review
    drafts: set[str] = field(default_factory=set)  # keys; begun but not submitted


def read_export(content: bytes) -> Reading:
    """Read the JSON of `Client.export`; tasks without a key of ours are passed over."""
    try:
        tasks = json.loads(content)
    except ValueError as error:
        raise ReviewError(f"the server's export is no JSON ({error}); pull again") from error
    reading = Reading([], [])
    for task in tasks:
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
    who = annotation["completed_by"]
    return Review(
        subject=subject,
        annotation=int(annotation["id"]),
        reviewer=f"curator-{who['id'] if isinstance(who, dict) else who}",
        at=_moment(annotation.get("updated_at") or annotation["created_at"]),
        outcome=outcome,
        said=("fix" if changed else "accept") if outcome == "keep" else outcome,
        mask=mask if outcome == "keep" else None,
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


def _choices(results: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    return [
        str(choice)
        for one in results
        if one.get("type") == "choices" and one.get("from_name") == name
        for choice in one["value"].get("choices", ())
    ]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)
