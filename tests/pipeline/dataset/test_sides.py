"""Sides: no cluster crosses them, a published test side stays, old pictures stay where they are."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.records import make_records
from pipeline.dataset.sides import check_sides, share_of, split, with_sides_of_all


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


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 40), min_size=80, max_size=120),
    own=st.lists(st.integers(0, 2), min_size=120, max_size=120),
    tests=st.sets(st.integers(0, 79), max_size=10),
    reviewed=st.sets(st.integers(0, 79), max_size=20),
)
def test_no_cluster_crosses_sides_and_nothing_vanishes(
    groups: list[int], own: list[int], tests: set[int], reviewed: set[int]
) -> None:
    """Clusters of all records may join labelled ones that were apart before: up to three to one here."""
    rows, wide = [], {}
    for one, group in enumerate(groups):
        label = "reviewed" if one in reviewed else "human"
        side = "test" if one in tests and label == "human" else None
        rows.append(row(one, cluster=f"{group:015x}{own[one]}", published_side=side, label=label))
        wide[rows[-1]["id"]] = f"{group:016x}"
    table_ = make_records(rows)
    is_labelled = table_["label"] == "human"
    placed, leaks = split(table_[is_labelled].reset_index(drop=True), dev_share=0.3, test_share=0.3)
    both = pd.concat([placed, table_[~is_labelled]], ignore_index=True)
    both["cluster"] = both["id"].map(wide)
    records, more = with_sides_of_all(both, dev_share=0.3, test_share=0.3)
    assert len(records) + len(leaks) + len(more) == len(rows)
    assert set(records["side"]) <= {"train", "dev", "test"}
    before = placed.set_index("id")["side"]
    pd.testing.assert_series_equal(records.set_index("id")["side"][before.index], before)
    assert (records.loc[records["published_side"] == "test", "side"] == "test").all()
    for _, group in records.groupby("cluster"):
        others = group[group["label"] != "human"]
        if len(others):
            assert group["side"].nunique() == 1


def test_new_pictures_move_no_old_one() -> None:
    old, _ = split(make_records(table(300)), dev_share=0.1, test_share=0.1)
    new, _ = split(
        make_records([*table(300), *(row(one) for one in range(1000, 1400))]), dev_share=0.1, test_share=0.1
    )
    both = old.merge(new, on="id")
    assert len(both) == 300
    pd.testing.assert_series_equal(both["side_x"], both["side_y"], check_names=False)


def joined(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> tuple[pd.DataFrame, dict[str, str]]:
    placed, _ = split(make_records(rows), dev_share=0.1, test_share=0.1)
    both = pd.concat([placed, make_records(others)], ignore_index=True)
    records, rejected = with_sides_of_all(both, dev_share=0.1, test_share=0.1)
    return records.set_index("source_key"), {one.source_key: one.reason for one in rejected}


def test_a_reviewed_mask_goes_where_its_photograph_is_but_not_to_a_published_test_side() -> None:
    rows = table(300)
    dev = next(one for one in rows[20:] if share_of(one["cluster"]) < 0.1)
    alone = next(one for one in range(5000, 9000) if share_of(f"{one:016x}") < 0.1)
    records, reasons = joined(
        rows,
        [
            row(901, label="reviewed", source="crawl", source_key="a.jpg", cluster=dev["cluster"]),
            row(902, label="reviewed", source="crawl", source_key="b.jpg", cluster=rows[2]["cluster"]),
            row(alone, label="reviewed", source="crawl", source_key="c.jpg"),
        ],
    )
    assert reasons == {"b.jpg": "leak_with_test"}
    assert records.loc[["a.jpg", "c.jpg"], "side"].tolist() == ["dev", "dev"]


def test_reviewed_masks_join_a_test_side_only_where_no_source_publishes_one() -> None:
    alone = [row(one, label="reviewed", source="crawl", source_key=f"{one}.jpg") for one in range(1000, 1100)]
    for published, sides in ((20, {"train", "dev"}), (0, {"train", "dev", "test"})):
        placed, _ = split(make_records(table(40, test=published)), dev_share=0.2, test_share=0.2)
        both = pd.concat([placed, make_records(alone)], ignore_index=True)
        records, _ = with_sides_of_all(both, dev_share=0.2, test_share=0.2)
        assert set(records.loc[records["label"] == "reviewed", "side"]) == sides


def test_what_stands_between_two_sides_leaves_and_both_stay() -> None:
    placed = make_records([row(1, side="train"), row(2, side="dev"), row(3, side="test")])
    between = make_records([row(9, label="reviewed", source="crawl", source_key="x.jpg")])
    both = pd.concat([placed, between], ignore_index=True).assign(cluster="0" * 16)
    records, rejected = with_sides_of_all(both, dev_share=0.1, test_share=0.1)
    assert records["side"].tolist() == ["train", "dev", "test"]
    assert [(one.source_key, one.reason) for one in rejected] == [("x.jpg", "leak_with_test")]
    assert "0000000000000001 (train)" in rejected[0].detail


@pytest.mark.parametrize("sides", [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_between_any_two_sides_nothing_stays(sides: tuple[str, str]) -> None:
    placed = make_records([row(number, side=side) for number, side in enumerate(sides, 1)])
    between = make_records([row(9, label="reviewed", source="crawl", source_key="x.jpg")])
    both = pd.concat([placed, between], ignore_index=True).assign(cluster="0" * 16)
    records, rejected = with_sides_of_all(both, dev_share=0.1, test_share=0.1)
    assert records["side"].tolist() == list(sides)
    assert [one.reason for one in rejected] == [f"leak_with_{sides[1]}"]
    assert all(f"{number:016x} ({side})" in rejected[0].detail for number, side in enumerate(sides, 1))


@pytest.mark.parametrize(
    ("rows", "dev_share", "said"),
    [
        (table(50), 0.0, "raise sides.dev_share"),
        (
            table(20),
            0.0,
            "found train 0, dev 0, test 20 (the test side is the one a source publishes); add labelled",
        ),
        ([row(one) for one in range(50)], 0.5, "no source publishes a test side); raise sides.test_share"),
    ],
)
def test_an_empty_side_is_an_error_that_says_what_to_do(
    rows: list[dict[str, Any]], dev_share: float, said: str
) -> None:
    with pytest.raises(PipelineError, match="expected pictures on all three sides") as error:
        check_sides(split(make_records(rows), dev_share=dev_share, test_share=0.0)[0])
    assert said in str(error.value)
