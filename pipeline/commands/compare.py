"""`python -m pipeline compare`: whether one version's SINet, or one weights file, is better than another."""

from pathlib import Path

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.stage import write_text
from pipeline.versions.comparison import Pairs, comparison_report, paired, pairs_of_versions
from pipeline.versions.measured import measured
from pipeline.versions.revision import WORKSPACE, open_versions
from pipeline.versions.tables import dataset_of, known_facts_of

WEIGHTS = ".safetensors"


def main(names: tuple[str, str], smallest: float, out: Path | None) -> None:
    """Print or write the Markdown; `smallest` is the least difference that matters, in 0..1."""
    weights = [name.endswith(WEIGHTS) for name in names]
    if any(weights) and not all(weights):
        raise PipelineError(
            f"expected two revisions or two weights files, found {names[0]} and {names[1]}; "
            "`dvc get . models/sinet.safetensors --rev REV -o OLD.safetensors` gets the weights of a revision"
        )
    if all(weights):
        titles = names[0], names[1]
        pairs = _pairs_of_weights(Path(names[0]), Path(names[1]))
    else:
        old, new = open_versions(*names)
        titles = old.title, new.title
        pairs = pairs_of_versions(old, new)
    text = comparison_report(titles, pairs, smallest)
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)


def _pairs_of_weights(old: Path, new: Path) -> Pairs:
    """Both models on the test side that lies here, with the protocol of params.yaml."""
    [here] = open_versions(WORKSPACE)
    dataset = dataset_of(here)
    test = dataset[dataset["side"] == "test"].reset_index(drop=True)
    if test.empty:
        raise PipelineError("expected pictures on the test side of data/dataset, found none")
    return paired(_scores(test, old), _scores(test, new), known_facts_of(here))


def _scores(test: pd.DataFrame, weights: Path) -> pd.DataFrame:
    """The table of scores of `test`, with its source, label and cluster."""
    rows = measured(test, weights, load_params().evaluate)
    return rows.merge(test[["id", "source", "label", "cluster"]], on="id")
