"""On a GPU: pictures are made as on the CPU, a replayed step is a step, training goes the CPU's way."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from sinet.network.model import SINet
from sinet.training.batches import DrawnPictures, ResidentPictures, pictures_for
from sinet.training.cuda_graph import replayed
from sinet.training.data import PortraitDataset, Sample
from sinet.training.loop import train
from tests.sinet.tiny_training import LIVELY, tiny_recipe, write_portraits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU: torch finds none"),
]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("train"), 24)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("dev"), 4, seed=7)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32, not TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_pictures_are_those_of_the_cpu(samples: list[Sample]) -> None:
    recipe = LIVELY.model_copy(update={"background": 0.5, "affine": 0.5, "blur": 0.5, "noise": 0.5})
    data = PortraitDataset(samples, 64, recipe, seed=1)
    here, there = ResidentPictures(data, CPU), pictures_for(data, GPU)
    assert isinstance(there, ResidentPictures)
    for (images, masks), (made, moved) in zip(here.batches(8), there.batches(8), strict=True):
        assert made.device.type == "cuda"
        off = (made.cpu().int() - images.int()).abs()  # a level rounded otherwise, brightened and sharpened
        assert off.max() <= 10
        assert off.float().mean() < 0.1
        assert (moved.cpu() != masks).float().mean() < 0.001


def test_recording_leaves_the_network_as_it_was() -> None:
    network = SINet().to(GPU).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with replayed(network, torch.randn(4, 3, 64, 64, device=GPU), half=False):
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
        assert "forward" in vars(network)
    assert "forward" not in vars(network)


@pytest.mark.usefixtures("exact")
def test_a_replayed_pass_has_the_gradients_of_a_plain_one() -> None:
    torch.manual_seed(0)
    network = SINet().to(GPU).train()
    pictures = torch.randn(3, 4, 3, 64, 64, device=GPU)
    found = []
    for replay in (False, True):
        state = {key: value.clone() for key, value in network.state_dict().items()}
        with replayed(network, pictures[0], half=False) if replay else torch.enable_grad():
            for x in pictures:
                network.zero_grad()
                network(x).square().mean().backward()
        found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        found[-1] += [b.clone() for b in network.buffers()]
        network.load_state_dict(state)
    assert len(found[0]) == len(found[1]) > 300
    # What goes into a sum that the next norm takes away has a gradient of 0 but for rounding.
    floor = 1e-6 * max(plain.abs().max().item() for plain in found[0][: len(list(network.parameters()))])
    for plain, other in zip(*found, strict=True):
        assert (plain - other).abs().max().item() < 1e-3 * plain.abs().max().item() + floor


@pytest.mark.usefixtures("exact")
def test_a_recording_is_made_where_the_network_is() -> None:
    """Also where that is not the current device: there the recording would be empty, and every output the same."""
    last = torch.device("cuda", torch.cuda.device_count() - 1)
    network = SINet().to(last).train()
    x = torch.randn(4, 3, 64, 64, device=last)
    other = SINet().to(GPU).train()
    with replayed(other, x.to(GPU), half=False):  # the first recording of the process, perhaps
        pass
    with torch.no_grad():
        wanted = deepcopy(network)(x)
    with torch.cuda.device(0), replayed(network, torch.zeros_like(x), half=False):
        assert torch.allclose(network(x), wanted, atol=1e-3)


@pytest.mark.usefixtures("exact")
def test_training_goes_the_cpus_way(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    """One step an epoch: the first sees the same weights; Adam makes much of a little after that."""
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"]["batch"] = phases["full"]["batch"] = 24
    recipe = tiny_recipe(phases=phases)
    on_cpu = train(samples, dev, recipe, tmp_path / "cpu", CPU)
    on_gpu = train(samples, dev, recipe, tmp_path / "gpu", GPU)
    losses = [np.array([row["loss"] for row in result.history]) for result in (on_cpu, on_gpu)]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=5e-3)
    assert losses[1][1:] == pytest.approx(losses[0][1:], rel=0.1)
    assert next(on_gpu.model.parameters()).device == CPU


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns(precision: str, samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    phases = tiny_recipe().phases.model_dump()
    phases["full"] |= {"epochs": 30, "batch": 4}
    recipe = tiny_recipe(phases=phases, precision=precision, evaluate_every=10, average_decay=0.9)
    result = train(samples, dev, recipe, tmp_path, GPU)
    assert result.history[-1]["loss"] < 0.7 * result.history[1]["loss"]
    assert result.dev_foreground_iou > 0.7


def test_drawn_pictures_train_a_gpu_too(
    samples: list[Sample], dev: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinet.training.loop.pictures_for", DrawnPictures)
    assert len(train(samples, dev, tiny_recipe(), tmp_path, GPU).history) == 3


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="GPU: torch finds one alone")
def test_two_gpus_train_one_network(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    first, second = (torch.device("cuda", index) for index in range(2))
    alone = train(samples, dev, tiny_recipe(), tmp_path / "alone", first)
    both = train(samples, dev, tiny_recipe(), tmp_path / "both", first, others=[second])
    losses = [[row["loss"] for row in result.history] for result in (alone, both)]
    assert losses[1] == pytest.approx(losses[0], rel=0.3)
