"""A review in one file and back, without a server: what is kept, what is refused."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from annotations.errors import ReviewError
from annotations.server.backup import backup, restore
from annotations.server.installation import Installation


@pytest.fixture
def begun(tmp_path: Path) -> Installation:
    """An installation with a database of one row and a picture."""
    installation = Installation(tmp_path / "review-data")
    installation.prepare()
    with closing(sqlite3.connect(installation.database / "label_studio.sqlite3")) as database:
        database.execute("create table reviews (name text)")
        database.execute("insert into reviews values ('one')")
        database.commit()
    (installation.pictures / "a-image.jpg").write_bytes(b"picture")
    for name in ("server.log", "server.1.log"):
        (installation.folder / name).write_text("log")
    return installation


def test_there_and_back(begun: Installation, tmp_path: Path):
    file = tmp_path / "review.tar.gz"
    backup(begun, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = Installation(tmp_path / "elsewhere" / "review-data")
    other.folder.parent.mkdir()
    restore(other, file)
    with closing(sqlite3.connect(other.database / "label_studio.sqlite3")) as database:
        assert database.execute("select name from reviews").fetchall() == [("one",)]
    assert other.secrets() == begun.secrets()
    assert (other.pictures / "a-image.jpg").read_bytes() == b"picture"
    assert stat.S_IMODE((other.folder / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(other.folder.stat().st_mode) == 0o700
    assert not list(other.folder.glob("*.log"))


def test_a_review_is_not_overwritten(begun: Installation, tmp_path: Path):
    backup(begun, tmp_path / "review.tar.gz")
    with pytest.raises(ReviewError, match="holds a review already"):
        restore(begun, tmp_path / "review.tar.gz")


def test_a_review_is_restored_into_a_folder_that_is_empty(begun: Installation, tmp_path: Path):
    backup(begun, tmp_path / "review.tar.gz")
    other = Installation(tmp_path / "other")
    other.folder.mkdir()
    restore(other, tmp_path / "review.tar.gz")
    assert other.secrets() == begun.secrets()


@pytest.mark.parametrize(
    ("length", "why"), [(0, "empty file"), (100, "ended before the end"), (-30, "ended before the end")]
)
def test_half_a_backup_changes_nothing_and_says_why_in_one_line(
    begun: Installation, tmp_path: Path, length: int, why: str
):
    file = tmp_path / "review.tar.gz"
    backup(begun, file)
    file.write_bytes(file.read_bytes()[:length])
    other = Installation(tmp_path / "other")
    with pytest.raises(
        ReviewError, match=rf"review\.tar\.gz cannot be restored \([^\n]*{why}[^\n]*\); nothing was changed$"
    ):
        restore(other, file)
    assert not other.folder.exists() and not list(tmp_path.glob("other*"))


def test_nothing_to_keep_is_said(tmp_path: Path):
    with pytest.raises(ReviewError, match="found no database"):
        backup(Installation(tmp_path), tmp_path / "review.tar.gz")
    with pytest.raises(ReviewError, match="expected a backup at"):
        restore(Installation(tmp_path / "other"), tmp_path / "none.tar.gz")


def test_secrets_are_made_once_and_not_shown(tmp_path: Path):
    installation = Installation(tmp_path / "review-data")
    made = installation.prepare()
    assert installation.prepare() == made == installation.secrets()
    assert made.api_key not in repr(made) and made.password not in repr(made)
    assert Installation(tmp_path / "other").prepare() != made
    assert not installation.stop()
