"""A small whole state of a review, made by the stages themselves: queue, second and gold tasks, second looks."""

from pathlib import Path

import numpy as np
import yaml

from annotations.settings import SECOND_LOOK_FILES
from pipeline import push, queue
from pipeline.core.params import SecondLookParams, load_params
from pipeline.core.paths import DATASET
from pipeline.core.records import make_records, read_records, write_records
from pipeline.core.store import Store
from pipeline.review.import_folder import write_import_folder
from pipeline.second_look import choose, items, reviewed_records
from sinet.images.decode import encode_mask, read_mask
from tests.annotations.conftest import HEIGHT, WIDTH
from tests.annotations.drawn import write_pseudo
from tests.pipeline.dataset_inputs import write_source

PICTURES = 6


def write_state(root: Path, folder: Path) -> None:
    """In FOLDER, the current one: six pseudo labels, a dataset, and the import files of them. ROOT: the checkout."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["reviews"] = {"path": "reviews"}
    params["queue"] |= {"double_share": 0.5, "gold_share": 0.34, "from_scratch_share": 0.0}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "reviews").mkdir()
    write_source(folder / "data/ingest/crawl/crawl", make_records([]))
    write_pseudo(folder / "labelled", PICTURES + 4, width=WIDTH, height=HEIGHT)
    known = read_records(folder / "labelled/data/pseudo").sort_values("source_key").tail(4)
    kinds = {"label": ["human", "human", "reviewed", "reviewed"], "side": ["dev", "dev", "train", "train"]}
    write_records(folder / DATASET, known.assign(**kinds))
    write_pseudo(folder, PICTURES, width=WIDTH, height=HEIGHT)
    queue.main()
    push.main()
    reviewed = reviewed_records(read_records(DATASET)).assign(disagreement=[0.5, 0.3])
    chosen = choose(reviewed, [], SecondLookParams(size=9, min_disagreement=0.1))
    write_import_folder(SECOND_LOOK_FILES, items(chosen), load_params().label_studio, Store("push"))


def another_teacher(folder: Path) -> None:
    """Pseudo labels of other weights: every mask lies a little to the right, and the doubt is the other way round."""
    records = read_records(folder / "data/pseudo")
    for path in records["mask"]:
        mask = read_mask(folder / path)
        (folder / path).write_bytes(encode_mask(np.roll(mask, 9, axis=1)))
    doubt = 1 - records["uncertainty"]
    write_records(folder / "data/pseudo", records.assign(teacher="07e4" * 4, uncertainty=doubt))
    queue.main()
    push.main()
