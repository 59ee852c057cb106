"""The dataset: what it yields and remembers; neither workers nor other pictures change a sample."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sinet.images.decode import encode_mask, encode_png, read_image, read_mask
from sinet.images.sample import Sample, reduce
from sinet.training.augment import augment, squash
from sinet.training.data import PortraitDataset, _seed
from tests.sinet.tiny_training import LIVELY, portrait, write_portraits


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("portraits"), 6)


def drawn(data: PortraitDataset, workers: int) -> list[torch.Tensor]:
    loader: DataLoader[tuple[torch.Tensor, ...]] = DataLoader(
        data, batch_size=4, sampler=data.order(), num_workers=workers
    )
    return [tensor for batch in loader for tensor in batch]


def test_without_a_recipe_it_is_the_squash_of_the_full_picture(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, None, seed=0, cache_side=32)
    for _ in range(2):  # decoded, then from memory
        index, image, mask = data[2]
        want = squash(read_image(samples[2].image), read_mask(samples[2].mask), 64)
        assert index == 2
        assert np.array_equal(image.numpy(), want[0])
        assert np.array_equal(mask.numpy(), want[1])


def test_workers_do_not_change_what_is_drawn(samples: list[Sample]) -> None:
    results = []
    for workers in (0, 2):
        data = PortraitDataset(samples, 64, LIVELY, seed=5)
        data.set_epoch(3)
        results.append(drawn(data, workers))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_each_epoch_and_seed_draws_anew(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, LIVELY, seed=5)
    pictures, orders = set(), set()
    for epoch in range(10):
        data.set_epoch(epoch)
        pictures.add(data[0][1].numpy().tobytes())
        orders.add(tuple(data.order()))
    assert len(pictures) == 10
    assert len(orders) > 7  # of 720 possible ones
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert PortraitDataset(samples, 64, LIVELY, seed=6)[0][1].numpy().tobytes() not in pictures


def test_another_picture_changes_neither_the_variants_nor_the_order(samples: list[Sample]) -> None:
    more, fewer = PortraitDataset(samples, 64, LIVELY, 5), PortraitDataset(samples[1:], 64, LIVELY, 5)
    assert torch.equal(more[1][1], fewer[0][1])
    assert [index for index in more.order() if index] == [index + 1 for index in fewer.order()]


def test_pictures_are_read_once_and_kept_small(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = PortraitDataset(samples, 64, LIVELY, seed=0, cache_side=60)
    data.preload()
    monkeypatch.setattr("sinet.training.data.read_image", None)
    assert len(data[0]) == len(data[5]) == 3
    assert data.cached_bytes == 6 * (60 * 45 * 3 + -(-60 * 45 // 8))


def test_a_full_memory_means_reading_again_with_the_same_result(samples: list[Sample]) -> None:
    roomy = PortraitDataset(samples, 64, LIVELY, seed=0)
    tight = PortraitDataset(samples, 64, LIVELY, seed=0, cache_bytes=50_000)
    tight.preload()
    assert tight.cached_bytes <= 50_000
    assert all(torch.equal(roomy[i][1], tight[i][1]) for i in range(6))


@pytest.mark.parametrize("recipe", [None, LIVELY])
def test_resize(samples: list[Sample], recipe: None) -> None:
    data = PortraitDataset(samples, 64, recipe, seed=0)
    data.preload()
    data.resize(32)
    assert data[1][1].shape == (32, 32, 3)
    assert torch.equal(data[1][1], PortraitDataset(samples, 32, recipe, seed=0)[1][1])


def test_class_shares_are_the_masks_means(samples: list[Sample]) -> None:
    person = np.mean([read_mask(sample.mask).mean() for sample in samples])
    assert PortraitDataset(samples, 64, LIVELY, 0).class_shares() == pytest.approx((1 - person, person))


def test_reduce_keeps_the_aspect_and_leaves_small_pictures_alone() -> None:
    image, mask = portrait(np.random.default_rng(0), 90, 120)
    small, moved = reduce(image, mask, 60)
    assert small.shape == (60, 45, 3)
    assert moved.shape == (60, 45)
    assert moved.mean() == pytest.approx(mask.mean(), abs=0.02)
    assert reduce(image, mask, 120)[0] is image


def test_a_mask_of_another_size_is_refused_by_id(samples: list[Sample], tmp_path: Path) -> None:
    other = write_portraits(tmp_path, 1)[0]
    other.mask.write_bytes(encode_mask(np.zeros((10, 20), np.uint8)))
    data = PortraitDataset([Sample("abc", samples[0].image, other.mask)], 64, None, 0)
    with pytest.raises(
        ValueError, match="sample abc: expected a mask of the image's size 90x120, found 20x10"
    ):
        data[0]


def test_another_seed_is_another_order(samples: list[Sample]) -> None:
    orders = {tuple(PortraitDataset(samples, 64, LIVELY, seed).order()) for seed in range(8)}
    assert len(orders) > 5  # of 720 possible ones


def test_each_picture_counts_once_among_the_shares_whatever_its_size(
    samples: list[Sample], tmp_path: Path
) -> None:
    small = write_portraits(tmp_path, 1)[0]
    small.image.write_bytes(encode_png(np.zeros((10, 20, 3), np.uint8)))
    small.mask.write_bytes(encode_mask(np.ones((10, 20), np.uint8)))
    _, person = PortraitDataset([samples[0], small], 64, LIVELY, 0).class_shares()
    assert person == pytest.approx((read_mask(samples[0].mask).mean() + 1) / 2)


def test_a_reduced_mask_is_person_where_most_of_it_was() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, 1:4] = mask[4:, 5] = mask[4, 0:4] = 1  # of the blocks of 4 x 4: 12, 0, 4 and 4 pixels
    _, small = reduce(np.zeros((8, 8, 3), np.uint8), mask, 2)
    assert small.tolist() == [[1, 0], [0, 0]]
    lines = np.zeros((8, 8), np.uint8)
    lines[:, ::4] = 1  # a quarter of all pixels
    assert not reduce(np.zeros((8, 8, 3), np.uint8), lines, 2)[1].any()
    assert reduce(np.zeros((8, 8, 3), np.uint8), 1 - lines, 2)[1].all()


def test_a_sample_is_drawn_by_a_hash_of_seed_epoch_and_id(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, LIVELY.model_copy(update={"background": 0.0}), seed=5)
    image, mask = data.picture(0)
    assert mask.shape == (120, 90)
    assert data.recipe is not None
    rng = np.random.default_rng(_seed(5, 0, samples[0].id))
    wanted = augment(image, mask, 64, data.recipe, rng)
    for found, drawn in zip(data[0][1:], wanted, strict=True):
        assert np.array_equal(found.numpy(), drawn)
