"""A packed mask comes back as it was, and takes little."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from annotations.masks.packed import PackedMask
from tests.annotations.drawn import person


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)))
def test_any_mask_comes_back(mask: np.ndarray):
    packed = PackedMask.of(mask)
    assert np.array_equal(packed.unpack(), mask) and packed.unpack().dtype == np.uint8
    assert packed == PackedMask.of(mask.copy()) and packed.shape == mask.shape


def test_a_portrait_takes_a_few_kilobytes():
    assert len(PackedMask.of(person(1, 600, 800)[1]).data) < 6_000
