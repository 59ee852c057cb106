"""From reviews to the lock's entries: pure rules, so that the same export gives the same lock.

- A reviewer's last word on a crop counts, whatever version of its mask it was about.
- The pixels decide between accept and fix: an accepted mask that was changed is a fix. A fix that changed no
  pixel, and a kept mask that holds nobody, are unclear.
- `unsure` steps back as soon as somebody else has decided.
- More than half of the reviewers must agree: both reject, or both keep masks of an IoU of at least AGREE_IOU.
  The lock gets the mask that is most like the others. Where no such half exists the crop is in conflict and goes
  to a second round, never to whoever was last.
- An annotation that a colleague changed is two people's words: what it says now is the colleague's, and what it said
  at an earlier pull stays the first one's voice, until they say something else (annotations/ledger/voices.py). So does
  an answer that was skipped or deleted, beside any that is there.
- An answer whose author is not known any more is a voice of its own. As all such may be of one person, they add one
  vote to what others say by name, however many they are, and never make the majority that these do not have; against
  it each one counts. So it is with an answer that somebody wrote last and another one, who answers beside it, began:
  that may be the beginner's own one with somebody's mark, unless an earlier pull heard what the beginner said there.
- A skip and a draft are no review.
- Both tasks of a crop that two reviewers judge are one subject; a gold task is none, as it is about the reviewer.
- What was said on another server is one more voice, and nobody's earlier word here: a reviewer is a number on a
  server, and the same number on another one may be somebody else. A second look may be asked on another server than
  the first, and does not miss what was never given there. Of a lock without judgements its review is that voice.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from annotations.errors import ReviewError
from annotations.ledger.exported import Outcome, Reading, Review, Subject
from annotations.ledger.lock import LockEntry, Verdict, nameless
from annotations.ledger.shards import faults
from annotations.ledger.voices import last_words
from annotations.masks.overlap import AGREE_IOU, mask_iou
from annotations.masks.packed import PackedMask
from sinet.images.decode import Array

LOCKED = "the lock"  # in place of a server: where a review was given of which no judgement tells


@dataclass(frozen=True)
class Conflict:
    """A crop whose reviews do not decide."""

    key: str
    reviews: tuple[Review, ...]
    why: str


@dataclass(frozen=True)
class Settled:
    """What the reviews of a server come to, by key."""

    entries: dict[str, LockEntry]
    conflicts: dict[str, Conflict]
    reviewers: dict[str, frozenset[str]]


@dataclass(frozen=True)
class ToDo:
    """How many crops of the server nobody has reviewed, and how many of these were skipped or only begun."""

    waiting: int
    skipped: int
    begun: int


@dataclass(frozen=True)
class Drift:
    """A new lock, and how it differs from the earlier one."""

    entries: list[LockEntry]
    added: list[str]
    updated: list[str]
    unchanged: list[str]
    held: list[str]  # in conflict now; the earlier review stays until the second round
    elsewhere: list[str]  # first asked elsewhere, or (with keep) without a review here; the earlier one stays
    forgotten: list[str]
    lost: list[str]  # would be lost: the server had the task and has the review no more


def settle(reading: Reading, earlier: Iterable[LockEntry] = ()) -> Settled:
    """Entries and conflicts of all reviewed crops; `earlier` is the lock, for second looks at others' reviews."""
    by_key: dict[str, list[Review]] = defaultdict(list)
    for review in reading.reviews:
        if review.subject.purpose != "gold":
            by_key[review.subject.key].append(review)
    for review in reading.remembered:
        if review.subject.key in by_key and review.subject.purpose != "gold":
            by_key[review.subject.key].insert(0, review)  # before what is said now, in the same second even
    first_asked = _first_asked(reading)
    for entry in earlier:
        if entry.key in by_key and entry.key not in first_asked:
            voices = by_key[entry.key]
            locked = _locked_word(entry, voices[0].subject)
            if not any(_told_by(voice, locked) for voice in voices):
                voices.append(locked)
    entries: dict[str, LockEntry] = {}
    conflicts: dict[str, Conflict] = {}
    for key, reviews in sorted(by_key.items()):
        decided = decide(reviews)
        if isinstance(decided, str):
            conflicts[key] = Conflict(key, tuple(last_words(reviews)), decided)
        else:
            entries[key] = decided
    reviewers = {key: frozenset(review.reviewer for review in reviews) for key, reviews in by_key.items()}
    return Settled(entries, conflicts, reviewers)


