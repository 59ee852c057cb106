"""What the ranking of likely label errors is worth: some masks are damaged on purpose, and it should show them first.

`python -m pipeline benchmark label-errors` damages a share of the labelled masks outside the test side, as people do:
moved, with holes, without a shoulder, or the mask of another picture. Teachers of the other folds, whose own masks are
damaged as often, label them, and each score ranks them.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from annotations.masks.overlap import mask_iou
from annotations.quality.random_slice import hashed_share
from pipeline.core.params import load_params
from pipeline.deeplab import network as deeplab
from pipeline.label_errors.folds import out_of_fold
from pipeline.label_errors.scores import label_error_score, softmin_quality
from pipeline.teacher import read_labelled
from sinet.core import atomic
from sinet.images.decode import Array, encode_mask, read_mask
from sinet.network.preprocess import squash_mask

DAMAGES = ("moved", "holes", "shoulder", "another")


def main(share: float, folds: int, epochs: int, size: int) -> None:
    """Damage, train, and print a row a score: its AUC and how many of its first masks are damaged."""
    teacher = load_params().teacher
    teacher = teacher.model_copy(update={"epochs": epochs, "patience": epochs, "size": size})
    records, _ = read_labelled()
    encoder = deeplab.find_encoder_weights(teacher.weights, teacher.encoder)
    with tempfile.TemporaryDirectory(prefix="benchmark-label-errors-") as scratch:
        spoiled, kinds = spoil(records, share, Path(scratch))
        found = out_of_fold(spoiled, folds, teacher, encoder, Path(scratch) / "cache")
        table = scored(spoiled, kinds, found)
    bad = table["damage"].notna()
    print(
        f"{len(table)} masks, {bad.sum()} of them damaged; teachers of {folds} folds, {epochs} epochs, {size} pixels"
    )
    print(f"{'score':12} {'AUC':>6} {'precision':>10}   found in the first {bad.sum()}, by kind of damage")
    for name in ("score", "disagrees", "softmin"):
        print(f"{name:12} {_row(table, name)}")


def spoil(records: pd.DataFrame, share: float, folder: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """The records with the masks of a `share` of them damaged, written to `folder`; and the damage by id."""
    kinds, paths = {}, []
    masks = records["mask"].tolist()
    for at, row in enumerate(records.itertuples()):
        one, path = str(row.id), str(row.mask)
        if hashed_share(one, "label error") < share:
            kind = DAMAGES[int(hashed_share(one, "kind of damage") * len(DAMAGES))]
            other = read_mask(Path(masks[(at + len(masks) // 2) % len(masks)]))
            kinds[one], path = kind, str(folder / f"{one}.png")
            atomic.write_atomic(Path(path), encode_mask(damage(read_mask(Path(str(row.mask))), kind, other)))
        paths.append(path)
    return records.assign(mask=pd.Series(paths, index=records.index, dtype="str")), kinds


def damage(mask: Array, kind: str, other: Array) -> Array:
    """A mask (H, W) uint8 {0, 1} `moved` by a tenth of the width, with `holes`, without a `shoulder`, or `another`."""
    height, width = mask.shape
    if kind == "moved":
        return np.roll(mask, width // 10, axis=1)
    if kind == "another":
        return np.asarray(cv2.resize(other, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    result = mask.copy()
    rows, columns = np.nonzero(mask)
    if kind == "holes":
        for at in (0.35, 0.6, 0.85):
            place = int(at * (len(rows) - 1))  # row by row: from the head down
            cv2.circle(result, (int(columns[place]), int(rows[place])), width // 12, 0, -1)
        return result
    low, middle = int(np.quantile(rows, 0.6)), int(np.median(columns))
    result[low:, middle + width // 12 :] = 0
    return result


def scored(
    records: pd.DataFrame, kinds: Mapping[str, str], found: Mapping[str, NDArray[np.float32]]
) -> pd.DataFrame:
    """The damage of each mask and its scores, high where it is likely wrong."""
    rows = []
    for row in records.itertuples():
        probability = found[str(row.id)]
        mask = squash_mask(read_mask(Path(str(row.mask))), len(probability))
        rows.append(
            {
                "damage": kinds.get(str(row.id)),
                "score": label_error_score(probability, mask),
                "disagrees": 1 - mask_iou((probability > 0.5).astype(np.uint8), mask),
                "softmin": 1 - softmin_quality(probability, mask),
            }
        )
    return pd.DataFrame(rows)


def area_under_curve(scores: "pd.Series[float]", bad: "pd.Series[bool]") -> float:
    """How often a bad one has the higher score of a bad and a good one; equal scores count half."""
    ranks = scores.rank()
    good = int((~bad).sum())
    return float((ranks[bad].sum() - bad.sum() * (bad.sum() + 1) / 2) / (bad.sum() * good))


def _row(table: pd.DataFrame, name: str) -> str:
    bad = table["damage"].notna()
    first = table.sort_values(name, ascending=False).head(int(bad.sum()))["damage"]
    counts = " ".join(f"{kind} {(first == kind).sum()}/{(table['damage'] == kind).sum()}" for kind in DAMAGES)
    return f"{area_under_curve(table[name], bad):6.3f} {first.notna().mean():10.0%}   {counts}"
