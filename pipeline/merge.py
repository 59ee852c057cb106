"""Merge labelled pictures, portrait crops, reviewed and (where asked) pseudo labels into one dataset.

Reads data/ingest, data/crop, data/pseudo and the lock of reviews with the judgements beside it; writes data/dataset
with its own copy of every picture and mask, where each record has a near-duplicate cluster and a side, and everything
left out has a reason.
"""

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from annotations.ledger.judgements import read_judgements
from annotations.ledger.lock import VERDICTS, LockEntry, LockError, review_key
from pipeline.core.errors import PipelineError
from pipeline.core.ingested import read_ingested
from pipeline.core.params import MergeParams, SidesParams, load_params
from pipeline.core.paths import CROP, DATASET, INGEST, PSEUDO
from pipeline.core.records import (
    Rejected,
    account,
    check_records,
    dataset_hash,
    read_records,
    reject_rows,
    write_records,
    write_rejected,
)
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Store
from pipeline.dataset.labelled import licence_fault, of_these, one_of_each, pictures_to_hash, with_sides
from pipeline.dataset.near_duplicates import Hashes, clusters, hash_pictures
from pipeline.dataset.sides import check_sides, first_ids, publishes_test, with_sides_of_all
from pipeline.review.judged import read_locked_reviews, review_of, reviews_by_picture
from pipeline.review.reviewed import check_orphans, cut_reviewed