def to_do(reading: Reading, settled: Settled) -> ToDo:
    """What is left; a crop in conflict counts as reviewed, since its second round is another task."""
    reviewed = settled.entries.keys() | settled.conflicts.keys()
    waiting = {subject.key for subject in reading.subjects if subject.purpose != "gold"} - reviewed
    return ToDo(len(waiting), len(reading.skipped & waiting), len(reading.drafts & waiting))


def decide(reviews: Sequence[Review]) -> LockEntry | str:
    """The entry of one crop's reviews, at least one; or why they do not decide."""
    votes = [_of_whom(vote, reviews) for vote in last_words(reviews)]
    firm = [vote for vote in votes if vote.outcome != "unsure"]
    if not firm:
        return _entry(votes[-1], "unsure", reasons={reason for vote in votes for reason in vote.reasons})
    best = max(firm, key=lambda vote: (_weight(vote, firm), _likeness(vote, firm), -vote.annotation))
    agreeing = _agreeing(best, firm)
    if not _carries(agreeing, firm):
        return "; ".join(f"{_who(vote)}: {vote.why or _words(vote)}" for vote in firm)
    if best.outcome == "reject":
        return _entry(best, "reject", reasons={reason for vote in agreeing for reason in vote.reasons})
    return _entry(best, "fix" if best.changed else "accept", mask=best.mask)


def update(
    earlier: Iterable[LockEntry],
    reading: Reading,
    settled: Settled,
    keep: bool = False,
    forget: Iterable[str] = (),
) -> Drift:
    """The lock after a pull. `keep`: what would be lost stays; `forget`: keys to drop for good."""
    dropped = set(forget)
    known = {entry.key: entry for entry in earlier if entry.key not in dropped}
    first_asked = _first_asked(reading)
    drift = Drift([], [], [], [], [], [], sorted({entry.key for entry in earlier} & dropped), [])
    for key in sorted((known.keys() | settled.entries.keys()) - dropped):
        before, now = known.get(key), settled.entries.get(key)
        if before is None or (now is not None and not _same(before, now) and _still_there(before, settled)):
            assert now is not None
            (drift.added if before is None else drift.updated).append(key)
            drift.entries.append(now)
            continue
        drift.entries.append(before)
        if now is not None and _same(before, now):
            drift.unchanged.append(key)
        elif key in settled.conflicts:
            drift.held.append(key)
        elif key not in first_asked or keep:
            drift.elsewhere.append(key)
        else:
            drift.lost.append(key)
    return drift


def _first_asked(reading: Reading) -> set[str]:
    """Keys that this server asked about before anybody had judged them; a second look is asked of a locked review."""
    return {subject.key for subject in reading.subjects if subject.purpose not in ("gold", "student")}


def _locked_word(entry: LockEntry, subject: Subject) -> Review:
    """A locked review as one of the voices about `subject`, its second look."""
    outcome: Outcome = "keep"
    if entry.verdict == "reject" or entry.verdict == "unsure":
        outcome = entry.verdict
    return Review(
        subject=subject,
        annotation=0,
        mark="",
        reviewer=entry.reviewer,
        begun_by=None,
        at=datetime.fromisoformat(entry.reviewed_at).astimezone(UTC),
        outcome=outcome,
        said=entry.verdict,
        kept=None if entry.mask is None else PackedMask.of(entry.mask_array()),
        shown=None,
        changed=entry.verdict == "fix",
        reasons=entry.reasons,
        why="",
        seconds=None,
        server=LOCKED,
    )


