"""Sides: no cluster crosses them, a published test side stays, old pictures stay where they are."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.records import make_records
from pipeline.sides import share_of, split


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:016x}",
        "source": "eg1800",
        "source_key": f"{number:05d}",
        "label": "human",
        "image": f"{number}.png",
        "mask": f"{number}-mask.png",
        "width": 60,
        "height": 80,
        "sha256": f"{number:064x}",
        "cluster": f"{number:016x}",
        **more,
    }


def table(count: int, test: int = 20, **more: Any) -> list[dict[str, Any]]:
    return [row(one, published_side="test" if one < test else "train", **more) for one in range(count)]


def test_published_test_stays_and_what_collides_leaves_train() -> None:
    rows = table(200)
    shared = rows[3]["cluster"]
    rows[150]["cluster"] = shared  # train, the same photograph as test 3
    rows[4]["cluster"] = shared  # test inside test
    rows.append(row(300, label="crop", source="baidu", source_key="body.jpg", cluster=shared))
    records, rejected = split(make_records(rows), dev_share=0.1, test_share=0.5)

    assert [(one.source, one.source_key, one.reason) for one in rejected] == [
        ("eg1800", "00150", "leak_with_test"),
        ("baidu", "body.jpg", "leak_with_test"),
    ]
    assert all(rows[3]["id"] in one.detail for one in rejected)
    assert set(records.loc[records["side"] == "test", "id"]) == {f"{one:016x}" for one in range(20)}
    assert len(records) + len(rejected) == len(rows)


def test_dev_is_the_share_of_the_clusters_by_the_documented_hash() -> None:
    records, _ = split(make_records(table(2000)), dev_share=0.1, test_share=0.0)
    rest = records[records["side"] != "test"]
    dev = {one for one in rest["cluster"] if share_of(one) < 0.1}
    assert set(rest.loc[rest["side"] == "dev", "cluster"]) == dev
    assert 0.07 < len(dev) / len(rest) < 0.13


def test_a_test_side_is_cut_only_where_no_source_publishes_one() -> None:
    rows = [row(one) for one in range(1000)]
    records, _ = split(make_records(rows), dev_share=0.1, test_share=0.2)
    assert 150 < (records["side"] == "test").sum() < 250
    assert 50 < (records["side"] == "dev").sum() < 120
    published, _ = split(make_records(table(1000, test=1)), dev_share=0.1, test_share=0.2)
    assert (published["side"] == "test").sum() == 1


@settings(max_examples=30, deadline=None)
@given(
    groups=st.lists(st.integers(0, 40), min_size=80, max_size=120),
    tests=st.sets(st.integers(0, 79), max_size=10),
    pseudo=st.sets(st.integers(0, 79), max_size=20),
)
def test_no_cluster_crosses_sides_and_nothing_vanishes(
    groups: list[int], tests: set[int], pseudo: set[int]
) -> None:
    rows = []
    for one, group in enumerate(groups):
        label = "pseudo" if one in pseudo and one not in tests else "human"
        side = "test" if one in tests else None
        rows.append(row(one, cluster=f"{group:016x}", published_side=side, label=label))
    # Three clusters that stand for sure on each side, so that none is empty.
    dev = next(name for name in (f"{one:016x}" for one in range(500, 900)) if share_of(name) < 0.3)
    train = next(name for name in (f"{one:016x}" for one in range(500, 900)) if share_of(name) > 0.3)
    rows += [
        row(1000, cluster=dev),
        row(1001, cluster=train),
        row(1002, cluster="f" * 16, published_side="test"),
    ]
    records, rejected = split(make_records(rows), dev_share=0.3, test_share=0.3)
    assert (records.groupby("cluster")["side"].nunique() == 1).all()
    assert len(records) + len(rejected) == len(rows)
    assert set(records.loc[records["label"] == "pseudo", "side"]) <= {"train"}
    assert (records.loc[records["published_side"] == "test", "side"] == "test").all()


def test_new_pictures_move_no_old_one() -> None:
    old, _ = split(make_records(table(300)), dev_share=0.1, test_share=0.1)
    new, _ = split(
        make_records([*table(300), *(row(one) for one in range(1000, 1400))]), dev_share=0.1, test_share=0.1
    )
    both = old.merge(new, on="id")
    assert len(both) == 300
    pd.testing.assert_series_equal(both["side_x"], both["side_y"], check_names=False)


def test_an_unreviewed_mask_only_trains() -> None:
    rows = table(300)
    dev = next(one for one in rows[20:] if share_of(one["cluster"]) < 0.1)
    alone = next(f"{one:016x}" for one in range(5000, 9000) if share_of(f"{one:016x}") < 0.1)
    rows += [
        row(901, label="pseudo", source="crawl", source_key="a.jpg", cluster=dev["cluster"]),
        row(902, label="pseudo", source="crawl", source_key="b.jpg", cluster=rows[2]["cluster"]),
        row(903, label="pseudo", source="crawl", source_key="c.jpg", cluster=alone),
    ]
    records, rejected = split(make_records(rows), dev_share=0.1, test_share=0.1)
    assert {one.source_key: one.reason for one in rejected} == {
        "a.jpg": "leak_with_dev",
        "b.jpg": "leak_with_test",
    }
    assert (
        records.set_index("id").at[f"{903:016x}", "side"] == "train"
    )  # a cluster that nobody judged never is dev


@pytest.mark.parametrize(
    ("rows", "dev_share", "said"),
    [
        (table(50), 0.0, "raise merge.dev_share"),
        (
            table(20),
            0.0,
            "found train 0, dev 0, test 20 (the test side is the one a source publishes); add labelled",
        ),
        ([row(one) for one in range(50)], 0.5, "no source publishes a test side); raise merge.test_share"),
    ],
)
def test_an_empty_side_is_an_error_that_says_what_to_do(
    rows: list[dict[str, Any]], dev_share: float, said: str
) -> None:
    with pytest.raises(PipelineError, match="expected pictures on all three sides") as error:
        split(make_records(rows), dev_share=dev_share, test_share=0.0)
    assert said in str(error.value)
