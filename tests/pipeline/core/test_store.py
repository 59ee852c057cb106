"""The per-image store: what comes out is what went in, or nothing."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.store import TABLE, Result, Store, key_of
from tests.project import commit, run

META = st.dictionaries(st.text(), st.integers() | st.text() | st.none())
BLOBS = st.dictionaries(st.text("abcdefgh", min_size=1), st.binary())


@given(meta=META, blobs=BLOBS)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, meta: dict[str, object], blobs: dict[str, bytes]
) -> None:
    store = Store("stage", tmp_path_factory.mktemp("store"))
    store.put("ab12", Result(meta, blobs))
    assert store.get("ab12") == Result(meta, blobs)


LARGE = Result({"a": 1}, {"mask": b"0123456789" * 1000})
SMALL = Result({"x": 1}, {"image": b"123"})


def test_missing_and_damaged_files_count_as_missing(tmp_path: Path) -> None:
    store = Store("stage", tmp_path)
    assert store.get("ab12") is None and not list(tmp_path.iterdir())
    store.put("ab12", LARGE)
    path = tmp_path / "stage" / "ab" / "ab12"
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert store.get("ab12") is None, f"cut at {cut}"
    for bit in random.Random(1).sample(range(8 * len(whole)), 200):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        assert store.get("ab12") is None, f"bit {bit}"
    path.unlink()
    assert store.get("ab12") is None
    store.put("ab12", LARGE)
    assert store.get("ab12") == LARGE


def test_a_damaged_blob_takes_all_damaged_results_along_so_that_one_run_more_is_enough(
    tmp_path: Path,
) -> None:
    store = Store("stage", tmp_path)
    store.put("small", SMALL)
    for key in ("aa1", "aa2", "aa3", "whole"):
        store.put(key, LARGE)
    for key in ("aa1", "aa2"):
        (tmp_path / "stage/aa" / key).write_bytes(b"9123456780" * 1000)  # as long as it was
    (tmp_path / "stage/aa/aa3").unlink()
    assert store.head("aa1") is not None and store.head("aa2") is not None
    with pytest.raises(PipelineError, match="lost a result while the stage ran; run it again"):
        store.blob("aa1", "mask")
    assert sorted(key for _, _, key in store.uses()) == ["small", "whole"]
    assert store.get("small") == SMALL and store.blob("whole", "mask") == LARGE.blobs["mask"]


@pytest.mark.parametrize("stored", [[], ["b"], ["a", "b", "c"]])
def test_only_what_is_missing_is_made_and_all_come_in_order(tmp_path: Path, stored: list[str]) -> None:
    store, made = Store("stage", tmp_path), []
    for key in stored:
        store.put(key, Result({"of": key}))

    def make(missing: list[str]) -> Iterator[None]:
        for key in missing:
            made.append(key)
            yield store.put(key, Result({"of": key}))

    heads = store.complete(["c", "a", "b"], store.head, make)
    assert [head.meta["of"] for head in heads] == ["c", "a", "b"]
    assert made == [key for key in ("c", "a", "b") if key not in stored]


def test_what_is_missing_once_it_was_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="lost a result while the stage ran; run it again"):
        Store("stage", tmp_path).complete(["a"], Store("stage", tmp_path).head, lambda _: [])


def test_small_results_take_no_files_of_their_own(tmp_path: Path) -> None:
    store = Store("stage", tmp_path)
    for number in range(100):
        store.put(f"ab{number}", SMALL)
    assert {path.name for path in files(tmp_path)} == {TABLE}


def files(folder: Path) -> list[Path]:
    """All files but the table's journal."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != f"{TABLE}-journal")


