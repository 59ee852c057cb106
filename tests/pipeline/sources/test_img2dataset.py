"""What img2dataset leaves behind, as folders and as tars, is read with what it says of each picture."""

import io
import json
import re
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from pipeline.commands.check import check
from pipeline.core.errors import PipelineError
from pipeline.core.params import Source, load_params
from pipeline.ingest import ingest
from pipeline.sources.layouts import read_layout, recognise
from tests.pipeline.sources.test_layouts import reasons, touch
from tests.pipeline.test_ingest import jpeg

ROWS = [
    {"key": "000000000", "status": "success", "url": "https://example.org/a", "license": "CC0", "error_message": None},
    {"key": "000000001", "status": "failed_to_download", "url": "https://example.org/b", "license": None},
    {"key": "000000002", "status": "success", "url": "https://example.org/c", "license": None, "caption": "x"},
    {"key": "000000003", "status": "success", "url": "https://example.org/d", "license": "CC BY"},
]  # fmt: skip
FETCHED = {"000000000.jpg": b"first", "000000002.jpg": b"second", "000000009.jpg": b"strange"}


def img2dataset(folder: Path, form: str, *, table: bool = True) -> Path:
    """A shard as img2dataset writes it, with a picture that is gone and one that no row tells of."""
    members = dict(FETCHED)
    for row in ROWS:
        if row["status"] == "success":
            members[f"{row['key']}.json"] = json.dumps(row).encode()
            members[f"{row['key']}.txt"] = b"a caption"
    folder.mkdir(parents=True, exist_ok=True)
    if form == "tar":
        with tarfile.open(folder / "00000.tar", "w") as tar:
            for name, content in members.items():
                member = tarfile.TarInfo(f"../../{name}")  # its folders count for nothing
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo("000000005.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    else:
        for name, content in members.items():
            touch(folder, f"00000/{name}", content=content)
    touch(folder, "00000_stats.json")
    if table:
        pd.DataFrame(ROWS).to_parquet(folder / "00000.parquet")
    return folder


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("form", ["files", "tar"])
def test_what_img2dataset_leaves_behind(tmp_path, form, table):
    assert recognise(img2dataset(tmp_path, form, table=table)) == "img2dataset"
    listing = read_layout("img2dataset", tmp_path)
    found = [(one.source_key, one.url, one.licence, one.read()) for one in listing.items]
    assert found == [
        ("00000/000000000.jpg", "https://example.org/a", "CC0", b"first"),
        ("00000/000000002.jpg", "https://example.org/c", None, b"second"),
    ]
    assert reasons(listing) == [
        ("00000/000000003", "listed_without_file"),
        ("00000/000000009.jpg", "not_listed"),
    ]
    notes = {"addresses that img2dataset did not fetch (failed_to_download)": 1} if table else {}
    assert listing.notes == notes


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: touch(folder, "00000.parquet"), "00000.parquet is no Parquet"),
        (
            lambda folder: pd.DataFrame({"url": ["x"]}).to_parquet(folder / "00000.parquet"),
            "the columns url; expected key",
        ),
        (lambda folder: touch(folder, "00000.tar", content=b"no tar" * 200), "00000.tar is no whole, plain tar"),
        (lambda folder: touch(folder, "00000/1.jpg"), "are both shard 00000"),
        (
            lambda folder: pd.DataFrame([{**ROWS[0], "photo_credit": "Ann"}]).to_parquet(folder / "00000.parquet"),
            "the column 'photo_credit' seems to tell licences or authors",
        ),
    ],
)  # fmt: skip
def test_a_damaged_shard_of_img2dataset_is_named(tmp_path, break_it, words):
    img2dataset(tmp_path, "tar")
    break_it(tmp_path)
    with pytest.raises(PipelineError, match=re.escape(words)):
        read_layout("img2dataset", tmp_path)


def test_pictures_in_a_tar_are_ingested_and_checked(tmp_path, root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(FETCHED, "000000000.jpg", jpeg(1))
    monkeypatch.setitem(FETCHED, "000000002.jpg", b"")
    folder = img2dataset(tmp_path / "fetched", "tar")
    params = load_params(root / "params.yaml")
    params = params.model_copy(update={"ingest": params.ingest.model_copy(update={"min_side": 32})})
    source = Source(role="crawl", layout="img2dataset", path=str(folder))
    done = ingest("web", source, params.ingest, tmp_path / "out", workers=1)
    (record,) = done.records.itertuples()
    assert (record.url, record.licence, record.source_key) == (ROWS[0]["url"], "CC0", "00000/000000000.jpg")
    assert Path(record.image).read_bytes() == jpeg(1)
    assert sorted(one.reason for one in done.rejected) == ["empty_file", "listed_without_file", "not_listed"]
    (report,) = check([folder], params, lambda _: []).folders
    assert (report.layout, report.problem, report.decoded) == ("img2dataset", "", 2)
    assert set(report.rejected) == {"empty_file", "listed_without_file", "not_listed"}
