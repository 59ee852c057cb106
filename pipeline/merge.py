"""Merge labelled pictures, portrait crops, reviewed and (where asked) pseudo labels into one dataset.

Reads the records with their sides (data/split), data/pseudo and the lock of reviews with the judgements beside it.
Writes data/dataset, which stands alone: its own files of every picture and mask, tables with paths from there, whose
they are (ATTRIBUTION.md) and a card (README.md); and a reason for everything left out.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from annotations.ledger.judgements import read_judgements
from annotations.ledger.lock import VERDICTS, LockEntry, LockError, review_key
from pipeline.core.errors import PipelineError
from pipeline.core.folder import PictureFolder
from pipeline.core.ingested import read_ingested
from pipeline.core.licences import licence_name
from pipeline.core.params import ClusterParams, MergeParams, load_params
from pipeline.core.paths import CLUSTER, CROP, DATASET, INGEST, PSEUDO, SPLIT
from pipeline.core.records import (
    Rejected,
    account,
    as_stored,
    check_pictures,
    check_records,
    dataset_hash,
    read_records,
    read_rejected,
    reject_rows,
    write_rejected,
)
from pipeline.core.stage import run, write_json, write_metrics, write_text
from pipeline.core.store import Store
from pipeline.dataset.attribution import attribution
from pipeline.dataset.cluster_table import read_clusters
from pipeline.dataset.csv_text import csv_text
from pipeline.dataset.folder_card import folder_card, table_schema
from pipeline.dataset.same_pixels import one_of_each
from pipeline.dataset.sides import check_sides, publishes_test
from pipeline.dataset.takedown_list import read_requests
from pipeline.look_alikes.finder import look_alikes, prints_of
from pipeline.review.judged import read_locked_reviews, review_of, reviews_by_picture
from pipeline.review.reviewed import check_orphans, cut_reviewed

_FIRST = ("test", "dev", "train")  # whose pictures stay where two look alike


def merge(
    labelled: pd.DataFrame,
    crawl: pd.DataFrame,
    reviewed: pd.DataFrame,
    pseudo: pd.DataFrame,
    reviews: Mapping[str, Sequence[LockEntry]],
    params: MergeParams,
    left_out: Mapping[tuple[str, str], tuple[str, str]],
    judged: Mapping[str, Collection[str]],
    near: Mapping[str, Collection[str]],
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The dataset's records with cluster and side, and what stays out of it.

    `labelled` and `crawl` are the records of stage split. `reviewed` are the records cut from the lock, whose entries
    `reviews` holds by picture (`reviews_by_picture`); `left_out` is why stage split left a photograph out, reason and
    sentence by source and name; `judged` is what people said of the pseudo labels, by id (`_judged_crops`); `near`
    names by id the pictures that a reviewed one looks like (`_like_others`). Every row of `labelled`,
    `reviewed` and `pseudo` is in one of the two results.
    """
    # As if nobody had looked: what a review took out is a pseudo label again.
    if "reviewed" in params.leave_out:
        reviews, judged = {}, {}
    pseudo, unwanted = choose_pseudo(pseudo, reviews, params, judged)
    others, beside = on_sides(pd.concat([reviewed, pseudo], ignore_index=True), crawl, left_out)
    others, leaks = apart(others, labelled, near)
    records = pd.concat([labelled, others], ignore_index=True)
    check_sides(records)  # whatever of train is left out
    records, omitted = training(records, params)
    records, repeated = one_of_each(records)
    return check_records(records.sort_values("id", ignore_index=True)), [
        *unwanted,
        *beside,
        *leaks,
        *omitted,
        *repeated,
    ]


def training(records: pd.DataFrame, params: MergeParams) -> tuple[pd.DataFrame, list[Rejected]]:
    """The records without those of the train side that are of a kind or source to leave out."""
    if not params.leave_out:
        return records, []

    def fault(row: pd.Series) -> tuple[str, str] | None:
        found = next((name for name in (row["label"], row["source"]) if name in params.leave_out), None)
        if row["side"] != "train" or found is None:
            return None
        return "left_out", f"{found} does not train (merge.leave_out)"

    return reject_rows(records, fault)


def on_sides(
    cut: pd.DataFrame, crawl: pd.DataFrame, left_out: Mapping[tuple[str, str], tuple[str, str]]
) -> tuple[pd.DataFrame, list[Rejected]]:
    """What was `cut` from the `crawl`'s photographs, on their sides; an unreviewed mask may only train.

    Where a photograph has no side, stage split said why (`left_out`).
    """
    photographs = crawl.set_index("id")

    def fault(row: pd.Series) -> tuple[str, str] | None:
        if row["parent_id"] not in photographs.index:
            why = left_out.get((row["source"], row["source_key"]))
            if why is None:
                raise PipelineError(
                    f"merge: expected the photograph of {row['source']} {row['source_key']} in {SPLIT}, found it "
                    "neither there nor among what stage split left out; run `dvc repro`"
                )
            return why
        side = photographs.at[row["parent_id"], "side"]
        if row["label"] == "pseudo" and side != "train":
            return (
                "not_on_train",
                f"an unreviewed mask may only train, and its photograph is on the {side!s} side",
            )
        return None

    kept, rejected = reject_rows(cut, fault)
    for column in ("cluster", "side"):
        kept[column] = kept["parent_id"].map(photographs[column]).astype("str")
    return kept, rejected


