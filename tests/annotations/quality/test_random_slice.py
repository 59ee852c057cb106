"""Shares by a hash: sides and slices of datasets that exist hang on the very numbers."""

import hashlib

import pytest

from annotations.quality.random_slice import hashed_share, in_random_slice, share_of


@pytest.mark.parametrize("name", ["a", "test 0123456789abcdef"])
def test_a_share_is_of_the_first_eight_digits_of_the_names_sha256(name: str) -> None:
    assert share_of(name) == int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    assert share_of("a") == 0xCA978112 / 2**32  # as sha256sum says


def test_a_salted_share_is_another_one_and_a_larger_slice_holds_the_smaller() -> None:
    assert hashed_share("a") == share_of("queue a") != hashed_share("a", "gold") == share_of("gold a")
    share = hashed_share("a")
    assert in_random_slice("a", share + 1e-9) and not in_random_slice("a", share)
