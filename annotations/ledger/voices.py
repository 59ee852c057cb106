"""Whose word each review is. A voice is one person's on one server, and their last word on a crop is theirs.

The server shows what an annotation says now and who wrote last. What it said at an earlier pull, and who said so,
stands in the judgements beside the lock, and stays there: a colleague who writes into the annotation, skips it or
deletes it takes nobody's word, nor does a second server, on which the same number may be somebody else. A server is
known again by the annotations that it still holds.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from annotations.ledger.exported import Outcome, Reading, Review, Subject
from annotations.ledger.judgements import JudgedTask, Opinion
from annotations.ledger.lock import nameless
from annotations.masks.packed import PackedMask


def with_voices(reading: Reading, earlier: Collection[JudgedTask], forget: Collection[str] = ()) -> Reading:
    """The reading with all voices that the earlier pulls know of, but for the keys to forget.

    - A review that says what an earlier pull found last in the same annotation is still the word of who said it then,
      though somebody (an administrator who marks it, say) wrote last, or the account is gone. Who had spoken there
      before as well has changed their mind, and it is theirs.
    - What earlier pulls heard about the same crops is remembered. Where that is somebody's last word and its annotation
      is gone or skipped, a note says so.
    """
    server = _server(reading, earlier)
    groups: dict[tuple[str, str], list[Review]] = defaultdict(list)
    for review in reading.reviews:
        groups[review.subject.key, review.subject.version].append(review)
    subjects = {subject.key: subject for subject in reading.subjects}
    exact = {(subject.key, subject.version): subject for subject in reading.subjects}
    remembered: list[Review] = []
    for judged in earlier:
        name = judged.key, judged.version
        if judged.key in subjects and judged.key not in forget:
            task = with_marks(judged, groups[name], server)
            groups[name] = [_by_its_author(review, task, server) for review in groups[name]]
            subject = exact.get(name) or _of_another_version(subjects[judged.key], task)
            remembered += _remembered(task, subject, groups[name], reading, server)
    reviews = [review for group in groups.values() for review in group]
    notes = [*reading.notes, *_gone(reviews, remembered, exact)]
    return replace(reading, reviews=reviews, remembered=remembered, server=server, notes=notes)


def last_words(reviews: Iterable[Review]) -> list[Review]:
    """The last review of each person on each server, oldest first; of two of one second, the one given last."""
    ordered = sorted(reviews, key=_when)
    return sorted({(review.server, review.reviewer): review for review in ordered}.values(), key=_when)


def _when(review: Review) -> tuple[datetime, int]:
    return review.at, review.annotation


def with_marks(task: JudgedTask, reviews: Sequence[Review], server: str | None) -> JudgedTask:
    """The task with the annotations of its older lines, which do not name them, as far as its reviews tell."""
    if server is not None or all(one.annotation is not None for one in task.opinions):
        return task
    own = {review.reviewer for review in reviews}
    opinions = []
    for one in task.opinions:
        if one.annotation is None:
            mark = next((review.mark for review in reviews if _written_in(one, review, task, own)), None)
            one = one.model_copy(update={"annotation": mark})
        opinions.append(one)
    return task.model_copy(update={"opinions": tuple(opinions)})


def _server(reading: Reading, earlier: Iterable[JudgedTask]) -> str | None:
    """The judgements' name of the server: None of the first one, else the mark of the first annotation there."""
    marked = [one for task in earlier for one in task.opinions if one.annotation is not None]
    known = Counter(one.server for one in marked if one.annotation in reading.marks)
    if known:
        return known.most_common(1)[0][0]
    return min(reading.marks, key=lambda mark: reading.marks[mark]) if marked and reading.marks else None


def _by_its_author(review: Review, task: JudgedTask, server: str | None) -> Review:
    """The review with who said it, where that was not who wrote last."""
    before = [one for one in task.opinions if (one.server, one.annotation) == (server, review.mark)]
    if not before or any(one.reviewer == review.reviewer for one in before):
        return review
    last = max(before, key=_at)
    if not _says(last, review, task):
        return review
    return replace(review, reviewer=last.reviewer, at=_at(last), over=last.over)


