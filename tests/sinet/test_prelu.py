"""The quick PReLU is torch's PReLU: forward, both gradients, and nothing of it left outside training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from sinet.prelu import PReLU


@settings(max_examples=40, deadline=None)
@given(
    shape=st.one_of(st.tuples(st.integers(1, 4), st.integers(1, 6)), st.tuples(*[st.integers(1, 5)] * 4)),
    slope=st.floats(-1.5, 1.5),
    seed=st.integers(0, 2**31),
)
def test_forward_and_gradients_are_torchs(shape: tuple[int, ...], slope: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    x[torch.rand(shape, generator=generator) < 0.2] = 0  # where the slope changes
    gradient = torch.randn(shape, generator=generator, dtype=torch.float64)
    found = []
    for activation in (nn.PReLU(shape[1], slope).double(), PReLU(shape[1], slope).double().train()):
        leaf = x.clone().requires_grad_()
        out = activation(leaf)
        out.backward(gradient)
        found.append((out.detach(), leaf.grad, activation.weight.grad))
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)


def test_the_gradients_pass_torchs_own_check() -> None:
    activation = PReLU(3).double().train()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(activation, {"weight": weight}, x),
        (x.requires_grad_(), torch.tensor([-0.3, 0.25, 1.2], dtype=torch.float64, requires_grad=True)),
    )


def test_channels_last_stays_channels_last() -> None:
    x = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    out = PReLU(8).train()(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
def test_only_training_takes_another_way(training: bool) -> None:
    activation = PReLU(2).train(training)
    x = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    name = type(activation(x).grad_fn).__name__
    assert ("_PReLU" in name) is training
    assert torch.equal(activation(x), functional.prelu(x, activation.weight))
