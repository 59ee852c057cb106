"""Training against a plain loop over its samples, and what it keeps of what it has seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

import sinet.training.loop as training
from sinet.core.recipe import Phase, TrainRecipe
from sinet.images.decode import read_mask
from sinet.images.sample import Sample
from sinet.network.loss import class_weights, portrait_loss
from sinet.network.model import SINet
from sinet.network.preprocess import Preprocessing, network_input
from sinet.training.data import PortraitDataset
from sinet.training.dev_side import evaluate_dev, read_dev
from sinet.training.fused import fused
from sinet.training.loop import train
from sinet.training.schedule import rate_factor
from tests.sinet.tiny_training import tiny_recipe, write_portraits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("train"), 10)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("dev"), 4, seed=7)


def recipe(*, full_epochs: int = 2, encoder_epochs: int = 1, **changes: Any) -> TrainRecipe:
    """Phases that differ in all that a phase may differ in, so that none can be taken for the other."""
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"] |= {"epochs": encoder_epochs, "batch": 3, "size": 32, "boundary_weight": 0.9}
    phases["full"] |= {"epochs": full_epochs, "batch": 4, "boundary_kernel": 9, "learning_rate": 0.003}
    return tiny_recipe(**{"phases": phases, "average_decay": 0.0, "best_from": 1.0, **changes})


def plain_groups(network: nn.Module, recipe: TrainRecipe) -> list[dict[str, Any]]:
    decay, groups = recipe.weight_decay, []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            tier = decay.rest
            if isinstance(module, nn.Conv2d) and parameter is module.weight:
                tier = decay.depthwise if module.groups == module.in_channels > 1 else decay.convolution
            groups.append({"params": [parameter], "weight_decay": tier})
    return groups


def plain_step(
    network: nn.Module,
    items: list[tuple[int, Tensor, Tensor]],
    recipe: TrainRecipe,
    phase: Phase,
    weights: Tensor,
) -> dict[str, Tensor]:
    preprocessing = Preprocessing(size=64, **recipe.input.model_dump())
    logits = network(network_input(torch.stack([image for _, image, _ in items]), preprocessing, CPU))
    masks = torch.stack([mask for *_, mask in items])[:, None]
    target = interpolate(masks, logits.shape[2:], mode="nearest")[:, 0].long()
    return portrait_loss(logits, target, phase.boundary_weight, phase.boundary_kernel, weights)


def averaged_step(
    network: nn.Module,
    items: list[tuple[int, Tensor, Tensor]],
    recipe: TrainRecipe,
    phase: Phase,
    weights: Tensor,
    parts: int,
) -> dict[str, float]:
    """Gradients and losses are means over the parts of the batch, running statistics those of the first part."""
    means: dict[str, float] = {}
    first: list[Tensor] = []
    for rank in range(parts):
        terms = plain_step(network, items[rank::parts], recipe, phase, weights)
        (terms["loss"] / parts).backward()
        means = {name: means.get(name, 0.0) + value.detach().item() / parts for name, value in terms.items()}
        first = first or [buffer.clone() for buffer in network.buffers()]
    for buffer, kept in zip(network.buffers(), first, strict=True):
        buffer.copy_(kept)
    return means


def plain_training(
    samples: list[Sample], recipe: TrainRecipe, parts: int = 1
) -> tuple[SINet, list[dict[str, float]]]:
    """The paper's two phases in one loop: no checkpoints, no workers, no running mean."""
    person = float(np.mean([read_mask(sample.mask).mean() for sample in samples]))
    weights = class_weights((1 - person, person))
    torch.manual_seed(recipe.seed)
    model, history, drawn = fused(SINet(2)), [], 0  # Adam's first steps make much of another rounding
    for phase, network in ((recipe.phases.encoder, model.encoder), (recipe.phases.full, model)):
        data = PortraitDataset(samples, phase.size, recipe.augment, recipe.seed)
        optimizer = torch.optim.Adam(plain_groups(network, recipe), lr=phase.learning_rate, fused=True)
        steps = len(samples) // phase.batch
        for step in range(phase.epochs * steps):
            if step % steps == 0:
                data.set_epoch(drawn)
                drawn += 1
                terms: list[dict[str, float]] = []
            for group in optimizer.param_groups:
                group["lr"] = phase.learning_rate * rate_factor(phase.schedule, step, steps, phase.epochs)
            chosen = data.order()[step % steps * phase.batch :][: phase.batch]
            optimizer.zero_grad()
            items = [data[index] for index in chosen]
            terms.append(averaged_step(network.train(), items, recipe, phase, weights, parts))
            optimizer.step()
            if step % steps == steps - 1:
                mean = {name: float(np.mean([one[name] for one in terms])) for name in terms[0]}
                history.append({**mean, "learning_rate": optimizer.param_groups[0]["lr"]})
    return model, history


