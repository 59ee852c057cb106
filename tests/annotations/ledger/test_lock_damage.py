"""What the lock's files must not hold, and what writing them must not touch."""

import base64
import json
import os
import signal
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from annotations.ledger.lock import LockError, pack_mask, read_lock, review_key, unpack_mask, write_lock
from tests.annotations.ledger.test_lock import person, review
from tests.killed import kill_at_write

Line = dict[str, Any]
MASK = person(1, 60, 80)


def kept(**changes: Any) -> Line:
    return {**review(1, mask=MASK).model_dump(mode="json"), **changes}


def rejected(**changes: Any) -> Line:
    return {**review(1, verdict="reject").model_dump(mode="json"), **changes}


def with_key(line: Line) -> Line:
    """The line with the key of its own parent and box, so that nothing else is wrong with it."""
    return {**line, "key": review_key(line["parent_sha256"], line["crop_box"])}


def huge(text: str) -> str:
    """The packed mask as one that says it has a thousand million pixels."""
    data = base64.b64decode(text)
    header = b"IHDR" + struct.pack(">II", 40_000, 40_000) + data[24:29]
    return base64.b64encode(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]).decode()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (rejected(crop_box="0,80,60,0"), "crop_box: a crop box needs x0 < x1 and y0 < y1, found 0,80,60,0"),
        (rejected(crop_box="0,0,60,0"), "crop_box: a crop box needs x0 < x1 and y0 < y1"),
        (rejected(crop_box="7,0,7,80"), "crop_box: a crop box needs x0 < x1 and y0 < y1"),
        (rejected(parent_sha256="ab" * 31), "parent_sha256: String should match"),
        (rejected(reviewer=""), "reviewer: String should have at least 1 character"),
        (
            rejected(reviewed_at="0001-01-01T00:00:00+14:00"),
            "reviewed_at: expected a time of the years 1 to 9999",
        ),
        (rejected(width=0), "width: Input should be greater than or equal to 1"),
        (kept(height=81), "the mask is 60x80, the entry says 60x81"),
        (kept(width=80, height=60), "the mask is 60x80, the entry says 80x60"),
        (kept(mask=pack_mask(MASK)[:40] + "\n" + pack_mask(MASK)[40:]), "the mask is no PNG in base64"),
        (kept(mask=huge(pack_mask(MASK))), "the mask is no PNG in base64"),
    ],
)
def test_a_line_with_one_fault_is_refused_by_its_name(tmp_path: Path, line: Line, message: str):
    line = with_key(line)
    (tmp_path / f"{line['key'][:2]}.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(LockError, match=message):
        read_lock(tmp_path)


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT"])
def test_a_changed_checksum_of_a_mask_s_size_or_pixels_is_refused(name: bytes):
    data = base64.b64decode(pack_mask(MASK))
    start = data.index(name) - 4
    checksum = start + 8 + int.from_bytes(data[start : start + 4], "big")
    changed = data[:checksum] + bytes([data[checksum] ^ 1]) + data[checksum + 1 :]
    with pytest.raises(ValueError, match="the mask is no PNG in base64"):
        unpack_mask(base64.b64encode(changed).decode())


def test_reasons_are_sorted_and_stand_once():
    entry = review(1, verdict="reject", reasons=["no_person", "bad_crop", "no_person"])
    assert entry.reasons == ("bad_crop", "no_person")


def lines(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def test_lines_in_another_order_as_after_a_merge_are_read_sorted(tmp_path: Path):
    first = review(1)
    other = next(one for one in map(review, range(2, 9_999)) if one.key[:2] == first.key[:2])
    write_lock(tmp_path, [first, other])
    path = lines(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::-1]))
    assert read_lock(tmp_path) == sorted([first, other], key=lambda entry: entry.key)


def test_a_change_of_the_same_length_is_written(tmp_path: Path):
    write_lock(tmp_path, [review(1)])
    write_lock(tmp_path, [review(1, reviewer="curator-2")])
    assert read_lock(tmp_path)[0].reviewer == "curator-2"


def test_writing_leaves_other_files_alone(tmp_path: Path):
    (tmp_path / "mine.jsonl").write_text("mine")
    write_lock(tmp_path, [review(1)])
    write_lock(tmp_path, [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jsonl"]


def test_a_kill_in_mid_write_leaves_the_earlier_reviews(tmp_path: Path):
    write_lock(tmp_path, [review(1)])
    child = os.fork()
    if child == 0:
        kill_at_write(0)
        try:
            write_lock(tmp_path, [review(1, reviewer="curator-2")])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert read_lock(tmp_path) == [review(1)]


@pytest.mark.parametrize(
    "damage", [lambda line: {**line, "reviewer": "ann@example.org"}, lambda line: {**line, "mask": "ann's"}]
)
def test_what_a_damaged_line_holds_is_not_repeated(tmp_path: Path, damage: Callable[[Line], Line]):
    """A pasted e-mail address or a whole mask has no place in a message that people pass on."""
    line = damage(kept())
    (tmp_path / f"{line['key'][:2]}.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(LockError) as caught:
        read_lock(tmp_path)
    assert "ann" not in str(caught.value)
