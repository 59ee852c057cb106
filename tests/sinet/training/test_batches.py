"""Batches: the same pictures drawn one by one and made on the device, in parts, and counted waiting."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import sinet.training.loop as training
from sinet.core.recipe import AugmentRecipe
from sinet.images.decode import encode_mask, encode_png
from sinet.network.loss import portrait_loss
from sinet.training.batches import DrawnPictures, ResidentPictures, index_batches, pictures_for
from sinet.training.data import PortraitDataset, Sample
from sinet.training.epoch import READ_EVERY, TrainingError
from sinet.training.loop import train
from sinet.training.team import Team
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
    batches = index_batches(data, 4)
    assert [len(batch) for batch in batches] == [4, 4]
    assert [index for batch in batches for index in batch] == data.order()[:8]
    assert index_batches(data, 40) == [data.order()]


@pytest.mark.parametrize("recipe", [STILL, BEHIND])
def test_pictures_made_on_the_device_are_those_drawn_one_by_one(
    samples: list[Sample], recipe: AugmentRecipe
) -> None:
    data = PortraitDataset(samples, 64, recipe, seed=1)
    drawn, resident = DrawnPictures(data, CPU), ResidentPictures(data, CPU)
    for epoch in range(6):
        data.set_epoch(epoch)
        pairs = list(zip(drawn.batches(5), resident.batches(5), strict=True))
        assert len(pairs) == 2
        for (images, masks), (made, moved) in pairs:
            assert made.dtype == moved.dtype == torch.uint8
            assert made.shape == (5, 64, 64, 3)
            off = (made.int() - images.int()).abs()
            assert (off > (1 if recipe is STILL else 12)).float().mean() < 0.01
            assert off.float().mean() < 1
            assert (moved != masks).float().mean() < 0.004


def test_a_resident_picture_follows_the_datasets_size(samples: list[Sample]) -> None:
    data = PortraitDataset(samples, 64, LIVELY, seed=1)
    resident = ResidentPictures(data, CPU)
    data.resize(32)
    assert next(resident.batches(4))[0].shape == (4, 32, 32, 3)


@pytest.mark.parametrize("kind", [DrawnPictures, ResidentPictures])
def test_parts_make_up_the_batch(
    samples: list[Sample], kind: type[DrawnPictures] | type[ResidentPictures]
) -> None:
    data = PortraitDataset(samples, 64, STILL, seed=1)
    whole = next(kind(data, CPU).batches(5))[0]
    parts = [next(kind(data, CPU, Team(rank, 2)).batches(5))[0] for rank in range(2)]
    assert [len(part) for part in parts] == [3, 2]
    assert torch.equal(whole[0::2], parts[0])
    assert torch.equal(whole[1::2], parts[1])


@pytest.mark.parametrize("recipe", [LIVELY, BEHIND])
def test_the_memory_that_is_asked_for_is_what_pictures_take(
    samples: list[Sample], recipe: AugmentRecipe
) -> None:
    data = PortraitDataset(samples, 64, recipe, seed=1)
    kept = [value for value in vars(ResidentPictures(data, CPU)).values() if isinstance(value, torch.Tensor)]
    assert ResidentPictures.bytes_needed(data) == sum(tensor.nbytes for tensor in kept)


def test_a_gpu_without_room_gets_drawn_pictures(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = PortraitDataset(samples, 64, LIVELY, seed=1)
    needed = ResidentPictures.bytes_needed(data)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * needed - 1, 10 * needed))
    with caplog.at_level(logging.WARNING):
        assert isinstance(pictures_for(data, torch.device("cuda")), DrawnPictures)
    assert "so the CPU draws them" in caplog.text
    assert isinstance(pictures_for(data, CPU), DrawnPictures)


def test_training_on_resident_pictures_goes_the_same_way(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step an epoch: the first sees the same weights, and Adam's first steps make much of a little."""
    dev = write_portraits(tmp_path / "dev", 3, seed=7)
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"]["batch"] = phases["full"]["batch"] = 8
    recipe = tiny_recipe(phases=phases)
    one_by_one = train(samples[:8], dev, recipe, tmp_path / "a", CPU)
    monkeypatch.setattr(training, "pictures_for", ResidentPictures)
    resident = train(samples[:8], dev, recipe, tmp_path / "b", CPU)
    (first, *later), (wanted, *follow) = (
        [row["loss"] for row in result.history] for result in (resident, one_by_one)
    )
    assert first != wanted
    assert first == pytest.approx(wanted, rel=2e-3)
    assert later == pytest.approx(follow, rel=0.05)


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
    """The last sample is a person all over: whoever draws it keeps their own background, on a GPU as well."""
    monkeypatch.setattr(PortraitDataset, "_other", lambda self, rng: len(samples) - 1)
    data = PortraitDataset(samples, 64, STILL.model_copy(update={"background": 1.0}), seed=1)
    own = PortraitDataset(samples, 64, STILL, seed=1)
    wanted = next(DrawnPictures(own, CPU).batches(10))[0].int()
    for kind in (DrawnPictures, ResidentPictures):
        images = next(kind(data, CPU).batches(10))[0].int()
        assert ((images - wanted).abs() > 1).float().mean() < 0.01
