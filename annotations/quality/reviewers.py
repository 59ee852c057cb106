"""What judgements say of the reviewers, of the proposed masks, and of the time: pure functions, no server.

Only a first look is counted: who judges in a second round knows that two others disagreed. Accept rate, edit size and
time are of tasks as the queue brings them; tasks drawn from scratch and gold tasks (whose right mask is known, and
whose proposed one is damaged on purpose) have figures of their own. What no judgement tells is NOT_MEASURED.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from annotations.ledger.lock import nameless
from annotations.masks.overlap import AGREE_IOU, boundary_iou, krippendorff_alpha, mask_iou
from sinet.images.decode import Array

NOT_MEASURED = "not measured"
GRID = 16  # cells of a bias map along each side
DECILES = 10

# What a reviewer said, as the pixels bear it out; `unclear` is an answer that somebody must look at again.
Said = Literal["accept", "fix", "reject", "unsure", "unclear"]
# review: as queued. second: the same task for a second reviewer. gold: with a damaged mask. scratch: without a mask.
# student: the mask that was kept, once more, as SINet has learned to see the person otherwise.
Purpose = Literal["review", "second", "gold", "scratch", "student"]
QUEUED: tuple[Purpose, ...] = ("review", "second")
Figure = float | str  # NOT_MEASURED is a string


@dataclass(frozen=True, eq=False)
class Judgement:
    """What one reviewer said of one task."""

    unit: str  # the same for all judgements of one proposed mask of one crop
    purpose: Purpose
    first_look: bool  # no second round
    reviewer: str  # a pseudonym
    said: Said
    seconds: float | None  # that it took
    uncertainty: float | None  # of the proposed mask, 0 = certain, 1 = doubtful
    proposed: Array | None  # (H, W) uint8 {0, 1}; None where it is not known
    mask: Array | None  # as submitted; None unless accept or fix
    truth: Array | None = None  # the right mask, of a gold task
    clicks: bool = False  # a fix by clicks, maybe with strokes too; else by strokes alone


@dataclass(frozen=True)
class Decile:
    """A tenth of the judgements, from the most certain masks (1) to the most doubtful (10)."""

    decile: int
    lowest: float  # uncertainty
    highest: float
    judgements: int
    accept_rate: float  # 0..1
    edit_size: (
        float | None
    )  # mean over its fixes of 1 - IoU of proposed and fixed mask, 0..1; None without a fix


def summarise(judgements: Sequence[Judgement]) -> dict[str, object]:
    """All figures by name, a number or NOT_MEASURED each, of judgements from the oldest to the newest.

    Shares and IoU are in 0..1, `seconds` medians, `minutes` the median time of a judgement times their number.
    """
    queued = _queued(judgements)
    return {
        "judgements": len(judgements),
        "reviewers": len(_reviewers(judgements)),
        "nameless": sum(nameless(one.reviewer) for one in judgements),
        "second_looks": sum(not one.first_look for one in judgements),
        "said": dict(sorted(Counter(one.said for one in judgements).items())),
        **_effort(queued),
        "minutes": _or(_seconds(queued), lambda seconds: seconds * len(queued) / 60),
        "minutes_saved": minutes_saved(judgements),
        "seconds_from_scratch": _or(_seconds(_scratch(judgements))),
        "fixes": fixes(queued),
        "double": double(judgements),
        "gold": against(_with_truth(judgements)) | caught(judgements),
        "by_reviewer": by_reviewer(judgements),
    }


def fixes(queued: Iterable[Judgement]) -> dict[str, dict[str, Figure]]:
    """What masks cost that were repaired with clicks (maybe with strokes too), and with strokes alone."""
    fixed = [one for one in queued if one.said == "fix"]
    return {
        tool: {"masks": len(by), "seconds": _or(_seconds(by))}
        for tool, by in (
            ("clicks", [one for one in fixed if one.clicks]),
            ("strokes", [one for one in fixed if not one.clicks]),
        )
    }


def double(judgements: Iterable[Judgement]) -> dict[str, Figure]:
    """How two reviewers of one mask agree: IoU of each two masks, alpha of the verdicts, share in conflict.

    In conflict are two who neither both reject nor both keep masks of an IoU of AGREE_IOU; an unsure one steps back.
    """
    units = [unit for unit in _by_unit(judgements) if len(unit) > 1]
    pairs = [pair for unit in units for pair in combinations(unit, 2)]
    masks = [(a.mask, b.mask) for a, b in pairs if a.mask is not None and b.mask is not None]
    firm = [(a, b) for a, b in pairs if "unsure" not in (a.said, b.said)]
    # An unclear answer is a missing one: it says nothing of the picture.
    alpha = krippendorff_alpha([[one.said for one in unit if one.said != "unclear"] for unit in units])
    return {
        "crops": len(units),
        "mask_iou": _mean(mask_iou(*pair) for pair in masks),
        "boundary_iou": _mean(boundary_iou(*pair) for pair in masks),
        "alpha": NOT_MEASURED if alpha is None else alpha,
        "conflicts": _mean(float(_conflict(*pair)) for pair in firm),
    }


def by_reviewer(judgements: Sequence[Judgement]) -> dict[str, dict[str, object]]:
    """Each reviewer's habits, and how their masks differ from the known ones and from the other reviewers'."""
    others = with_others(judgements)
    found: dict[str, dict[str, object]] = {}
    for name in _reviewers(judgements):
        own = [one for one in judgements if one.reviewer == name]
        found[name] = {
            "judgements": len(own),
            **_effort(_queued(own)),
            "gold": against(_with_truth(own)) | caught(own),
            "others": against(others.get(name, [])),
        }
    return found


def against(pairs: Sequence[tuple[Array, Array]]) -> dict[str, Figure]:
    """Masks beside what they are compared with, (mask, reference) each.

    `signed_area`: mean of (area - the reference's area) / the reference's area; above 0 the reviewer takes too much.
    """
    areas = [(int(mask.sum()), int(reference.sum())) for mask, reference in pairs]
    return {
        "masks": len(pairs),
        "mask_iou": _mean(mask_iou(*pair) for pair in pairs),
        "boundary_iou": _mean(boundary_iou(*pair) for pair in pairs),
        "signed_area": _mean((mask - reference) / reference for mask, reference in areas if reference),
    }


def caught(judgements: Iterable[Judgement]) -> dict[str, Figure]:
    """The share of damaged proposals that were not simply accepted, 0..1."""
    gold = [one for one in judgements if one.first_look and one.purpose == "gold"]
    return {"caught": _mean(float(one.said != "accept") for one in gold)}


def with_others(judgements: Iterable[Judgement]) -> dict[str, list[tuple[Array, Array]]]:
    """By reviewer, each of their masks beside each other reviewer's mask of the same unit."""
    found: dict[str, list[tuple[Array, Array]]] = defaultdict(list)
    for unit in _by_unit(judgements):
        for one in unit:
            for other in unit:
                if one is not other and one.mask is not None and other.mask is not None:
                    found[one.reviewer].append((one.mask, other.mask))
    return dict(found)


def bias_maps(judgements: Sequence[Judgement]) -> dict[str, NDArray[np.float64]]:
    """By reviewer, a `bias_map` against the known masks; of who judged no gold task, against the other reviewers'."""
    others = with_others(judgements)
    maps = {}
    for name in _reviewers(judgements):
        pairs = _with_truth(one for one in judgements if one.reviewer == name) or others.get(name, [])
        if pairs:
            maps[name] = bias_map(pairs)
    return maps


def bias_map(pairs: Sequence[tuple[Array, Array]], grid: int = GRID) -> NDArray[np.float64]:
    """Mean of mask - reference in each cell of the picture's frame: (grid, grid), row 0 at the top, -1..1.

    Above 0 the mask has too much there, below 0 too little. `pairs`: (mask, reference), at least one.
    """
    cells = [
        cv2.resize(mask.astype(np.float64) - reference, (grid, grid), interpolation=cv2.INTER_AREA)
        for mask, reference in pairs
    ]
    return np.asarray(np.stack(cells).mean(axis=0), np.float64)


def deciles(judgements: Iterable[Judgement]) -> list[Decile]:
    """Accept rate and edit size from the most certain to the most doubtful tenth of the queued tasks' judgements.

    Tenths have equal numbers of judgements, but for one; with fewer than ten judgements there are fewer of them.
    """
    known = [(one.uncertainty, one) for one in _queued(judgements) if one.uncertainty is not None]
    ordered = sorted(known, key=lambda pair: (pair[0], pair[1].unit, pair[1].reviewer))
    tenths: list[list[tuple[float, Judgement]]] = [[] for _ in range(DECILES)]
    for place, pair in enumerate(ordered):
        tenths[place * DECILES // len(ordered)].append(pair)
    return [_decile(number, tenth) for number, tenth in enumerate(tenths, start=1) if tenth]


def minutes_saved(judgements: Sequence[Judgement]) -> Figure:
    """What the proposed masks saved: (median time from scratch - median time) times the judgements, in minutes.

    Which tasks are drawn from scratch is decided by a hash, so that both medians are of the same kind of pictures.
    """
    drawn, queued = _seconds(_scratch(judgements)), _queued(judgements)
    reviewed = _seconds(queued)
    if drawn is None or reviewed is None:
        return NOT_MEASURED
    return (drawn - reviewed) * len(queued) / 60


def edit_size(judgement: Judgement) -> float | None:
    """1 - IoU of the proposed and the submitted mask of a fix, 0..1; None for anything else."""
    if judgement.said != "fix" or judgement.mask is None or judgement.proposed is None:
        return None
    return 1 - mask_iou(judgement.proposed, judgement.mask)


def _effort(queued: Sequence[Judgement]) -> dict[str, Figure]:
    """How often the proposed mask was good, how much was changed, how long it took, of queued tasks."""
    return {
        "accept_rate": _mean(float(one.said == "accept") for one in queued),
        "edit_size": _mean(size for one in queued if (size := edit_size(one)) is not None),
        "unclear_rate": _mean(float(one.said == "unclear") for one in queued),
        "unsure_rate": _mean(float(one.said == "unsure") for one in queued),
        "seconds": _or(_seconds(queued)),
    }


def _decile(number: int, tenth: Sequence[tuple[float, Judgement]]) -> Decile:
    sizes = [size for _, one in tenth if (size := edit_size(one)) is not None]
    return Decile(
        decile=number,
        lowest=tenth[0][0],
        highest=tenth[-1][0],
        judgements=len(tenth),
        accept_rate=fmean(float(one.said == "accept") for _, one in tenth),
        edit_size=fmean(sizes) if sizes else None,
    )


def _by_unit(judgements: Iterable[Judgement]) -> list[list[Judgement]]:
    """The first looks at each proposed mask, one of each reviewer: the last, where a reviewer judged both copies."""
    units: dict[str, dict[str, Judgement]] = defaultdict(dict)
    for one in _queued(judgements):
        if not nameless(one.reviewer):  # who may be the other one of a pair
            units[one.unit][one.reviewer] = one
    return [[unit[name] for name in sorted(unit)] for _, unit in sorted(units.items())]


def _reviewers(judgements: Iterable[Judgement]) -> list[str]:
    """Who is known by name; the nameless have no habits that could be told."""
    return sorted({one.reviewer for one in judgements if not nameless(one.reviewer)})


def _conflict(one: Judgement, other: Judgement) -> bool:
    if one.mask is None or other.mask is None:
        return not one.said == other.said == "reject"
    return mask_iou(one.mask, other.mask) < AGREE_IOU


def _queued(judgements: Iterable[Judgement]) -> list[Judgement]:
    return [one for one in judgements if one.first_look and one.purpose in QUEUED]


def _scratch(judgements: Iterable[Judgement]) -> list[Judgement]:
    return [one for one in judgements if one.first_look and one.purpose == "scratch"]


def _with_truth(judgements: Iterable[Judgement]) -> list[tuple[Array, Array]]:
    return [
        (one.mask, one.truth)
        for one in judgements
        if one.first_look and one.mask is not None and one.truth is not None
    ]


def _seconds(judgements: Iterable[Judgement]) -> float | None:
    """The median: a task left open over lunch does not count for more than another."""
    times = [one.seconds for one in judgements if one.seconds is not None]
    return median(times) if times else None


def _mean(values: Iterable[float]) -> Figure:
    listed = list(values)
    return fmean(listed) if listed else NOT_MEASURED


def _or(value: float | None, of: Callable[[float], float] = float) -> Figure:
    return NOT_MEASURED if value is None else of(value)
