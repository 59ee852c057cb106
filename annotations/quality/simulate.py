"""What the order of the queue is worth: of the bad masks, how many a curator meets early. No server, no reviewer.

Measured on masks whose right answer is known: a table with a row a mask (`python -m pipeline benchmark queue` writes
one from labelled pictures), in which a mask is bad where its IoU with the right one is below a limit. Three orders
are compared: random, by uncertainty alone, and the queue's own (annotations.quality.priority). All intervals are
percentile bootstrap over clusters of look-alikes (Efron & Tibshirani 1993, chapter 13), which are not independent of
each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from annotations.errors import ReviewError
from annotations.masks.overlap import AGREE_IOU
from annotations.quality.priority import priority

_COLUMNS = ("id", "kind", "cluster", "uncertainty", "iou")
FRONTS = (0.1, 0.2, 0.5)  # of the queue, that is reviewed
BAD_BELOW = AGREE_IOU  # what a curator would not accept
RESAMPLES = 1000

_Floats = NDArray[np.float64]
# A sort key of the masks (the larger comes first), from uncertainties, clusters and a generator.
Order = Callable[[_Floats, NDArray[np.int64], np.random.Generator], _Floats]


@dataclass(frozen=True)
class Found:
    """Of the bad masks, the share in the front part of the queue, with the limits of its 95 % interval, all in 0..1."""

    order: str
    front: float
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Simulation:
    """What was found on one kind of masks."""

    kind: str
    masks: int
    bad: int
    clusters: int
    found: list[Found]
    gained: tuple[
        float, float, float
    ]  # share of the queue's order minus that of uncertainty, low, high, in the middle


def read_masks(path: Path) -> pd.DataFrame:
    """The table of _COLUMNS, a row a mask. ReviewError where a column is missing or a value is out of range."""
    try:
        table = pd.read_csv(path, dtype={"id": str, "kind": str, "cluster": str})
    except (OSError, ValueError) as error:
        raise ReviewError(
            f"expected a table of masks at {path}, found none that can be read ({error}); "
            "`python -m pipeline benchmark queue` writes one"
        ) from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing or table.empty:
        raise ReviewError(
            f"expected the columns {', '.join(_COLUMNS)} and a row a mask in {path}, found {len(table)} rows "
            f"without {', '.join(missing) or 'anything missing'}"
        )
    for name in ("uncertainty", "iou"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = table[~numbers.between(0, 1)]
        if len(wrong):
            raise ReviewError(
                f"expected {name} from 0 to 1 in {path}, found {wrong[name].iloc[0]} for {wrong['id'].iloc[0]}"
            )
        table[name] = numbers
    return table


def simulate(
    masks: pd.DataFrame, bad_below: float = BAD_BELOW, resamples: int = RESAMPLES
) -> list[Simulation]:
    """One result for each kind of masks, in the order in which the kinds first come."""
    return [
        _one_kind(str(kind), rows, bad_below, resamples) for kind, rows in masks.groupby("kind", sort=False)
    ]


def describe_orders(results: Sequence[Simulation], bad_below: float) -> list[str]:
    """The result as lines of text."""
    lines = []
    for one in results:
        lines.append(
            f"{one.kind}: {one.bad:,} of {one.masks:,} masks are bad (IoU with the right one below {bad_below:g}), "
            f"in {one.clusters:,} clusters"
        )
        if not one.found:
            lines.append("  without a good and a bad one there is nothing to order")
            continue
        lines.append(f"  {'reviewed first':<28}" + "".join(f"{front:>27.0%}" for front in FRONTS))
        for name in _ORDERS:
            cells = [
                f"{f.share:.1%} ({f.low:.1%} to {f.high:.1%})".rjust(27) for f in one.found if f.order == name
            ]
            lines.append(f"  {name:<28}" + "".join(cells))
        share, low, high = one.gained
        lines.append(
            f"  look-alikes sharing a slot find {100 * share:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}) "
            f"more in the first {FRONTS[1]:.0%} than uncertainty alone"
        )
    lines.append("each cell: of the bad masks, the share among those reviewed; in brackets 95 % limits")
    return lines


def _one_kind(kind: str, rows: pd.DataFrame, bad_below: float, resamples: int) -> Simulation:
    doubt = rows["uncertainty"].to_numpy(np.float64)
    bad = rows["iou"].to_numpy(np.float64) < bad_below
    names, cluster = np.unique(rows["cluster"].to_numpy(str), return_inverse=True)
    head = (kind, len(rows), int(bad.sum()), len(names))
    if bad.all() or not bad.any():
        return Simulation(*head, [], (0.0, 0.0, 0.0))
    random = np.random.default_rng(0)
    members = [np.flatnonzero(cluster == number) for number in range(len(names))]
    said = _shares(doubt, bad, cluster, random)
    said[0] = FRONTS  # what a random order finds on average
    draws = np.stack(
        [
            _shares(doubt[at], bad[at], group, random)
            for at, group in _resampled(members, random, resamples, bad)
        ]
    )
    low, high = np.percentile(draws, (2.5, 97.5), axis=0)
    found = [
        Found(name, front, float(said[i, j]), float(low[i, j]), float(high[i, j]))
        for i, name in enumerate(_ORDERS)
        for j, front in enumerate(FRONTS)
    ]
    difference = draws[:, 2, 1] - draws[:, 1, 1]
    ends = np.percentile(difference, (2.5, 97.5))
    return Simulation(*head, found, (float(said[2, 1] - said[1, 1]), float(ends[0]), float(ends[1])))


def _resampled(
    members: Sequence[NDArray[np.int64]], random: np.random.Generator, count: int, bad: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of clusters drawn with replacement, and the cluster of each; one drawn twice counts as two."""
    drawn: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    while len(drawn) < count:
        chosen = [members[number] for number in random.integers(0, len(members), len(members))]
        at = np.concatenate(chosen)
        if bad[at].any():
            group = np.repeat(np.arange(len(chosen)), [len(one) for one in chosen])
            drawn.append((at, group))
    return drawn


def _shares(
    doubt: _Floats, bad: NDArray[np.bool_], cluster: NDArray[np.int64], random: np.random.Generator
) -> _Floats:
    """(orders, fronts): of the bad masks, the share in each front part of each order."""
    result = np.empty((len(_ORDERS), len(FRONTS)))
    for i, key in enumerate(_ORDERS.values()):
        order = np.argsort(-key(doubt, cluster, random), kind="stable")
        met = np.concatenate([[0], np.cumsum(bad[order])])
        result[i] = [met[round(front * len(order))] / met[-1] for front in FRONTS]
    return result


_ORDERS: dict[str, Order] = {
    "random": lambda doubt, _, random: random.random(len(doubt)),
    "uncertainty": lambda doubt, _, __: doubt,
    "uncertainty, shared (queue)": lambda doubt, cluster, _: priority(doubt, cluster),
}
