"""Reviews become records: the locked box, the locked mask, and a reason for each review without a picture."""

from pathlib import Path

import numpy as np
import pytest

from annotations.ledger.lock import LockEntry, review_key, write_lock
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.folder import PictureFolder
from pipeline.core.records import Rejected, make_records
from pipeline.core.store import Store
from pipeline.faces.portrait import cut
from pipeline.review.judged import judged_keys, read_locked_reviews, review_of, reviews_by_picture
from pipeline.review.reviewed import Reviewed, check_orphans, cut_reviewed
from sinet.images.decode import pixel_id, read_image, read_mask
from tests.pipeline import dataset_inputs as inputs

FILL = 128


@pytest.fixture
def crawl(tmp_path: Path) -> list[dict[str, object]]:
    return inputs.crawl(tmp_path / "crawl", 4)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are cut in this process; starting one for each of several runs would take seconds."""
    monkeypatch.setattr(
        "pipeline.review.reviewed.map_images", lambda function, items, **_: map(function, items)
    )


def cut_all(tmp_path: Path, entries: list[LockEntry], crawl: list[dict[str, object]]) -> Reviewed:
    store = Store("merge", tmp_path / "cache")
    out = PictureFolder(tmp_path / "cut", tmp_path / "cache")
    return cut_reviewed(entries, make_records(crawl), out, FILL, store, workers=1)


@pytest.mark.parametrize("box", ["10,5,70,85", "-8,-20,60,100", "40,60,130,150", "0,0,96,120"])
def test_the_picture_is_cut_by_the_locked_box_and_gets_the_locked_mask(
    tmp_path: Path, crawl: list[dict[str, object]], box: str
) -> None:
    mask = np.random.default_rng(4).integers(0, 2, (Box.parse(box).height, Box.parse(box).width), np.uint8)
    crawl[1] |= {"url": "https://example.org/1", "licence": "CC BY-NC 4.0", "retrieved_at": "2025-01-30"}
    entry = inputs.review(crawl[1], box, "accept", mask)
    result = cut_all(tmp_path, [entry], crawl)

    row = result.records.iloc[0]
    expected = cut(inputs.portrait(5001)[0], Box.parse(box), FILL)
    assert np.array_equal(read_image(Path(row["image"])), expected)
    assert np.array_equal(read_mask(Path(row["mask"])), mask)
    assert (row["id"], row["width"], row["height"]) == (
        pixel_id(expected),
        expected.shape[1],
        expected.shape[0],
    )
    assert (row["parent_id"], row["parent_sha256"]) == (crawl[1]["id"], crawl[1]["sha256"])
    assert (row["label"], row["review"], row["crop_box"]) == ("reviewed", "accept", box)
    assert (row["source"], row["source_key"], row["author"]) == ("crawl", "1.jpg", "someone")
    known = {"url": "https://example.org/1", "licence": "CC BY-NC 4.0", "retrieved_at": "2025-01-30"}
    assert dict(row[list(known)]) == known  # without its licence, nobody could attribute it
    assert row["teacher"] == entry.teacher
    assert result.rejected == []


def test_a_review_of_a_file_that_gave_way_to_a_twin_is_one_of_the_twin(
    tmp_path: Path, crawl: list[dict[str, object]]
) -> None:
    """A copy that comes first by name makes the reviewed file `duplicate_pixels`; its review must not be lost."""
    box, mask = "10,5,70,85", np.ones((80, 60), np.uint8)
    entry = inputs.review(crawl[1], box, "accept", mask)
    crawl[1] = {
        **crawl[1],
        "sha256": "a" * 64,
        "source_key": "a-copy.png",
        "twins": f"{'b' * 64} {entry.parent_sha256}",
    }
    result = cut_all(tmp_path, [entry], crawl)
    assert result.rejected == []
    assert result.records[["source_key", "parent_id"]].values.tolist() == [["a-copy.png", crawl[1]["id"]]]
    assert result.records[["sha256", "parent_sha256"]].values.tolist() == [[entry.parent_sha256] * 2]
    assert reviews_by_picture([entry], make_records(crawl)) == {"a" * 64: [entry]}


def test_a_review_of_a_box_that_moved_a_little_still_judges_the_crop(crawl: list[dict[str, object]]) -> None:
    """As stage merge decides, so that nobody is asked again for what the dataset already holds."""
    entry = inputs.review(crawl[0], "10,5,70,85", "reject", None)
    crops = [
        {
            **crawl[at],
            "id": f"{at:016x}",
            "parent_sha256": crawl[at]["sha256"],
            "crop_box": box,
            "label": "pseudo",
        }
        for at, box in ((0, "11,5,71,84"), (1, "10,5,70,85"), (2, "40,40,96,120"))
    ]
    reviews = reviews_by_picture([entry], make_records(crawl))
    assert judged_keys(make_records(crops), reviews, 0.8) == {
        review_key(str(crawl[0]["sha256"]), "11,5,71,84")
    }


def test_of_several_reviews_of_a_picture_the_one_of_the_nearest_box_judges(
    crawl: list[dict[str, object]],
) -> None:
    boxes = ("0,0,40,40", "10,5,70,85", "14,5,74,85", "40,40,96,120")
    entries = [inputs.review(crawl[0], box, "reject", None) for box in boxes]
    crop = make_records(
        [{**crawl[0], "parent_sha256": crawl[0]["sha256"], "crop_box": "11,5,71,85", "label": "pseudo"}]
    ).iloc[0]
    for order in (entries, entries[::-1]):
        assert review_of(crop, order, 0.8) == entries[1]
        assert review_of(crop, order, 0.99) is None
    same = inputs.review(crawl[0], "11,5,71,85", "unsure", None)
    assert review_of(crop, [*entries, same], 1.0) == same  # exactly the stated overlap is enough


def test_of_two_equally_near_reviews_the_order_of_the_lock_decides_nothing(
    crawl: list[dict[str, object]],
) -> None:
    """Two files of the same pixels, judged with the same box: one of the two speaks for both."""
    box = "10,5,70,85"
    reject, unsure = (
        inputs.review(crawl[at], box, verdict, None) for at, verdict in ((0, "reject"), (1, "unsure"))
    )
    crop = make_records(
        [{**crawl[0], "parent_sha256": crawl[0]["sha256"], "crop_box": box, "label": "pseudo"}]
    ).iloc[0]
    speaks = max((reject, unsure), key=lambda one: one.key)
    assert review_of(crop, [reject, unsure], 0.8) == review_of(crop, [unsure, reject], 0.8) == speaks


def test_reviews_without_a_picture_have_a_reason(tmp_path: Path, crawl: list[dict[str, object]]) -> None:
    box, mask = "0,0,20,30", np.ones((30, 20), np.uint8)
    gone = {"sha256": "e" * 64}
    entries = [
        inputs.review(crawl[0], box, "fix", mask),
        inputs.review(crawl[0], "1,1,21,31", "reject", None),
        inputs.review(crawl[2], box, "unsure", None),
        inputs.review(crawl[3], box, "accept", mask * 0),
        inputs.review(gone, box, "accept", mask),
        inputs.review(gone, "3,3,9,9", "reject", None),
    ]
    result = cut_all(tmp_path, entries, crawl)
    keys = {entry.key: (entry.parent_sha256, entry.verdict) for entry in entries}
    reasons = {keys[one.source_key]: one.reason for one in result.rejected}
    assert reasons == {
        (crawl[0]["sha256"], "reject"): "review_reject",
        (crawl[2]["sha256"], "unsure"): "review_unsure",
        (crawl[3]["sha256"], "accept"): "empty_mask",
        ("e" * 64, "accept"): "orphaned",
        ("e" * 64, "reject"): "review_reject",
    }
    assert len(result.records) == 1
    assert {one.source for one in result.rejected} == {"reviews"}

    check_orphans(result.rejected, 1)
    with pytest.raises(PipelineError) as error:
        check_orphans(result.rejected, 0)
    orphan = next(one.source_key for one in result.rejected if one.reason == "orphaned")
    assert f"at most 0 reviews without their picture (merge.max_orphaned_reviews), found 1: {orphan}" in str(
        error.value
    )
    assert "set reviews.path" in str(error.value)


@pytest.mark.parametrize(("lost", "more"), [(5, ""), (6, ", ...")])
def test_of_many_reviews_without_their_picture_five_are_named(lost: int, more: str) -> None:
    rejected = [Rejected("reviews", f"key-{n}", "orphaned", "gone") for n in range(lost)]
    with pytest.raises(PipelineError) as error:
        check_orphans(rejected, 0)
    assert f"found {lost}: key-0, key-1, key-2, key-3, key-4{more}. Bring the pictures" in str(error.value)


def test_a_mask_of_another_size_than_its_box_names_the_entry(
    tmp_path: Path, crawl: list[dict[str, object]]
) -> None:
    whole = inputs.review(crawl[0], "0,0,20,30", "accept", np.ones((30, 20), np.uint8))
    wrong = inputs.review(crawl[0], "0,0,20,40", "accept", np.ones((40, 20), np.uint8))
    entry = whole.model_copy(update={"crop_box": wrong.crop_box})
    with pytest.raises(PipelineError, match=f"review {entry.key}: expected a mask of 20x40 .* found 20x30"):
        cut_all(tmp_path, [entry], crawl)
    lying = whole.model_copy(update={"crop_box": "0,0,30,20"})  # as many pixels
    with pytest.raises(PipelineError, match=f"review {entry.key}: expected a mask of 30x20 .* found 20x30"):
        cut_all(tmp_path, [lying], crawl)


def test_equal_crops_of_two_reviews_are_one_record(tmp_path: Path) -> None:
    image, _ = inputs.portrait(9)
    mask = np.ones((30, 20), np.uint8)
    first = inputs.record(tmp_path / "a", image, None, source="crawl", source_key="a.jpg")
    bordered = np.pad(image, ((2, 0), (3, 0), (0, 0)))
    second = inputs.record(tmp_path / "b", bordered, None, source="crawl", source_key="b.jpg")
    entries = [
        inputs.review(first, "0,0,20,30", "accept", mask),
        inputs.review(second, "3,2,23,32", "fix", mask),
    ]
    result = cut_all(tmp_path, entries, [first, second])
    assert len(result.records) == 1
    assert [one.reason for one in result.rejected] == ["duplicate_pixels"]
    kept, left = sorted(entry.key for entry in entries)
    assert result.rejected[0].source_key == left and kept in result.rejected[0].detail
    of_kept = next(entry for entry in entries if entry.key == kept)
    assert result.records.at[0, "review"] == of_kept.verdict
    assert Path(result.records.at[0, "image"]).stem == result.records.at[0, "id"]
    again = cut_all(tmp_path, entries[::-1], [first, second])  # the order of the lock decides nothing
    assert again.records.equals(result.records) and again.rejected == result.rejected


def test_cutting_again_takes_the_stored_result_and_gives_the_same_bytes(
    tmp_path: Path, crawl: list[dict[str, object]]
) -> None:
    entry = inputs.review(crawl[0], "5,5,65,85", "accept", inputs.portrait(1, (60, 80))[1])
    cut_all(tmp_path, [entry], crawl)
    before = {path: path.read_bytes() for path in (tmp_path / "cut").glob("*/*")}
    assert len(before) == 2
    written = {path: path.stat().st_mtime_ns for path in before}
    Path(str(crawl[0]["image"])).unlink()  # nobody opens it again
    cut_all(tmp_path, [entry], crawl)
    assert {path: path.read_bytes() for path in (tmp_path / "cut").glob("*/*")} == before
    assert {path: path.stat().st_mtime_ns for path in before} == written, "and nobody writes it again"


def test_a_corrected_review_has_its_new_mask_though_the_old_one_is_in_the_cache(
    tmp_path: Path, crawl: list[dict[str, object]], here: None
) -> None:
    """The same picture and box, judged again: what was cut before must not stand for what people say today."""
    first, second = np.zeros((80, 60), np.uint8), np.zeros((80, 60), np.uint8)
    first[10:50, 10:50], second[20:70, 5:55] = 1, 1
    for verdict, mask in (("accept", first), ("fix", second), ("fix", first)):
        result = cut_all(tmp_path, [inputs.review(crawl[0], "5,5,65,85", verdict, mask)], crawl)
        row = result.records.iloc[0]
        assert row["review"] == verdict
        assert np.array_equal(read_mask(Path(row["mask"])), mask)


@pytest.mark.parametrize("changed", ["box", "picture", "fill"])
def test_a_review_of_another_box_picture_or_fill_is_cut_anew(
    tmp_path: Path, crawl: list[dict[str, object]], here: None, changed: str
) -> None:
    """Each with the mask of the one before, so that only the picture can tell them apart."""
    mask, store = np.ones((80, 60), np.uint8), Store("merge", tmp_path / "cache")
    entries = [inputs.review(crawl[0], "-5,5,55,85", "accept", mask)] * 2
    fills = [FILL, 0 if changed == "fill" else FILL]
    if changed != "fill":
        at, box = (1, "-5,5,55,85") if changed == "picture" else (0, "-6,5,54,85")
        entries[1] = inputs.review(crawl[at], box, "accept", mask)
    for entry, fill in zip(entries, fills, strict=True):
        out = PictureFolder(tmp_path / "cut", tmp_path / "cache")
        found = cut_reviewed([entry], make_records(crawl), out, fill, store, workers=1).records
        seed = 5001 if entry.parent_sha256 == crawl[1]["sha256"] else 5000
        expected = cut(inputs.portrait(seed)[0], Box.parse(entry.crop_box), fill)
        assert np.array_equal(read_image(Path(found.at[0, "image"])), expected)
        assert found.at[0, "id"] == pixel_id(expected)


def test_a_damaged_or_missing_lock_is_a_sentence(tmp_path: Path, crawl: list[dict[str, object]]) -> None:
    with pytest.raises(PipelineError, match="the reviews cannot be read: expected a folder of reviews"):
        read_locked_reviews(tmp_path / "nowhere")
    entry = inputs.review(crawl[0], "0,0,20,30", "reject", None)
    write_lock(tmp_path / "lock", [entry])
    assert read_locked_reviews(tmp_path / "lock") == [entry]
    shard = next((tmp_path / "lock").iterdir())
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(PipelineError, match=f"{shard.name}, line 1"):
        read_locked_reviews(tmp_path / "lock")
