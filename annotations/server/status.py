"""How a review stands: what waits, what was said, how long it takes, what more of it would bring; and damage."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from annotations.ledger.exported import Reading, Review
from annotations.ledger.lock import Verdict, nameless
from annotations.ledger.settle import Settled, to_do
from annotations.quality.random_slice import in_random_slice
from annotations.quality.reviewers import QUEUED, Figure, Judgement, caught, double
from annotations.server.client import TaskHead
from annotations.server.import_files import TaskContent, unserved
from annotations.server.send import missing, same_config

ENOUGH = 10  # reviews of the random slice, below which no gain is stated


@dataclass(frozen=True)
class Gain:
    """Of 100 further reviews, how many change something (a mask fixed, a picture rejected), with 95 % limits."""

    reviews: int  # of the random slice, that this rests on
    expected: float
    low: float
    high: float


def gain(reading: Reading, settled: Settled, share: float) -> Gain | None:
    """From the reviewed part of the random slice, an unbiased sample; None where it is too small to say.

    A crop that was drawn from scratch tells nothing of its proposed mask and is left out.
    """
    identities = {subject.key: subject.id for subject in reading.subjects if subject.purpose in QUEUED}
    verdicts = [
        entry.verdict
        for key, entry in settled.entries.items()
        if entry.verdict != "unsure" and key in identities and in_random_slice(identities[key], share)
    ]
    if len(verdicts) < ENOUGH:
        return None
    changes = sum(verdict != "accept" for verdict in verdicts)
    low, high = wilson(changes, len(verdicts))
    return Gain(len(verdicts), 100 * changes / len(verdicts), 100 * low, 100 * high)


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927), 95 % by default; trials >= 1."""
    share = hits / trials
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def describe_review(reading: Reading, settled: Settled, share: float) -> list[str]:
    """The state of the review, a line each."""
    left = to_do(reading, settled)
    verdicts = Counter(entry.verdict for entry in settled.entries.values())
    said = ", ".join(f"{verdicts[verdict]} {word}" for verdict, word in _WORDS)
    lines = [
        f"{left.waiting} waiting ({left.skipped} skipped, {left.begun} begun but not submitted)",
        f"{len(settled.entries) + len(settled.conflicts)} reviewed: {said}, {len(settled.conflicts)} in conflict",
        _time(reading.reviews),
    ]
    lines += _second_opinions(reading)
    # By crop: an older version of the same task, and its second round, ask nothing more.
    looks = {subject.key for subject in reading.subjects if subject.purpose == "student"}
    taken = {review.subject.key for review in reading.reviews if review.subject.purpose == "student"}
    if looks:
        lines.append(f"{len(looks - taken)} of {len(looks)} second looks still to give")
    found = gain(reading, settled, share)
    if found is None:
        lines.append(
            f"expected gain of 100 further reviews: too few reviews to say (under {ENOUGH} of the random slice)"
        )
    else:
        lines.append(
            f"expected gain of 100 further reviews: {found.expected:.0f} masks fixed or pictures rejected "
            f"({found.low:.0f} to {found.high:.0f}; 95 %, from {found.reviews} reviews of the random slice)"
        )
    return lines


def describe_quality(judgements: Sequence[Judgement]) -> list[str]:
    """How far the reviewers can be trusted, a line each; of what nobody measured, that it was not."""
    pairs, gold, caught_share = double(judgements), _gold_tasks(judgements), caught(judgements)["caught"]
    two = (
        f"IoU of their masks {_figure(pairs['mask_iou'])}, alpha of their answers {_figure(pairs['alpha'])}, "
        f"in conflict {_figure(pairs['conflicts'])}"
    )
    return [
        f"judged by two: {pairs['crops']} masks" + (f"; {two}" if pairs["crops"] else ""),
        f"gold tasks judged: {gold}" + (f"; damaged masks noticed {_figure(caught_share)}" if gold else ""),
    ]


