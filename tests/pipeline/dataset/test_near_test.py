"""Which test pictures a found leak copies: by cluster, by what is beside it, and never one of the test side."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.records import Rejected, make_records
from pipeline.dataset.cluster_table import Clusters
from pipeline.dataset.near_test import near_test, read_near_test, write_near_test
from tests.pipeline.dataset_inputs import row_of

TEST, TWIN, COPY, FAR, PAID = (f"{number:016x}" for number in range(5))
PHOTO, OTHER = "a" * 16, "b" * 16


def row(one: str, source: str, side: str | None) -> dict[str, object]:
    label = "none" if source == "crawl" else "human"
    return {**row_of(one), "source": source, "source_key": one[-1], "label": label, "published_side": side}


LABELLED = [
    row(TEST, "mine", "test"),
    row(TWIN, "mine", "test"),
    row(COPY, "theirs", "train"),
    row(FAR, "theirs", "train"),
    row(PAID, "theirs", "train"),
]
CRAWL = [row(PHOTO, "crawl", None), row(OTHER, "crawl", None)]
FOUND = Clusters(
    {TEST: TEST, TWIN: TWIN, COPY: TEST, FAR: FAR, PAID: TWIN},
    {PHOTO: PHOTO, OTHER: OTHER},
    {PHOTO: [TEST]},
)


def near(*rejected: Rejected) -> list[tuple[str, ...]]:
    left = {(one.source, one.source_key) for one in rejected}
    placed = []
    for rows in (LABELLED, CRAWL):
        stay = [one for one in rows if (one["source"], one["source_key"]) not in left]
        placed.append(make_records([{**one, "side": one["published_side"] or "train"} for one in stay]))
    table = near_test(make_records(LABELLED), make_records(CRAWL), FOUND, placed, rejected)
    return [tuple(one) for one in table.to_numpy()]


def leak(source: str, key: str, reason: str = "leak_with_test") -> Rejected:
    return Rejected(source, key, reason, "it looks like one")


def test_each_leak_stands_beside_the_test_picture_that_it_copies() -> None:
    found = near(
        leak("theirs", COPY[-1]), leak("crawl", PHOTO[-1]), leak("crawl", OTHER[-1], "leak_with_dev")
    )
    assert found == [
        (TEST, "mine", "0", COPY, "theirs", "2"),
        (TEST, "mine", "0", PHOTO, "crawl", "a"),
    ]


def test_what_left_for_its_licence_would_not_have_trained() -> None:
    assert near(leak("theirs", PAID[-1], "licence")) == []
    assert near(leak("theirs", PAID[-1])) == [(TWIN, "mine", "1", PAID, "theirs", "4")]


def test_two_test_pictures_of_one_photograph_are_near_each_other_and_not_near_train() -> None:
    twins = Clusters({**FOUND.labelled, TWIN: TEST}, FOUND.crawl, {})
    placed = [make_records([{**one, "side": one["published_side"]} for one in LABELLED])]
    assert near_test(make_records(LABELLED), make_records(CRAWL), twins, placed, []).empty


def test_the_table_comes_back_also_when_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "near_test.csv"
    with pytest.raises(PipelineError, match="run `dvc repro split`"):
        read_near_test(path)
    rows = near(leak("theirs", COPY[-1]))
    columns = ["id", "source", "source_key", "leak_id", "leak_source", "leak_key"]
    write_near_test(path, pd.DataFrame(rows, columns=columns))
    assert read_near_test(path) == {TEST}
    write_near_test(path, pd.DataFrame([], columns=columns))
    assert read_near_test(path) == set()