def _told_by(voice: Review, locked: Review) -> bool:
    """Whether the locked word is this one, or the judgements know what was said elsewhere, and it is one of those."""
    return voice.server is not None or (voice.reviewer, voice.at) == (locked.reviewer, locked.at)


def _still_there(entry: LockEntry, settled: Settled) -> bool:
    """Whether the reviewer of a locked entry has a voice in what is settled now."""
    return entry.reviewer in settled.reviewers.get(entry.key, ())


def _who(review: Review) -> str:
    if review.server is None:
        return review.reviewer
    return f"{review.reviewer} ({LOCKED if review.server == LOCKED else 'on another server'})"


def _of_whom(vote: Review, reviews: Iterable[Review]) -> Review:
    """The vote, as doubtful where its author may be somebody who has another one."""
    begun = [one for one in reviews if one.server is None and one.reviewer == vote.begun_by]
    heard = vote.reviewer == vote.begun_by or any(one.mark == vote.mark for one in begun)
    return replace(vote, doubtful=bool(begun) and not heard)


def _named(votes: Iterable[Review]) -> list[Review]:
    return [vote for vote in votes if not vote.doubtful and not nameless(vote.reviewer)]


def _agreeing(vote: Review, votes: Iterable[Review]) -> list[Review]:
    return [other for other in votes if _agree(vote, other)]


def _agree(one: Review, other: Review) -> bool:
    if one is other:
        return one.outcome != "unclear"
    if one.outcome != other.outcome or one.outcome == "unclear":
        return False
    if one.kept is None or other.kept is None:
        return True
    same_size = one.kept.shape == other.kept.shape
    return same_size and mask_iou(one.kept.unpack(), other.kept.unpack()) >= AGREE_IOU


def _weight(vote: Review, votes: Iterable[Review]) -> int:
    """How many people surely say what this vote says; of the nameless one at most."""
    agreeing = _agreeing(vote, votes)
    named = len(_named(agreeing))
    return named + min(1, len(agreeing) - named)


def _carries(agreeing: Sequence[Review], votes: Sequence[Review]) -> bool:
    """Whether these are more than half of the votes, whoever the nameless are."""
    named, agreeing_named = _named(votes), _named(agreeing)
    if named and 2 * len(agreeing_named) <= len(named):
        return False
    surely = len(agreeing_named) + (len(agreeing) > len(agreeing_named))
    return surely > len(votes) - len(agreeing)


def _likeness(vote: Review, votes: Iterable[Review]) -> float:
    if vote.kept is None:
        return 0.0
    masks = [other.kept.unpack() for other in _agreeing(vote, votes) if other is not vote and other.kept]
    return sum(mask_iou(vote.kept.unpack(), mask) for mask in masks)


def _words(vote: Review) -> str:
    return {"keep": "fix" if vote.changed else "accept"}.get(vote.outcome, vote.outcome)


def _same(one: LockEntry, other: LockEntry) -> bool:
    """The same verdict and mask: who said so last, and when, is no reason to change the lock."""
    return (one.verdict, one.mask, one.reasons) == (other.verdict, other.mask, other.reasons)


def _entry(
    review: Review, verdict: Verdict, mask: Array | None = None, reasons: Iterable[str] = ()
) -> LockEntry:
    subject = review.subject
    try:
        entry = LockEntry.of(
            parent_sha256=subject.parent_sha256,
            crop_box=subject.crop_box,
            shape=(subject.height, subject.width),
            verdict=verdict,
            mask=mask,
            reasons=reasons,
            reviewer=review.reviewer,
            reviewed_at=review.at.isoformat(),
            teacher=subject.teacher,
        )
    except ValueError as error:
        raise ReviewError(
            f"task {subject.task} makes no review ({faults(error)}): its data was changed on the "
            "server; delete that task there and push again"
        ) from error
    if entry.key != subject.key:
        raise ReviewError(
            f"task {subject.task} has the key {subject.key}, but its picture and box give {entry.key}: its data "
            "was changed on the server; delete that task there and push again"
        )
    return entry
