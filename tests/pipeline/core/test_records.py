"""Records: a checked schema, nothing vanishes, the same bytes from the same rows."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.records import (
    COLUMNS,
    SCHEMA_VERSION,
    Rejected,
    account,
    check_records,
    dataset_hash,
    make_records,
    read_records,
    read_rejected,
    write_records,
    write_rejected,
)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:016x}",
        "source": "eg1800",
        "source_key": f"{number:05d}",
        "label": "human",
        "image": f"images/{number}.jpg",
        "width": 600,
        "height": 800,
        "sha256": "0" * 64,
        **more,
    }


def test_round_trip_sorted_by_id_whatever_the_order(tmp_path: Path) -> None:
    rejected = [Rejected("eg1800", "00009", "empty_file", 'the file has zero bytes, "really"')]
    one, two = tmp_path / "one", tmp_path / "two"
    write_records(one, make_records([row(3), row(1), row(2, side="train", uncertainty=0.5)]))
    write_records(two, make_records([row(2, side="train", uncertainty=0.5), row(1), row(3)]))
    write_rejected("crop", rejected, one)
    read = read_records(one)
    assert list(read["id"]) == [f"{n:016x}" for n in (1, 2, 3)]
    assert tuple(read.columns) == COLUMNS
    assert (one / "records.parquet").read_bytes() == (two / "records.parquet").read_bytes()
    write_records(two, read.iloc[::-1])
    assert (one / "records.parquet").read_bytes() == (two / "records.parquet").read_bytes()
    assert read_rejected("crop", one).to_dict("records") == [
        {
            "source": "eg1800",
            "source_key": "00009",
            "reason": "empty_file",
            "detail": 'the file has zero bytes, "really"',
        }
    ]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", '"', ","])
def test_a_rejected_file_may_be_named_with_any_character(tmp_path: Path, end: str) -> None:
    rejected = [Rejected("crawl", f"Icon{end}", "wrong_suffix", f"Icon{end} is no picture")] * 2
    write_rejected("crop", rejected, tmp_path)
    assert read_rejected("crop", tmp_path)["source_key"].tolist() == [f"Icon{end}"] * 2


@pytest.mark.parametrize("word", ["NA", "", "nan", "null", "None", "N/A", "True", "1e5", "007", " x "])
def test_a_rejected_file_may_be_named_as_nothing_or_a_number_is_written(tmp_path: Path, word: str) -> None:
    write_rejected("crop", [Rejected("crawl", word, "empty_file", word)], tmp_path)
    assert read_rejected("crop", tmp_path).to_dict("records") == [
        {"source": "crawl", "source_key": word, "reason": "empty_file", "detail": word}
    ]


def test_rejected_csv_does_not_depend_on_the_order(tmp_path: Path) -> None:
    rejected = [Rejected(a, b, c, "why") for a in ("crawl", "eg1800") for b in ("1", "2") for c in ("x", "y")]
    write_rejected("crop", rejected, tmp_path / "one")
    write_rejected("crop", rejected[::-1], tmp_path / "two")
    one, two = ((tmp_path / name / "crop.csv").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_kill_while_writing_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(tmp_path, make_records([row(1)]))
    rename = os.replace

    def killed(source: str, target: str) -> None:
        if Path(target).name == "records.parquet":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_records(tmp_path, make_records([row(2)]))
    assert read_records(tmp_path)["source_key"].tolist() == ["00001"]


def test_a_table_that_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path, make_records([row(1)]))
    pd.read_parquet(tmp_path / "records.parquet").assign(side="validation").to_parquet(
        tmp_path / "records.parquet"
    )
    with pytest.raises(PipelineError, match="side"):
        read_records(tmp_path)


def test_a_table_names_files_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the folder can be taken elsewhere; read back, the paths are from where the process runs."""
    monkeypatch.chdir(tmp_path)
    given = make_records(
        [row(1, image="data/split/images/a.jpg", mask="data/ingest/a.png"), row(2, image="data/crop/b.png")]
    )
    write_records(Path("data/split"), given)
    stored = pd.read_parquet("data/split/records.parquet")
    assert stored["image"].tolist() == ["images/a.jpg", "../crop/b.png"]
    assert stored["mask"].iloc[0] == "../ingest/a.png" and pd.isna(stored["mask"].iloc[1])
    pd.testing.assert_frame_equal(read_records(Path("data/split")), given)
    Path("data").rename("elsewhere")
    assert read_records(Path("elsewhere/split"))["image"].tolist() == [
        "elsewhere/split/images/a.jpg",
        "elsewhere/crop/b.png",
    ]