def merge(
    labelled: pd.DataFrame,
    reviewed: pd.DataFrame,
    pseudo: pd.DataFrame,
    reviews: Mapping[str, Sequence[LockEntry]],
    hashes: Mapping[str, Hashes],
    params: MergeParams,
    sides: SidesParams,
    judged: Mapping[str, Collection[str]] | None = None,
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The dataset's records with cluster and side, and what stays out of it.

    `reviewed` are the records cut from the lock, whose entries `reviews` holds by picture (`reviews_by_picture`);
    `judged` is what people said of the pseudo labels, by id (`_judged_crops`); `hashes` are perceptual hashes by id, of
    the records' pictures and of the pictures they were cut from. Every row of the three tables is in one of the two
    results.
    """
    pseudo, unwanted = choose_pseudo(pseudo, reviews, params, judged)
    placed, left_out = with_sides(labelled, hashes, sides, params.licences_excluded)
    others = pd.concat([reviewed, pseudo], ignore_index=True)
    others, unlicensed = reject_rows(others, lambda row: licence_fault(row, params.licences_excluded))
    candidates, repeated = one_of_each(pd.concat([placed, others], ignore_index=True))
    guessed = candidates["label"] == "pseudo"
    known, pseudo = (candidates[one].reset_index(drop=True) for one in (~guessed, guessed))
    seen = of_these(pd.concat([labelled, reviewed]), hashes)  # also what left: it joins what looks like it
    known["cluster"] = clusters(known, seen, sides.max_hash_distance)
    known, leaks = with_sides_of_all(known, sides.dev_share, sides.test_share)
    for side in ("test", "dev") if len(pseudo) else ():
        pseudo, alike = unlike(pseudo, known, side, hashes, sides.max_hash_distance)
        leaks += alike
    records = pd.concat([known, pseudo], ignore_index=True) if len(pseudo) else known
    # Once more: what left may have stood between two clusters.
    records["cluster"] = clusters(records, of_these(records, hashes), sides.max_hash_distance)
    check_sides(records)
    rejected = [*unwanted, *left_out, *unlicensed, *repeated, *leaks]
    return check_records(records.sort_values("id", ignore_index=True)), rejected


def choose_pseudo(
    pseudo: pd.DataFrame,
    reviews: Mapping[str, Sequence[LockEntry]],
    params: MergeParams,
    judged: Mapping[str, Collection[str]] | None = None,
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The pseudo labels that nobody judged and that are good enough, where such ones are wanted at all.

    `reviews` holds the lock's entries by their picture's sha256 (`reviews_by_picture`); `judged` is what people
    said, by id (`_judged_crops`): where no entry came of it, they have not decided.
    """

    def fault(row: pd.Series) -> tuple[str, str] | None:
        entry = review_of(row, reviews.get(row["parent_sha256"], []), params.same_box_iou)
        if entry is not None:
            reason = {"reject": "review_rejected", "unsure": "review_unsure"}.get(entry.verdict, "reviewed")
            return reason, f"judged by review {entry.key}: {entry.verdict}"
        said = (judged or {}).get(row["id"])
        if said:
            return "review_undecided", f"judged, but the answers decide nothing: {', '.join(sorted(said))}"
        if params.unreviewed == "exclude":
            return "not_reviewed", "nobody has judged this mask (merge.unreviewed: exclude)"
        if row["flags"]:
            return "flagged", f"nobody has judged this mask, and it is flagged {row['flags']}"
        if not row["uncertainty"] <= params.max_uncertainty:
            at_most = f"merge.max_uncertainty {params.max_uncertainty:g}"
            return "too_uncertain", f"uncertainty {row['uncertainty']:.3f} is more than {at_most}"
        return None

    return reject_rows(pseudo, fault)


def _judged_crops(lock: Path, pseudo: pd.DataFrame, crawl: pd.DataFrame) -> dict[str, list[str]]:
    """What people said of each pseudo label, by its id, of whichever of its picture's twins; gold tasks tell of none.

    PipelineError where a judgement beside the lock is damaged.
    """
    try:
        tasks = read_judgements(lock)
    except LockError as error:
        raise PipelineError(f"the judgements cannot be read: {error}") from error
    words: dict[str, list[str]] = {}
    for task in tasks:
        if task.purpose != "gold":
            words.setdefault(task.key, []).extend(one.said for one in task.opinions)
    twins = dict(zip(crawl["sha256"], crawl["twins"], strict=True))
    said: dict[str, list[str]] = {}
    for row in pseudo.itertuples():
        parent = str(row.parent_sha256)
        for file in (parent, *twins.get(parent, "").split()):
            said.setdefault(str(row.id), []).extend(words.get(review_key(file, str(row.crop_box)), []))
    return said


def unlike(
    pseudo: pd.DataFrame, known: pd.DataFrame, side: str, hashes: Mapping[str, Hashes], max_hash_distance: int
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The pseudo labels that resemble no picture of this side, on the train side; the others leave.

    `known` are the labelled and reviewed records with their sides, which stay as they are. Likeness goes from one
    pseudo label to the next, and through what left, but not through a picture that stays on another side.
    """
    measured = known["side"] == side
    others = of_these(known[~measured], hashes).keys() - of_these(pseudo, hashes).keys()
    both = pd.concat([known[measured], pseudo], ignore_index=True)
    near = {one: value for one, value in hashes.items() if one not in others}
    both["cluster"] = clusters(both, near, max_hash_distance)
    first = first_ids(both[both["label"] != "pseudo"])
    alike = {one: first.get(cluster) for one, cluster in zip(both["id"], both["cluster"], strict=True)}

    def fault(row: pd.Series) -> tuple[str, str] | None:
        like = alike[row["id"]]
        said = f"an unreviewed mask may only train, but it resembles {like} of the {side} side"
        return None if like is None else (f"leak_with_{side}", said)

    kept, rejected = reject_rows(pseudo, fault)
    return kept.assign(side=pd.Series("train", index=kept.index, dtype="str")), rejected


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


def write_dataset(folder: Path, records: pd.DataFrame) -> pd.DataFrame:
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
    write_records(folder, records)
    return records


def _counts(column: "pd.Series[str]") -> dict[str, int]:
    return {str(name): int(count) for name, count in column.value_counts().sort_index().items()}


def main() -> None:
    params = load_params()
    shutil.rmtree(DATASET, ignore_errors=True)
    store = Store("merge")
    seen = Store("near_duplicates")  # the teacher has hashed the labelled pictures
    crawl, bodies, crop = (
        read_ingested(INGEST / "crawl"),
        read_ingested(INGEST / "bodies"),
        read_records(CROP),
    )
    labelled = pd.concat([read_ingested(INGEST / "labelled"), crop], ignore_index=True)
    pseudo = read_records(PSEUDO)
    entries = read_locked_reviews(Path(params.reviews.path))

    scratch = DATASET / "reviewed"
    reviewed = cut_reviewed(entries, crawl, scratch, params.crop.fill, store)
    check_orphans(reviewed.rejected, params.merge.max_orphaned_reviews)
    by_picture = reviews_by_picture(entries, crawl)
    judged = _judged_crops(Path(params.reviews.path), pseudo, crawl)
    wanted, _ = choose_pseudo(pseudo, by_picture, params.merge, judged)
    hashes = hash_pictures(pictures_to_hash([labelled, reviewed.records, wanted], [bodies, crawl]), seen)
    records, rejected = merge(
        labelled, reviewed.records, pseudo, by_picture, hashes, params.merge, params.sides, judged
    )
    rejected += reviewed.rejected

    inputs = {
        "human": len(labelled) - len(crop),
        "crop": len(crop),
        "pseudo": len(pseudo),
        "reviews": len(entries),
    }
    write_rejected("merge", rejected)  # before the gate, whose message sends people there
    counted = _account(labelled, sum(inputs.values()), records, rejected, params.merge.max_reject_rate)
    records = write_dataset(DATASET, records)
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
