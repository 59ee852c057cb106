"""The fused training steps are the plain modules: outputs, every gradient, running statistics, nothing in eval mode."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sinet.network.model import LEVEL3, Branch, NormAct, S2Module, SINet, SqueezeDownsample
from sinet.training.fused import FUSED, fits, fused

MODULES: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "norm and activation": (7, lambda: NormAct(7)),
    "downsampling": (6, lambda: SqueezeDownsample(6, 9, hidden=(5,))),
    "growing S2": (4, lambda: S2Module(4, 12, (Branch(3, 1), Branch(5, 1)), residual=False)),
}
for first, second in dict.fromkeys(LEVEL3):
    name = f"S2 of {first.kernel}/{first.pool} and {second.kernel}/{second.pool}"
    MODULES[name] = (8, lambda first=first, second=second: S2Module(8, 8, (first, second), residual=True))


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(2, 4),
    height=st.integers(2, 6),
    width=st.integers(2, 6),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_each_piece_is_its_plain_modules(
    name: str, batch: int, height: int, width: int, channels_last: bool, seed: int
) -> None:
    module, x = piece(name, batch, height, width, seed)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    plain, quick = (trained(module, x, torch.float64, way) for way in (False, True))
    assert plain.keys() == quick.keys()
    # A bias before a BatchNorm has a gradient of 0 in exact arithmetic, so there is a part for rounding.
    rounding = 1e-10 * torch.cat([plain[key].flatten() for key, _ in module.named_parameters()]).norm()
    for key, wanted in plain.items():
        assert (quick[key] - wanted).norm() <= 1e-9 * wanted.norm() + rounding, key


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("seed", range(3))
def test_each_piece_in_float32(name: str, seed: int) -> None:
    # Fixed seeds: one in a thousand has a value at the slope's kink, where rounding decides about the gradient.
    module, x = piece(name, 2, 5, 3, seed)
    # The gamma of a norm away from 0: the norm behind it would enlarge what float32 rounds.
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    exact = trained(module, x, torch.float64, quick=False)
    quick = trained(module, x, torch.float32, quick=True)
    for keys in (["out"], ["x"], [key for key, _ in module.named_parameters()]):
        assert error(quick, exact, keys) <= 1e-5, keys


def piece(name: str, batch: int, height: int, width: int, seed: int) -> tuple[nn.Module, Tensor]:
    """In training mode, with slopes of both signs, gamma and beta of their own, and an input for it."""
    torch.manual_seed(seed)
    channels, make = MODULES[name]
    pool = 4 if "S2" in name else 1
    module = make().train()
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.trunc_normal_(parameter)
    return module, torch.randn(batch, channels, pool * height, pool * width)


def error(found: dict[str, Tensor], exact: dict[str, Tensor], keys: list[str]) -> float:
    """Relative, of the tensors of these keys as one vector."""
    ours, wanted = (torch.cat([each[key].flatten() for key in keys]) for each in (found, exact))
    relative: float = ((ours - wanted).norm() / wanted.norm()).item()
    return relative


def trained(module: nn.Module, x: Tensor, dtype: torch.dtype, quick: bool) -> dict[str, Tensor]:
    """Output, gradients and buffers after a pass forward and back of a copy of the module, as float64."""
    module, x = deepcopy(module).to(dtype), x.to(dtype).clone().requires_grad_()
    assert fits(x, *[m for m in module.modules() if isinstance(m, nn.BatchNorm2d)])
    out = (fused(module) if quick else module)(x)
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).sin().to(dtype)
    (out * weights).sum().backward()
    assert x.grad is not None
    gradients = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
    found = {"out": out.detach(), "x": x.grad, **gradients, **dict(module.named_buffers())}
    return {key: value.double() for key, value in found.items()}


@pytest.mark.parametrize("width", [0.5, 1, 1.5, 2])
def test_the_whole_network_in_float64(width: float) -> None:
    torch.manual_seed(0)
    model, x = SINet(width=width).train(), torch.randn(2, 3, 96, 160)
    plain, quick = (trained(model, x, torch.float64, way) for way in (False, True))
    assert plain.keys() == quick.keys()
    for key, wanted in plain.items():
        assert (quick[key] - wanted).norm() <= 1e-9 * max(wanted.norm().item(), 1), key


def test_the_whole_network_in_float32_is_as_exact_as_the_plain_one() -> None:
    torch.manual_seed(0)
    model, x = SINet().train(), torch.randn(2, 3, 96, 96)
    exact = trained(model, x, torch.float64, quick=False)
    names = [key for key, _ in model.named_parameters()]
    plain, quick = (error(trained(model, x, torch.float32, way), exact, names) for way in (False, True))
    assert quick <= max(1e-5, 2 * plain)


def test_steps_lead_to_the_same_weights() -> None:
    torch.manual_seed(0)
    plain = SINet().double().train()
    quick = fused(deepcopy(plain))
    for model in (plain, quick):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for seed in range(4):
            x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)).double()
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    for key, wanted in plain.state_dict().items():
        found = quick.state_dict()[key].double()
        assert (found - wanted).norm() <= 1e-9 * max(wanted.double().norm().item(), 1), key


def test_only_training_on_a_cpu_takes_another_way() -> None:
    norm, x = nn.BatchNorm2d(3), torch.zeros(2, 3, 4, 4)
    assert fits(x, norm)
    assert not fits(x.to("meta"), norm)  # as on a GPU
    assert not fits(x.double(), norm)
    assert not fits(x, norm, nn.BatchNorm2d(3).eval())
    with torch.autocast("cpu", torch.bfloat16):
        assert not fits(x, norm)
    assert fits(x, norm)


def test_a_frozen_norm_stays_as_it_is() -> None:
    plain, x = piece("S2 of 3/1 and 5/1", 2, 4, 4, seed=0)
    quick = fused(deepcopy(plain))
    norms, others = ([m for m in each.modules() if isinstance(m, nn.BatchNorm2d)] for each in (quick, plain))
    for norm, other in zip(norms, others, strict=True):
        quick.train()
        plain.train()
        norm.eval()
        other.eval()
        before = {key: value.clone() for key, value in norm.named_buffers()}
        with torch.no_grad():
            assert torch.allclose(quick(x), plain(x), atol=1e-5)
        assert all(torch.equal(value, before[key]) for key, value in norm.named_buffers())


def test_a_fused_network_keeps_keys_and_weights() -> None:
    model = SINet()
    quick = fused(deepcopy(model))
    assert type(quick) is SINet
    assert {type(module) for module in quick.modules()}.isdisjoint(FUSED)
    ours, theirs = quick.state_dict(), model.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_one_value_a_channel_is_refused_as_by_the_plain_modules() -> None:
    """One picture of 32x32: level 3 pools it to 1x1."""
    model, x = fused(SINet().train()), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match="more than one value a channel"):
        model(x)
    assert all(value.isfinite().all() for _, value in model.named_buffers())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        SINet().train()(x)


def test_eval_mode_is_the_plain_modules_bit_for_bit() -> None:
    torch.manual_seed(0)
    model, x = SINet().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model(x)
        assert torch.equal(fused(model)(x), wanted)


def test_two_steps_have_the_same_bits() -> None:
    torch.manual_seed(0)
    model, x = SINet().train(), torch.randn(2, 3, 64, 64)
    first, second = (trained(model, x, torch.float32, quick=True) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
