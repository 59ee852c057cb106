"""Which doubtful masks a curator looks at first: the teacher's doubt, shared by pictures that look alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def priority(
    uncertainty: Sequence[float] | NDArray[np.floating],
    clusters: Sequence[str] | NDArray[np.integer],
    done: Sequence[bool] | None = None,
) -> NDArray[np.float64]:
    """Each mask's uncertainty divided by its place (1, 2, ...) in its cluster of look-alikes, (N,) in 0..1.

    Ten shots of one scene would otherwise take ten slots one after the other, though the second look teaches less
    than the first one. Within a cluster `done` masks (judged before) come first, then the more doubtful ones, then
    those that stand first; so N masks in one cluster weigh 1 + 1/2 + ... + 1/N of one. The larger comes first.
    """
    doubt = np.asarray(uncertainty, np.float64)
    judged = np.zeros(len(doubt), bool) if done is None else np.asarray(done, bool)
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    order = np.lexsort((np.arange(len(doubt)), -doubt, ~judged, cluster))
    starts = np.searchsorted(cluster[order], cluster[order])  # where the cluster of each begins
    place = np.empty(len(doubt), np.int64)
    place[order] = np.arange(len(doubt)) - starts + 1
    return doubt / place
