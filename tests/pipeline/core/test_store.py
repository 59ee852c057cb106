"""The per-image store: what comes out is what went in, or nothing."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.store import Result, Store, key_of

META = st.dictionaries(st.text(), st.integers() | st.text() | st.none())
BLOBS = st.dictionaries(st.text("abcdefgh", min_size=1), st.binary())


@given(meta=META, blobs=BLOBS)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, meta: dict[str, object], blobs: dict[str, bytes]
) -> None:
    store = Store("stage", tmp_path_factory.mktemp("store"))
    store.put("ab12", Result(meta, blobs))
    assert store.get("ab12") == Result(meta, blobs)


def test_missing_and_damaged_entries_count_as_missing(tmp_path: Path) -> None:
    store = Store("stage", tmp_path)
    assert store.get("ab12") is None
    store.put("ab12", Result({"a": 1}, {"mask": b"0123456789" * 100}))
    path = tmp_path / "stage" / "ab" / "ab12"
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert store.get("ab12") is None, f"cut at {cut}"
    flipped = bytearray(whole)
    flipped[whole.index(b"0123456789") + 20] ^= 1
    path.write_bytes(bytes(flipped))
    assert store.get("ab12") is None


def test_an_entry_with_any_bit_flipped_counts_as_missing(tmp_path: Path) -> None:
    store = Store("stage", tmp_path)
    store.put("ab12", Result({"x": 1}, {"image": b"123"}))
    path = tmp_path / "stage" / "ab" / "ab12"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        assert store.get("ab12") is None, f"bit {bit}"


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK"])
def test_a_whole_entry_of_something_else_counts_as_missing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "stage" / "ab" / "ab12"
    path.parent.mkdir(parents=True)
    path.write_bytes(hashlib.sha256(content).digest() + content)
    assert Store("stage", tmp_path).get("ab12") is None


def test_an_entry_of_older_code_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "stage" / "ab" / "ab12"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", "{}")
    assert Store("stage", tmp_path).get("ab12") is None


PUT = """
import sys
from pathlib import Path
from pipeline.core.store import Result, Store
store = Store("stage", Path(sys.argv[1]))
content = Result({"from": sys.argv[2]}, {"image": sys.argv[2].encode() * 100_000})
print("ready", flush=True)
sys.stdin.readline()
for _ in range(400):
    store.put("ab12", content)
    assert store.get("ab12") is not None
"""


def test_two_writers_of_one_key_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Processes, and threads of one: the last one stays, whole, and nobody fails for the other's sake."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", PUT, str(tmp_path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in "ab"
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    told = [writer.communicate("go\n") for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], told
    with ThreadPoolExecutor(4) as pool:
        store = Store("stage", tmp_path)
        list(
            pool.map(lambda n: store.put("ab12", Result({"n": n % 4}, {"image": bytes(100_000)})), range(400))
        )
    assert store.get("ab12") is not None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ab12"]


def test_a_folder_in_place_of_an_entry_is_told_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    entry = tmp_path / "stage/ab/ab12"
    (entry / "inside").mkdir(parents=True)
    store = Store("stage", tmp_path)
    assert store.get("ab12") is None
    with pytest.raises(IsADirectoryError) as caught:
        store.put("ab12", Result({}, {}))
    assert caught.value.filename == str(entry)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    Store("stage", tmp_path).put("ab12", Result({}, {}))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ab12"]


OTHER_WRITER = """
import sys
from pathlib import Path
from pipeline.core.store import Result, Store
Store("stage", Path(sys.argv[1])).put("ab12", Result({"x": 1}, {"image": b"123"}))
"""


def test_a_second_writer_of_one_key_does_not_disturb_the_first(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process stores the same result as a whole, just before the first one gives its file the name."""

    def after_another_process(rename: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **more: object) -> None:
            monkeypatch.undo()
            command = [sys.executable, "-c", OTHER_WRITER, str(tmp_path)]
            subprocess.run(command, cwd=root, check=True)
            rename(*arguments, **more)

        return call

    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, after_another_process(getattr(os, name)))
    store = Store("stage", tmp_path)
    store.put("ab12", Result({"x": 1}, {"image": b"123"}))
    assert os.replace.__module__ == "posix"  # the other process did run
    assert store.get("ab12") == Result({"x": 1}, {"image": b"123"})
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["ab12"]


def test_what_is_half_written_is_never_seen_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, old = Store("stage", tmp_path), Result({"x": 1}, {"image": b"old"})
    store.put("ab12", old)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, killed)
    with pytest.raises(KeyboardInterrupt):
        store.put("ab12", Result({"x": 2}, {"image": b"new"}))
    assert store.get("ab12") == old


def test_the_key_depends_on_every_part_and_not_on_the_order_of_a_dict() -> None:
    assert key_of("a", {"x": 1, "y": 2}) == key_of("a", {"y": 2, "x": 1})
    assert re.fullmatch("[0-9a-f]{40}", key_of("a"))  # two of a million pictures never share one
    assert (
        len({key_of("a", 1), key_of("a", 2), key_of("b", 1), key_of("a", "1"), key_of("a"), key_of(["a", 1])})
        == 6
    )


def test_the_entries_of_a_picture_and_those_of_nobody_are_forgotten(tmp_path: Path) -> None:
    store = Store("stage", tmp_path)
    blobs = {"image": b"PK\x05\x06" + b"x" * 2000}
    for key, of in (("aa11", "one"), ("ab22", "another"), ("ac33", "")):
        store.put(key, Result({"of": of}, blobs), of)
    (tmp_path / "stage/ad").mkdir()
    (tmp_path / "stage/ad/ad44").write_bytes(b"of older code")
    assert store.results_of(["one"]) == [("one", Result({"of": "one"}, blobs))]
    assert store.forget(["one"]) == [Result({"of": "one"}, blobs), Result({"of": ""}, blobs), Result({})]
    assert [path.name for path in sorted(tmp_path.rglob("*")) if path.is_file()] == ["ab22"]
    assert store.get("ab22") is not None
    store.remove("ab22")
    store.remove("ab22")
    assert store.get("ab22") is None