def test_a_table_with_any_damage_gives_the_result_or_nothing_and_is_mended(tmp_path: Path) -> None:
    Store("stage", tmp_path / "whole").put("ab12", SMALL)
    whole = (tmp_path / "whole/stage" / TABLE).read_bytes()
    row = whole.index(b'{"x": 1}')
    draw = random.Random(2)
    damaged = {f"cut {cut}": whole[:cut] for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1)}
    for at in (0, 30, 100, row, *draw.sample(range(len(whole)), 6)):
        damaged[f"byte {at}"] = whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
    for text in (b"", b"no table", b"x" * 9000):
        damaged[f"{text[:9]!r}"] = text
    lost = 0
    for number, (what, content) in enumerate(damaged.items()):
        path = tmp_path / str(number) / "stage" / TABLE
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        store = Store("stage", tmp_path / str(number))
        found = store.get("ab12")
        assert found in (None, SMALL), what
        lost += found is None
        for key in ("ab12", "cd12"):
            store.put(key, SMALL)
            assert store.get(key) == SMALL, what
    assert lost >= 8


PUT = """
import sys
from pathlib import Path
from pipeline.core.store import Result, Store
store = Store("stage", Path(sys.argv[1]))
content = Result({"n": 1}, {"image": b"1" * 100_000})
print("ready", flush=True)
sys.stdin.readline()
for _ in range(200):
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
            pool.map(lambda n: store.put("ab12", Result({"n": n % 4}, {"image": bytes(100_000)})), range(200))
        )
    assert store.get("ab12") is not None
    assert [path.name for path in files(tmp_path)] == ["ab12", TABLE]


def test_a_folder_in_place_of_an_entry_is_told_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    entry = tmp_path / "stage/ab/ab12"
    (entry / "inside").mkdir(parents=True)
    store = Store("stage", tmp_path)
    assert store.get("ab12") is None
    with pytest.raises(IsADirectoryError) as caught:
        store.put("ab12", LARGE)
    assert caught.value.filename == str(entry)
    assert not files(tmp_path)


def test_a_folder_in_place_of_the_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "stage" / TABLE / "inside").mkdir(parents=True)
    store = Store("stage", tmp_path)
    assert store.get("ab12") is None
    with pytest.raises(OSError, match="unable to open database file") as caught:
        store.put("ab12", SMALL)
    assert caught.value.filename == str(tmp_path / "stage" / TABLE)


def test_a_table_that_was_removed_under_an_open_process_is_made_anew(tmp_path: Path) -> None:
    store = Store("stage", tmp_path)
    for _ in range(2):
        store.put("ab12", SMALL)
        assert store.get("ab12") == SMALL
        shutil.rmtree(tmp_path / "stage")
        assert store.get("ab12") is None


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    Store("stage", tmp_path).put("ab12", LARGE)
    assert [path.name for path in files(tmp_path)] == ["ab12", TABLE]


OTHER_WRITER = """
import sys
from pathlib import Path
from pipeline.core.store import Result, Store
Store("stage", Path(sys.argv[1])).put("ab12", Result({"a": 1}, {"mask": b"0123456789" * 1000}))
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
    store.put("ab12", LARGE)
    assert os.replace.__module__ == "posix"  # the other process did run
    assert store.get("ab12") == LARGE
    assert [path.name for path in files(tmp_path)] == ["ab12", TABLE]


def test_what_is_half_written_is_never_seen_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, old = Store("stage", tmp_path), LARGE
    store.put("ab12", old)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("replace", "rename"):
        monkeypatch.setattr(os, name, killed)
    with pytest.raises(KeyboardInterrupt):
        store.put("ab12", Result({"x": 2}, {"image": b"new" * 5000}))
    assert store.get("ab12") == old


def test_the_key_depends_on_every_part_and_not_on_the_order_of_a_dict() -> None:
    assert key_of("a", {"x": 1, "y": 2}) == key_of("a", {"y": 2, "x": 1})
    assert re.fullmatch("[0-9a-f]{40}", key_of("a"))  # two of a million pictures never share one
    assert (
        len({key_of("a", 1), key_of("a", 2), key_of("b", 1), key_of("a", "1"), key_of("a"), key_of(["a", 1])})
        == 6
    )


