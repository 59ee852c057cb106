"""A folder is brought up to date: whatever was there, it ends as one made anew, and what was right is not touched.

A second name for a file is a link of what is read-only, a copy of what may be edited, whatever kind of link it was.
"""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.folder import FileNotes, PictureFolder, link_or_copy
from sinet.images.decode import ImageError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "cached").write_bytes(b"pixels")
    return tmp_path / "cached"


def test_a_read_only_file_lies_on_the_disk_once(tmp_path: Path, source: Path) -> None:
    """As DVC leaves it with cache.type hardlink, and with symlink."""
    source.chmod(0o444)
    (tmp_path / "symbolic").symlink_to(source)
    for name in ("cached", "symbolic"):
        link_or_copy(tmp_path / name, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").samefile(source) and not (tmp_path / f"{name}.png").is_symlink()


def test_what_may_be_edited_in_place_is_copied(tmp_path: Path, source: Path) -> None:
    link_or_copy(source, tmp_path / "a.png")
    source.write_bytes(b"mended by hand")
    assert (tmp_path / "a.png").read_bytes() == b"pixels"


def test_where_no_link_can_be_made_a_copy_is(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    source.chmod(0o444)
    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"pixels" and not (tmp_path / "a.png").samefile(source)


def filled(folder: Path, wanted: dict[str, str], stop_after: int | None = None) -> None:
    """Bring FOLDER/out up to date with these files, whose content names itself; a kill may stop that."""
    out = PictureFolder(folder / "out", folder / "cache")
    for number, (name, text) in enumerate(wanted.items()):
        if number == stop_after:
            return
        out.put(f"images/{name}", text, text.encode)
    out.keep(folder / "out/images" / name for name in wanted)


def held(folder: Path) -> dict[str, str]:
    """What every file below a folder holds."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def states(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


NAMES = st.sampled_from(["a.png", "b.png", "c.png", "d.png"])
WANTED = st.dictionaries(NAMES, st.sampled_from(["one", "two", "three"]))
# What happens before the last run: other runs, whole or killed, and people or programs that change the files.
EVENTS = st.lists(
    st.tuples(st.just("run"), WANTED, st.none() | st.integers(0, 3))
    | st.tuples(
        st.sampled_from(["edit", "remove", "replace", "folder", "link", "stranger", "cache", "elsewhere"]),
        NAMES,
        st.none(),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, wanted=WANTED)
def test_whatever_was_there_the_folder_ends_as_one_made_anew(
    tmp_path: Path, events: list[tuple[str, object, int | None]], wanted: dict[str, str]
) -> None:
    shutil.rmtree(tmp_path)
    for what, given_, stop_after in events:
        if what == "run":
            assert isinstance(given_, dict)
            filled(tmp_path, given_, stop_after)
            continue
        path = tmp_path / "out/images" / str(given_)
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "cache":
            shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        elif what == "elsewhere" and not path.parent.is_symlink():
            # The pictures' folder is moved to another disk, and a link left.
            shutil.rmtree(tmp_path / "disk", ignore_errors=True)
            path.parent.rename(tmp_path / "disk")
            path.parent.symlink_to(tmp_path / "disk")
        elif what == "stranger":
            (path.parent / "inside").mkdir(exist_ok=True)
            (path.parent / "inside/stranger").write_text("x")
        elif what == "edit" and path.is_file():
            path.write_text("edited by hand")
        else:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            if what == "replace":
                path.write_text("another")
            elif what == "folder":
                (path / "below").mkdir(parents=True)
            elif what == "link":
                path.symlink_to(tmp_path / "nowhere")
    filled(tmp_path, wanted)
    assert held(tmp_path / "out") == {f"images/{name}": text for name, text in wanted.items()}
    before = states(tmp_path / "out")
    filled(tmp_path, wanted)
    assert states(tmp_path / "out") == before


def test_one_picture_more_writes_one_picture_and_reads_no_other(tmp_path: Path) -> None:
    first = {f"{number}.png": str(number) for number in range(9)}
    filled(tmp_path, first)
    before = states(tmp_path / "out")
    out, asked = PictureFolder(tmp_path / "out", tmp_path / "cache"), []

    def content(name: str) -> bytes:
        asked.append(name)
        return name.encode()

    paths = [
        out.put(f"images/{name}", text, lambda name=name: content(name))  # type: ignore[misc]
        for name, text in {**first, "new.png": "new"}.items()
    ]
    out.keep(paths)
    assert asked == ["new.png"]
    assert {name: state for name, state in states(tmp_path / "out").items() if name != "new.png"} == before


def test_without_notes_what_is_right_stays(tmp_path: Path) -> None:
    """As after `dvc pull` on another machine."""
    wanted = {"a.png": "one", "b.png": "two"}
    filled(tmp_path, wanted)
    before = states(tmp_path / "out")
    shutil.rmtree(tmp_path / "cache")
    filled(tmp_path, wanted | {"b.png": "other"})
    after = states(tmp_path / "out")
    assert after["a.png"] == before["a.png"] and after["b.png"] != before["b.png"]
    assert held(tmp_path / "out")["images/b.png"] == "other"


def test_a_link_to_the_cache_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    """As DVC leaves outputs with cache.type hardlink and symlink; the superuser may write to read-only files."""
    (tmp_path / "cached").write_text("of the cache")
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/a.png").hardlink_to(tmp_path / "cached")
    (tmp_path / "out/images/b.png").symlink_to(tmp_path / "cached")
    filled(tmp_path, {"a.png": "one", "b.png": "two"})
    assert (tmp_path / "cached").read_text() == "of the cache"
    assert held(tmp_path / "out") == {"images/a.png": "one", "images/b.png": "two"}


def test_what_tells_of_the_pictures_is_gone_until_the_folder_is_whole(tmp_path: Path) -> None:
    """Records, a second table, a receipt: between two runs they would tell of pictures that changed."""
    (tmp_path / "out").mkdir()
    for name in ("records.parquet", "records.csv", "receipt.json"):
        (tmp_path / "out" / name).write_text("of a run before")
    (tmp_path / "out/link.json").symlink_to(tmp_path / "out/receipt.json")
    filled(tmp_path, {"a.png": "one", "b.png": "two"}, stop_after=1)
    assert held(tmp_path / "out") == {"images/a.png": "one"}


def test_linked_pictures_follow_their_source(tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    for text in ("first", "again", "longer than before"):
        source.write_text(text)
        for _ in range(2):
            out = PictureFolder(tmp_path / "out", tmp_path / "cache")
            out.keep([out.link("images/a.png", source)])
            assert held(tmp_path / "out") == {"images/a.png": text}
            before = states(tmp_path / "out")
    assert states(tmp_path / "out") == before


def test_a_note_is_of_the_file_as_it_was_asked_for(tmp_path: Path) -> None:
    """Not of what stands there once somebody has read it: that may have come since."""
    file = tmp_path / "file"
    file.write_text("one")
    notes = FileNotes("some", tmp_path)
    assert notes.of(str(file)) is None
    file.write_text("another")  # between the reading and the note
    notes.note(str(file), "what was read")
    notes.save()
    assert FileNotes("some", tmp_path).of(str(file)) is None
    assert FileNotes("other", tmp_path).of(str(file)) is None


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mask.png"
    read: list[Path] = []
    monkeypatch.setattr(
        "pipeline.core.folder.read_bytes", lambda path: read.append(path) or path.read_bytes()
    )
    for text, reads in (("one", 1), ("one", 1), ("another", 2), ("another", 2)):
        if not file.is_file() or file.read_text() != text:
            file.write_text(text)
        notes = FileNotes("masks", tmp_path)
        assert notes.hash_of(str(file)) == hashlib.sha256(text.encode()).hexdigest()
        notes.save()
        assert len(read) == reads


def test_what_is_no_file_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a folder, pipe or device"):
        FileNotes("masks", tmp_path).hash_of(str(tmp_path))


def test_notes_hold_until_the_file_changes_and_are_gone_until_they_are_saved(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")

    def asked(*, save: bool = True) -> list[str | None]:
        notes = FileNotes("some", tmp_path)
        found = [notes.of(str(file)), notes.of(str(file), " part")]
        notes.note(str(file), "1")
        notes.note(str(file), "2", " part")
        if save:
            notes.save()
        return found

    assert asked() == [None, None]
    assert asked() == ["1", "2"]
    os.utime(file, ns=(1, 1))
    assert asked() == [None, None]
    assert asked() == ["1", "2"]
    assert asked(save=False) == ["1", "2"]  # a run that fails
    assert asked() == [None, None]
    file.unlink()
    assert asked() == [None, None] == asked()
