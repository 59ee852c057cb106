"""Which accepted masks SINet contradicts most: a second look for the curators, as Label Studio import files.

In go the dataset, the trained SINet and the judgements; out comes data/second_look, like data/push, and
`python -m annotations push` (or `make review`) sends both. SINet has learned from these masks: where it still says
something else, either the mask is an odd one out or SINet is too small for the case, and a person tells which.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from annotations.ledger.judgements import read_judgements
from annotations.ledger.lock import LockError, review_key
from annotations.masks.overlap import mask_iou
from annotations.tasks.task import Proposal
from pipeline.core.errors import PipelineError
from pipeline.core.params import SecondLookParams, load_params
from pipeline.core.paths import DATASET, SECOND_LOOK, SINET
from pipeline.core.records import read_records
from pipeline.core.stage import run, write_metrics
from pipeline.core.store import Store
from pipeline.review.import_folder import Candidate, write_import_folder
from sinet import native
from sinet.images.decode import read_image, read_mask
from sinet.inference.predictor import Predictor
from sinet.network.weights import WeightsError

log = logging.getLogger("pipeline")


def reviewed_records(records: pd.DataFrame) -> pd.DataFrame:
    """The dataset's accepted masks with their lock `key`; those of the test side are none of anybody's choices."""
    chosen = records[(records["label"] == "reviewed") & (records["side"] != "test")]
    pairs = zip(chosen["parent_sha256"], chosen["crop_box"], strict=True)
    keys = [review_key(str(parent), str(box)) for parent, box in pairs]
    return chosen.assign(key=pd.Series(keys, index=chosen.index, dtype="str")).sort_values("id")


def disagreement(image: Path, mask: Path, student: Predictor) -> float:
    """1 - IoU (0..1) of SINet's mask of a picture and the accepted one, at the picture's own size."""
    return 1 - mask_iou(student.mask(read_image(image)), read_mask(mask))


def choose(reviewed: pd.DataFrame, asked: Collection[str], params: SecondLookParams) -> pd.DataFrame:
    """The rows to ask about, the greatest `disagreement` first; `asked` are keys that had their second look."""
    open_ = reviewed[~reviewed["key"].isin(list(asked))]
    contested = open_[open_["disagreement"] >= params.min_disagreement]
    order = contested.sort_values(["disagreement", "id"], ascending=[False, True], ignore_index=True)
    return order.head(params.size)


def items(chosen: pd.DataFrame) -> list[Candidate]:
    """The tasks, in the rows' order. They come before all that is queued: a wrong mask is in the dataset now."""
    return [_item(row, rank / max(1, len(chosen))) for rank, row in enumerate(chosen.itertuples())]


def summarise(reviewed: pd.DataFrame, asked: Collection[str], chosen: pd.DataFrame) -> dict[str, Any]:
    """Counts and the disagreement's quantiles, of all accepted masks, for the metrics."""
    figures = {
        f"p{at:02d}": float(reviewed["disagreement"].quantile(at / 100))
        for at in (50, 90, 100)
        if len(reviewed)
    }
    return {
        "reviewed": len(reviewed),
        "asked_before": int(reviewed["key"].isin(list(asked)).sum()),
        "asked": len(chosen),
        "disagreement": figures,
    }


def asked_before(lock: Path) -> set[str]:
    """Keys of the crops that had a second look: one is enough, whatever came of it."""
    try:
        return {task.key for task in read_judgements(lock) if task.purpose == "student"}
    except LockError as error:
        raise PipelineError(f"the judgements cannot be read: {error}") from error


def _item(row: Any, place: float) -> Candidate:
    candidate = Proposal(
        key=str(row.key),
        parent_sha256=str(row.parent_sha256),
        crop_box=str(row.crop_box),
        id=str(row.id),
        teacher=str(row.teacher) if isinstance(row.teacher, str) else "",
        uncertainty=round(float(row.disagreement), 6),
        flags="",
        score=round(place - 1, 6),
    )
    return Candidate(candidate, Path(str(row.image)), Path(str(row.mask)), "student")


def main() -> None:
    """Compare, choose, write."""
    params = load_params()
    reviewed = reviewed_records(read_records(DATASET))
    try:
        student = Predictor.load(SINET)
    except WeightsError as error:
        raise PipelineError(str(error)) from error
    if why := native.why_torch():
        log.warning("second_look: %s", why)
    rows = tqdm(reviewed.itertuples(), total=len(reviewed), desc="second_look", unit="img")
    differs = [disagreement(Path(str(row.image)), Path(str(row.mask)), student) for row in rows]
    reviewed["disagreement"] = pd.Series(differs, index=reviewed.index, dtype="float64")
    asked = asked_before(Path(params.reviews.path))
    chosen = choose(reviewed, asked, params.second_look)
    write_import_folder(SECOND_LOOK, items(chosen), params.label_studio, Store("push"))
    write_metrics("second_look", summarise(reviewed, asked, chosen))
    log.info("%d of %d accepted masks are worth a second look", len(chosen), len(reviewed))


if __name__ == "__main__":
    run("second_look", main)