@pytest.mark.parametrize("attrs", [{}, {"schema_version": SCHEMA_VERSION + 1}])
def test_a_table_of_another_version_is_refused(tmp_path: Path, attrs: dict[str, int]) -> None:
    """Its paths may mean something else, as those of tables from before there were versions do."""
    write_records(tmp_path, make_records([row(1)]))
    table = pd.read_parquet(tmp_path / "records.parquet")
    table.attrs = attrs
    table.to_parquet(tmp_path / "records.parquet")
    found = attrs.get("schema_version", "none")
    with pytest.raises(PipelineError, match=f"schema version {SCHEMA_VERSION}, found {found}.*`dvc repro`"):
        read_records(tmp_path)


def test_the_dataset_hash_tells_pictures_apart_but_not_where_they_lie() -> None:
    """Without masks: the same pictures in another folder are the same version, another picture is another one."""
    first = dataset_hash(make_records([row(1), row(2)]))
    assert first == dataset_hash(make_records([row(2, image="elsewhere.png"), row(1)]))
    assert first != dataset_hash(make_records([row(1), row(3)]))


def test_no_records_at_all(tmp_path: Path) -> None:
    write_records(tmp_path, make_records([]))
    write_rejected("crop", [], tmp_path)
    assert len(read_records(tmp_path)) == 0
    assert len(read_rejected("crop", tmp_path)) == 0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"id": "XYZ"}, "id"),
        ({"id": "0" * 17}, "id"),
        ({"label": "guess"}, "label"),
        ({"side": "validation"}, "side"),
        ({"published_side": "val"}, "published_side"),
    ],
)
def test_a_broken_row_is_refused_by_the_column(change: dict[str, str], word: str) -> None:
    with pytest.raises(PipelineError, match=word):
        make_records([row(1, **change)])


def test_two_rows_of_one_id_and_a_strange_column_are_refused() -> None:
    with pytest.raises(PipelineError, match="id"):
        make_records([row(1), row(1)])
    with pytest.raises(PipelineError, match="colour"):
        check_records(make_records([row(1)]).assign(colour="red"))
    with pytest.raises(PipelineError, match="columns"):
        check_records(make_records([row(1)])[list(COLUMNS)[::-1]])


def test_what_a_row_leaves_out_is_empty() -> None:
    bare = {name: value for name, value in row(1).items() if name != "label"}
    (made,) = make_records([bare]).to_dict("records")
    assert (made["label"], made["flags"], made["twins"]) == ("none", "", "")
    assert all(pd.isna(made[name]) for name in ("mask", "side", "licence", "uncertainty", "parent_id"))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"expected .*records\.parquet.*dvc repro"):
        read_records(tmp_path)


def test_account_counts_and_stops() -> None:
    rejected = [Rejected("s", str(n), reason, "why") for n, reason in enumerate(["a", "b", "a"])]
    assert account("crop", 10, 7, rejected, 0.3) == {
        "in": 10,
        "out": 7,
        "rejected": 3,
        "reasons": {"a": 2, "b": 1},
    }
    with pytest.raises(PipelineError, match="10 items went in, but 8 records and 3 rejected came out"):
        account("crop", 10, 8, rejected, 0.3)
    with pytest.raises(PipelineError, match="10 items went in, but 6 records and 3 rejected came out"):
        account("crop", 10, 6, rejected, 0.3)  # one vanished
    with pytest.raises(
        PipelineError, match=r"3 of 10 items were rejected \(a 2, b 1\); at most 29%.*ingest\.max_reject_rate"
    ):
        account("ingest@baidu", 10, 7, rejected, 0.29)
    with pytest.raises(PipelineError, match="3 of 3 items were rejected"):
        account("crop", 3, 0, rejected, 0.99)
    assert account("crop", 0, 0, [], 0.0)["in"] == 0


def test_text_stays_text(tmp_path: Path) -> None:
    write_records(tmp_path, make_records([row(1, author="00012", licence=None)]))
    read = read_records(tmp_path)
    assert read["author"].tolist() == ["00012"]
    assert pd.isna(read["licence"].iloc[0])


@pytest.mark.parametrize("name", ["NA", "nan", "NULL", "None", "n/a", "", "00012", "1e3", "True", " a "])
def test_a_file_of_any_name_is_read_back_by_that_name(tmp_path: Path, name: str) -> None:
    rejected = [Rejected("crawl", name, "not_an_image", name)]
    write_records(tmp_path, make_records([row(1, source_key=name, author=name)]))
    write_rejected("crop", rejected, tmp_path)
    assert read_rejected("crop", tmp_path).to_dict("records") == [
        {"source": "crawl", "source_key": name, "reason": "not_an_image", "detail": name}
    ]
    assert read_records(tmp_path)[["source_key", "author"]].values.tolist() == [[name, name]]
