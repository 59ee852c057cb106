"""Merge labelled pictures, portrait crops, reviewed and (where asked) pseudo labels into one dataset.

Reads data/ingest, data/crop, data/pseudo and the lock of reviews; writes data/dataset with its own copy of
every picture and mask, where each record has a near-duplicate cluster and a side, and everything left out has
a reason.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from annotations.lock import VERDICTS, LockEntry
from pipeline.boxes import Box
from pipeline.near_duplicates import Hashes, clusters, hash_pictures
from pipeline.params import MergeParams, load_params
from pipeline.paths import CROP, DATASET, INGEST, PSEUDO
from pipeline.records import (
    Rejected,
    account,
    check_records,
    dataset_hash,
    read_records,
    reject_rows,
    write_records,
    write_rejected,
)
from pipeline.reviewed import check_orphans, cut_reviewed, read_reviews
from pipeline.sides import publishes_test, split
from pipeline.stage import run, write_metrics
from pipeline.store import Store
from sinet.images import read_mask

# Which record of several with the same pixels stays, after those of a published test side.
_PREFERENCE = {"human": 0, "crop": 1, "reviewed": 2, "pseudo": 3}


def merge(
    labelled: pd.DataFrame,
    reviewed: pd.DataFrame,
    pseudo: pd.DataFrame,
    entries: Sequence[LockEntry],
    hashes: Mapping[str, Hashes],
    params: MergeParams,
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The dataset's records with cluster and side, and what stays out of it.

    `reviewed` are the records cut from the lock `entries`; `hashes` are perceptual hashes by id, of the
    records' pictures and of the pictures they were cut from. Every row of the three tables is in one of the
    two results.
    """
    pseudo, unwanted = choose_pseudo(pseudo, entries, params)
    candidates = pd.concat([labelled, reviewed, pseudo], ignore_index=True)
    candidates, unlicensed = reject_rows(candidates, lambda row: _licence_fault(row, params))
    candidates, repeated = one_of_each(candidates)
    candidates["cluster"] = clusters(candidates, hashes, params.max_hash_distance)
    records, leaks = split(candidates, params.dev_share, params.test_share)
    return check_records(records.sort_values("id", ignore_index=True)), [
        *unwanted,
        *unlicensed,
        *repeated,
        *leaks,
    ]


