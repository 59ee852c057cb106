"""Sides: no cluster crosses them, a published test side stays, old pictures stay where they are."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.quality.random_slice import share_of
from pipeline.core.errors import PipelineError
from pipeline.core.records import make_records
from pipeline.dataset.cluster_table import Clusters
from pipeline.dataset.sides import check_sides, split_crawl, split_labelled


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
    records, rejected = split_labelled(make_records(rows), dev_share=0.1, test_share=0.5)

    assert [(one.source, one.source_key, one.reason) for one in rejected] == [
        ("eg1800", "00150", "leak_with_test"),
        ("baidu", "body.jpg", "leak_with_test"),
    ]
    assert all(rows[3]["id"] in one.detail for one in rejected)
    assert set(records.loc[records["side"] == "test", "id"]) == {f"{one:016x}" for one in range(20)}
    assert len(records) + len(rejected) == len(rows)


def test_dev_is_the_share_of_the_clusters_by_the_documented_hash() -> None:
    records, _ = split_labelled(make_records(table(2000)), dev_share=0.1, test_share=0.0)
    rest = records[records["side"] != "test"]
    dev = {one for one in rest["cluster"] if share_of(one) < 0.1}
    assert set(rest.loc[rest["side"] == "dev", "cluster"]) == dev
    assert 0.07 < len(dev) / len(rest) < 0.13


def test_a_test_side_is_cut_only_where_no_source_publishes_one() -> None:
    rows = [row(one) for one in range(1000)]
    records, _ = split_labelled(make_records(rows), dev_share=0.1, test_share=0.2)
    assert 150 < (records["side"] == "test").sum() < 250
    assert 50 < (records["side"] == "dev").sum() < 120
    published, _ = split_labelled(make_records(table(1000, test=1)), dev_share=0.1, test_share=0.2)
    assert (published["side"] == "test").sum() == 1


@settings(max_examples=15, deadline=None)
@given(
    groups=st.lists(st.integers(0, 40), min_size=80, max_size=120),
    own=st.lists(st.integers(0, 2), min_size=120, max_size=120),
    tests=st.sets(st.integers(0, 79), max_size=10),
    crawled=st.sets(st.integers(0, 79), max_size=20),
)
def test_no_cluster_crosses_sides_and_nothing_vanishes(
    groups: list[int], own: list[int], tests: set[int], crawled: set[int]
) -> None:
    """A cluster of the crawl may look like up to three labelled ones here."""
    rows, beside = [], {}
    for one, group in enumerate(groups):
        label = "none" if one in crawled else "human"
        side = "test" if one in tests and label == "human" else None
        cluster = f"{group:015x}{own[one]}" if label == "human" else f"{group:015x}f"
        rows.append(row(one, cluster=cluster, published_side=side, label=label))
        if label == "human":
            beside.setdefault(f"{group:015x}f", []).append(cluster)
    table_ = make_records(rows)
    is_labelled = table_["label"] == "human"
    labelled, photographs = (table_[which].reset_index(drop=True) for which in (is_labelled, ~is_labelled))
    placed, leaks = split_labelled(labelled, dev_share=0.3, test_share=0.3)
    found = Clusters(clusters_of(placed), clusters_of(photographs), beside)
    crawl, more = split_crawl(photographs, placed, found, dev_share=0.3, test_share=0.3)
    assert len(placed) + len(crawl) + len(leaks) + len(more) == len(rows)
    records = pd.concat([placed, crawl], ignore_index=True)
    assert set(records["side"]) <= {"train", "dev", "test"}
    assert (records.loc[records["published_side"] == "test", "side"] == "test").all()
    assert (records.groupby("cluster")["side"].nunique() == 1).all()
    sides = dict(zip(placed["cluster"], placed["side"], strict=True))
    for one in crawl.itertuples():
        near = {sides[other] for other in beside.get(found.crawl[one.id], []) if other in sides}
        assert near <= {one.side}


def test_new_pictures_move_no_old_one() -> None:
    old, _ = split_labelled(make_records(table(300)), dev_share=0.1, test_share=0.1)
    new, _ = split_labelled(
        make_records([*table(300), *(row(one) for one in range(1000, 1400))]), dev_share=0.1, test_share=0.1
    )
    both = old.merge(new, on="id")
    assert len(both) == 300
    pd.testing.assert_series_equal(both["side_x"], both["side_y"], check_names=False)


def joined(
    rows: list[dict[str, Any]], photographs: list[dict[str, Any]], like: dict[int, str] | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The photographs' sides by name, and why others left; `like` names a labelled cluster that some look like."""
    placed, _ = split_labelled(make_records(rows), dev_share=0.1, test_share=0.1)
    beside = {f"{number:016x}": [cluster] for number, cluster in (like or {}).items()}
    found = Clusters(clusters_of(placed), alone(photographs), beside)
    crawl, rejected = split_crawl(make_records(photographs), placed, found, 0.1, 0.1)
    return crawl.set_index("source_key"), {one.source_key: one.reason for one in rejected}


