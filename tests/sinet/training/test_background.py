"""Background replacement: the person stays, the ground is the other picture's, no other person shines through."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinet.images.sample import Sample
from sinet.training.background import before_another_background, without_person
from sinet.training.data import PortraitDataset
from tests.sinet.tiny_training import LIVELY, STILL, portrait, write_portraits

BEFORE_OTHERS = STILL.model_copy(update={"background": 1.0})


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(24, 150), st.integers(24, 150)),
    other_size=st.tuples(st.integers(1, 150), st.integers(1, 150)),
)
def test_the_person_stays_and_the_rest_is_the_others_ground(
    seed: int, size: tuple[int, int], other_size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    image, mask = portrait(rng, *size)
    ground = rng.integers(0, 256, 3).astype(np.uint8)
    other = np.broadcast_to(ground, (other_size[1], other_size[0], 3)).copy()
    out = before_another_background(image, mask, other, np.zeros(other.shape[:2], np.uint8))
    inside, outside = _far_from_outline(mask)
    assert np.array_equal(out[inside], image[inside])
    assert np.abs(out[outside].astype(int) - ground).max(initial=0) <= 1
    assert out.shape == image.shape and out.dtype == np.uint8


def _far_from_outline(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    square = np.ones((5, 5), np.uint8)
    return cv2.erode(mask, square) > 0, cv2.dilate(mask, square) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), width=st.integers(120, 200), height=st.integers(120, 200))
def test_nothing_of_the_hidden_person_shines_through(seed: int, width: int, height: int) -> None:
    """A red person before a blue ground: no pixel is red afterwards, and the ground away from it is untouched."""
    _, mask = portrait(np.random.default_rng(seed), width, height)
    image = np.where(mask[..., None] > 0, (255, 0, 0), (0, 0, 200)).astype(np.uint8)
    out = without_person(image, mask)
    assert out is not None
    assert out[..., 0].max() <= 1
    assert out[..., 2].min() >= 198


def test_the_ground_far_from_the_person_keeps_its_pixels() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (160, 160, 3)).astype(np.uint8)
    mask = np.zeros((160, 160), np.uint8)
    mask[60:100, 60:100] = 1
    out = without_person(image, mask)
    assert out is not None
    far = np.ones((160, 160), bool)
    far[30:130, 30:130] = False
    assert np.array_equal(out[far], image[far])


def test_a_picture_without_ground_has_none_to_give() -> None:
    image = np.random.default_rng(1).integers(0, 256, (30, 20, 3)).astype(np.uint8)
    nobody, everybody = np.zeros((30, 20), np.uint8), np.ones((30, 20), np.uint8)
    assert without_person(image, everybody) is None
    assert before_another_background(image, nobody, image[::-1], everybody) is image


def test_all_person_keeps_its_pixels_and_no_person_none() -> None:
    image = np.random.default_rng(1).integers(0, 256, (30, 20, 3)).astype(np.uint8)
    nobody, everybody = np.zeros((30, 20), np.uint8), np.ones((30, 20), np.uint8)
    assert np.array_equal(without_person(image, nobody), image)
    other, ground = np.full((9, 7, 3), 77, np.uint8), np.zeros((9, 7), np.uint8)
    assert np.array_equal(before_another_background(image, everybody, other, ground), image)
    assert np.array_equal(before_another_background(image, nobody, other, ground), np.full_like(image, 77))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("portraits"), 40)


def test_the_dataset_changes_the_background_and_never_the_mask(samples: list[Sample]) -> None:
    plain, mixed = (PortraitDataset(samples, 64, recipe, seed=1) for recipe in (STILL, BEFORE_OTHERS))
    changed = 0
    for index in range(len(samples)):
        assert torch.equal(plain[index][2], mixed[index][2])
        changed += not torch.equal(plain[index][1], mixed[index][1])
    assert changed > 30  # a picture may draw itself
    again = PortraitDataset(samples, 64, BEFORE_OTHERS, seed=1)
    assert all(torch.equal(mixed[i][1], again[i][1]) for i in range(len(samples)))


def test_one_picture_more_changes_the_backgrounds_of_few_others(samples: list[Sample]) -> None:
    more, fewer = (PortraitDataset(each, 64, BEFORE_OTHERS, seed=1) for each in (samples, samples[:-1]))
    changed = sum(not torch.equal(more[i][1], fewer[i][1]) for i in range(len(samples) - 1))
    assert changed <= 8


def test_a_probability_of_0_draws_nothing(samples: list[Sample]) -> None:
    """So that recipes without it give the pictures they always gave."""
    without = LIVELY.model_copy(update={"background": 0.0})
    seldom = LIVELY.model_copy(update={"background": 1e-12})
    first, second = (PortraitDataset(samples, 64, recipe, seed=1)[0][1] for recipe in (without, seldom))
    assert not torch.equal(first, second), "a draw more must move the others"


def test_backgrounds_are_drawn_evenly(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, BEFORE_OTHERS, seed=1)
    drawn = [data._other(np.random.default_rng(seed)) for seed in range(4000)]
    assert len(set(drawn)) > 0.9 * len(samples)