def choose_pseudo(
    pseudo: pd.DataFrame, entries: Sequence[LockEntry], params: MergeParams
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The pseudo labels that nobody judged and that are good enough, where such ones are wanted at all."""
    reviews: dict[str, list[LockEntry]] = {}
    for entry in entries:
        reviews.setdefault(entry.parent_sha256, []).append(entry)

    def fault(row: pd.Series) -> tuple[str, str] | None:
        entry = _review_of(row, reviews.get(row["parent_sha256"], []), params.same_box_iou)
        if entry is not None:
            reason = {"reject": "review_rejected", "unsure": "review_unsure"}.get(entry.verdict, "reviewed")
            return reason, f"judged by review {entry.key}: {entry.verdict}"
        if params.unreviewed == "exclude":
            return "not_reviewed", "nobody has judged this mask (merge.unreviewed: exclude)"
        if row["flags"]:
            return "flagged", f"nobody has judged this mask, and it is flagged {row['flags']}"
        if not row["uncertainty"] <= params.max_uncertainty:
            at_most = f"merge.max_uncertainty {params.max_uncertainty:g}"
            return "too_uncertain", f"uncertainty {row['uncertainty']:.3f} is more than {at_most}"
        return None

    return reject_rows(pseudo, fault)


def one_of_each(records: pd.DataFrame) -> tuple[pd.DataFrame, list[Rejected]]:
    """One record for each id: a published test side first, then human, crop, reviewed and pseudo labels."""
    preference = records["label"].map(_PREFERENCE).astype("int64")
    rank = preference.mask(records["published_side"].isin(["test"]).astype(bool), -1)
    order = records.assign(rank=rank).sort_values(["rank", "source", "source_key"], kind="stable")
    first = order.drop_duplicates("id").set_index("id")
    kept = order.drop_duplicates("id").drop(columns="rank").sort_values("id", ignore_index=True)
    rejected = []
    for row in order[order.duplicated("id")].itertuples():
        stays = first.loc[str(row.id)]
        same = _mask_iou(str(stays["mask"]), str(row.mask))
        kept_as = f"{stays['source']} {stays['source_key']} ({row.id})"
        detail = f"the same pixels as {kept_as}, IoU of the masks {same:.4f}"
        rejected.append(Rejected(str(row.source), str(row.source_key), "duplicate_pixels", detail))
    return kept, rejected


def summarise(records: pd.DataFrame, rejected: Sequence[Rejected]) -> dict[str, object]:
    """Counts of what the dataset holds and of what was left out to keep its sides apart."""
    sizes = records["cluster"].value_counts()
    test = records[records["side"] == "test"]
    return {
        "labels": _counts(records["label"]),
        "sides": _counts(records["side"]),
        "sides_by_label": {str(side): _counts(group["label"]) for side, group in records.groupby("side")},
        "sources": _counts(records["source"]),
        "licences": _counts(records["licence"].fillna("unknown")),
        "unreviewed": int((records["label"] == "pseudo").sum()),
        "published_test": publishes_test(records),
        "clusters": {
            "count": len(sizes),
            "shared": int((sizes > 1).sum()),  # of more than one record
            "records_in_shared": int(sizes[sizes > 1].sum()),
            "largest": int(sizes.max()),
        },
        "test_duplicates": int(len(test) - test["cluster"].nunique()),
        "leaks": sum(one.reason.startswith("leak_with_") for one in rejected),
        "orphaned_reviews": sum(one.reason == "orphaned" for one in rejected),
        "dataset_hash": dataset_hash(records),
    }


def write_dataset(folder: Path, records: pd.DataFrame, rejected: Sequence[Rejected]) -> pd.DataFrame:
    """Copy every picture and mask into the folder, named by id, and write the records of the copies."""
    records = records.copy()
    for kind, column in (("images", "image"), ("masks", "mask")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        copies = []
        for one, path in zip(records["id"], records[column], strict=True):
            copy = folder / kind / f"{one}{Path(path).suffix}"
            shutil.copyfile(path, copy)
            copies.append(str(copy))
        records[column] = pd.Series(copies, index=records.index, dtype="str")
    # The teacher's probabilities stay with the pseudo labels: a dataset does not point out of its own folder.
    records["probability"] = pd.Series([None] * len(records), index=records.index, dtype="str")
    write_records(folder, records, rejected)
    return records


def pictures_to_hash(records: Sequence[pd.DataFrame], parents: Sequence[pd.DataFrame]) -> dict[str, str]:
    """Path by id of the records' pictures, and of those `parents` that they were cut from.

    Two crops of one scene may differ where their boxes do; the pictures that they come from still look alike.
    """
    cut_from = {parent for table in records for parent in table["parent_id"].dropna()}
    rows = [row for table in parents for row in table.itertuples() if row.id in cut_from]
    rows += [row for table in records for row in table.itertuples()]
    return {str(row.id): str(row.image) for row in rows}


def _review_of(row: pd.Series, entries: Sequence[LockEntry], same_box_iou: float) -> LockEntry | None:
    """The review of this crop: of the same box, or of one that a detector may have moved a little."""
    box = Box.parse(row["crop_box"])
    near = [(_box_iou(box, Box.parse(entry.crop_box)), entry.key, entry) for entry in entries]
    best = max(near, default=None, key=lambda one: one[:2])
    return best[2] if best is not None and best[0] >= same_box_iou else None


def _box_iou(one: Box, other: Box) -> float:
    wide = max(0, min(one.x1, other.x1) - max(one.x0, other.x0))
    tall = max(0, min(one.y1, other.y1) - max(one.y0, other.y0))
    union = one.width * one.height + other.width * other.height - wide * tall
    return wide * tall / union if union else 1.0


def _licence_fault(row: pd.Series, params: MergeParams) -> tuple[str, str] | None:
    licence = row["licence"] if isinstance(row["licence"], str) else ""
    for pattern in params.licences_excluded:
        if pattern.search(licence):
            named = f"the licence {licence!r}" if licence else "an unknown licence"
            return "licence", f"{named} is excluded by {pattern.pattern!r} in merge.licences_excluded"
    return None


def _mask_iou(one: str, other: str) -> float:
    first, second = read_mask(Path(one)), read_mask(Path(other))
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def _counts(column: "pd.Series[str]") -> dict[str, int]:
    return {str(name): int(count) for name, count in column.value_counts().sort_index().items()}


def main() -> None:
    params = load_params()
    shutil.rmtree(DATASET, ignore_errors=True)
    store = Store("merge")
    crawl, bodies, crop = read_records(INGEST / "crawl"), read_records(INGEST / "baidu"), read_records(CROP)
    labelled = pd.concat([read_records(INGEST / "eg1800"), crop], ignore_index=True)
    pseudo = read_records(PSEUDO)
    entries = read_reviews(Path(params.reviews.path))

    scratch = DATASET / "reviewed"
    reviewed = cut_reviewed(entries, crawl, scratch, params.crop.fill, store)
    check_orphans(reviewed.rejected, params.merge.max_orphaned_reviews)
    wanted, _ = choose_pseudo(pseudo, entries, params.merge)
    hashes = hash_pictures(pictures_to_hash([labelled, reviewed.records, wanted], [bodies, crawl]), store)
    records, rejected = merge(labelled, reviewed.records, pseudo, entries, hashes, params.merge)
    rejected += reviewed.rejected

    inputs = {
        "human": len(labelled) - len(crop),
        "crop": len(crop),
        "pseudo": len(pseudo),
        "reviews": len(entries),
    }
    write_rejected(DATASET, rejected)  # before the gate, whose message sends people there
    counted = _account(labelled, sum(inputs.values()), records, rejected, params.merge.max_reject_rate)
    records = write_dataset(DATASET, records, rejected)
    shutil.rmtree(scratch)
    reviews = {verdict: sum(entry.verdict == verdict for entry in entries) for verdict in VERDICTS}
    write_metrics("merge", {**counted, "inputs": inputs, "reviews": reviews, **summarise(records, rejected)})


def _account(
    labelled: pd.DataFrame,
    items: int,
    records: pd.DataFrame,
    rejected: Sequence[Rejected],
    max_reject_rate: float,
) -> dict[str, object]:
    """Check that nothing vanished, and that few labelled pictures were rejected; most of a crawl may be."""
    sources = set(labelled["source"])
    stays = int(records["label"].isin(["human", "crop"]).sum())
    account(
        "merge@labelled",
        len(labelled),
        stays,
        [one for one in rejected if one.source in sources],
        max_reject_rate,
    )
    return account("merge", items, len(records), rejected, 1.0)


if __name__ == "__main__":
    run("merge", main)
