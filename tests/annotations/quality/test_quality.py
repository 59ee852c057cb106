"""The figures of a review, with reviewers whose habits are known: the report must find them."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from annotations.masks.overlap import mask_iou
from annotations.quality.reviewers import (
    NOT_MEASURED,
    Judgement,
    bias_map,
    bias_maps,
    by_reviewer,
    deciles,
    double,
    minutes_saved,
    summarise,
)
from sinet.images.decode import Array
from tests.annotations.drawn import person

Reviewer = Callable[[Array, Array, np.random.Generator], tuple[str, Array | None]]


def grown(mask: Array, pixels: int) -> Array:
    return cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8))


def careful(truth: Array, proposed: Array, rng: np.random.Generator) -> tuple[str, Array | None]:
    """Accepts what is nearly right, draws everything else exactly."""
    return ("accept", proposed) if mask_iou(truth, proposed) >= 0.97 else ("fix", truth)


def generous(truth: Array, proposed: Array, rng: np.random.Generator) -> tuple[str, Array | None]:
    """Draws three pixels too far, everywhere."""
    return "fix", grown(truth, 3)


def lazy(truth: Array, proposed: Array, rng: np.random.Generator) -> tuple[str, Array | None]:
    """Accepts whatever is there."""
    return "accept", proposed


def noisy(truth: Array, proposed: Array, rng: np.random.Generator) -> tuple[str, Array | None]:
    """Says anything; where a mask is kept, its edge is ragged but neither too far out nor too far in."""
    said = str(rng.choice(["fix", "reject", "unsure"], p=[0.6, 0.3, 0.1]))
    noise = cv2.GaussianBlur(rng.normal(size=truth.shape).astype(np.float32), (0, 0), 2)
    soft = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 4)
    return said, (soft + 1.5 * noise > 0.5).astype(np.uint8) if said == "fix" else None


REVIEWERS: dict[str, Reviewer] = {"careful": careful, "generous": generous, "lazy": lazy, "noisy": noisy}


def session(names: tuple[str, ...], *, tasks: int = 60, gold: int = 30) -> list[Judgement]:
    """All of them judge every task; the proposals of `gold` have lost a third of the picture on their right."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(tasks + gold):
        truth = person(number)[1]
        is_gold = number >= tasks
        damaged = truth.copy()
        damaged[:, 80:] = 0
        proposed = damaged if is_gold or number % 3 == 0 else truth
        for name in names:
            said, mask = REVIEWERS[name](truth, proposed, rng)
            found.append(
                Judgement(
                    unit=str(number),
                    purpose="gold" if is_gold else "review",
                    first_look=True,
                    reviewer=name,
                    said=said,
                    seconds={"lazy": 2.0}.get(name, 9.0) + (0 if said == "accept" else 20),
                    uncertainty=0.9 if proposed is damaged else 0.1,
                    proposed=proposed,
                    mask=mask,
                    truth=truth if is_gold else None,
                )
            )
    return found


@pytest.fixture(scope="module")
def judged() -> list[Judgement]:
    return session(("careful", "generous", "lazy", "noisy"))


def test_who_draws_too_far_is_found_by_the_sign_and_the_size(judged: list[Judgement]):
    report = by_reviewer(judged)
    truths = [person(number)[1] for number in range(60, 90)]
    expected = np.mean([grown(truth, 3).sum() / truth.sum() - 1 for truth in truths])
    assert report["generous"]["gold"]["signed_area"] == pytest.approx(expected)
    assert expected > 0.1
    assert report["careful"]["gold"]["signed_area"] == 0
    assert report["careful"]["gold"]["mask_iou"] == report["careful"]["gold"]["boundary_iou"] == 1
    assert abs(report["noisy"]["gold"]["signed_area"]) < expected / 4
    assert report["lazy"]["gold"]["signed_area"] < -0.05


def test_who_draws_too_far_is_found_without_any_gold():
    report = by_reviewer(session(("careful", "generous"), gold=0))
    assert report["generous"]["others"]["signed_area"] > 0.1 > 0 > report["careful"]["others"]["signed_area"]
    assert report["generous"]["gold"]["signed_area"] == NOT_MEASURED


def test_who_always_accepts_is_found_by_the_gold_tasks(judged: list[Judgement]):
    report = by_reviewer(judged)
    assert report["lazy"]["accept_rate"] == 1 and report["lazy"]["gold"]["caught"] == 0
    assert report["lazy"]["seconds"] == 2
    for name in ("careful", "generous", "noisy"):
        assert report[name]["gold"]["caught"] == 1