def _remembered(
    task: JudgedTask, subject: Subject, live: Sequence[Review], reading: Reading, server: str | None
) -> list[Review]:
    """What earlier pulls heard of one task, but for what the server says still."""
    now = {(review.mark, review.reviewer, review.at) for review in live}
    return [
        _as_it_was(one, task, subject, reading, server)
        for one in task.opinions
        if one.server != server or (one.annotation, one.reviewer, _at(one)) not in now
    ]


def _gone(
    reviews: Sequence[Review], remembered: Sequence[Review], tasks: Collection[tuple[str, str]]
) -> list[str]:
    """A sentence for each last word whose task is on the server, and which is not there any more."""
    words: dict[str, list[Review]] = defaultdict(list)
    for review in (*remembered, *reviews):
        words[review.subject.key].append(review)
    now = {(review.mark, review.reviewer, review.at) for review in reviews}
    writers = {review.mark: review.reviewer for review in reviews}
    return [
        f"task {word.subject.task}: the answer of {word.reviewer} ({word.said}) is not on the server any more "
        "(deleted or skipped, or the server is of an older state); it counts until they say something else, or you "
        f"pull with --forget {key}"
        for key in sorted({review.subject.key for review in remembered})
        for word in last_words(words[key])
        if word.server is None and (key, word.subject.version) in tasks
        if (word.mark, word.reviewer, word.at) not in now
        if writers.get(word.mark, word.reviewer) == word.reviewer  # else it was written over, and is not gone
    ]


def _written_in(opinion: Opinion, review: Review, task: JudgedTask, own: Collection[str]) -> bool:
    """Whether the opinion of an older line, which does not name its annotation, was found in that of the review.

    It is that of who began it, or what was said in that very second.
    """
    if opinion.reviewer == review.reviewer:
        return True
    if opinion.reviewer in own:  # they have an annotation of their own
        return False
    at = _at(opinion)
    begun = review.begun_by == opinion.reviewer and at <= review.at
    return begun or (nameless(review.reviewer) and at == review.at and _says(opinion, review, task))


def _says(opinion: Opinion, review: Review, task: JudgedTask) -> bool:
    """Whether both say the same, to the pixel."""
    if (opinion.said, opinion.reasons) != (review.said, review.reasons):
        return False
    mask = task.mask_of(opinion)
    if mask is None or review.kept is None:
        return mask is None and review.kept is None
    return np.array_equal(mask, review.kept.unpack())


def _at(opinion: Opinion) -> datetime:
    return datetime.fromisoformat(opinion.at).astimezone(UTC)


def _of_another_version(subject: Subject, task: JudgedTask) -> Subject:
    """A judged task that is not on the server, by the one of the same crop that is."""
    return replace(
        subject, version=task.version, purpose=task.purpose, round=task.round, teacher=task.teacher
    )


def _as_it_was(
    opinion: Opinion, task: JudgedTask, subject: Subject, reading: Reading, server: str | None
) -> Review:
    """What an earlier pull heard, as a review."""
    mask = task.mask_of(opinion)
    outcome: Outcome = "keep" if opinion.said == "accept" or opinion.said == "fix" else opinion.said
    here = opinion.server == server
    return Review(
        subject=subject,
        annotation=reading.marks.get(opinion.annotation or "", 0) if here else 0,
        mark=opinion.annotation or "",
        reviewer=opinion.reviewer,
        begun_by=None,
        at=_at(opinion),
        outcome=outcome,
        said=opinion.said,
        kept=None if mask is None else PackedMask.of(mask),
        shown=None,
        changed=opinion.said == "fix",
        reasons=opinion.reasons,
        why="unclear at an earlier pull, and since changed" if outcome == "unclear" else "",
        seconds=opinion.seconds,
        clicks=opinion.clicks,
        over=opinion.over,
        server=None if here else opinion.server or "the first server",
    )
