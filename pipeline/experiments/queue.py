"""What the queue's order is worth, on labelled pictures: masks by teachers that never saw them, and the right ones.

`python -m pipeline benchmark queue` splits the labelled pictures outside the test side into folds, of which none cuts
a cluster of look-alikes. For each fold a teacher learns from the others and labels it as stage pseudo_label would. A
row a mask goes into a table, and `python -m annotations simulate` says what the table tells.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from annotations.masks.gold import damaged
from annotations.masks.overlap import mask_iou
from annotations.quality.random_slice import hashed_share
from annotations.quality.simulate import BAD_BELOW, describe_orders, read_masks, simulate
from pipeline.core.params import PseudoLabelParams, TeacherParams, load_params
from pipeline.core.stage import write_text
from pipeline.deeplab import network as deeplab
from pipeline.deeplab.uncertainty import combine, doubt
from pipeline.label_errors.folds import folds_of
from pipeline.pseudo_label import joined
from pipeline.teacher import TrainedTeacher, read_labelled, train_teacher
from sinet.images.decode import read_image, read_mask

log = logging.getLogger("pipeline")

DAMAGED_SHARE = 0.2  # of the right masks, that are damaged on purpose for the second table


def main(out: Path, folds: int, epochs: int, size: int) -> None:
    """Train, label, write the table to `out`, print what it tells."""
    params = load_params()
    records, _ = read_labelled()
    encoder = deeplab.find_encoder_weights(params.teacher.weights, params.teacher.encoder)
    teacher = params.teacher.model_copy(update={"epochs": epochs, "patience": epochs, "size": size})
    rows = []
    for number, (seen, unseen) in enumerate(folds_of(records, folds), start=1):
        trained = teach(seen, teacher, encoder)
        rows += list(label(unseen, trained, params.pseudo_label))
        log.info("fold %d of %d: %d masks of a teacher of %d pictures", number, folds, len(unseen), len(seen))
    write_text(
        out, pd.DataFrame(rows).sort_values(["kind", "id"], ascending=[False, True]).to_csv(index=False)
    )
    print(f"{out}: {len(rows):,} masks; `python -m annotations simulate {out}` says this again")
    print("\n".join(describe_orders(simulate(read_masks(out)), BAD_BELOW)))


def teach(records: pd.DataFrame, params: TeacherParams, encoder: Path | None) -> TrainedTeacher:
    """A teacher of these records, of which nothing is kept on disk."""
    with tempfile.TemporaryDirectory(prefix="benchmark-queue-") as folder:
        return train_teacher(records, params, encoder, Path(folder))


def label(
    records: pd.DataFrame, trained: TrainedTeacher, params: PseudoLabelParams
) -> Iterator[dict[str, str | float]]:
    """The rows that `annotations simulate` reads: each record's mask by this teacher and its right one, some damaged.

    A damaged mask keeps the doubt that the teacher has of the picture: nothing in it tells of the damage, as of a
    mistake that a teacher is sure of.
    """
    model = deeplab.build(trained.card)
    model.load_state_dict(trained.weights)
    model.eval()
    for row in tqdm(records.itertuples(), total=len(records), desc="masks", unit="img"):
        image, right = read_image(Path(str(row.image))), read_mask(Path(str(row.mask)))
        straight, mirrored = deeplab.two_opinions(model, trained.card.preprocessing, image)
        _, mask = joined(straight, mirrored, (image.shape[1], image.shape[0]))
        parts = doubt(straight, mirrored, params.uncertainty)
        shared: dict[str, str | float] = {
            "id": str(row.id),
            "cluster": str(row.cluster),
            "uncertainty": round(combine(parts, params.uncertainty), 6),
        }
        yield {**shared, "kind": "the teacher's own", "iou": round(mask_iou(mask, right), 6)}
        hurt = hashed_share(str(row.id), "damaged") < DAMAGED_SHARE
        shown = damaged(right, str(row.id)) if hurt else right
        yield {**shared, "kind": "damaged on purpose", "iou": round(mask_iou(shown, right), 6)}
