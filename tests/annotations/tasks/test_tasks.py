"""Tasks for Label Studio: the mask in, the mask out, pictures that show its edge, files of limited size."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter import brush as sdk

from annotations.masks.brush import fingerprint, regions_to_mask
from annotations.tasks.task import (
    MODEL_VERSION,
    Proposal,
    TaskPictures,
    build_task,
    cutout,
    encode_jpeg,
    outline_view,
    task_batches,
    task_text,
    task_version,
    with_score,
    without_score,
)
from sinet.images.decode import decode_image
from tests.annotations.drawn import TEACHER, person

CANDIDATE = Proposal("ab" * 8, "cd" * 32, "0,0,120,160", "ef" * 8, TEACHER, 0.42, "pieces border", 0.125)
PICTURES = TaskPictures("/i.jpg", "/o.jpg", "/c.jpg", "/g.txt?a=1&b=2")


def test_a_task_holds_the_mask_and_what_a_review_is_found_by():
    _, mask = person(1)
    task = build_task(CANDIDATE, mask, PICTURES, "v" * 16)
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.125 and prediction["model_version"] == MODEL_VERSION
    assert np.array_equal(regions_to_mask(prediction["result"], 160, 120), mask)
    rle = prediction["result"][0]["value"]["rle"]
    assert set(np.unique(sdk.decode_rle(rle))) == {0, 255}  # 0/1 would be invisible
    data = task["data"]
    expected = {
        "key": "ab" * 8,
        "parent_sha256": "cd" * 32,
        "crop_box": "0,0,120,160",
        "width": 120,
        "height": 160,
    }
    assert {**data, **expected} == data
    assert data["uncertainty"] == 0.42 and data["flags"] == "pieces border" and data["version"] == "v" * 16
    assert data["about"] == "doubt 0.42 · pieces, border"  # plain: the list of tasks shows it as it is
    assert data["proposed"] == fingerprint(mask)
    json.dumps(task, allow_nan=False)


def test_an_empty_mask_proposes_no_region():
    task = build_task(CANDIDATE, np.zeros((160, 120), np.uint8), PICTURES, "v")
    assert task["predictions"][0]["result"] == []


def test_the_outline_lies_outside_of_the_mask_and_changes_nothing_else():
    image, mask = person(2)
    drawn = outline_view(image, mask)
    changed = (drawn != image).any(axis=2)
    assert changed.any() and not changed[mask > 0].any()
    far = np.argwhere(changed)
    inside = np.argwhere(mask)
    nearest = np.array([np.abs(inside - place).max(axis=1).min() for place in far[::5]])
    assert nearest.max() <= 3
    assert {tuple(colour) for colour in drawn[changed]} == {(255, 255, 255), (230, 0, 126)}
    assert np.array_equal(outline_view(image, np.zeros_like(mask)), image)
    assert np.array_equal(outline_view(image, np.ones_like(mask)), image)


def test_the_cutout_is_the_person_on_a_ground_they_do_not_wear():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:20] = 1
    for colour, ground in [((200, 150, 120), (0, 177, 64)), ((20, 180, 70), (230, 0, 200))]:
        image = np.full((20, 30, 3), colour, np.uint8)
        shown = cutout(image, mask)
        assert {tuple(pixel) for pixel in shown[mask > 0]} == {colour}
        assert {tuple(pixel) for pixel in shown[mask == 0]} == {ground}
    assert cutout(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)).max() == 177


def test_jpeg_is_for_the_eye_and_always_the_same():
    image, _ = person(3)
    data = encode_jpeg(image)
    assert data == encode_jpeg(image.copy())
    assert np.abs(decode_image(data).astype(int) - image).mean() < 5


@pytest.mark.parametrize(
    ("change", "config"),
    [
        ({"teacher": "1" * 16}, "<View/>"),
        ({"id": "0" * 16}, "<View/>"),
        ({"key": "0" * 16}, "<View/>"),
        ({}, "<View />"),
    ],
)
def test_the_version_changes_with_picture_teacher_and_config(change: dict[str, str], config: str):
    _, mask = person(4)
    version = task_version(CANDIDATE, mask, "<View/>")
    assert len(version) == 16
    assert task_version(replace(CANDIDATE, **change), mask, config) != version


def test_the_version_changes_with_the_mask_but_not_with_rank_or_doubt():
    _, mask = person(4)
    version = task_version(CANDIDATE, mask, "<View/>")
    other = mask.copy()
    other[0, 0] ^= 1
    assert task_version(CANDIDATE, other, "<View/>") != version
    assert task_version(replace(CANDIDATE, score=0.9, uncertainty=0.1, flags=""), mask, "<View/>") == version


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 10), st.integers(150, 800))
def test_batches_hold_every_task_once_in_order_within_both_limits(lengths: list[int], most: int, size: int):
    tasks = [{"n": number, "text": "x" * length} for number, length in enumerate(lengths)]
    files = list(task_batches(tasks, max_tasks=most, max_bytes=size))
    parsed = [json.loads(content) for content in files]
    assert [task for part in parsed for task in part] == tasks
    for content, part in zip(files, parsed, strict=True):
        assert 1 <= len(part) <= most
        assert len(content) <= size or len(part) == 1


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.text() | st.just("score"), st.text() | st.just('"score":0.5}]}')),
    st.lists(st.text() | st.integers() | st.dictionaries(st.text(), st.floats(0, 1))),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
def test_a_task_with_another_score_is_the_text_of_that_task(
    data: dict[str, str], result: list[object], before: float, now: float
) -> None:
    """Whatever a task says: also where it says what looks like its end."""

    def task(score: float) -> dict[str, Any]:
        return {"data": data, "predictions": [{"model_version": "m", "result": result, "score": score}]}

    plain = json.dumps(task(now), sort_keys=True, separators=(",", ":"))
    assert with_score(without_score(task(before)), now) == task_text(task(now)) == plain


@pytest.mark.parametrize(
    "task",
    [
        {"data": {}, "predictions": [{"score": 0.5, "version": "m"}]},
        {"data": {}, "predictions": [{"score": 0.5}], "z": 1},
        {"data": {}, "predictions": [{"score": [0.5, {"score": 0.5}]}]},
    ],
)
def test_a_task_whose_score_is_not_its_last_value_is_refused(task: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected the score as the last value of a task, found"):
        without_score(task)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_no_score_is_written_that_json_does_not_know(score: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        with_score(without_score({"data": {}, "predictions": [{"score": 0.5}]}), score)


def test_a_number_that_json_does_not_know_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(task_batches([{"score": float("nan")}]))


def test_every_purpose_and_shape_of_a_mask_has_a_version_of_its_own():
    """Of one picture: what a sender takes for the same task is not sent."""
    high, wide = np.zeros((8, 16), np.uint8), np.zeros((16, 8), np.uint8)
    purposes = ("review", "second", "gold", "scratch", "student")
    versions = {
        task_version(CANDIDATE, mask, "<View/>", purpose) for mask in (high, wide) for purpose in purposes
    }
    assert len(versions) == 10


def test_a_task_names_what_is_asked_and_a_teacher_only_where_it_proposed_the_mask():
    _, mask = person(1)
    made = {
        purpose: build_task(CANDIDATE, mask, PICTURES, "v", purpose)["data"]
        for purpose in ("review", "scratch", "student")
    }
    assert [data["teacher"] for data in made.values()] == [TEACHER, "", TEACHER]
    assert "no mask is proposed" in made["scratch"]["about"] and "second look" in made["student"]["about"]
    assert len({data["about"] for data in made.values()}) == 3
