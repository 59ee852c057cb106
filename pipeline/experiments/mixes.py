"""Which kinds of masks help: SINet trained on growing mixes of them with an equal number of image steps each.

`python -m pipeline benchmark mixes` reads data/dataset (with `merge.unreviewed: include` it holds pseudo labels
too) and params.yaml, and measures each run on the test side once. Nothing is kept.
"""

from collections.abc import Iterator

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.experiments.runs import budgeted, figures, heading, log_figures
from pipeline.train import samples_of

_KINDS = ("human", "crop", "reviewed", "pseudo")  # from the surest masks to the least sure ones


def main(images: int, size: int, seeds: int) -> None:
    """Print the table: a row a mix, each metric in percent as mean ± standard deviation over the seeds."""
    records, params = read_records(DATASET), load_params()
    test = samples_of(records, "test")
    if not test:
        raise PipelineError("expected a test side in data/dataset, found none; raise split.test_share")
    print(f"{images:,} image steps at {size} pixels, {seeds} seeds; on {len(test)} test pictures, in percent")
    print(heading("trained on", "pictures"), flush=True)
    for name, chosen in mixes(records):
        pictures = int((chosen["side"] == "train").sum())
        recipes = (budgeted(params.train, images, size, seed, pictures) for seed in range(1, seeds + 1))
        runs = (figures(chosen, recipe, test, params.evaluate) for recipe in recipes)
        log_figures(name, pictures, runs)


def mixes(records: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The mix of the first kind there is, of the first two, ...; every mix has the same dev side, of the first kind."""
    training = records[records["side"] == "train"]
    kinds = [kind for kind in _KINDS if (training["label"] == kind).any()]
    if not kinds:
        raise PipelineError("expected a train side in data/dataset, found none; run `dvc repro merge`")
    dev = records[(records["side"] == "dev") & (records["label"] == kinds[0])]
    for count in range(1, len(kinds) + 1):
        chosen = training[training["label"].isin(kinds[:count])]
        yield " + ".join(kinds[:count]), pd.concat([chosen, dev], ignore_index=True)
