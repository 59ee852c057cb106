"""The review queue: doubtful first, an unbiased random slice between, stable when pictures are added."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.ledger.lock import LockEntry, review_key, write_lock
from annotations.quality.random_slice import in_random_slice
from pipeline.core.errors import PipelineError
from pipeline.core.params import QueueParams
from pipeline.core.records import make_records, write_records
from pipeline.dataset.cluster_table import write_clusters
from pipeline.queue import rank, summarise
from pipeline.review.mix import mix
from tests.pipeline.dataset_inputs import write_source

BOX = "0,0,60,80"
NO_DATASET = make_records([])


def identity(number: int) -> str:
    return hashlib.sha256(f"picture {number}".encode()).hexdigest()[:16]


def parent(number: int) -> str:
    return hashlib.sha256(f"file {number}".encode()).hexdigest()


def pseudo(uncertainties: list[float], **changes: object) -> pd.DataFrame:
    rows = [
        {
            "id": identity(number),
            "source": "crawl",
            "source_key": f"{number}.jpg",
            "parent_id": identity(-number - 1),
            "parent_sha256": parent(number),
            "crop_box": BOX,
            "label": "pseudo",
            "image": f"data/pseudo/images/{identity(number)}.png",
            "mask": f"data/pseudo/masks/{identity(number)}.png",
            "width": 60,
            "height": 80,
            "sha256": parent(number),
            "teacher": "0" * 16,
            "uncertainty": uncertainty,
            "flags": "pieces" if number % 2 else "",
            **changes,
        }
        for number, uncertainty in enumerate(uncertainties)
    ]
    return make_records(rows)


def only(size: int, random_share: float, **shares: float) -> QueueParams:
    """A queue without second, gold and unmasked tasks, but for the `shares` given."""
    none = {"double_share": 0.0, "gold_share": 0.0, "from_scratch_share": 0.0}
    return QueueParams(size=size, random_share=random_share, **{**none, **shares})


def scattered(count: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(0).random(count)]


def test_most_doubtful_first_and_lowest_score_first():
    queue = rank(pseudo([0.1, 0.9, 0.5, 0.9]), set(), only(10, 0))
    tied = sorted([identity(1), identity(3)])
    assert list(queue["id"]) == [*tied, identity(2), identity(0)]
    assert list(queue["rank"]) == [1, 2, 3, 4]
    assert list(queue["score"]) == [0.25, 0.5, 0.75, 1.0]
    assert set(queue["reason"]) == {"uncertain"}
    assert queue["key"][2] == review_key(parent(2), BOX)


def test_reviewed_ones_are_left_out_and_counted():
    records, reviewed = pseudo([0.1, 0.9, 0.5]), {review_key(parent(1), BOX), "f" * 16}
    params = only(1, 0)
    queue = rank(records, reviewed, params)
    assert list(queue["id"]) == [identity(2)]
    counts = summarise(records, reviewed, mix(queue, NO_DATASET, params))
    expected = {"pseudo": 3, "reviewed": 1, "queued": 1, "left_out": 1, "uncertain": 1, "random": 0}
    assert {**counts, **expected} == counts
    assert counts["mean_uncertainty"] == 0.5 and counts["flagged"] == 0


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_every_front_part_holds_its_share_of_random_ones(share: float):
    queue = rank(pseudo(scattered(1000)), set(), only(1000, share))
    random = (queue["reason"] == "random").to_numpy().cumsum()
    chosen = random[-1]
    assert chosen == pytest.approx(1000 * share, rel=0.2)
    for place in range(1, 1001):
        assert random[place - 1] <= max(int(place * share), chosen - (1000 - place))
        assert random[place - 1] >= min(int(place * share), chosen)


def test_the_slice_is_the_one_that_the_gain_of_reviews_is_estimated_from():
    records = pseudo(scattered(300))
    queue = rank(records, set(), only(300, 0.2))
    expected = {one for one in records["id"] if in_random_slice(one, 0.2)}
    assert set(queue.loc[queue["reason"] == "random", "id"]) == expected


def test_the_slice_is_a_fair_sample_of_all():
    records = pseudo(scattered(3000))
    queue = rank(records, set(), only(600, 0.2))
    random = queue.loc[queue["reason"] == "random", "uncertainty"]
    assert len(random) == 120
    assert random.mean() == pytest.approx(records["uncertainty"].mean(), abs=3 * 0.29 / 120**0.5)
    assert queue.loc[queue["reason"] == "uncertain", "uncertainty"].min() > 0.75


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.sampled_from([0.0, 0.1, 0.3, 1.0]))
def test_new_pictures_do_not_reshuffle(old: int, new: int, share: float):
    params = only(1000, share)
    uncertainties = scattered(old + new)
    before = rank(pseudo(uncertainties[:old]), set(), params)
    after = rank(pseudo(uncertainties), set(), params)
    assert sorted(after["id"]) == sorted(identity(number) for number in range(old + new))
    for reason in ("random", "uncertain"):
        was = list(before.loc[before["reason"] == reason, "id"])
        now = [one for one in after.loc[after["reason"] == reason, "id"] if one in set(before["id"])]
        assert now == was


def test_order_of_the_records_does_not_matter():
    records, params = pseudo(scattered(50)), only(40, 0.2)
    mixed = records.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(rank(records, set(), params), rank(mixed, set(), params))
    # Also where many are equally doubtful, apart or of one scene.
    equal, scene = pseudo([0.5] * 60), {identity(number): "scene" for number in range(40)}
    halves = pseudo([0.5, 0.25] * 30)
    expected = halves.sort_values("id").sort_values("uncertainty", ascending=False, kind="stable")["id"]
    assert list(rank(halves.iloc[::-1], set(), only(60, 0))["id"]) == list(expected)
    mixed = equal.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(rank(equal, set(), params, scene), rank(mixed, set(), params, scene))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_to_review_is_an_empty_queue(share: float):
    records, params = pseudo([0.5]), only(9, share)
    reviewed = {review_key(parent(0), BOX)}
    queue = rank(records, reviewed, params)
    assert queue.empty and list(queue.columns)[:3] == ["rank", "id", "key"]
    assert summarise(records, reviewed, mix(queue, NO_DATASET, params))["mean_uncertainty"] == 0.0
    assert rank(records.iloc[:0], set(), params).empty


@pytest.mark.parametrize("missing", ["parent_sha256", "crop_box", "uncertainty"])
def test_a_pseudo_label_that_cannot_be_found_again_is_an_error(missing: str):
    records = pseudo([0.5, 0.6], **{missing: None})
    with pytest.raises(
        PipelineError, match=r"expected parent_sha256, .* found 2 without .*dvc repro --force"
    ):
        rank(records, set(), only(9, 0))


def test_look_alikes_share_a_slot():
    records = pseudo([0.9, 0.8, 0.5, 0.3])
    scene = {identity(0): "scene", identity(1): "scene"}
    queue = rank(records, set(), only(10, 0), scene)
    assert list(queue["id"]) == [identity(0), identity(2), identity(1), identity(3)]
    assert list(queue["priority"]) == [0.9, 0.5, 0.4, 0.3]
    judged = rank(records, {review_key(parent(0), BOX)}, only(10, 0), scene)
    assert list(judged["id"]) == [identity(2), identity(1), identity(3)]  # the scene has had its slot
    # Also where the judged one was the less doubtful of the two.
    judged = rank(records, {review_key(parent(1), BOX)}, only(10, 0), scene)
    assert list(judged["id"]) == [identity(2), identity(0), identity(3)]
    assert list(judged["priority"]) == [0.5, 0.45, 0.3]


def photographs(numbers: Sequence[int]) -> pd.DataFrame:
    """The crawl's records that the pseudo labels of these numbers were cut from."""
    rows = [
        {
            "id": identity(-number - 1),
            "source": "crawl",
            "source_key": f"{number}.jpg",
            "image": f"data/ingest/crawl/images/{number}.png",
            "width": 64,
            "height": 80,
            "sha256": parent(number),
        }
        for number in numbers
    ]
    return make_records(rows)