def test_who_is_noisy_agrees_with_nobody(judged: list[Judgement]):
    report = by_reviewer(judged)
    alone = double(session(("careful", "noisy")))
    assert isinstance(alone["alpha"], float) and alone["alpha"] < 0.1
    agreed = double([*session(("careful",)), *[_as(one, "other") for one in session(("careful",))]])
    assert (agreed["alpha"], agreed["mask_iou"], agreed["conflicts"]) == (1, 1, 0)
    assert agreed["crops"] == 60  # gold tasks are none of the queue's
    edges = {name: report[name]["gold"]["boundary_iou"] for name in REVIEWERS}
    areas = {name: report[name]["gold"]["mask_iou"] for name in REVIEWERS}
    assert edges["noisy"] < edges["careful"] and edges["noisy"] < areas["noisy"]


def test_maps_show_where_a_reviewer_is_wrong(judged: list[Judgement]):
    maps = bias_maps(judged)
    assert set(maps) == set(REVIEWERS)
    assert not maps["careful"].any()
    assert (maps["generous"] >= 0).all() and maps["generous"].max() > 0.2
    # The lazy one leaves the person out on the right, from column 80 of 120 on.
    assert (maps["lazy"][:, :10] == 0).all() and maps["lazy"][:, 11:].min() < -0.4


def test_a_map_lies_in_the_frame_of_the_picture():
    mask = np.zeros((64, 160), np.uint8)
    mask[:4, 150:] = 1  # the first of 16 rows, the last of 16 columns
    found = bias_map([(mask, np.zeros_like(mask)), (np.zeros_like(mask), np.zeros_like(mask))])
    assert found.shape == (16, 16) and np.count_nonzero(found) == 1
    assert found[0, 15] == pytest.approx(0.5)
    odd, even = (np.random.default_rng(0).integers(0, 2, (2, 157, 118))).astype(np.uint8)
    assert bias_map([(odd, even)]).mean() == pytest.approx(float(odd.mean() - even.mean()), abs=1e-6)


def test_doubtful_masks_are_accepted_less_and_changed_more(judged: list[Judgement]):
    rows = deciles([one for one in judged if one.reviewer == "careful"])
    assert [row.decile for row in rows] == list(range(1, 11))
    assert [row.judgements for row in rows] == [6] * 10
    assert [row.accept_rate for row in rows[:6]] == [1] * 6 and rows[9].accept_rate == 0
    assert rows[0].edit_size is None and rows[9].edit_size is not None and rows[9].edit_size > 0.05
    assert (rows[0].lowest, rows[9].highest) == (0.1, 0.9)
    assert deciles([]) == []
    assert [row.decile for row in deciles(judged[:3])] == [1, 4, 7]


def test_minutes_saved_need_tasks_drawn_from_scratch(judged: list[Judgement]):
    careful_ones = [one for one in judged if one.reviewer == "careful"]
    assert minutes_saved(careful_ones) == NOT_MEASURED
    drawn = [_as(one, "careful", purpose="scratch", seconds=69.0) for one in careful_ones[:5]]
    # 60 queued tasks with a median of 9 seconds.
    assert minutes_saved([*careful_ones, *drawn]) == 60 * (69 - 9) / 60
    assert summarise([*careful_ones, *drawn])["minutes"] == 9
    assert minutes_saved(drawn) == NOT_MEASURED


def test_a_second_look_and_an_unclear_answer_are_counted_but_prove_nothing(judged: list[Judgement]):
    first = [one for one in judged if one.reviewer == "careful"]
    again = [_as(one, "lazy", first_look=False) for one in first]
    assert double([*first, *again])["crops"] == 0
    assert summarise([*first, *again])["second_looks"] == len(again)
    unclear = [_as(one, "other", said="unclear", mask=None) for one in first]
    assert double([*first, *unclear])["alpha"] == NOT_MEASURED
    assert double([*first, *unclear])["conflicts"] == 1


def test_nothing_judged_is_not_measured():
    report = summarise([])
    assert report["judgements"] == 0 and report["by_reviewer"] == {}
    for name in ("accept_rate", "edit_size", "seconds", "minutes", "minutes_saved"):
        assert report[name] == NOT_MEASURED
    assert bias_maps([]) == {}


def test_one_who_judges_both_copies_is_no_second_reviewer(judged: list[Judgement]):
    first = [one for one in judged if one.reviewer == "careful"]
    assert double([*first, *[_as(one, "careful", purpose="second") for one in first]])["crops"] == 0


def _as(one: Judgement, reviewer: str, **changes: object) -> Judgement:
    return Judgement(**{**vars(one), "reviewer": reviewer, **changes})