def test_training_is_the_plain_loop(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    """Order, pictures, phases, schedule, loss, weight decay and steps all at once: each one's change shows here."""
    wanted, history = plain_training(samples, recipe())
    result = train(samples, dev, recipe(), tmp_path, CPU)
    for row, plain in zip(result.history, history, strict=True):
        assert {name: row[name] for name in plain} == pytest.approx(plain, rel=1e-4)
    for name, value in wanted.state_dict().items():
        assert torch.allclose(result.model.state_dict()[name].float(), value.float(), atol=2e-4), name


def judged_by(scores: list[float], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Dev gives these scores one after the other; the weights that it was asked about."""
    seen: list[dict[str, Tensor]] = []

    def judge(network: nn.Module, *_: object) -> tuple[float, float]:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return scores[len(seen) - 1], float(len(seen))

    monkeypatch.setattr(training, "evaluate_dev", judge)
    return seen


@pytest.mark.parametrize(
    ("decay", "scores", "best"),
    [
        (0.5, [0.7, 0.9, 0.8], 2),
        (0.0, [0.9, 0.7, 0.8], 1),
        (0.0, [0.8, 0.9, 0.9], 2),
        (0.0, [0.0, 0.0, 0.0], 1),
    ],
)
def test_the_weights_of_the_best_epoch_are_kept(
    decay: float,
    scores: list[float],
    best: int,
    samples: list[Sample],
    dev: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that dev was asked about, the running mean where there is one, and not what became of them later."""
    seen = judged_by(scores, monkeypatch)
    whole = recipe(full_epochs=3, encoder_epochs=0, average_decay=decay, best_from=0.0)
    result = train(samples[:8], dev, whole, tmp_path, CPU)
    assert (result.best_epoch, result.dev_foreground_iou, result.dev_loss) == (best, scores[best - 1], best)
    for name, value in seen[best - 1].items():
        assert torch.equal(result.model.state_dict()[name], value), name


@pytest.mark.parametrize(("best_from", "best"), [(0.0, 1), (0.25, 2), (0.5, 3), (0.75, 4)])
def test_what_counts_begins_after_the_share_that_does_not(
    best_from: float,
    best: int,
    samples: list[Sample],
    dev: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged_by([0.9, 0.8, 0.7, 0.6], monkeypatch)
    whole = recipe(full_epochs=4, encoder_epochs=0, best_from=best_from)
    assert train(samples[:4], dev, whole, tmp_path, CPU).best_epoch == best


def test_dev_is_shown_at_the_size_of_prediction(
    samples: list[Sample], dev: list[Sample], tmp_path: Path
) -> None:
    result = train(samples, dev, recipe(full_epochs=1, predict_size=96), tmp_path, CPU)
    assert result.preprocessing.size == 96
    again = evaluate_dev(result.model, read_dev(dev, 96), result.preprocessing)
    assert again == pytest.approx((result.dev_foreground_iou, result.dev_loss))
    assert again != pytest.approx(evaluate_dev(result.model, read_dev(dev, 64), result.preprocessing))


def test_seeds_make_first_weights_and_nobody_elses_numbers_change() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first = [
        training._initial_model(tiny_recipe(seed=seed)).state_dict()["encoder.level1.conv.weight"]
        for seed in (3, 3, 4)
    ]
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