def run_stage(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.queue"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_stage_writes_the_queue_and_says_where_the_lock_is_missing(tmp_path: Path, root: Path):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["queue"] = only(5, 0.5, gold_share=0.2).model_dump()
    params["reviews"] = {"path": "reviews"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    records = pseudo(scattered(6))
    write_records(tmp_path / "data/pseudo", records)
    scenes = ((1, 4, 5), (2, 3))  # of the pictures that look alike
    found = {one: one for one in records["id"]}
    found |= {identity(one): identity(scene[0]) for scene in scenes for one in scene}
    write_clusters(tmp_path / "data/cluster/crawl.csv", found)
    write_records(tmp_path / "data/dataset", photographs((200,)).assign(label="human", side="dev"))
    crawl = photographs((0, 2, 3))
    crawl.loc[crawl["sha256"] == parent(0), "twins"] = parent(100)
    write_source(tmp_path / "data/ingest/crawl/web", crawl)
    write_records(tmp_path / "data/split/crawl", photographs(range(6)).assign(side="train"))

    done = run_stage(tmp_path)
    assert done.returncode == 1
    assert (
        "queue: the reviews cannot be read: expected a folder of reviews at reviews, found none"
        in done.stderr
    )

    mask = np.ones((80, 60), np.uint8)
    review = LockEntry.of(
        parent_sha256=parent(100),  # a file of the pixels of the first picture
        crop_box="1,0,61,80",  # which a detector has since moved by a pixel
        shape=mask.shape,
        verdict="accept",
        mask=mask,
        reasons=[],
        reviewer="curator-1",
        reviewed_at="2025-01-31T12:00:00+00:00",
        teacher=None,
    )
    write_lock(tmp_path / "reviews", [review])
    contents = []
    for _ in range(2):
        done = run_stage(tmp_path)
        assert done.returncode == 0, done.stderr
        contents.append((tmp_path / "data/queue/queue.csv").read_bytes())
        (tmp_path / "data/queue/left-by-a-kill.tmp").write_text("")
    assert contents[0] == contents[1]
    queue = pd.read_csv(tmp_path / "data/queue/queue.csv", dtype={"id": str})
    shared = dict(zip(queue["id"], queue["priority"], strict=True))
    assert len(queue) == 6 and identity(0) not in set(queue["id"])
    assert list(queue.loc[queue["purpose"] == "gold", "id"]) == [identity(-201)]
    for scene in scenes:
        alike = records[records["id"].isin(map(identity, scene))].sort_values("uncertainty", ascending=False)
        expected = alike["uncertainty"].to_numpy() / np.arange(1, len(alike) + 1)
        assert [shared[one] for one in alike["id"]] == pytest.approx(expected.tolist(), abs=1e-6)
    metrics = yaml.safe_load((tmp_path / "metrics/queue.json").read_text())
    assert (metrics["pseudo"], metrics["reviewed"], metrics["queued"], metrics["left_out"]) == (6, 1, 5, 0)
    # Nobody is asked about what stage split left out.
    write_records(tmp_path / "data/split/crawl", photographs((0, 1, 3, 5)).assign(side="train"))
    assert run_stage(tmp_path).returncode == 0
    queue = pd.read_csv(tmp_path / "data/queue/queue.csv", dtype={"id": str})
    assert set(queue.loc[queue["purpose"] != "gold", "id"]) == set(map(identity, (1, 3, 5)))
    metrics = yaml.safe_load((tmp_path / "metrics/queue.json").read_text())
    assert (metrics["pseudo"], metrics["without_side"], metrics["queued"]) == (4, 2, 3)
