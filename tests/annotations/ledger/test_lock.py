"""The lock of reviews: canonical bytes, small files, and every kind of damage named by file and line."""

import base64
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotations.ledger.lock import (
    LockEntry,
    LockError,
    pack_mask,
    read_lock,
    review_key,
    unpack_mask,
    write_lock,
)


def person(seed: int, width: int = 600, height: int = 800) -> np.ndarray:
    """A head with ragged hair on shoulders, as large and as ragged as a real portrait mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    middle = (width // 2 + int(rng.integers(-40, 40)), height // 2)
    cv2.ellipse(mask, (middle[0], height), (width // 3, height // 3), 0, 0, 360, 1, -1)
    cv2.ellipse(mask, middle, (width // 5, height // 4), 0, 0, 360, 1, -1)
    noise = cv2.GaussianBlur(rng.normal(size=mask.shape).astype(np.float32), (0, 0), 3)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 6)
    return (soft + 1.2 * noise > 0.5).astype(np.uint8)


def review(
    seed: int, *, verdict: str = "accept", mask: np.ndarray | None = None, **changes: object
) -> LockEntry:
    mask = person(seed, 60, 80) if mask is None else mask
    values: dict[str, object] = {
        "parent_sha256": hashlib.sha256(str(seed).encode()).hexdigest(),
        "crop_box": f"0,0,{mask.shape[1]},{mask.shape[0]}",
        "shape": mask.shape,
        "verdict": verdict,
        "mask": mask if verdict in ("accept", "fix") else None,
        "reasons": [] if verdict in ("accept", "fix") else ["no_person"],
        "reviewer": "curator-1",
        "reviewed_at": "2025-01-31T12:00:00+00:00",
        "teacher": "0" * 16,
    }
    return LockEntry.of(**{**values, **changes})


def test_key_is_the_hash_of_parent_and_box():
    expected = hashlib.sha256(("a" * 64 + "-3,0,10,20").encode()).hexdigest()[:16]
    assert review_key("a" * 64, "-3,0,10,20") == expected


@pytest.mark.parametrize("verdict", ["accept", "fix", "reject", "unsure"])
def test_a_review_comes_back_as_it_was(tmp_path: Path, verdict: str):
    mask = person(1, 61, 83)
    entry = review(1, verdict=verdict, mask=mask)
    write_lock(tmp_path, [entry])
    assert read_lock(tmp_path) == [entry]
    if verdict in ("accept", "fix"):
        back = read_lock(tmp_path)[0].mask_array()
        assert back.dtype == np.uint8 and np.array_equal(back, mask)
    else:
        with pytest.raises(LockError, match=f"no mask: its verdict is {verdict}"):
            entry.mask_array()


@settings(max_examples=100, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_any_mask_survives_packing_with_the_same_bytes(mask: np.ndarray):
    assert np.array_equal(unpack_mask(pack_mask(mask)), mask)
    assert pack_mask(mask) == pack_mask(np.asfortranarray(mask))
    assert base64.b64decode(pack_mask(mask))[24:26] == b"\x01\x00"  # IHDR: 1 bit, grey


@pytest.mark.parametrize(
    "bad",
    [
        np.full((4, 4), 255, np.uint8),
        np.zeros((4, 4), bool),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_packing_refuses_what_is_no_mask(bad: np.ndarray):
    with pytest.raises(ValueError, match=r"expected a mask \(H, W\) uint8 in \{0, 1\}"):
        pack_mask(bad)


def test_bytes_do_not_depend_on_the_order(tmp_path: Path):
    entries = [review(seed) for seed in range(30)]
    write_lock(tmp_path / "a", entries)
    write_lock(tmp_path / "b", entries[::-1])
    assert _content(tmp_path / "a") == _content(tmp_path / "b")
    write_lock(tmp_path / "c", read_lock(tmp_path / "a"))
    assert _content(tmp_path / "c") == _content(tmp_path / "a")
    assert read_lock(tmp_path / "a") == sorted(entries, key=lambda entry: entry.key)
    line = next((tmp_path / "a").glob("*.jsonl")).read_text().splitlines()[0]
    assert line == json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"))


def test_ten_thousand_reviews_stay_small_and_a_new_one_changes_one_file(tmp_path: Path):
    masks = [pack_mask(person(seed)) for seed in range(6)]
    sample = review(0, mask=person(0))
    entries = []
    for number in range(10_001):
        parent = hashlib.sha256(str(number).encode()).hexdigest()
        key = review_key(parent, sample.crop_box)
        # model_copy skips the checks: decoding 10,000 masks twice would be most of this test's time.
        changes = {"parent_sha256": parent, "key": key, "mask": masks[number % len(masks)]}
        entries.append(sample.model_copy(update=changes))
    write_lock(tmp_path, entries[:-1])
    before = _content(tmp_path)
    assert sum(content.count(b"\n") for content in before.values()) == 10_000
    assert max(len(content) for content in before.values()) < 1_000_000

    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write_lock(tmp_path, entries)
    after = _content(tmp_path)
    changed = [name for name in after if after[name] != before.get(name)]
    assert changed == [f"{entries[-1].key[:2]}.jsonl"]
    touched = [path.name for path in tmp_path.iterdir() if path.stat().st_mtime_ns != times[path.name]]
    assert touched == changed


def test_writing_removes_reviews_that_are_gone(tmp_path: Path):
    first, second = review(1), review(2)
    (tmp_path / "README.md").write_text("stays")
    write_lock(tmp_path, [first, second])
    write_lock(tmp_path, [second])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{second.key[:2]}.jsonl", "README.md"]
    )
    write_lock(tmp_path, [])
    assert read_lock(tmp_path) == []


def test_writing_refuses_two_reviews_of_one_crop(tmp_path: Path):
    with pytest.raises(LockError, match=r"two reviews with key .* decide which one holds"):
        write_lock(tmp_path, [review(1), review(1, verdict="reject")])


def test_a_missing_folder_is_an_error_and_an_empty_one_is_an_empty_lock(tmp_path: Path):
    assert read_lock(tmp_path) == []
    with pytest.raises(
        LockError, match=r"expected a folder of reviews at .*gone, found none; set reviews.path .*mkdir"
    ):
        read_lock(tmp_path / "gone")


def _grey_png() -> str:
    return base64.b64encode(cv2.imencode(".png", np.zeros((80, 60), np.uint8))[1].tobytes()).decode()


def _flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 255
    return base64.b64encode(bytes(data)).decode()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: {**d, "mask": None}, "verdict accept needs a mask, found none"),
        (lambda d: {**d, "verdict": "fix", "mask": None}, "verdict fix needs a mask, found none"),
        (lambda d: {**d, "verdict": "reject"}, "verdict reject brings no mask, found one"),
        (lambda d: {**d, "width": 61}, "the mask is 60x80, the entry says 61x80"),
        (lambda d: {**d, "mask": "!!!"}, "mask is no PNG in base64"),
        (lambda d: {**d, "mask": d["mask"][:40]}, "mask is no PNG in base64"),
        (lambda d: {**d, "mask": _flipped(d["mask"])}, "mask is no PNG in base64"),
        (lambda d: {**d, "mask": _grey_png()}, "expected a 1-bit PNG, found mode L"),
        (lambda d: {**d, "crop_box": "1,0,61,80"}, "does not belong to its parent and crop box, which give"),
        (lambda d: {**d, "parent_sha256": "0" * 64}, "does not belong to its parent and crop box"),
        (lambda d: {**d, "crop_box": "9,0,1,80"}, "crop_box: a crop box needs x0 < x1"),
        (lambda d: {**d, "colour": "red"}, "colour: Extra inputs are not permitted"),
        (lambda d: {k: v for k, v in d.items() if k != "reviewer"}, "reviewer: Field required"),
        (
            lambda d: {**d, "verdict": "maybe"},
            "verdict: Input should be 'accept', 'fix', 'reject' or 'unsure'",
        ),
        (lambda d: {**d, "reviewer": "ann@example.org"}, "an e-mail address is no pseudonym"),
        (lambda d: {**d, "reviewed_at": "2025-01-31T12:00:00"}, "expected a time with its zone"),
        (lambda d: {**d, "reviewed_at": "yesterday"}, "reviewed_at: Invalid isoformat"),
        (lambda d: {**d, "width": True}, "width: Input should be a valid integer"),
        (lambda d: [d], "Input should be .* valid dictionary"),
    ],
)
def test_damage_in_a_line_names_file_line_and_fault(tmp_path: Path, damage, message: str):
    good, bad = _neighbours()
    path = tmp_path / f"{good.key[:2]}.jsonl"
    lines = [good.model_dump(mode="json"), damage(bad.model_dump(mode="json"))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(LockError, match=rf"{path.name}, line 2: .*{message}"):
        read_lock(tmp_path)


@pytest.mark.parametrize("line", ["{", "", "<<<<<<< HEAD", '{"key": "a", "key": "b"}', "\udcff"])
def test_a_line_that_is_no_json_object_says_what_to_do(tmp_path: Path, line: str):
    write_lock(tmp_path, [review(1)])
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes() + line.encode(errors="surrogateescape") + b"\n")
    expected = rf"{path.name}, line 2: not one JSON object a line .*; restore the file from git"
    with pytest.raises(LockError, match=expected):
        read_lock(tmp_path)


def test_a_review_twice_in_the_wrong_file_or_in_a_stray_file(tmp_path: Path):
    write_lock(tmp_path, [review(1)])
    path = next(tmp_path.glob("*.jsonl"))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(LockError, match=rf"line 2: key .* is also in .*{path.name}, line 1; keep one"):
        read_lock(tmp_path)
    path.rename(tmp_path / ("00.jsonl" if path.stem != "00" else "01.jsonl"))
    with pytest.raises(LockError, match=rf"belongs into {path.name}; move it there"):
        read_lock(tmp_path)
    next(tmp_path.glob("*.jsonl")).rename(tmp_path / "mine.jsonl")
    with pytest.raises(LockError, match=r"mine\.jsonl: a lock has files 00\.jsonl to ff\.jsonl only"):
        read_lock(tmp_path)


def test_a_half_written_temporary_file_does_not_count(tmp_path: Path):
    write_lock(tmp_path, [review(1)])
    (tmp_path / "ab.jsonl.99.tmp").write_text("{")
    assert read_lock(tmp_path) == [review(1)]


def _neighbours() -> tuple[LockEntry, LockEntry]:
    """Two reviews that share a file."""
    seen: dict[str, LockEntry] = {}
    for seed in range(10_000):
        parent = hashlib.sha256(str(seed).encode()).hexdigest()
        shard = review_key(parent, "0,0,60,80")[:2]
        if shard in seen:
            return seen[shard], review(seed)
        seen[shard] = review(seed)
    raise AssertionError("no two keys share two digits")


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}
