"""The drawn world's reviewer: verdicts at their thresholds, the same review every time, a lock that can be read."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotations.ledger.judgements import read_judgements
from annotations.ledger.lock import Verdict, read_lock, review_key, write_lock
from annotations.masks.overlap import AGREE_IOU, mask_iou
from pipeline.commands.draw_reviews import (
    REVIEWS,
    Pseudo,
    chosen,
    draw_judgements,
    draw_review,
    main,
    review_all,
    summarise,
)
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.core.paths import PSEUDO
from pipeline.core.records import make_records, write_records
from pipeline.drawing.layouts import DrawnSource, crawl_name, draw_picture
from pipeline.faces.portrait import cut
from sinet.images.decode import Array, encode_mask, read_mask

ROOT = Path(__file__).parents[3]
BOX = Box(10, 20, 110, 70)  # 100 x 50 pixels of a parent of 120 x 80
TEACHER = "7e" * 8


def parent_with(person: int) -> Array:
    """The exact mask (80, 120) of a parent with so many pixels of person, row by row from the box's corner."""
    exact = np.zeros((80, 120), np.uint8)
    exact[BOX.y0 : BOX.y1, BOX.x0 : BOX.x1] = first(person)
    return exact


def first(pixels: int) -> Array:
    """A mask of the box's size, so many pixels of which are person, row by row."""
    return (np.arange(BOX.width * BOX.height) < pixels).astype(np.uint8).reshape(BOX.height, BOX.width)


def shas() -> Iterator[str]:
    """Hashes of files, one after the other."""
    return (sha256(str(index).encode()).hexdigest() for index in range(10_000))


def pseudo(mask: Array, sha: str, box: Box = BOX, teacher: str | None = TEACHER) -> Pseudo:
    return Pseudo(7, sha, str(box), mask, teacher)


def verdict(sha: str) -> tuple[Verdict, tuple[str, ...]]:
    """What becomes of a perfect mask of the picture with this hash."""
    entry = draw_review(pseudo(first(1000), sha), parent_with(1000))
    return entry.verdict, entry.reasons


# Whether the reviewer likes a picture is drawn by lot from its key: these are one of each kind.
KEPT, UNSURE, DAMAGED = (sha256(name).hexdigest() for name in (b"0", b"8", b"7"))


@pytest.mark.parametrize(
    ("person", "teacher", "expected", "reasons"),
    [
        (1000, 1000, "accept", ()),
        (1000, 900, "accept", ()),  # IoU 0.90
        (900, 1000, "accept", ()),  # too much counts like too little
        (1000, 899, "fix", ()),
        (899, 1000, "fix", ()),
        (1000, 600, "fix", ()),  # IoU 0.60
        (1000, 599, "reject", ("bad_mask",)),
        (599, 1000, "reject", ("bad_mask",)),
        (1000, 0, "reject", ("bad_mask",)),
        (100, 100, "accept", ()),  # 2% of the crop's 5000 pixels
        (99, 99, "reject", ("no_person",)),
        (0, 0, "reject", ("no_person",)),
    ],
)
def test_verdicts_at_their_thresholds(
    person: int, teacher: int, expected: str, reasons: tuple[str, ...]
) -> None:
    entry = draw_review(pseudo(first(teacher), KEPT), parent_with(person))
    assert (entry.verdict, entry.reasons) == (expected, reasons)
    if expected == "accept":
        assert np.array_equal(entry.mask_array(), first(teacher))  # the teacher's mask is what was approved
    elif expected == "fix":
        assert np.array_equal(entry.mask_array(), first(person))
    else:
        assert entry.mask is None


def test_an_entry_names_what_was_reviewed() -> None:
    entry = draw_review(pseudo(first(1000), KEPT), parent_with(1000))
    assert (entry.parent_sha256, entry.crop_box, entry.teacher) == (KEPT, "10,20,110,70", TEACHER)
    assert (entry.width, entry.height) == (100, 50)
    assert entry.key == review_key(KEPT, "10,20,110,70") == pseudo(first(1), KEPT).key
    assert draw_review(pseudo(first(1000), KEPT, teacher=None), parent_with(1000)).teacher is None


def test_what_reaches_outside_the_picture_holds_nobody() -> None:
    box = Box(-20, -10, 80, 40)
    exact = np.ones((80, 120), np.uint8)
    inside = np.zeros((50, 100), np.uint8)
    inside[10:, 20:] = 1
    sha = next(sha for sha in shas() if draw_review(pseudo(inside, sha, box), exact).verdict == "accept")
    everything = draw_review(pseudo(np.ones((50, 100), np.uint8), sha, box), exact)
    assert everything.verdict == "fix"  # 3200 of 5000 pixels: IoU 0.64
    assert np.array_equal(everything.mask_array(), inside)


