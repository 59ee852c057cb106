"""Write the queue as Label Studio import files with the pictures that curators look at; no server is needed.

Reads data/queue, data/pseudo and (for gold tasks) data/dataset. Writes data/push with tasks-0001.json and on,
label_config.xml, images/ and receipt.json. With `label_studio.send: true` the stage then calls
`python -m annotations push`, and the receipt says whether that succeeded.
"""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from annotations.ledger.lock import review_key
from annotations.tasks.task import (
    Proposal,
)
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET, PSEUDO, PUSH, QUEUE
from pipeline.core.records import make_records, read_records
from pipeline.core.stage import run, write_json
from pipeline.core.store import Store
from pipeline.review.disguise import Guise, Guises
from pipeline.review.import_folder import Candidate, write_import_folder
from pipeline.review.mix import origin

log = logging.getLogger("pipeline")


def read_queue(folder: Path) -> pd.DataFrame:
    """FOLDER/queue.csv, most urgent first."""
    path = folder / "queue.csv"
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file; run `dvc repro queue` to make it")
    texts = dict.fromkeys(("id", "key", "reason", "flags", "purpose"), str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False)


def queued_items(queue: pd.DataFrame, records: pd.DataFrame, dataset: pd.DataFrame) -> list[Candidate]:
    """The tasks in the queue's order; PipelineError where the queue names an unknown id.

    `records` are the pseudo labels; `dataset` holds the labelled pictures of the gold tasks.
    """
    labelled = {str(row.id): row for row in dataset.itertuples()}
    pseudo = {str(row.id): row for row in records.itertuples()}
    places = [(place, labelled if place.purpose == "gold" else pseudo) for place in queue.itertuples()]
    unknown = [str(place.id) for place, rows in places if str(place.id) not in rows]
    if unknown:
        raise PipelineError(
            f"expected a queue of records in {PSEUDO} and {DATASET}, found {len(unknown)} ids that are not there "
            f"({', '.join(unknown[:5])}); run `dvc repro queue` first"
        )
    guises = Guises(records)
    items = []
    for place, rows in places:
        row = rows[str(place.id)]
        item = _item(place, row)
        if place.purpose == "gold":
            item = _disguised(item, guises.of(row), teacher=str(records["teacher"].iloc[0]))
        items.append(item)
    return items


def _item(place: Any, row: Any) -> Candidate:
    parent_sha256, crop_box = origin(row)
    candidate = Proposal(
        key=str(place.key),
        parent_sha256=parent_sha256,
        crop_box=crop_box,
        id=str(row.id),
        teacher=str(row.teacher),
        uncertainty=round(float(place.uncertainty), 6),
        flags=str(place.flags),
        score=float(place.score),
    )
    return Candidate(candidate, Path(str(row.image)), Path(str(row.mask)), place.purpose)


def _disguised(item: Candidate, shown: Guise, teacher: str) -> Candidate:
    """A labelled picture that says of itself what the pseudo labels say: teacher, size, and a box."""
    key = review_key(item.candidate.parent_sha256, shown.crop_box)
    candidate = replace(item.candidate, key=key, crop_box=shown.crop_box, teacher=teacher)
    return replace(item, candidate=candidate, size=(shown.width, shown.height))


def _send() -> bool:
    """Call `python -m annotations push`; a server that cannot be reached is a warning, as the files are written."""
    # As a process: the stage's output does not depend on the code that sends it.
    done = subprocess.run([sys.executable, "-m", "annotations", "push"], check=False)
    if done.returncode:
        log.warning("not sent; `python -m annotations push` sends the tasks when the server answers")
    return done.returncode == 0


def main() -> None:
    """Read, draw, write, and send where params.yaml says so."""
    params = load_params().label_studio
    queue = read_queue(QUEUE)
    gold = (queue["purpose"] == "gold").any()
    items = queued_items(queue, read_records(PSEUDO), read_records(DATASET) if gold else make_records([]))
    receipt = write_import_folder(PUSH, items, params, Store("push"))
    if params.send and _send():
        write_json(PUSH / "receipt.json", {**receipt, "state": "sent"})


if __name__ == "__main__":
    run("push", main)
