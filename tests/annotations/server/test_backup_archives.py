"""What may be in a backup: nothing that lies outside of the review's folder, all of its database, no more."""

import io
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from annotations.errors import ReviewError
from annotations.server.backup import backup, restore
from annotations.server.installation import Installation

DATABASE = "database/label_studio.sqlite3"


@pytest.fixture
def begun(tmp_path: Path) -> Installation:
    """A review with a database of one row."""
    installation = Installation(tmp_path / "review-data")
    installation.prepare()
    with closing(sqlite3.connect(installation.folder / DATABASE)) as database:
        database.execute("create table reviews (name text)")
        database.execute("insert into reviews values ('one')")
        database.commit()
    return installation


def plain(name: str, content: bytes = b"planted") -> tuple[tarfile.TarInfo, io.BytesIO]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, io.BytesIO(content)


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, None]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, None


def packed(folder: Path, file: Path) -> Path:
    """All files of a review's folder, as anybody could pack them."""
    with tarfile.open(file, "w:gz") as archive:
        add_all(archive, folder)
    return file


def add_all(archive: tarfile.TarFile, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            archive.add(path, path.relative_to(folder).as_posix())


def refused(file: Path, folder: Path) -> None:
    """The backup is refused in a sentence and leaves nothing where it was to go."""
    folder.parent.mkdir(exist_ok=True)
    with pytest.raises(ReviewError, match="nothing was changed"):
        restore(Installation(folder), file)
    assert not list(folder.parent.iterdir())


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(lambda outside: plain("../planted"), id="the folder above"),
        pytest.param(lambda outside: plain("pictures/../../planted"), id="above by way of a folder"),
        pytest.param(lambda outside: plain(f"{outside}/planted"), id="an absolute path"),
        pytest.param(lambda outside: special("planted", tarfile.SYMTYPE, str(outside)), id="a link"),
        pytest.param(
            lambda outside: special("planted", tarfile.LNKTYPE, f"{outside}/secret"), id="a hard link"
        ),
        pytest.param(lambda outside: special("planted", tarfile.FIFOTYPE), id="a pipe"),
    ],
)
def test_an_archive_writes_nothing_outside_of_the_folder(
    begun: Installation, tmp_path: Path, planted: Callable[[Path], tuple[tarfile.TarInfo, io.BytesIO | None]]
):
    """A whole backup otherwise, so that nothing else can be what it is refused for."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("mine")
    file = tmp_path / "planted.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        add_all(archive, begun.folder)
        member, content = planted(outside)
        archive.addfile(member, content)
    refused(file, tmp_path / "new" / "review-data")
    assert [path.name for path in outside.iterdir()] == ["secret"] and not list(tmp_path.rglob("planted"))


def test_what_is_written_while_the_backup_is_made_is_in_it_once(begun: Installation, tmp_path: Path):
    """As while the server runs: the newest rows lie in a file beside the database."""
    database = begun.folder / DATABASE
    for name in ("server.json", "push.lock", "review.lock"):
        (begun.folder / name).write_text("of the running server")
    file = tmp_path / "review.tar.gz"
    with closing(sqlite3.connect(database)) as running:
        running.execute("pragma journal_mode = wal")
        running.execute("insert into reviews values ('two')")
        running.commit()
        assert database.with_name(f"{database.name}-wal").stat().st_size > 0
        backup(begun, file)
    with tarfile.open(file) as archive:
        names = archive.getnames()
    assert [name for name in names if name.startswith("database/label_studio")] == [DATABASE]
    assert len(names) == len(set(names))
    assert not {"server.json", "server.log", "push.lock", "review.lock"} & set(names)
    other = Installation(tmp_path / "elsewhere")
    restore(other, file)
    with closing(sqlite3.connect(other.folder / DATABASE)) as restored:
        assert restored.execute("select name from reviews").fetchall() == [("one",), ("two",)]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content.replace(b"one", b"eno", 1), id="a value"),
        pytest.param(lambda content: content[:4096] + bytes([255]) * 4096 + content[8192:], id="a page"),
        pytest.param(lambda content: b"no database at all " * 500, id="all of it"),
    ],
)
def test_a_damaged_database_is_not_restored(
    begun: Installation, tmp_path: Path, damage: Callable[[bytes], bytes]
):
    database = begun.folder / DATABASE
    with closing(sqlite3.connect(database)) as rows:
        rows.execute("create index names on reviews (name)")  # a changed value is seen by the index alone
        rows.commit()
    database.write_bytes(damage(database.read_bytes()))
    refused(packed(begun.folder, tmp_path / "damaged.tar.gz"), tmp_path / "new" / "review-data")


def test_what_links_show_is_in_the_backup(begun: Installation, tmp_path: Path):
    """Folders and files that somebody moved to a larger disk, and two names of one file."""
    disk = tmp_path / "disk"
    for name in ("pictures", "exports"):
        (disk / name).mkdir(parents=True)
        (disk / name / "one").write_text(name)
    (disk / "moved").write_text("moved")
    begun.pictures.rmdir()
    begun.pictures.symlink_to(disk / "pictures")
    begun.exports.symlink_to(disk / "exports")
    (begun.served / "link").symlink_to(disk / "moved")
    (begun.served / "same").hardlink_to(disk / "pictures/one")
    backup(begun, tmp_path / "review.tar.gz")
    other = Installation(tmp_path / "elsewhere")
    restore(other, tmp_path / "review.tar.gz")
    names = {"pictures/one": "pictures", "../exports/one": "exports", "link": "moved", "same": "pictures"}
    assert {name: (other.served / name).read_text() for name in names} == names
    assert not any(path.is_symlink() for path in other.folder.rglob("*"))


@pytest.mark.parametrize("target", ["gone", ".", "..", "round"])
def test_a_link_that_shows_nothing_or_leads_in_a_circle_is_refused_when_the_backup_is_made(
    begun: Installation, tmp_path: Path, target: str
):
    (begun.served / "round").symlink_to(target)
    with pytest.raises(ReviewError, match=r"served/round is a link that leads nowhere or to itself"):
        backup(begun, tmp_path / "review.tar.gz")
    assert not list(tmp_path.glob("review.tar.gz*"))


@pytest.mark.parametrize(
    "header",
    [
        {"mtime": "inf"},
        {"mtime": "1e300"},
        {"mtime": "nan"},
        {"uid": str(2**60)},
        {"path": "a\0b"},
        {"GNU.sparse.map": "abc"},
        {"size": str(2**60)},
        {"size": "-5"},
    ],
)
def test_an_odd_member_is_no_traceback(begun: Installation, tmp_path: Path, header: dict[str, str]):
    file = tmp_path / "odd.tar.gz"
    with tarfile.open(file, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member, content = plain("odd")
        member.pax_headers = header
        archive.addfile(member, content)
        add_all(archive, begun.folder)
    new = Installation(tmp_path / "new" / "review-data")
    new.folder.parent.mkdir()
    try:
        restore(new, file)  # who is not root gives a file to nobody
    except ReviewError as error:
        assert "nothing was changed" in str(error) and not new.folder.exists()
    else:
        assert new.secrets() == begun.secrets()


def test_a_backup_with_any_byte_changed_or_cut_anywhere_is_refused_or_restored_whole(
    begun: Installation, tmp_path: Path
):
    file = tmp_path / "review.tar.gz"
    backup(begun, file)
    whole = file.read_bytes()
    wanted = {path.name: path.read_bytes() for path in begun.folder.rglob("*.json")}
    step = len(whole) // 400 + 1
    damaged = [
        *(
            whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
            for at in (*range(20), *range(20, len(whole), step))
        ),
        *(whole[:at] for at in range(0, len(whole), 10 * step)),
    ]
    restored = 0
    for number, content in enumerate(damaged):
        file.write_bytes(content)
        new = Installation(tmp_path / "new" / str(number))
        try:
            restore(new, file)
        except ReviewError as error:
            assert "nothing was changed" in str(error) and not new.folder.exists()
        else:
            restored += 1
            assert {path.name: path.read_bytes() for path in new.folder.rglob("*.json")} == wanted
    assert restored <= 20, "what gzip's own header says is of no account"


def test_a_backup_without_its_database_is_not_restored(begun: Installation, tmp_path: Path):
    (begun.folder / DATABASE).rename(begun.database / "other.sqlite3")
    refused(packed(begun.folder, tmp_path / "bare.tar.gz"), tmp_path / "new" / "review-data")


def test_a_backup_without_its_log_in_is_not_restored(begun: Installation, tmp_path: Path):
    (begun.folder / "secrets.json").unlink()
    refused(packed(begun.folder, tmp_path / "bare.tar.gz"), tmp_path / "new" / "review-data")


def test_a_backup_that_fails_leaves_no_half_of_the_log_in(begun: Installation, tmp_path: Path):
    target = tmp_path / "kept"
    target.mkdir()
    backup(begun, target / "review.tar.gz")
    earlier = (target / "review.tar.gz").read_bytes()
    (begun.folder / DATABASE).write_bytes(b"no database at all " * 500)
    with pytest.raises(ReviewError, match="nothing was backed up"):
        backup(begun, target / "review.tar.gz")
    assert [path.name for path in target.iterdir()] == ["review.tar.gz"]
    assert (target / "review.tar.gz").read_bytes() == earlier