def damage(
    tasks: Sequence[TaskContent],
    heads: Sequence[TaskHead],
    reading: Reading,
    configs: tuple[str, str],
    pictures: Path | None,
) -> list[str]:
    """What is wrong on the server, a sentence each.

    `configs` are the server's interface and ours; `pictures` is the folder that this machine serves, if it does.
    """
    found = []
    reviewed = {review.subject.key for review in reading.reviews}
    lost = [task for task in missing(tasks, heads) if task["data"]["key"] not in reviewed]
    if lost:
        found.append(f"{len(lost)} tasks of data/push are not on the server{_named(lost)}; push sends them")
    copies = Counter(head.version for head in heads if head.version)
    twice = sorted(version for version, count in copies.items() if count > 1)
    if twice:
        found.append(
            f"{len(twice)} tasks are there more than once; push removes the copies that nobody touched"
        )
    bare = [head for head in heads if head.version and head.predictions == 0]
    if bare:
        found.append(f"{len(bare)} tasks have lost their prediction ({bare[0].id} ...); push gives it back")
    if not same_config(*configs):
        found.append(
            "the labelling interface is not annotations/tasks/label_config.xml; push --update-config writes it"
        )
    if pictures is not None:
        found += lost_pictures(heads, pictures)
    return found


def lost_pictures(heads: Iterable[TaskHead], pictures: Path) -> list[str]:
    """A sentence where tasks cannot show what they name in the folder that this machine serves; else none."""
    gone = {head.id: unserved(head.shows, pictures) for head in heads if head.version}
    names = [name for missing in gone.values() for name in missing]
    if not names:
        return []
    tasks = sum(bool(missing) for missing in gone.values())
    return [
        f"{tasks} tasks have lost their pictures (expected {names[0]} ... in {pictures}); `make review` copies "
        "those of data/push there again, and a backup of the review holds all"
    ]


_WORDS: tuple[tuple[Verdict, str], ...] = (
    ("accept", "accepted"),
    ("fix", "fixed"),
    ("reject", "rejected"),
    ("unsure", "unsure"),
)


def _second_opinions(reading: Reading) -> list[str]:
    """How many are still to give: one is given when two people have answered, each either of a crop's two tasks."""
    asked = {subject.key: subject.task for subject in reading.subjects if subject.purpose == "second"}
    people: dict[str, set[str]] = {key: set() for key in asked}
    answers = Counter(review.subject.key for review in reading.reviews if review.subject.purpose in QUEUED)
    for review in (*reading.remembered, *reading.reviews):
        # Of the nameless, and of other servers, nobody knows that they are somebody else; nor is it they who look
        # again where one was written over another's answer.
        unsure = nameless(review.reviewer) or review.server is not None or review.over
        if review.subject.key in people and review.subject.purpose in QUEUED and not unsure:
            people[review.subject.key].add(review.reviewer)
    open_ = [key for key in asked if len(people[key]) < 2]
    alone = sorted(asked[key] for key in open_ if answers[key] > 1)
    lines = [f"{len(open_)} of {len(asked)} second opinions still to give"] if asked else []
    if alone:
        named = ", ".join(map(str, alone[:5])) + (" ..." if len(alone) > 5 else "")
        lines.append(
            f"of these {len(alone)} were answered twice, but not surely by two people: somebody else opens task "
            f"{named} in the list, adds an annotation (+) and answers"
        )
    return lines


def _gold_tasks(judgements: Iterable[Judgement]) -> int:
    return sum(one.purpose == "gold" for one in judgements)


def _figure(value: Figure) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def _time(reviews: Iterable[Review]) -> str:
    seconds = [review.seconds for review in reviews if review.seconds is not None]
    if not seconds:
        return "time of a review: none yet"
    return f"time of a review: {median(seconds):.0f} s (median of {len(seconds)})"


def _named(tasks: Sequence[TaskContent]) -> str:
    return f" ({', '.join(str(task['data']['key']) for task in tasks[:3])}{' ...' if len(tasks) > 3 else ''})"
