"""Whose word each review is: an annotation holds one answer, though several people may have written into it.

The server shows what an annotation says now and who wrote last. What it said at an earlier pull, and who said so,
stands in the judgements beside the lock. From both follow the voices: nobody's word is replaced by a colleague's, and
no identity is lost with a user's account where an earlier pull proves it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from annotations.exported import Outcome, Reading, Review
from annotations.judgements import JudgedTask, Opinion
from annotations.lock import nameless
from annotations.packed import PackedMask


def with_voices(reading: Reading, earlier: Iterable[JudgedTask]) -> Reading:
    """The reading with all voices that the earlier pulls know of.

    - A review that says what an earlier pull found in the same annotation is still the word of who said it then, though
      somebody (an administrator who marks it, say) wrote last, or the account is gone. Who had spoken there before as
      well has changed their mind, and it is theirs.
    - What an earlier pull found in an annotation that says something else now, by somebody else, is one more review.
    """
    known = {(task.key, task.version): task for task in earlier}
    groups: dict[tuple[str, str], list[Review]] = defaultdict(list)
    for review in reading.reviews:
        groups[review.subject.key, review.subject.version].append(review)
    reviews: list[Review] = []
    for name, group in groups.items():
        reviews += _voices(group, known[name]) if name in known else group
    return replace(reading, reviews=reviews)


def _voices(group: Sequence[Review], task: JudgedTask) -> list[Review]:
    """The reviews of one task with their authors, and what was written over."""
    own = {review.reviewer for review in group}
    voices = []
    for review in group:
        before = [one for one in task.opinions if _written_in(one, review, task, own)]
        if all(one.reviewer != review.reviewer for one in before):
            same = next((one for one in before if _says(one, review, task)), None)
            if same is not None:
                review = replace(review, reviewer=same.reviewer, at=_at(same))
        voices.append(review)
        voices += [_as_it_was(one, review, task) for one in before if one.reviewer != review.reviewer]
    return voices


def _written_in(opinion: Opinion, review: Review, task: JudgedTask, own: set[str]) -> bool:
    """Whether an earlier pull found this opinion in the annotation of the review."""
    if opinion.annotation is not None:
        return opinion.annotation == review.mark
    if opinion.reviewer == review.reviewer:
        return True
    if opinion.reviewer in own:  # they have an annotation of their own
        return False
    # An older line does not name its annotation: it is that of who began it, or what was said in that very second.
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


def _as_it_was(opinion: Opinion, review: Review, task: JudgedTask) -> Review:
    """An earlier word in the annotation of the review, as a review."""
    mask = task.mask_of(opinion)
    kept = None if mask is None else PackedMask.of(mask)
    outcome: Outcome = "keep" if opinion.said == "accept" or opinion.said == "fix" else opinion.said
    return replace(
        review,
        reviewer=opinion.reviewer,
        at=_at(opinion),
        outcome=outcome,
        said=opinion.said,
        kept=kept,
        shown=None,
        changed=opinion.said == "fix",
        reasons=opinion.reasons,
        why="unclear at an earlier pull, and since changed by somebody else" if outcome == "unclear" else "",
        seconds=opinion.seconds,
    )
