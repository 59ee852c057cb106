"""Several files with the same pixels become one record: which file stays, with which mask."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.sources.layouts.listing import ListedPicture
from sinet.images.decode import Array


@dataclass(frozen=True, slots=True)
class SameFile:
    """A usable picture that may have twins."""

    number: int  # names its files
    id: str
    item: ListedPicture


@dataclass
class SettledFiles:
    """The outcome. `masks` replaces masks of kept candidates, by number."""

    kept: list[SameFile] = field(default_factory=list)
    rejected: list[tuple[SameFile, str]] = field(default_factory=list)  # with a sentence
    masks: dict[int, Array] = field(default_factory=dict)
    pictures: int = 0  # that have twins
    other_masks: int = 0  # of these, whose masks differ
    train_same_as_test: int = 0  # candidates


def settle_duplicates(
    candidates: Sequence[SameFile], mask: Callable[[SameFile], Array | None], duplicate_masks: str
) -> SettledFiles:
    """Keep one candidate an id. `mask` gives the (H, W) {0, 1} mask of a candidate, None where it has none.

    A published test side wins over the rest. Among equals the first by source_key stays; where their masks
    differ, `duplicate_masks` decides: keep_first, reject_both (all of them), or majority (per pixel; a tie
    goes to the first).
    """
    groups = defaultdict(list)
    for candidate in sorted(
        candidates, key=lambda one: (one.item.published_side != "test", one.item.source_key)
    ):
        groups[candidate.id].append(candidate)
    settled = SettledFiles()
    for key in sorted(groups):
        _settle_one(groups[key], mask, duplicate_masks, settled)
    return settled


def _settle_one(
    group: list[SameFile],
    mask: Callable[[SameFile], Array | None],
    duplicate_masks: str,
    settled: SettledFiles,
) -> None:
    first, *others = group
    if not others:
        settled.kept.append(first)
        return
    masks = [mask(one) for one in group]
    equal = [_iou(masks[0], one) for one in masks]
    peers = [at for at, one in enumerate(group) if one.item.published_side == first.item.published_side]
    peers = peers if first.item.published_side == "test" else list(range(len(group)))
    disagree = any(equal[at] < 1 for at in peers)
    drop_all = disagree and duplicate_masks == "reject_both"
    settled.pictures += 1
    settled.other_masks += any(iou < 1 for iou in equal)
    settled.train_same_as_test += len(group) - len(peers)
    if drop_all:
        names = ", ".join(one.item.source_key for one in others)
        settled.rejected.append((first, f"same pixels as {names}, but another mask; none of them is kept"))
    else:
        settled.kept.append(first)
    if disagree and duplicate_masks == "majority":
        settled.masks[first.number] = _majority([one for at in peers if (one := masks[at]) is not None])
    for at, other in enumerate(others, 1):
        detail = f"same pixels as {first.item.source_key}{_comparison(masks[at], equal[at])}"
        if at not in peers:
            detail += ", which is on the published test side"
        settled.rejected.append((other, f"{detail}; none of them is kept" if drop_all else detail))


def _comparison(mask: Array | None, iou: float) -> str:
    if mask is None:
        return ""
    return ", same mask" if iou == 1 else f", another mask (IoU {iou:.3f})"


def _iou(one: Array | None, other: Array | None) -> float:
    if one is None or other is None:
        return 1.0
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 1.0


def _majority(masks: list[Array]) -> Array:
    votes = np.sum(masks, axis=0, dtype=np.int64) * 2
    return np.where(votes == len(masks), masks[0], votes > len(masks)).astype(np.uint8)
