"""Batches: the same pictures drawn here and by workers, in parts; losses that are read later."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sinet.images.decode import encode_mask, encode_png
from sinet.images.sample import Sample
from sinet.network.loss import portrait_loss
from sinet.training.batches import index_batches, training_batches
from sinet.training.data import PortraitDataset
from sinet.training.epoch import READ_EVERY, TrainingError
from sinet.training.loop import train
from sinet.training.together import Together
from tests.sinet.tiny_training import LIVELY, STILL, tiny_recipe, write_portraits

CPU = torch.device("cpu")
BEHIND = LIVELY.model_copy(update={"background": 0.7, "affine": 0.5, "blur": 0.5, "noise": 0.5})


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Ten portraits, one of another shape, and one that shows no ground at all."""
    folder = tmp_path_factory.mktemp("train")
    found = write_portraits(folder, 8)
    image = np.random.default_rng(5).integers(0, 256, (70, 110, 3), np.uint8)
    for name, mask in (("wide", np.arange(110)[None] % 110 < 60), ("person", np.ones((1, 110), bool))):
        sample = Sample(name, folder / f"{name}.png", folder / f"{name}_mask.png")
        sample.image.write_bytes(encode_png(image))
        sample.mask.write_bytes(encode_mask(np.repeat(mask, 70, 0).astype(np.uint8)))
        found.append(sample)
    return found


def test_batches_are_the_order_without_a_rest(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, LIVELY, seed=1)
    found = index_batches(data, 4)
    assert [len(batch) for batch in found] == [4, 4]
    assert [index for batch in found for index in batch] == data.order()[:8]
    assert index_batches(data, 40) == [data.order()]


def test_workers_draw_the_same_pictures(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, BEHIND, seed=1)
    for epoch in range(2):
        data.set_epoch(epoch)
        here, there = (list(training_batches(data, 4, CPU, workers)) for workers in (0, 2))
        assert len(here) == 2
        for (images, masks), (drawn, moved) in zip(here, there, strict=True):
            assert images.dtype == masks.dtype == torch.uint8
            assert images.shape == (4, 64, 64, 3)
            assert torch.equal(images, drawn)
            assert torch.equal(masks, moved)


def test_parts_make_up_the_batch(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, STILL, seed=1)
    whole = next(training_batches(data, 5, CPU, 0))[0]
    parts = [next(training_batches(data, 5, CPU, 0, Together(rank, 2)))[0] for rank in range(2)]
    assert [len(part) for part in parts] == [3, 2]
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


@pytest.mark.parametrize("every", [2, 3, 50])
def test_losses_that_are_read_later_are_the_same(
    every: int, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = write_portraits(tmp_path / "dev", 3, seed=7)
    at_once = train(samples, dev, tiny_recipe(), tmp_path / "a", CPU)
    monkeypatch.setitem(READ_EVERY, "cpu", every)
    assert train(samples, dev, tiny_recipe(), tmp_path / "b", CPU).history == at_once.history


def test_a_loss_that_is_read_later_names_its_own_batch(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second batch of the epoch is bad; when it is read, the weights are spoilt already and others follow."""
    dev = write_portraits(tmp_path / "dev", 3, seed=7)
    right, calls = portrait_loss, []

    def wrong(*arguments: object) -> dict[str, torch.Tensor]:
        calls.append(1)
        terms = right(*arguments)  # type: ignore[arg-type]
        return {name: term * (float("nan") if len(calls) == 2 else 1) for name, term in terms.items()}

    monkeypatch.setattr("sinet.training.epoch.portrait_loss", wrong)
    monkeypatch.setitem(READ_EVERY, "cpu", 50)
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"]["batch"] = 3
    with pytest.raises(TrainingError) as error:
        train(samples, dev, tiny_recipe(phases=phases), tmp_path / "state", CPU)
    assert len(calls) == 3
    bad = index_batches(PortraitDataset(samples, 64, LIVELY, tiny_recipe().seed), 3)[1]
    assert f"The batch: {' '.join(samples[index].id for index in bad)}." in str(error.value)


def test_a_picture_without_any_ground_lends_none(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last sample is a person all over: whoever draws it keeps their own background."""
    monkeypatch.setattr(PortraitDataset, "_other", lambda self, rng: len(samples) - 1)
    data = PortraitDataset(samples, 64, STILL.model_copy(update={"background": 1.0}), seed=1)
    own = PortraitDataset(samples, 64, STILL, seed=1)
    wanted, images = (next(training_batches(each, 10, CPU, 0))[0].int() for each in (own, data))
    assert ((images - wanted).abs() > 1).float().mean() < 0.01
