"""Labels that hold a teacher's probability: packed and unpacked, warped, and learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn.functional import cross_entropy

from sinet.batches import DrawnPictures, ResidentPictures
from sinet.data import PortraitDataset, Sample
from sinet.images import Array, encode_png, read_mask
from sinet.loss import portrait_loss
from sinet.soft_label import LEVELS, label_of, packed, probability_of
from sinet.train import train
from tests.sinet.training import LIVELY, STILL, tiny_recipe, write_portraits

CPU = torch.device("cpu")
SHAPE = (3, 5)


@given(
    mask=arrays.arrays(np.uint8, SHAPE, elements=st.integers(0, 1)),
    probability=arrays.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32)),
)
def test_what_is_packed_comes_out_again(mask: Array, probability: np.ndarray) -> None:
    label = torch.from_numpy(packed(mask, probability))
    assert torch.equal(label_of(label), torch.from_numpy(mask))
    assert (probability_of(label) - torch.from_numpy(probability)).abs().max() <= 0.5 / LEVELS + 1e-6


def test_a_plain_mask_is_its_own_label() -> None:
    mask = torch.tensor([0, 1], dtype=torch.uint8)
    assert torch.equal(label_of(mask), mask)


def with_teacher(samples: list[Sample], says: float) -> list[Sample]:
    """Each with a probability that rises from 0 on the left to `says` on the right."""
    grey = np.tile(np.linspace(0, 255 * says, 32), (32, 1)).round().astype(np.uint8)
    return [replace(sample, probability=encode_png(grey)) for sample in samples]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("train"), 8)


def test_label_and_probability_lie_on_the_picture(samples: list[Sample]) -> None:
    plain = PortraitDataset(samples, 64, STILL, seed=1)
    taught = PortraitDataset(with_teacher(samples, 1.0), 64, STILL, seed=1)
    taught.preload()
    label = taught[0][2]
    assert torch.equal(label_of(label), plain[0][2])
    ramp = torch.linspace(0, 1, 64).expand(64, 64)
    assert (probability_of(label) - ramp).abs().max() < 0.03


def test_both_move_with_the_picture_and_other_backgrounds_see_the_mask_alone(samples: list[Sample]) -> None:
    recipe = LIVELY.model_copy(update={"background": 0.7})
    plain, taught = (PortraitDataset(s, 64, recipe, seed=1) for s in (samples, with_teacher(samples, 1.0)))
    for index in range(len(samples)):
        assert torch.equal(taught[index][1], plain[index][1])
        assert torch.equal(label_of(taught[index][2]), plain[index][2])
    flipped = PortraitDataset(with_teacher(samples, 1.0), 64, STILL.model_copy(update={"flip": 1.0}), seed=1)
    assert probability_of(flipped[0][2])[32].diff().max() <= 0


def test_labels_lie_on_the_device_too(samples: list[Sample]) -> None:
    data = PortraitDataset(with_teacher(samples, 1.0), 64, STILL, seed=1)
    (_, one), (_, other) = (next(kind(data, CPU).batches(4)) for kind in (DrawnPictures, ResidentPictures))
    assert torch.equal(one, other)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0])])
def test_the_loss_is_between_that_of_the_labels_and_that_of_the_teacher(weights: torch.Tensor | None) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 16, 16), (torch.rand(2, 16, 16) > 0.5).long()
    probability = torch.rand(2, 16, 16)

    def loss(taught: tuple[torch.Tensor, float] | None) -> torch.Tensor:
        return portrait_loss(logits, target, 0.5, 5, weights, taught)["loss"]

    labels = loss(None)
    assert torch.equal(loss((probability, 0.0)), labels)
    assert torch.allclose(loss((probability, 0.3)), 0.7 * labels + 0.3 * loss((probability, 1.0)))
    assert torch.allclose(loss((target.float(), 1.0)), labels)  # a teacher that says what the labels say
    if weights is None:
        whole = portrait_loss(logits, target, 0.0, 5, None, (probability, 1.0))["loss"]
        wanted = cross_entropy(logits, torch.stack((1 - probability, probability), dim=1))
        assert torch.allclose(whole, wanted)


def test_training_follows_the_teacher_as_far_as_it_is_asked_to(samples: list[Sample], tmp_path: Path) -> None:
    """The teacher takes the ground for the person."""
    dev = write_portraits(tmp_path / "dev", 3, seed=7)
    wrong = [
        replace(one, probability=encode_png((1 - read_mask(one.mask)) * np.uint8(255))) for one in samples
    ]
    phases = tiny_recipe().phases.model_dump()
    phases["full"]["epochs"] = 10
    still = PortraitDataset(samples, 64, STILL, seed=1)
    pictures, masks = (torch.stack([still[index][part] for index in range(8)]) for part in (1, 2))
    changes = {"phases": phases, "augment": STILL.model_dump(), "class_weights": False, "average_decay": 0}
    found = []
    for share in (0.0, 0.5, 1.0):
        recipe = tiny_recipe(**changes, best_from=1.0, distill=share)
        trained = train(wrong, dev, recipe, tmp_path / str(share), CPU)
        with torch.no_grad():  # with the batch's statistics: after so few steps the running ones lag behind
            says = trained.model.train()(trained.preprocessing.tensor(pictures)).softmax(1)[:, 1]
        found.append(says[masks > 0].mean().item())
    assert found[0] > 0.7
    assert found[1] == pytest.approx(0.5, abs=0.1)
    assert found[2] < 0.3


def test_a_teacher_that_sees_nobody_is_not_turned_into_one_that_sees_everybody(samples: list[Sample]) -> None:
    """A grey picture of the levels 0 and 1 is a mask of 0 and 1 elsewhere in the project."""
    doubtful = [replace(one, probability=encode_png(np.ones((8, 8), np.uint8))) for one in samples]
    assert probability_of(PortraitDataset(doubtful, 64, STILL, seed=1)[0][2]).max() < 0.01


def test_without_a_teacher_there_is_nothing_to_distill(samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.distill is 0\.5"):
        train(samples, samples[:2], tiny_recipe(distill=0.5), tmp_path, CPU)


def test_a_full_memory_means_reading_again_with_the_same_label(samples: list[Sample]) -> None:
    roomy, tight = (
        PortraitDataset(with_teacher(samples, 1.0), 64, LIVELY, seed=0, cache_bytes=size)
        for size in (2**30, 40_000)
    )
    tight.preload()
    assert tight.cached_bytes <= 40_000
    assert all(torch.equal(roomy[index][2], tight[index][2]) for index in range(len(samples)))