def test_one_in_twenty_is_unsure_and_one_rejected_whatever_the_mask() -> None:
    verdicts = [verdict(sha) for sha in islice(shas(), 1000)]
    assert set(verdicts) == {
        ("accept", ()),
        ("unsure", ("hidden_edge",)),
        ("reject", ("damaged_picture",)),
    }
    assert 30 <= verdicts.count(("unsure", ("hidden_edge",))) <= 70
    assert 30 <= verdicts.count(("reject", ("damaged_picture",))) <= 70
    for sha, reason in ((UNSURE, "hidden_edge"), (DAMAGED, "damaged_picture")):
        for mask in (0, 700, 1000):
            assert draw_review(pseudo(first(mask), sha), parent_with(1000)).reasons == (reason,)
        # That nobody is there comes first.
        assert draw_review(pseudo(first(1000), sha), parent_with(0)).reasons == ("no_person",)


def test_reviewer_and_moment_follow_from_the_key_alone() -> None:
    entry = draw_review(pseudo(first(1000), KEPT), parent_with(1000))
    assert entry == draw_review(pseudo(first(1000), KEPT), parent_with(1000))
    # Written down once, so that a lock made anew by a later version is the same lock.
    assert (entry.reviewer, entry.reviewed_at) == ("curator-2", "2025-01-13T08:14:51+00:00")
    for sha in islice(shas(), 20):
        one = draw_review(pseudo(first(1000), sha), parent_with(1000))
        for other in (
            draw_review(pseudo(first(700), sha, teacher=None), parent_with(1000)),
            draw_review(pseudo(first(0), sha), parent_with(0)),
        ):
            assert (other.reviewer, other.reviewed_at) == (one.reviewer, one.reviewed_at)
    moved = draw_review(pseudo(first(1000), KEPT, BOX.moved(1, 0)), parent_with(1000))
    assert moved.reviewed_at != entry.reviewed_at


def test_reviewers_and_moments_are_spread() -> None:
    made = [draw_review(pseudo(first(1000), sha), parent_with(1000)) for sha in islice(shas(), 200)]
    counts = {name: sum(entry.reviewer == name for entry in made) for name in {one.reviewer for one in made}}
    assert sorted(counts) == ["curator-1", "curator-2", "curator-3"]
    assert min(counts.values()) > 40
    moments = [datetime.fromisoformat(entry.reviewed_at) for entry in made]
    start = datetime.fromisoformat("2025-01-06T09:00:00+00:00")
    assert start <= min(moments) < start + timedelta(days=1)
    assert start + timedelta(days=13) < max(moments) < start + timedelta(days=14)
    assert len(set(moments)) == 200


def test_a_mask_of_another_world_says_what_to_run() -> None:
    other = pseudo(np.ones((50, 40), np.uint8), KEPT)
    message = (
        r"the crop 10,20,110,70 of crawl picture 7 is 100x50, the mask is 40x50; run `dvc repro pseudo_label`"
    )
    with pytest.raises(PipelineError, match=message):
        draw_review(other, parent_with(1000))


# which are reviewed


def many(count: int, start: int = 0) -> list[Pseudo]:
    files = [sha256(f"file {start + index}".encode()).hexdigest() for index in range(count)]
    return [pseudo(first(1000), sha) for sha in files]


def test_at_most_sixty_are_reviewed_in_the_order_of_their_keys() -> None:
    pseudos = many(150)
    keys = [one.key for one in chosen(pseudos)]
    assert keys == sorted(set(keys))
    assert len(keys) == REVIEWS == 60
    assert keys == [one.key for one in chosen(pseudos[::-1])]
    assert (
        keys != sorted(one.key for one in pseudos)[:60]
    )  # by a hash, else the lock's shards fill from 00 on
    assert len(chosen(pseudos, 7)) == 7
    assert {one.key for one in chosen(pseudos, 7)} < set(keys)


def test_few_are_all_reviewed() -> None:
    assert {one.key for one in chosen(many(59))} == {one.key for one in many(59)}
    assert chosen([]) == []


def test_new_pictures_take_the_place_of_old_ones_and_bring_no_other_old_ones() -> None:
    before, after = ({one.key for one in chosen(many(count))} for count in (150, 180))
    new = {one.key for one in many(30, start=150)}
    assert after - new <= before
    assert 0 < len(after & new) < 30


def test_each_is_compared_with_the_exact_mask_of_its_own_picture() -> None:
    sizes = {index: 1000 + 100 * index for index in range(8)}
    kept = list(islice((sha for sha in shas() if verdict(sha)[0] == "accept"), 8))
    pseudos = [Pseudo(index, kept[index], str(BOX), first(size), None) for index, size in sizes.items()]
    asked: list[int] = []

    def exact(index: int) -> Array:
        asked.append(index)
        return parent_with(sizes[index])

    made = review_all(pseudos, exact)
    assert sorted(asked) == sorted(sizes)
    assert [entry.verdict for entry in made] == ["accept"] * 8
    assert [entry.key for entry in made] == sorted(one.key for one in pseudos)
    for entry in made:
        assert entry.mask_array().sum() == sizes[kept.index(entry.parent_sha256)]


