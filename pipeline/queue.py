"""Order the pseudo labels for the curators: the most doubtful first, with a random slice between them.

Pictures that look alike share their doubt, so that one scene does not fill the queue. Nobody is asked about what stage
split left out. Reads the pseudo labels, their photographs' sides, the locked reviews, the clusters and (for gold tasks)
the dataset; writes data/queue/queue.csv.
"""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from annotations.ledger.lock import review_key
from annotations.quality.priority import priority
from annotations.quality.random_slice import hashed_share
from pipeline.core.errors import PipelineError
from pipeline.core.ingested import read_ingested
from pipeline.core.params import QueueParams, load_params
from pipeline.core.paths import CLUSTER, DATASET, INGEST, PSEUDO, QUEUE, SPLIT
from pipeline.core.records import make_records, read_records
from pipeline.core.stage import run, write_metrics, write_text
from pipeline.dataset.cluster_table import read_clusters
from pipeline.review.judged import judged_keys, read_locked_reviews, reviews_by_picture
from pipeline.review.mix import mix

_COLUMNS = ("rank", "id", "key", "reason", "uncertainty", "priority", "flags", "score")


def rank(
    records: pd.DataFrame,
    reviewed: Collection[str],
    params: QueueParams,
    look_alikes: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The first `params.size` unreviewed pseudo labels as _COLUMNS, rank 1 first. `reviewed`: lock keys.

    `look_alikes` names the cluster of each id; without it every picture is one of its own. `priority` is the
    uncertainty shared within a cluster (annotations.quality.priority).

    A picture is in the random slice by a hash of its id, and the slice is ordered by that hash: whatever
    part of it was reviewed is an unbiased sample, and new pictures do not change what was chosen before. Both
    orders are interleaved: every front part holds `params.random_share` random ones.
    """
    waiting = _waiting(records, reviewed, look_alikes or {})
    doubtful = waiting.sort_values(["priority", "id"], ascending=[False, True])
    drawn = waiting["id"].map(hashed_share).astype("float64")
    chosen = drawn < params.random_share
    slice_ = waiting[chosen].assign(reason="random", draw=drawn[chosen]).sort_values(["draw", "id"])
    rest = doubtful[~doubtful["id"].isin(slice_["id"])].assign(reason="uncertain")
    order = _interleave(list(rest.index), list(slice_.index), params.random_share)[: params.size]
    queue = pd.concat([rest, slice_]).loc[order].reset_index(drop=True)
    queue["rank"] = range(1, len(queue) + 1)
    queue["score"] = [round(place / max(1, len(queue)), 6) for place in queue["rank"]]
    return queue[list(_COLUMNS)]


def summarise(records: pd.DataFrame, reviewed: Collection[str], mixed: pd.DataFrame) -> dict[str, object]:
    """Counts for the metrics: every pseudo label is reviewed, queued or left out by queue.size.

    `mixed` is the queue with all its tasks, some of which are further ones of a queued pseudo label, or gold.
    """
    waiting = int((~_keys(records).isin(list(reviewed))).sum())
    purposes = mixed["purpose"].value_counts()
    queue = mixed[mixed["purpose"].isin(["review", "scratch"])]
    reasons = queue["reason"].value_counts()
    return {
        "pseudo": len(records),
        "reviewed": len(records) - waiting,
        "queued": len(queue),
        "left_out": waiting - len(queue),
        "uncertain": int(reasons.get("uncertain", 0)),
        "random": int(reasons.get("random", 0)),
        "flagged": int((queue["flags"] != "").sum()),
        "mean_uncertainty": float(queue["uncertainty"].mean()) if len(queue) else 0.0,
        "tasks": len(mixed),
        "second": int(purposes.get("second", 0)),
        "gold": int(purposes.get("gold", 0)),
        "from_scratch": int(purposes.get("scratch", 0)),
    }


def write_queue(folder: Path, queue: pd.DataFrame) -> None:
    """Write FOLDER/queue.csv anew."""
    shutil.rmtree(folder, ignore_errors=True)
    write_text(folder / "queue.csv", queue.to_csv(index=False))


def _waiting(
    records: pd.DataFrame, reviewed: Collection[str], look_alikes: Mapping[str, str]
) -> pd.DataFrame:
    """id, key, uncertainty, priority, flags of the pseudo labels that nobody reviewed."""
    broken = records["parent_sha256"].isna() | records["crop_box"].isna() | records["uncertainty"].isna()
    if broken.any():
        named = ", ".join(records.loc[broken, "id"].head(5))
        raise PipelineError(
            "expected parent_sha256, crop_box and uncertainty of every pseudo label, "
            f"found {int(broken.sum())} without ({named}); run `dvc repro --force pseudo_label`"
        )
    records = records.sort_values("id")  # equally doubtful look-alikes in an order of their own
    keys = _keys(records)
    done = keys.isin(list(reviewed))
    cluster = [look_alikes.get(one, one) for one in records["id"]]
    shared = priority(records["uncertainty"].to_numpy(np.float64), cluster, list(done))
    table = records.assign(key=keys, priority=shared.round(6))
    return table.loc[~done, ["id", "key", "uncertainty", "priority", "flags"]]


def _keys(records: pd.DataFrame) -> "pd.Series[str]":
    """The lock key of each pseudo label, indexed as `records`."""
    pairs = zip(records["parent_sha256"], records["crop_box"], strict=True)
    return pd.Series([review_key(parent, box) for parent, box in pairs], index=records.index, dtype="str")


def _interleave(doubtful: list[int], random: list[int], share: float) -> list[int]:
    order: list[int] = []
    taken = 0
    while len(order) < len(doubtful) + len(random):
        due = taken < int((len(order) + 1) * share) or len(order) - taken == len(doubtful)
        if due and taken < len(random):
            order.append(random[taken])
            taken += 1
        else:
            order.append(doubtful[len(order) - taken])
    return order


def main() -> None:
    """Read, rank, mix, write."""
    params = load_params()
    crawl, placed = read_ingested(INGEST / "crawl"), read_records(SPLIT / "crawl")
    pseudo = read_records(PSEUDO)
    records = pseudo[pseudo["parent_id"].isin(placed["id"])]  # the others stay out whatever people say
    reviews = reviews_by_picture(read_locked_reviews(Path(params.reviews.path)), crawl)
    reviewed = judged_keys(records, reviews, params.merge.same_box_iou)
    dataset = read_records(DATASET) if params.queue.gold_share else make_records([])
    ranked = rank(records, reviewed, params.queue, read_clusters(CLUSTER / "crawl.csv"))
    queue = mix(ranked, dataset, params.queue)
    write_queue(QUEUE, queue)
    counts = summarise(records, reviewed, queue)
    write_metrics("queue", {**counts, "without_side": len(pseudo) - len(records)})


if __name__ == "__main__":
    run("queue", main)
