"""What the reading does not know is named: no stroke is dropped, and no damage ends in a traceback."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.errors import ReviewError
from annotations.ledger.collect import collect
from annotations.ledger.exported import Review, read_export
from annotations.ledger.lock import review_key
from annotations.ledger.settle import settle
from annotations.masks.brush import fingerprint, mask_to_rle, regions_to_mask
from tests.annotations.exports import PROPOSED, export, key, moved, parent, said, task

FAR = moved(PROPOSED, 20)
# As the editor of a real Label Studio gave it: an accepted mask, and a stroke whose label it no longer knew.
UNLABELLED = json.loads(Path(__file__).with_name("unlabelled_stroke.json").read_text())


def only(*annotations: dict[str, Any], **data: Any) -> Review:
    """The one review of a task."""
    made = task(1, *annotations)
    made["data"] |= data
    (review,) = read_export(export(made)).reviews
    return review


def test_a_stroke_without_a_label_is_not_dropped():
    mask = regions_to_mask(UNLABELLED[:1], 480, 360)
    box = {
        "crop_box": "0,0,360,480",
        "key": review_key(parent(1), "0,0,360,480"),
        "width": 360,
        "height": 480,
    }
    accepted = {**said("accept"), "result": [UNLABELLED[0], UNLABELLED[2]]}
    assert only(accepted, **box, proposed=fingerprint(mask)).said == "accept"
    review = only({**accepted, "result": UNLABELLED}, **box, proposed=fingerprint(mask))
    assert review.outcome == review.said == "unclear" and review.kept is None
    assert "a stroke without a label" in review.why


def beside(**changes: Any) -> dict[str, Any]:
    """A second region like that of the accepted mask, with these changes."""
    return {**copy.deepcopy(said("accept")["result"][-1]), "id": "second", **changes}


def value(**changes: Any) -> dict[str, Any]:
    return {"value": {**said("accept", FAR)["result"][-1]["value"], **changes}}


RECTANGLE = {"type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": {"x": 1, "width": 9}}


@pytest.mark.parametrize(
    ("item", "found"),
    [
        pytest.param(RECTANGLE, '"rectanglelabels"', id="a rectangle"),
        pytest.param({**RECTANGLE, "type": "polygonlabels"}, '"polygonlabels"', id="a polygon"),
        pytest.param({**RECTANGLE, "type": "keypointlabels"}, '"keypointlabels"', id="a key point"),
        pytest.param({"type": "relation", "from_id": "a", "to_id": "b"}, '"relation"', id="a relation"),
        pytest.param({**RECTANGLE, "type": "textarea"}, '"textarea"', id="a text"),
        pytest.param(beside(**value(brushlabels=["hand"])), '["hand"]', id="another label"),
        pytest.param(beside(**value(brushlabels=["person", "hand"])), '["person", "hand"]', id="two labels"),
        pytest.param(beside(**value(brushlabels=[])), r"labels []", id="no label"),
        pytest.param(beside(**value(touches=[[1, 2]])), "touches", id="strokes of a draft"),
        pytest.param(beside(from_name="extra"), '"extra" on "image"', id="another tag"),
        pytest.param(beside(to_name="outline"), '"mask" on "outline"', id="on the outline"),
        pytest.param(beside(image_rotation=90), "rotation 90", id="a turned picture"),
        pytest.param(beside(original_width=121), "found 121x160", id="another width"),
        pytest.param(beside(original_height=None), "found 120xnull", id="no height"),
        pytest.param(beside(meta={"text": ["left hand"]}), "left hand", id="a note"),
        pytest.param(beside(parentID="mask"), 'parentID "mask"', id="a group"),
        pytest.param(beside(type=None), "type null", id="no type"),
        pytest.param(beside(type=["choices"]), 'type ["choices"]', id="a list for a type"),
        pytest.param(beside(**value(rle=None)), "found null", id="no pixels"),
        pytest.param(beside(**value(rle=5)), "found 5", id="a number for pixels"),
        pytest.param(beside(**value(rle=[0.5])), "numbers 0..255", id="floats for pixels"),
        pytest.param(beside(**value(rle=[-1])), "numbers 0..255", id="negative pixels"),
        pytest.param(beside(**value(rle=mask_to_rle(FAR)[:-9])), "ends", id="too few pixels"),
        pytest.param(beside(**value(rle=[*mask_to_rle(FAR), 0, 0])), "bits after", id="too many pixels"),
        pytest.param(beside(**value(format="png")), 'format rle, found "png"', id="another format"),
        pytest.param(beside(value=None), "value, found null", id="no value"),
        pytest.param(None, "found null among", id="null"),
        pytest.param(
            {**said("reject")["result"][0], "id": "x"}, "expected one verdict, found 2", id="two verdicts"
        ),
        pytest.param(
            said(None, None, reasons=("bad_mask",))["result"][0],
            "reasons to reject",
            id="accepted with reasons",
        ),
    ],
)
def test_what_this_review_does_not_ask_for_is_named(item: Any, found: str):
    accepted = said("accept")
    review = only({**accepted, "result": [*accepted["result"], item]})
    assert review.outcome == "unclear" and review.kept is None and found in review.why
    fixed = said("fix", FAR)
    assert only({**fixed, "result": [item, *fixed["result"]]}).outcome == "unclear"


def test_a_rejected_picture_with_strokes_of_the_wrong_kind_is_looked_at_again():
    refused = said("reject", reasons=("bad_mask",))
    assert only(refused).outcome == "reject"
    assert only({**refused, "result": [*refused["result"], RECTANGLE]}).outcome == "unclear"


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (None, "expected a list of results, found null"),
        ({}, "expected a list of results, found {}"),
        ("", 'expected a list of results, found ""'),
        ([], "expected one verdict, found 0"),
        ([said("maybe")["result"][0]], 'found the verdict "maybe"'),
        (
            [{**said("accept")["result"][0], "value": {"choices": "accept"}}],
            "expected verdict as a list of choices",
        ),
        (
            [{**said("accept")["result"][0], "value": {"choices": [1]}}],
            "expected verdict as a list of choices",
        ),
        (
            [{**said("accept")["result"][0], "value": None}],
            "expected verdict as a list of choices, found null",
        ),
        ([{**said("accept")["result"][0], "value": {"choices": ["accept", "fix"]}}], "one verdict, found 2"),
        (said("reject", reasons=("too_ugly",))["result"], 'for the reason "too_ugly"'),
    ],
)
def test_a_result_that_says_nothing_is_unclear(result: Any, found: str):
    review = only({**said("accept"), "result": result})
    assert review.outcome == "unclear" and found in review.why


def test_one_annotation_that_cannot_be_read_stops_no_other():
    broken = {**said("accept", by=2), "result": None}
    settled = settle(read_export(export(task(1, broken), task(2, said("accept")))))
    assert settled.entries.keys() == {key(2)} and settled.conflicts.keys() == {key(1)}


@pytest.mark.parametrize(
    "seconds", ["4", -1, True, [4], math.nan, math.inf, pytest.param(10**400, id="huge")]
)
def test_a_time_that_is_none_is_named_and_the_answer_counts(seconds: Any):
    reading = read_export(export(task(1, {**said("accept"), "lead_time": seconds})))
    (review,) = reading.reviews
    assert review.said == "accept" and review.seconds is None
    (note,) = reading.notes
    assert note.startswith("task 1, annotation 1: expected its time in seconds")
    (judged,) = collect([], reading, lambda subject: PROPOSED)
    assert judged.opinions[0].seconds is None


def test_a_time_that_nobody_took_is_no_fault():
    reading = read_export(export(task(1, {**said("accept"), "lead_time": None})))
    assert reading.reviews[0].seconds is None and reading.notes == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"updated_at": "yesterday"},
            'task 1, annotation 1: expected the time of its last change, found "yest',
        ),
        ({"updated_at": None, "created_at": None}, "task 1, annotation 1: expected the time .* found null"),
        ({"updated_at": "2025-01-31T12:00:00"}, "task 1, annotation 1: expected the time"),
        ({"updated_at": 1738324800}, "task 1, annotation 1: expected the time"),
        ({"updated_at": "0001-01-01T00:00:00+14:00"}, "task 1, annotation 1: expected the time"),
        ({"id": None}, "task 1 has an annotation without its number, found null"),
    ],
)
def test_an_annotation_whose_place_is_unknown_is_refused_by_name(change: dict[str, Any], message: str):
    with pytest.raises(ReviewError, match=message):
        read_export(export(task(1, {**said("accept"), **change})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": "120"}, "task 1 has other data than this review gave it .width: .*delete that task"),
        ({"width": 60}, "60x160 pixels do not fill the crop box"),
        ({"height": 10**12}, "do not fill the crop box"),
        (
            {"width": 300000, "height": 300000, "crop_box": "0,0,300000,300000"},
            "300000x300000 pixels are more than",
        ),
        ({"crop_box": "all"}, "task 1 has other data"),
        ({"key": None}, "task 1 has other data than this review gave it .key: "),
        ({"uncertainty": math.nan}, "uncertainty: "),
        ({"round": "two"}, "round: "),
        ({"seal": 5}, "seal: "),
        (
            {"seal": None},
            "task 1 has other data .*its seal is missing, .*delete that task there and push again",
        ),
        ({"seal": ""}, "its seal is missing"),
    ],
)
def test_a_task_whose_data_was_changed_is_refused_by_name(change: dict[str, Any], message: str):
    made = task(1, said("accept"))
    made["data"] |= change
    with pytest.raises(ReviewError, match=message):
        read_export(export(made))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (["parent_sha256", "crop_box"], "task 1 has other data .*parent_sha256: .*; crop_box: "),
        (["parent_sha256"], "task 1 has other data .*parent_sha256: "),
        (["key"], "task 1 has other data .*key: "),
        (["key", "version", "crop_box"], "task 1 has other data .*key: .*; crop_box: "),
        (["seal"], "task 1 has other data .*its seal is missing"),
    ],
)
def test_a_task_that_lost_fields_is_refused_by_name(lost: list[str], message: str):
    made = task(1, said("accept"))
    for name in lost:
        del made["data"][name]
    with pytest.raises(ReviewError, match=message):
        read_export(export(made))


@pytest.mark.parametrize("annotations", [None, {}, [None], ["accept"]])
def test_annotations_that_are_no_list_are_refused_by_name(annotations: Any):
    with pytest.raises(ReviewError, match="expected the annotations of task 1 as a list"):
        read_export(export({**task(1), "annotations": annotations}))


def test_tasks_of_others_are_counted():
    other = {"id": 7, "data": {"text": "x", "width": 9}, "annotations": [{"result": None}]}
    reading = read_export(export(other, task(1, said("accept")), {"id": 8, "data": None}))
    assert len(reading.reviews) == 1
    assert reading.notes == ["2 tasks are not of this review and were passed over: [7, 8]"]


def test_a_skip_takes_no_answer_away():
    skipped = said(None, by=1, number=2, minute=9, cancelled=True)
    reading = read_export(export(task(1, said("accept"), skipped)))
    assert reading.skipped == {key(1)} and settle(reading).entries.keys() == {key(1)}
    odd = {**said("accept"), "was_cancelled": "false"}
    assert "expected was_cancelled as true or false" in only(odd).why


def test_an_export_nested_without_end_is_refused():
    with pytest.raises(ReviewError, match="is no JSON"):
        read_export(b"[" * 100_000 + b"]" * 100_000)


WORDS = (
    said("accept"),
    said("fix", FAR),
    said("reject", reasons=("bad_mask", "bad_crop")),
    said("unsure", reasons=("rule_missing",)),
)
JUNK = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        2.5,
        math.nan,
        10**30,
        "",
        "person",
        "image",
        "brush",
        [],
        [None],
        {},
        {"id": None},
        ["fix"],
    ]
)


def places(found: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in an annotation; of a region's pixels the first few and the last."""
    below: list[tuple[Any, Any]] = []
    if isinstance(found, dict):
        below = list(found.items())
    elif isinstance(found, list):
        below = [pair for pair in enumerate(found) if pair[0] < 12 or pair[0] == len(found) - 1]
    return [path, *(place for name, one in below for place in places(one, (*path, name)))]


