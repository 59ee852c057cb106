"""What changed between the pictures of two versions: a row a picture, from their tables and lists of files alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from annotations.masks.overlap import mask_iou
from pipeline.core.errors import PipelineError
from pipeline.versions.revision import Version
from sinet.core.progress import bar_interval
from sinet.images.decode import ImageError, ReadError, read_mask

# What can change, by the name of its column: of one picture several can.
CHANGE_KINDS = {
    "added": "added",
    "removed": "removed",
    "moved": "moved between sides",
    "mask": "mask changed",
    "label": "kind of mask changed",
}
_BOTH = ("side", "label", "image", "mask", "mask_md5", "cluster")  # columns of each version
_ONE = (
    "source",
    "licence",
    "reviewer",
    "sha256",
    "parent_sha256",
)  # of the new version where it has the picture


def changed_pictures(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The pictures that changed, by id: a column of bool for each of CHANGE_KINDS, and `iou`, which is missing as yet.

    `old` and `new` are tables of `pipeline.versions.tables.dataset_of`. `side_old` and `side_new` and the like hold
    what each version says, missing in the one that lacks the picture.
    """
    both = old.merge(new, on="id", how="outer", suffixes=("_old", "_new"), indicator="_in", sort=True)
    here = both["_in"] == "both"
    found = pd.DataFrame(
        {
            "id": both["id"],
            "added": both["_in"] == "right_only",
            "removed": both["_in"] == "left_only",
            "moved": here & (both["side_old"] != both["side_new"]),
            "mask": here & (both["mask_md5_old"] != both["mask_md5_new"]),
            "label": here & (both["label_old"] != both["label_new"]),
            "iou": float("nan"),
        }
    )
    for name in _BOTH:
        found[f"{name}_old"], found[f"{name}_new"] = both[f"{name}_old"], both[f"{name}_new"]
    for name in _ONE:
        found[name] = both[f"{name}_new"].where(~found["removed"], both[f"{name}_old"])
    unsaid = found["reviewer"] == ""
    found.loc[unsaid, "reviewer"] = both.loc[unsaid, "reviewer_old"].fillna("")
    return found[found[list(CHANGE_KINDS)].any(axis=1)].reset_index(drop=True)


def with_overlap(changes: pd.DataFrame, old: Version, new: Version) -> pd.DataFrame:
    """The changes with the IoU (0..1) of the old and the new mask where the mask changed and both can be had.

    A mask of other bytes and the same pixels has not changed.
    """
    rows = changes[changes["mask"]]
    before, after = old.bring(rows["mask_old"].tolist()), new.bring(rows["mask_new"].tolist())
    pairs = {
        at: (before[one], after[other])
        for at, one, other in zip(rows.index.tolist(), rows["mask_old"], rows["mask_new"], strict=True)
        if one in before and other in after
    }
    with ThreadPoolExecutor() as pool:
        found = pool.map(_overlap, pairs.values())
        bar = tqdm(
            found, "masks", len(pairs), unit="img", mininterval=bar_interval(), disable=len(pairs) < 500
        )
        overlaps = pd.Series(list(bar), index=list(pairs), dtype="float64")
    changes = changes.assign(iou=overlaps.reindex(changes.index))
    changes["mask"] &= changes["iou"] != 1
    return changes[changes[list(CHANGE_KINDS)].any(axis=1)].reset_index(drop=True)


def by_size(changes: pd.DataFrame) -> pd.DataFrame:
    """The changes from the largest to the smallest: moved, changed masks by 1 - IoU, other kinds, added, removed."""
    order = ["moved", "mask", "label", "added", "removed"]
    return changes.sort_values(
        [*order, "iou", "id"], ascending=[False] * len(order) + [True, True], ignore_index=True
    )


def grouped(old: pd.DataFrame, new: pd.DataFrame, changes: pd.DataFrame, column: str) -> pd.DataFrame:
    """A row for each value of `column` in which something changed: how many are old, new and of CHANGE_KINDS."""
    table = pd.DataFrame(
        {
            "old": old[column].value_counts(),
            "new": new[column].value_counts(),
            **{kind: changes.loc[changes[kind], column].value_counts() for kind in CHANGE_KINDS},
        }
    )
    table = table.fillna(0).astype("int64").sort_index()
    return table[table[list(CHANGE_KINDS)].any(axis=1) | (table["old"] != table["new"])]


def side_counts(table: pd.DataFrame, sides: Sequence[str]) -> dict[str, int]:
    """How many pictures are on each side."""
    counts = table["side"].value_counts()
    return {side: int(counts.get(side, 0)) for side in sides}


def _overlap(pair: tuple[Path, Path]) -> float:
    try:
        return mask_iou(*map(read_mask, pair))
    except (ImageError, ReadError, ValueError) as error:
        raise PipelineError(f"the masks {pair[0]} and {pair[1]} cannot be compared: {error}") from error