def clusters_of(records: pd.DataFrame) -> dict[str, str]:
    return dict(zip(records["id"], records["cluster"], strict=True))


def alone(photographs: list[dict[str, Any]]) -> dict[str, str]:
    """Each in a cluster of its own."""
    return {one["id"]: one["id"] for one in photographs}


def photograph(number: int, name: str) -> dict[str, Any]:
    return row(number, label="none", mask=None, source="crawl", source_key=name)


def test_a_photograph_goes_where_its_look_alikes_are_but_not_to_a_published_test_side() -> None:
    rows = table(300)
    dev = next(one for one in rows[20:] if share_of(one["cluster"]) < 0.1)
    lone = next(one for one in range(5000, 9000) if share_of(f"{one:016x}") < 0.1)
    crawl, reasons = joined(
        rows,
        [photograph(901, "a.jpg"), photograph(902, "b.jpg"), photograph(lone, "c.jpg")],
        {901: dev["cluster"], 902: rows[2]["cluster"]},
    )
    assert reasons == {"b.jpg": "leak_with_test"}
    assert crawl.loc[["a.jpg", "c.jpg"], "side"].tolist() == ["dev", "dev"]
    assert crawl.loc[["a.jpg", "c.jpg"], "cluster"].tolist() == [dev["id"], f"{lone:016x}"]


def test_photographs_join_a_test_side_only_where_no_source_publishes_one() -> None:
    shots = [photograph(one, f"{one}.jpg") for one in range(1000, 1100)]
    for published, sides in ((20, {"train", "dev"}), (0, {"train", "dev", "test"})):
        placed, _ = split_labelled(make_records(table(40, test=published)), dev_share=0.2, test_share=0.2)
        found = Clusters(clusters_of(placed), alone(shots), {})
        crawl, _ = split_crawl(make_records(shots), placed, found, dev_share=0.2, test_share=0.2)
        assert set(crawl["side"]) == sides


@pytest.mark.parametrize("sides", [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_between_any_two_sides_nothing_stays(sides: tuple[str, str]) -> None:
    placed = make_records([row(number, side=side) for number, side in enumerate(sides, 1)])
    between = photograph(9, "x.jpg")
    found = Clusters(clusters_of(placed), alone([between]), {between["id"]: list(placed["cluster"])})
    crawl, rejected = split_crawl(make_records([between]), placed, found, 0.1, 0.1)
    assert crawl.empty
    assert [one.reason for one in rejected] == [f"leak_with_{sides[1]}"]
    assert all(f"{number:016x} ({side})" in rejected[0].detail for number, side in enumerate(sides, 1))


def test_what_stands_between_three_sides_names_all_three() -> None:
    placed = make_records([row(1, side="train"), row(2, side="dev"), row(3, side="test")])
    between = photograph(9, "x.jpg")
    found = Clusters(clusters_of(placed), alone([between]), {between["id"]: list(placed["cluster"])})
    _, rejected = split_crawl(make_records([between]), placed, found, 0.1, 0.1)
    assert [(one.source_key, one.reason) for one in rejected] == [("x.jpg", "leak_with_test")]
    assert all(f"{number:016x} (" in rejected[0].detail for number in (1, 2, 3))


def test_look_alikes_of_the_crawl_share_a_side_and_a_cluster() -> None:
    placed, _ = split_labelled(make_records(table(60)), dev_share=0.3, test_share=0.1)
    shots = make_records([photograph(n, f"{n}.jpg") for n in range(900, 960)])
    found = Clusters(clusters_of(placed), {f"{n:016x}": f"{900 + n % 6:016x}" for n in range(900, 960)}, {})
    crawl, rejected = split_crawl(shots, placed, found, dev_share=0.5, test_share=0.1)
    assert not rejected and crawl["cluster"].nunique() == 6
    assert (crawl.groupby("cluster")["side"].nunique() == 1).all() and crawl["side"].nunique() == 2


@pytest.mark.parametrize(
    ("rows", "dev_share", "said"),
    [
        (table(50), 0.0, "raise split.dev_share"),
        (
            table(20),
            0.0,
            "found train 0, dev 0, test 20 (the test side is the one a source publishes); add labelled",
        ),
        ([row(one) for one in range(50)], 0.5, "no source publishes a test side); raise split.test_share"),
    ],
)
def test_an_empty_side_is_an_error_that_says_what_to_do(
    rows: list[dict[str, Any]], dev_share: float, said: str
) -> None:
    with pytest.raises(PipelineError, match="expected pictures on all three sides") as error:
        check_sides(split_labelled(make_records(rows), dev_share=dev_share, test_share=0.0)[0])
    assert said in str(error.value)