def at(found: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        found = found[name]
    return found


@settings(max_examples=100)
@given(st.data())
def test_any_damage_gives_a_review_or_a_sentence(data: st.DataObject):
    """A damaged answer never reads as another one: it says the same, to the pixel, or it is unclear."""
    whole = data.draw(st.sampled_from(WORDS))
    damaged = copy.deepcopy(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, name = data.draw(st.sampled_from(places(damaged)[1:]))
        holder = at(damaged, tuple(path))
        way = data.draw(st.sampled_from(["replace", "remove", "twice", "more"]))
        if way == "replace":
            holder[name] = copy.deepcopy(data.draw(JUNK))
        elif way == "remove":
            del holder[name]
        elif isinstance(holder, list):
            holder.insert(name, copy.deepcopy(holder[name] if way == "twice" else data.draw(JUNK)))
        else:
            holder[data.draw(st.sampled_from(["touches", "meta", "labels", "text"]))] = copy.deepcopy(
                data.draw(JUNK)
            )
    try:
        reading = read_export(export(task(1, damaged)))
        settle(reading)
        collect([], reading, lambda subject: PROPOSED)
    except ReviewError as error:
        assert "task 1" in str(error) or "the export" in str(error)
        return
    if reading.skipped:
        assert damaged["was_cancelled"] is True
        return
    (review,), (right,) = reading.reviews, read_export(export(task(1, whole))).reviews
    if review.outcome == "unclear":
        assert review.why
        return
    if regions(damaged) == regions(whole):
        assert (review.said, review.kept) == (right.said, right.kept)
    else:  # its strokes are whole ones, and other ones than before
        assert review.said in (right.said, "fix")
        assert review.said != "accept" or np.array_equal(review.mask, PROPOSED)


def regions(annotation: dict[str, Any]) -> str:
    return json.dumps([one for one in annotation["result"] if one["type"] == "brushlabels"])


def test_the_fuzzed_words_are_themselves_clear():
    for word in WORDS:
        assert only(word).why == ""
    assert np.array_equal(only(WORDS[1]).mask, FAR)


def with_region(annotation: dict[str, Any], number: int, origin: str) -> dict[str, Any]:
    """The annotation with its mask as the editor leaves the proposed region."""
    mine = {"id": f"mask-{key(number)}", "origin": origin}
    result = [{**one, **mine} if one["type"] == "brushlabels" else one for one in annotation["result"]]
    return {**annotation, "result": result}


def test_the_point_of_a_click_that_nobody_answered_changes_nothing():
    point = {
        "id": "p",
        "type": "keypoint",
        "from_name": "click",
        "to_name": "image",
        "value": {"x": 1, "y": 2},
    }
    plain = said("accept")
    stray = {**plain, "result": [point, *plain["result"]]}
    (one,), (other,) = (read_export(export(task(1, answer))).reviews for answer in (plain, stray))
    assert other.said == "accept" and np.array_equal(one.mask, other.mask)
    others = {**plain, "result": [{**point, "from_name": "spot"}, *plain["result"]]}
    (third,) = read_export(export(task(1, others))).reviews
    assert third.said == "unclear" and "keypoint" in third.why


@pytest.mark.parametrize(
    ("verdict", "pixels", "origin", "clicks"),
    [
        ("fix", 9, "manual", True),
        ("fix", 9, "prediction-changed", False),
        ("accept", 0, "manual", False),  # taken back
        ("accept", 0, "prediction", False),
    ],
)
def test_a_mask_that_clicks_repaired_is_told_from_one_that_was_drawn(
    verdict: str, pixels: int, origin: str, clicks: bool
):
    answer = with_region(said(verdict, moved(PROPOSED, pixels)), 1, origin)
    (review,) = read_export(export(task(1, answer))).reviews
    assert review.clicks is clicks
    drawn = said("fix", moved(PROPOSED, 9))
    drawn["result"][-1]["origin"] = "manual"  # in a region of its own
    assert not read_export(export(task(1, drawn))).reviews[0].clicks
