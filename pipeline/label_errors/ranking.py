"""Which masks that people drew are most likely wrong, as a table and a page: `python -m pipeline label-errors`.

Reads the labelled pictures and the crops of full bodies of the sides train and dev; the test side is not opened.
Changes nothing: what is wrong is for people to mend in the source, or to leave out of it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from annotations.masks.overlap import mask_iou
from pipeline.core.params import load_params
from pipeline.core.stage import write_text
from pipeline.deeplab import network as deeplab
from pipeline.label_errors.folds import out_of_fold
from pipeline.label_errors.gallery import gallery_page
from pipeline.label_errors.scores import confident_disagreement, label_error_score
from pipeline.teacher import read_labelled
from sinet.images.decode import read_mask
from sinet.network.preprocess import squash_mask


def main(folds: int, epochs: int | None, size: int | None, shown: int, out: Path) -> None:
    """Train what is not trained yet, rank, write OUT/masks.csv and OUT/index.html, print the first lines."""
    teacher = load_params().teacher
    wanted = {"epochs": epochs, "size": size}
    teacher = teacher.model_copy(update={key: value for key, value in wanted.items() if value is not None})
    records, _ = read_labelled()
    encoder = deeplab.find_encoder_weights(teacher.weights, teacher.encoder)
    found = out_of_fold(records, folds, teacher, encoder)
    table = rank(records, found)
    write_text(out / "masks.csv", table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    write_text(out / "index.html", gallery_page(table.head(shown), found, len(table)))
    print(f"{out / 'masks.csv'}: {len(table):,} masks, the most likely wrong first:")
    print(
        table.head(10)[["source", "source_key", "score", "iou"]].to_string(index=False, float_format="%.3f")
    )
    print(f"{out / 'index.html'} shows the first {min(shown, len(table)):,}; it holds pictures of people")


def rank(records: pd.DataFrame, found: dict[str, NDArray[np.float32]]) -> pd.DataFrame:
    """A row a mask, the most likely wrong first, ties by id.

    `found` is the probability of "person" by id, as of `out_of_fold`. Beside `score` (`label_error_score`) stand `iou`
    of the mask and the network's, and `disagreement`, the share of the picture where they disagree confidently.
    """
    rows: list[dict[str, Any]] = []
    for row in records.itertuples():
        probability = found[str(row.id)]
        mask = squash_mask(read_mask(Path(str(row.mask))), len(probability))
        rows.append(
            {
                "id": row.id,
                "source": row.source,
                "source_key": row.source_key,
                "side": row.side,
                "score": label_error_score(probability, mask),
                "iou": mask_iou((probability > 0.5).astype(np.uint8), mask),
                "disagreement": float(confident_disagreement(probability, mask).mean()),
                "image": row.image,
                "mask": row.mask,
            }
        )
    return pd.DataFrame(rows).sort_values(["score", "id"], ascending=[False, True], ignore_index=True)
