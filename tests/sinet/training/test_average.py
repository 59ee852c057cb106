"""The running mean: what it is the mean of, that it can be resumed, and how little it asks of a GPU."""

from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sinet.network.model import SINet
from sinet.training.average import RunningMean


class Counted(TorchDispatchMode):
    """Counts what torch dispatches; views and detached handles cost a device nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def layer(value: float, batches: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(1)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.fill_(value)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.fill_(batches)
    return norm


def test_the_first_weights_are_the_mean_then_it_moves_and_counts_are_copied() -> None:
    mean = RunningMean(layer(99, 0), decay=0.75, steps=100)
    for value, batches, wanted in ((8.0, 1, 8.0), (4.0, 2, 7.0), (3.0, 5, 6.0)):
        mean.move(layer(value, batches))
        state = mean.module.state_dict()
        assert all(state[name].item() == wanted for name in ("weight", "bias", "running_mean", "running_var"))
        assert state["num_batches_tracked"] == batches


def test_it_goes_on_from_its_state() -> None:
    mean = RunningMean(layer(0, 0), decay=0.5, steps=100)
    mean.move(layer(8, 1))
    again = RunningMean(layer(0, 0), decay=0.5, steps=100)
    again.load_state_dict(mean.state_dict())
    for one in (mean, again):
        one.move(layer(4, 2))
    assert again.module.state_dict()["weight"] == mean.module.state_dict()["weight"] == 6


def test_it_forgets_within_an_epoch() -> None:
    mean = RunningMean(layer(0, 0), decay=0.99, steps=4)  # as 0.75
    mean.move(layer(8, 1))
    mean.move(layer(4, 2))
    assert mean.module.state_dict()["weight"] == 7


def test_a_move_is_a_handful_of_kernels() -> None:
    model = SINet()
    mean = RunningMean(model, decay=0.9, steps=10)
    mean.move(model)
    with Counted() as counted:
        mean.move(model)
    del counted.calls["detach"]
    assert counted.calls["_foreach_lerp_"] == counted.calls["_foreach_copy_"] == 1
    assert counted.calls.total() < 8, counted.calls


def test_the_mean_does_not_move_with_the_network() -> None:
    model = layer(8, 1)
    mean = RunningMean(model, decay=0.5, steps=100)
    mean.move(model)
    with torch.no_grad():
        model.weight.fill_(0)  # as an optimizer does, in place
    assert mean.module.state_dict()["weight"] == 8
    mean.move(model)
    assert mean.module.state_dict()["weight"] == 4 and model.weight.item() == 0
