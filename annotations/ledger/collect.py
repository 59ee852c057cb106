"""From an export to the judgements beside the lock: nothing that was said once goes, but what is forgotten by name."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from annotations.errors import ReviewError
from annotations.ledger.exported import Reading, Review, Subject
from annotations.ledger.judgements import JudgedTask, Opinion, edit_of
from annotations.ledger.lock import pack_mask, unpack_mask
from annotations.ledger.shards import faults
from annotations.ledger.voices import with_marks
from annotations.masks.brush import fingerprint
from sinet.images.decode import Array

Ask = Callable[
    [Subject], Array | None
]  # the mask (H, W) uint8 {0, 1} that a task proposes, asked of the server


def collect(
    earlier: Iterable[JudgedTask], reading: Reading, ask: Ask, forget: Collection[str] = ()
) -> list[JudgedTask]:
    """The judged tasks after a pull, sorted by key and version.

    A reviewer's later word in an annotation replaces the earlier one there; what is no longer on the server stays as
    it was said.
    `reading` has its voices (annotations/ledger/voices.py).
    `ask` is called for a task that is new here and whose proposed mask no review shows. `forget`: keys.
    """
    tasks = {(task.key, task.version): task for task in earlier if task.key not in forget}
    words: dict[tuple[str, str], list[Review]] = defaultdict(list)
    for review in reading.reviews:
        if review.subject.key not in forget:
            words[review.subject.key, review.subject.version].append(review)
    for name, reviews in words.items():
        known = tasks.get(name)
        proposed = unpack_mask(known.proposed) if known is not None and known.proposed else None
        if proposed is None:
            proposed = _proposed(reviews, ask)
        try:
            tasks[name] = _task(known, reviews, proposed, reading.server)
        except ValueError as error:
            raise ReviewError(
                f"task {reviews[0].subject.task} has other data than at an earlier pull, or than its masks need "
                f"({faults(error)}): it was changed on the server; delete that task there and push again"
            ) from error
    return [tasks[name] for name in sorted(tasks)]


def _task(
    known: JudgedTask | None, reviews: Sequence[Review], proposed: Array | None, server: str | None
) -> JudgedTask:
    subject = reviews[0].subject
    opinions: dict[tuple[str | None, str | None, str], Opinion] = {}
    if known is not None:
        for one in with_marks(known, reviews, server).opinions:
            opinions[one.server, one.annotation, one.reviewer] = _told_from(known, one, proposed)
    for review in sorted(reviews, key=lambda review: (review.at, review.annotation)):
        said, name = _opinion(review, proposed, server), (server, review.mark, review.reviewer)
        # A later one that is known already: the server is an older one, of a backup.
        if name not in opinions or opinions[name].at <= said.at:
            opinions[name] = said
    return JudgedTask(
        key=subject.key,
        version=subject.version,
        purpose=subject.purpose,
        round=subject.round,
        width=subject.width,
        height=subject.height,
        uncertainty=subject.uncertainty,
        teacher=subject.teacher,
        proposed=None if proposed is None else pack_mask(proposed),
        truth=subject.truth,
        opinions=tuple(opinions.values()),
    )


def _told_from(known: JudgedTask, opinion: Opinion, proposed: Array | None) -> Opinion:
    """An earlier opinion; its edit is another one where the proposed mask has become known only now."""
    mask = known.mask_of(opinion)
    return opinion.model_copy(update={"edit": None if mask is None else edit_of(mask, proposed)})


def _opinion(review: Review, proposed: Array | None, server: str | None) -> Opinion:
    return Opinion(
        reviewer=review.reviewer,
        at=review.at.isoformat(),
        said=review.said,
        reasons=review.reasons,
        seconds=None if review.seconds is None else round(float(review.seconds), 1),
        edit=None if review.kept is None else edit_of(review.kept.unpack(), proposed),
        annotation=review.mark,
        clicks=review.clicks,
        over=review.over,
        server=server,
    )


def _proposed(reviews: Iterable[Review], ask: Ask) -> Array | None:
    """The mask that these reviews of one task were about."""
    listed = list(reviews)
    subject = listed[0].subject
    empty = np.zeros((subject.height, subject.width), np.uint8)
    if subject.proposed == fingerprint(empty):
        return empty
    shown = next((one.shown for one in listed if one.shown is not None), None)
    return ask(subject) if shown is None else shown.unpack()