WRITE = """
import sys
from pathlib import Path
from pipeline.core.store import Result, Store
store = Store("stage", Path(sys.argv[1]))
print("ready", flush=True)
for number in range(100_000):
    store.put(f"{number % 50:04d}", Result({"n": number % 50}, {"image": b"1" * (number % 2 * 9000)}))
"""


def test_killed_writers_leave_whole_results(tmp_path: Path) -> None:
    """Four times two writers at once, killed at any moment: what is there is whole, and more can be put."""
    store, draw = Store("stage", tmp_path), random.Random(3)
    for _ in range(4):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, 0.2))
        for writer in writers:
            writer.kill()
            writer.wait()
        found = {number: store.get(f"{number:04d}") for number in range(50)}
        assert all(
            one is None or one == Result({"n": number}, {"image": b"1" * (number % 2 * 9000)})
            for number, one in found.items()
        )
        store.put("ab12", SMALL)
        assert store.get("ab12") == SMALL
    assert any(found.values())


def test_the_entries_of_a_picture_and_those_of_nobody_are_forgotten(tmp_path: Path) -> None:
    store = Store("stage", tmp_path)
    blobs = {"image": b"pixels" * 2000}
    for key, of in (("aa11", "one"), ("ab22", "another"), ("ac33", "")):
        store.put(key, Result({"of": of}, blobs), of)
    store.put("ae55", Result({}, {"image": b"few pixels"}), "one")
    (tmp_path / "stage/ad").mkdir()
    (tmp_path / "stage/ad/ad44").write_bytes(b"of older code")
    few = Result({}, {"image": b"few pixels"})
    assert store.results_of(["one"]) == [("one", Result({"of": "one"}, blobs)), ("one", few)]
    assert store.forget(["one"]) == [Result({"of": "one"}, blobs), Result({"of": ""}, blobs), few, Result({})]
    assert [path.name for path in files(tmp_path)] == ["ab22", TABLE]
    assert all(b"few pixels" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert store.get("ab22") is not None
    store.remove("ab22")
    store.remove("ab22")
    assert store.get("ab22") is None


STAGE = """
from pathlib import Path
from pipeline.core.store import Result, Store
store = Store("pictures")
Path("out.txt").write_text("found" if store.get("ab12") else "made")
store.put("ab12", Result({}, {"image": b"1" * 9000}))
"""
DVC_YAML = """
stages:
  make:
    cmd: python make.py
    params: [value]
    outs: [out.txt]
"""


@pytest.mark.slow
def test_a_temporary_experiment_uses_the_results_of_its_project(tmp_path: Path, root: Path) -> None:
    """Real DVC runs it in a copy of the project, in a folder deeper in its git repository too."""
    for deep, folder in ((False, tmp_path / "one"), (True, tmp_path / "two/inside")):
        folder.mkdir(parents=True)
        for name, text in (
            ("make.py", STAGE), ("dvc.yaml", DVC_YAML), ("params.yaml", "value: 1\n"), (".gitignore", ".cache\n"),
        ):  # fmt: skip
            (folder / name).write_text(text)
        top = folder.parent if deep else folder
        run(top, "git", "init", "--quiet")
        run(folder, "dvc", "init", "--quiet", *(["--subdir"] if deep else []), PYTHONPATH=str(root))
        run(folder, "dvc", "repro", "--quiet", PYTHONPATH=str(root))
        assert (folder / "out.txt").read_text() == "made"
        commit(top, "a project")
        run(folder, "dvc", "exp", "run", "--temp", "--name", "other", "-S", "value=2", PYTHONPATH=str(root))
        run(folder, "dvc", "exp", "apply", "other", PYTHONPATH=str(root))
        assert (folder / "out.txt").read_text() == "found"
        assert Store("pictures", folder / ".cache").size().entries == 1
