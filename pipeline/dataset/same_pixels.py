"""Of several records with the same pixels one stays: a published test side first, then the surest label."""

from pathlib import Path

import pandas as pd

from pipeline.core.records import Rejected
from sinet.images.decode import read_mask

_PREFERENCE = {"human": 0, "crop": 1, "reviewed": 2, "pseudo": 3}


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


def _mask_iou(one: str, other: str) -> float:
    first, second = read_mask(Path(one)), read_mask(Path(other))
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0
