"""Say whom and what the dataset shows: faces, light, colour, place of the person, for every side and source.

Reads data/dataset. Writes data/facts, a row a picture (`pipeline.dataset.facts_table`), which whoever compares
models in slices needs too; metrics/balance.json, the share of the pictures in each slice; and plots/balance.svg.
"""

import pandas as pd

from pipeline.core.params import load_params
from pipeline.core.paths import DATASET, PICTURE_FACTS, PLOTS
from pipeline.core.records import read_records
from pipeline.core.stage import run, write_metrics, write_text
from pipeline.dataset.facts_table import slices_of, write_facts
from pipeline.dataset.picture_facts import picture_facts
from pipeline.reporting.figures import spread_by_group
from pipeline.reporting.groups import groups_of


def summarise(facts: pd.DataFrame) -> dict[str, float]:
    """The share of the pictures in each slice, of those that can tell; a slice of which none can is left out."""
    return {str(name): float(share) for name, share in slices_of(facts).mean().items() if not pd.isna(share)}


def main() -> None:
    params = load_params().crop
    records = read_records(DATASET)
    facts = picture_facts(records, params)
    write_facts(PICTURE_FACTS, facts)
    write_text(PLOTS / "balance.svg", spread_by_group(groups_of(records, facts)))
    write_metrics("balance", summarise(facts))


if __name__ == "__main__":
    run("balance", main)