def test_the_lock_holds_what_was_reviewed(tmp_path: Path) -> None:
    made = review_all(many(150), lambda _: parent_with(1000))
    write_lock(tmp_path / "lock", made)
    assert read_lock(tmp_path / "lock") == made
    counts = summarise(made)
    assert sum(counts.values()) == 60
    assert list(counts) == sorted(counts)
    assert counts["accept"] == sum(entry.verdict == "accept" for entry in made) > 40
    assert summarise([]) == {}


def test_the_judgements_lead_to_the_entries() -> None:
    """Two of a quarter of the pictures; where these differ, a third who says what the first did."""
    files = [sha256(f"file {index}".encode()).hexdigest() for index in range(200)]
    pseudos = [pseudo(first(700), sha) for sha in files]
    doubles = thirds = 0
    for one, entry in zip(pseudos, [draw_review(one, parent_with(1000)) for one in pseudos], strict=True):
        tasks = draw_judgements(one, entry)
        words = [task.opinions[0] for task in tasks]
        assert tasks == draw_judgements(one, entry) and len({word.reviewer for word in words}) == len(words)
        assert {word.said for word in words} == {entry.verdict}
        assert (words[0].reviewer, words[0].at) == (entry.reviewer, entry.reviewed_at)
        masks = [task.mask_of(word) for task, word in zip(tasks, words, strict=True)]
        if entry.mask is None:
            assert masks == [None] * len(tasks)
        else:
            assert np.array_equal(masks[0], entry.mask_array())
            assert mask_iou(masks[-1], masks[0]) >= AGREE_IOU
        doubles += len(tasks) > 1
        thirds += len(tasks) > 2
        assert [task.round for task in tasks] == [1, 1, 2][: len(tasks)]
    assert 35 < doubles < 65 and 0 < thirds < doubles


# the command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, nothing in it reviewed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path


def record(name: str, parent: Array, sha: str, box: Box) -> dict[str, Any]:
    """A pseudo record whose mask is exact."""
    path = PSEUDO / "masks" / f"{sha[:16]}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_mask(cut(parent, box, 0)))
    files = {"image": "unread.png", "mask": str(path), "sha256": sha, "parent_sha256": sha}
    origin = {"source": "crawl", "source_key": f"images/{name}", "crop_box": str(box)}
    size = {"width": box.width, "height": box.height}
    return {"id": sha[:16], "label": "pseudo", "teacher": TEACHER, **files, **origin, **size}


def drawn_record(index: int) -> dict[str, Any]:
    """A pseudo record of a picture of the drawn world of params.yaml, that reaches outside it a little."""
    drawn = draw_picture(DrawnSource(load_params().sample.seed, "crawl", index))
    height, width = drawn.mask.shape
    box = Box(3, 5, width - 10, height + 4)
    return record(crawl_name(index), drawn.mask, sha256(drawn.jpeg()).hexdigest(), box)


def holiday() -> dict[str, Any]:
    """A pseudo record of a picture that the world did not draw, so that nobody knows its mask."""
    return record("holiday.jpg", np.ones((40, 30), np.uint8), "9" * 64, Box(0, 0, 30, 40))


def test_the_command_reviews_the_drawn_pictures_and_writes_the_lock(project: Path) -> None:
    params = load_params()
    rows = [drawn_record(index) for index in (0, 1, 2, 7)]
    write_records(PSEUDO, make_records([*rows, holiday()]))
    main()
    lock = project / params.reviews.path
    found = read_lock(lock)
    assert [entry.key for entry in found] == sorted(
        review_key(row["parent_sha256"], row["crop_box"]) for row in rows
    )
    masks = {row["parent_sha256"]: read_mask(Path(row["mask"])) for row in rows}
    for entry in found:
        exact = masks[entry.parent_sha256]
        assert entry.verdict != "fix"  # no teacher is better than the exact mask
        assert entry.teacher == TEACHER
        assert (entry.height, entry.width) == exact.shape
        assert entry.mask is None or np.array_equal(entry.mask_array(), exact)
    assert summarise(found)["accept"] >= 2

    judged = read_judgements(lock)
    assert {task.key for task in judged} == {entry.key for entry in found}

    before = {path: path.read_bytes() for path in lock.rglob("*.jsonl")}
    main()
    assert {path: path.read_bytes() for path in lock.rglob("*.jsonl")} == before


def test_pseudo_labels_of_another_drawn_world_are_refused(project: Path) -> None:
    """The seed was changed after the pseudo labels were made: these are other people of the same name."""
    write_records(PSEUDO, make_records([drawn_record(0)]))
    seed = load_params().sample.seed
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace(f"\n  seed: {seed}\n", f"\n  seed: {seed + 1}\n"))
    assert load_params().sample.seed == seed + 1
    with pytest.raises(
        PipelineError, match=r"photo-00001\.jpg .* another file .* run `dvc repro pseudo_label`"
    ):
        main()
    assert not (project / load_params().reviews.path).exists()


def test_the_command_needs_drawn_pictures(project: Path) -> None:
    write_records(PSEUDO, make_records([holiday()]))
    with pytest.raises(
        PipelineError, match=r"photo-00001\.jpg .*found none; run `python -m pipeline configure"
    ):
        main()
    assert not (project / load_params().reviews.path).exists()