def apart(
    records: pd.DataFrame, labelled: pd.DataFrame, near: Mapping[str, Collection[str]]
) -> tuple[pd.DataFrame, list[Rejected]]:
    """The records that look like no picture of another side; `near` names by id those that a reviewed one looks like.

    Of two reviewed ones on two sides the one of test stays, or else that of dev.
    """
    both = pd.concat([records, labelled])
    sides = dict(zip(both["id"], both["side"], strict=True))

    def fault(row: pd.Series) -> tuple[str, str] | None:
        others = {
            sides[one]: one
            for one in sorted(near.get(row["id"], ()))
            if one in sides and (one not in near or _FIRST.index(sides[one]) < _FIRST.index(row["side"]))
        }
        others.pop(row["side"], None)
        side = next((name for name in _FIRST if name in others), None)
        if side is None:
            return None
        return f"leak_with_{side}", f"looks like {others[side]} of the {side} side"

    return reject_rows(records, fault)


def _like_others(
    reviewed: pd.DataFrame, others: pd.DataFrame, compared: Collection[str], params: ClusterParams
) -> dict[str, set[str]]:
    """The pictures that a reviewed one looks like, by id, of those that stage cluster has not `compared`.

    It has compared the portraits that the face detector chooses today, with each other and with the labelled pictures,
    which are the `others`; a review may be of another box.
    """
    odd = reviewed[~reviewed["id"].isin(list(compared))]
    if odd.empty:
        return {}
    pictures = {str(row.id): str(row.image) for table in (others, reviewed) for row in table.itertuples()}
    near: dict[str, set[str]] = {str(one): set() for one in odd["id"]}
    prints = prints_of(pictures, Store("look_alikes"), "reviewed")
    pairs = look_alikes(prints, params, "reviewed", near)
    pairs += look_alikes(prints.among(near), params, "reviewed among themselves")
    for one, other in (*pairs, *((other, one) for one, other in pairs)):
        near.get(one, set()).add(other)
    return near


def choose_pseudo(
    pseudo: pd.DataFrame,
    reviews: Mapping[str, Sequence[LockEntry]],
    params: MergeParams,
    judged: Mapping[str, Collection[str]],
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
        said = judged.get(row["id"])
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


def summarise(records: pd.DataFrame, rejected: Sequence[Rejected]) -> dict[str, object]:
    """Counts of what the dataset holds and of what was left out to keep its sides apart."""
    sizes = records["cluster"].value_counts()
    test = records[records["side"] == "test"]
    return {
        "labels": _counts(records["label"]),
        "sides": _counts(records["side"]),
        "sides_by_label": {str(side): _counts(group["label"]) for side, group in records.groupby("side")},
        "sources": _counts(records["source"]),
        "licences": _counts(records["licence"].map(licence_name)),
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


def write_dataset(out: PictureFolder, records: pd.DataFrame) -> pd.DataFrame:
    """Put every picture and mask into the folder, named by id, with their records, ATTRIBUTION.md and a card.

    Returns the records of the files there. The table stands there as CSV too, which pandas reads without pyarrow.
    """
    folder, records = out.path, records.copy()
    for kind, column in (("images", "image"), ("masks", "mask")):
        copies = [
            out.link(f"{kind}/{one}{Path(path).suffix}", Path(path)).as_posix()
            for one, path in zip(records["id"], records[column], strict=True)
        ]
        records[column] = pd.Series(copies, index=records.index, dtype="str")
    # The teacher's probabilities stay with the pseudo labels: a dataset does not point out of its own folder.
    records["probability"] = pd.Series([None] * len(records), index=records.index, dtype="str")
    out.finish(records)
    write_text(folder / "records.csv", csv_text(as_stored(folder, records)))
    write_json(folder / "schema.json", table_schema())
    write_text(folder / "ATTRIBUTION.md", attribution(records))
    write_text(folder / "README.md", folder_card(records, dataset_hash(records)))
    return records


def _counts(column: "pd.Series[str]") -> dict[str, int]:
    return {str(name): int(count) for name, count in column.value_counts().sort_index().items()}


def main() -> None:
    params = load_params()
    out, store = PictureFolder(DATASET), Store("merge")  # from here there is no dataset until all is well
    labelled, placed = read_records(SPLIT / "labelled"), read_records(SPLIT / "crawl")
    check_pictures(labelled, INGEST / "labelled", CROP / "bodies")
    crawl, pseudo = read_ingested(INGEST / "crawl"), read_records(PSEUDO)
    lock = Path(params.reviews.path)
    entries = read_locked_reviews(lock)

    taken_down = read_requests().files
    reviewed = cut_reviewed(entries, crawl, out, params.crop.fill, store, taken_down=taken_down)
    check_orphans(reviewed.rejected, params.merge.max_orphaned_reviews)
    records, rejected = merge(
        labelled,
        placed,
        reviewed.records,
        pseudo,
        reviews_by_picture(entries, crawl),
        params.merge,
        _why_left_out(read_rejected("split")),
        _judged_crops(lock, pseudo, crawl),
        _like_others(
            reviewed.records,
            pd.concat([labelled, pseudo]),
            read_clusters(CLUSTER / "crawl.csv"),
            params.cluster,
        ),
    )
    rejected += reviewed.rejected

    labels = labelled["label"].value_counts()
    inputs = {
        "human": int(labels.get("human", 0)),
        "crop": int(labels.get("crop", 0)),
        "pseudo": len(pseudo),
        "reviews": len(entries),
    }
    write_rejected("merge", rejected)  # before the check, whose message sends people there
    counted = account("merge", sum(inputs.values()), len(records), rejected, 1.0)
    records = write_dataset(out, records)
    reviews = {verdict: sum(entry.verdict == verdict for entry in entries) for verdict in VERDICTS}
    write_metrics("merge", {**counted, "inputs": inputs, "reviews": reviews, **summarise(records, rejected)})


def _why_left_out(rejected: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    rows = rejected.to_dict("records")
    return {(row["source"], row["source_key"]): (row["reason"], row["detail"]) for row in rows}


if __name__ == "__main__":
    run("merge", main)
