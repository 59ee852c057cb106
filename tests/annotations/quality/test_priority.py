"""The order of the queue: doubt shared by look-alikes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.quality.priority import priority


def test_look_alikes_share_a_slot_and_strangers_keep_their_doubt():
    shared = priority([0.9, 0.8, 0.7, 0.6], ["scene", "scene", "scene", "alone"])
    assert shared == pytest.approx([0.9, 0.4, 0.7 / 3, 0.6])
    assert list(np.argsort(-shared)) == [0, 3, 1, 2]


def test_a_judged_look_alike_has_taken_the_slot():
    assert priority([0.2, 0.8], ["scene", "scene"], [True, False]) == pytest.approx([0.2, 0.4])


def test_nothing_to_order():
    assert priority([], []).shape == (0,)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=30))
def test_against_a_slow_reference(masks: list[tuple[float, str, bool]]):
    doubt, cluster, done = zip(*masks, strict=True)
    before = [
        sum(
            other != one
            and cluster[other] == cluster[one]
            and (not done[other], -doubt[other], other) < (not done[one], -doubt[one], one)
            for other in range(len(masks))
        )
        for one in range(len(masks))
    ]
    expected = [value / (1 + ahead) for value, ahead in zip(doubt, before, strict=True)]
    assert priority(doubt, list(cluster), list(done)) == pytest.approx(expected)
