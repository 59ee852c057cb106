"""The sources of a role as one table: each source's records, each picture once, nothing lost without a word."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.ingested import join_sources, read_ingested, source_list
from pipeline.core.params import ROLES, Sources
from pipeline.core.records import make_records, read_records, write_records
from tests.pipeline.dataset_inputs import write_source


def row(source: str, key: str, pixels: int, **more: Any) -> dict[str, Any]:
    """A record of a picture; equal `pixels` make an equal id, each file has a sha256 of its own."""
    return {
        "id": f"{pixels:016x}",
        "source": source,
        "source_key": key,
        "label": "none",
        "image": f"{source}/{key}",
        "width": 4,
        "height": 4,
        "sha256": file(source, key),
        **more,
    }


def file(source: str, key: str) -> str:
    return hashlib.sha256(f"{source} {key}".encode()).hexdigest()


def write(folder: Path, **sources: list[dict[str, Any]]) -> None:
    for name, rows in sources.items():
        write_source(folder / name, make_records(rows))


def test_one_source_is_its_records_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "crawl"
    write(folder, web=[row("web", f"{n}.jpg", 7 - n, twins="e" * 64) for n in range(4)])
    pd.testing.assert_frame_equal(read_ingested(folder), read_records(folder / "web"))
    write(folder, none=[])  # of a source with the layout absent
    pd.testing.assert_frame_equal(read_ingested(folder), read_records(folder / "web"))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_without_pictures_gives_no_records(tmp_path: Path, role: str) -> None:
    write(tmp_path / role, none=[], nothing=[])
    records = read_ingested(tmp_path / role)
    assert len(records) == 0
    pd.testing.assert_frame_equal(records, make_records([]))


def test_all_listed_sources_are_there_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "bodies"
    write(folder, b=[row("b", "x", 1), row("b", "y", 4)], a=[row("a", "x", 3)])
    write_records(folder / "gone", make_records([row("gone", "x", 2)]))  # not in the list
    records = read_ingested(folder)
    assert list(zip(records["source"], records["source_key"], strict=True)) == [
        ("b", "x"), ("a", "x"), ("b", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize("role", ["bodies", "crawl"])
def test_of_equal_pixels_the_first_stays_and_the_rest_is_told(tmp_path: Path, role: str) -> None:
    label = {"label": "none" if role == "crawl" else "human"}
    folder = tmp_path / role
    write(
        folder,
        b=[row("b", "1", 1, **label), row("b", "2", 2, published_side="test", **label), row("b", "3", 3, **label)],
        a=[row("a", "9", 1, **label), row("a", "8", 2, published_side="train", **label)],
        c=[row("c", "0", 1, **label)],
    )  # fmt: skip
    joined = join_sources(folder)
    assert list(zip(joined.records["source"], joined.records["source_key"], strict=True)) == [
        ("a", "9"), ("b", "2"), ("b", "3"),
    ]  # fmt: skip
    assert [(one.source, one.source_key, one.reason, one.detail) for one in joined.repeated] == [
        ("b", "1", "duplicate_pixels", f"the same pixels as a 9 ({1:016x})"),
        ("c", "0", "duplicate_pixels", f"the same pixels as a 9 ({1:016x})"),
        ("a", "8", "duplicate_pixels", f"the same pixels as b 2 ({2:016x})"),
    ]
    assert joined.items == 6
    pd.testing.assert_frame_equal(read_ingested(folder), joined.records)


def test_of_equal_pixels_the_one_that_states_a_licence_stays(tmp_path: Path) -> None:
    folder = tmp_path / "crawl"
    write(folder, a=[row("a", "1", 1)], b=[row("b", "2", 1, licence="CC0")])
    assert join_sources(folder).records[["source", "licence"]].values.tolist() == [["b", "CC0"]]


def test_a_review_of_any_file_of_a_picture_finds_its_record(tmp_path: Path) -> None:
    folder = tmp_path / "crawl"
    write(
        folder,
        b=[row("b", "1", 1, twins="e" * 64)],
        a=[row("a", "9", 1, twins="f" * 64), row("a", "8", 2, twins="d" * 64)],
        c=[row("c", "0", 1, sha256=file("a", "9"))],  # the very file
    )
    records = read_ingested(folder).set_index("source_key")
    assert records.at["9", "sha256"] == file("a", "9")
    assert records.at["9", "twins"].split() == sorted([file("b", "1"), "e" * 64, "f" * 64])
    assert records.at["8", "twins"] == "d" * 64


def test_labelled_pictures_stay_for_the_stages_that_compare_their_masks(tmp_path: Path) -> None:
    folder = tmp_path / "labelled"
    write(folder, b=[row("b", "1", 1, label="human")], a=[row("a", "9", 1, label="human")])
    joined = join_sources(folder)
    assert list(joined.records["source"]) == ["a", "b"] and joined.repeated == []


PICTURES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 5), st.sampled_from(["train", "test", None])),
    unique_by=lambda one: one[:2],  # within a source ingest has settled it
    max_size=12,
)


@settings(max_examples=12, deadline=None)
@given(PICTURES, st.randoms())
def test_joining_loses_nobody_and_does_not_mind_the_order(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[tuple[str, int, str | None]], random: Any
) -> None:
    outcomes = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("x") / "crawl"
        random.shuffle(pictures)
        names = ["a", "b", "c"]
        random.shuffle(names)
        for name in names:
            rows = [row(name, f"{n}", n, published_side=side) for of, n, side in pictures if of == name]
            write(folder, **{name: rows})
        outcomes.append(join_sources(folder))
    one, other = outcomes
    pd.testing.assert_frame_equal(one.records, other.records)
    assert one.repeated == other.repeated
    everybody = [*zip(one.records["source"], one.records["source_key"], strict=True)]
    everybody += [(left.source, left.source_key) for left in one.repeated]
    assert sorted(everybody) == sorted((name, f"{n}") for name, n, _ in pictures)
    for kept in one.records.itertuples():
        alike = [(side != "test", name) for name, n, side in pictures if f"{n:016x}" == kept.id]
        assert (str(kept.published_side) != "test", kept.source) == min(alike)
        files = {file(name, f"{n}") for name, n, _ in pictures if f"{n:016x}" == kept.id}
        assert {kept.sha256, *kept.twins.split()} == files


def test_what_is_missing_or_damaged_says_what_to_run(tmp_path: Path) -> None:
    folder = tmp_path / "crawl"
    with pytest.raises(
        PipelineError, match=r"crawl/sources.csv, found no such file; run `dvc repro list_sources`"
    ):
        read_ingested(folder)
    write(folder, web=[row("web", "1", 1)], more=[])
    (folder / "more/records.parquet").unlink()
    with pytest.raises(
        PipelineError, match=r"more/records.parquet, found no such file; run `dvc repro ingest@more`"
    ):
        read_ingested(folder)
    for damaged in ("", "name,layout\n", "name\nweb\n", "<html>", 'name,layout\nweb,crawl,x\n"', "\0"):
        (folder / "sources.csv").write_text(damaged)
        with pytest.raises(PipelineError, match=r"a table of name and layout in .*--force list_sources"):
            read_ingested(folder)


def test_the_list_names_the_sources_of_a_role_and_no_path() -> None:
    lines = {
        "z": {"role": "crawl", "layout": "crawl", "path": "secret"},
        "a": {"role": "crawl", "layout": "absent", "path": "x"},
        "l": {"role": "labelled", "layout": "pairs", "path": "y"},
        "b": {"role": "bodies", "layout": "baidu", "path": "w"},
    }
    text = "name,layout\na,absent\nz,crawl\n"
    assert source_list(Sources.model_validate(lines), "crawl") == text
    again = dict(reversed(lines.items()))
    assert source_list(Sources.model_validate(again), "crawl") == text
