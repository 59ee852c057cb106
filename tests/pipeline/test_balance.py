"""Stage balance: a row a picture, the share of each slice, a plot without a raster picture."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline import balance as stage
from pipeline.core.paths import DATASET, PICTURE_FACTS
from pipeline.core.records import read_records
from pipeline.dataset.facts_table import read_facts
from pipeline.reporting.groups import balance_rows, groups_of
from sinet.evaluation.slices import SLICES
from tests.pipeline.dataset_inputs import enter_project
from tests.pipeline.reporting.test_figures import words


def test_the_stage_writes_a_row_a_picture_shares_and_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    enter_project(tmp_path, monkeypatch, root, ["train", "train", "dev", "test"], ["human"] * 4)
    stage.main()
    records, facts = read_records(DATASET), read_facts(PICTURE_FACTS)
    assert facts["id"].tolist() == records["id"].tolist()
    shares = json.loads(Path("metrics/balance.json").read_text())
    assert set(shares) <= set(SLICES)
    assert shares["no_face"] == (facts["faces"] == 0).mean()
    svg = Path("plots/balance.svg").read_text()
    assert {"side train", "side dev", "side test", "drawn", "Brightness"} <= set(words(svg))
    assert "<image" not in svg and "data:image" not in svg

    groups = groups_of(records, facts)
    assert {name: len(table) for name, table in groups.items()} == {
        "side train": 2,
        "side dev": 1,
        "side test": 1,
        "drawn": 4,
    }
    train = records[records["side"] == "train"]["id"]
    dark = facts[facts["id"].isin(train)]["brightness"] < 0.25
    [row] = [one for one in balance_rows(groups) if one["name"] == "side train"]
    assert row["pictures"] == 2
    assert dict(zip(SLICES, row["shares"], strict=True))["dark"] == dark.mean()


def test_a_share_that_no_picture_can_tell_is_none() -> None:
    facts = pd.DataFrame(
        {"brightness": [0.1], "sharpness": [500.0], "grey": [True], "face_height": [float("nan")]}
    )
    facts = facts.assign(faces=0, centre_x=0.5, skin_tone=float("nan"))
    assert set(stage.summarise(facts)) == set(SLICES) - {"small_face", "dark_skin", "light_skin"}
    [row] = balance_rows({"one": facts})
    assert [row["shares"][list(SLICES).index(name)] for name in ("small_face", "dark_skin")] == [None, None]
