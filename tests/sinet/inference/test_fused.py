"""The fused SINet gives the plain one's logits: any size, any statistics, traced or not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sinet.inference.fused import FusedSINet
from sinet.inference.fused_tail import Tail
from sinet.network.model import SINet


def drawn_model(seed: int, classes: int = 2) -> SINet:
    """Random BatchNorm statistics and weights, some of them negative; slopes below 0 and above 1."""
    generator = torch.Generator().manual_seed(seed)
    model = SINet(classes).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.3, 2, generator=generator)
                module.weight.normal_(1, 0.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.5, 1.3, generator=generator)
            elif isinstance(module, nn.Conv2d):
                deviation = module.weight[0].numel() ** -0.5
                module.weight.normal_(0, deviation, generator=generator)
    return model


def picture(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    batch=st.integers(1, 3),
    classes=st.integers(1, 3),
)
def test_the_logits_are_the_plain_models(
    seed: int, height: int, width: int, batch: int, classes: int
) -> None:
    model = drawn_model(seed, classes)
    x = picture(seed, batch, 3, 32 * height, 32 * width)
    before = x.clone()
    with torch.inference_mode():
        want, got = model(x), FusedSINet(model)(x)
    assert torch.equal(x, before)
    assert got.shape == want.shape
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert (got - want).abs().max() <= 1e-5 * max(1, want.abs().max())


@pytest.mark.parametrize("seed", range(3))
def test_at_the_size_of_the_weights_they_differ_by_a_ten_thousandth_at_most(seed: int) -> None:
    model, x = drawn_model(seed), picture(seed, 1, 3, 224, 224)
    with torch.inference_mode():
        assert (FusedSINet(model)(x) - model(x)).abs().max() <= 1e-4


def test_in_double_precision_they_are_equal_but_for_rounding() -> None:
    model, x = drawn_model(5).double(), picture(5, 2, 3, 96, 160).double()
    with torch.inference_mode():
        torch.testing.assert_close(FusedSINet(model)(x), model(x), rtol=1e-10, atol=1e-10)


def test_tracing_changes_no_bit_and_holds_for_other_sizes() -> None:
    model = drawn_model(0)
    plain, traced = FusedSINet(model, trace_after=0), FusedSINet(model, trace_after=3)
    for shape in ((1, 3, 64, 64), (2, 3, 32, 96), (1, 3, 64, 64), (3, 3, 128, 32), (1, 3, 224, 224)):
        x = picture(1, *shape)
        assert torch.equal(plain(x), traced(x))
    assert isinstance(traced.body, torch.jit.ScriptModule)
    assert not isinstance(plain.body, torch.jit.ScriptModule)


def test_channels_last_gives_the_same() -> None:
    fused, x = FusedSINet(drawn_model(0)), picture(0, 2, 3, 64, 64)
    assert torch.equal(fused(x.contiguous(memory_format=torch.channels_last)), fused(x))


def test_making_it_draws_nothing() -> None:
    model = drawn_model(0)
    before = torch.random.get_rng_state()
    FusedSINet(model, trace_after=1)(torch.zeros(1, 3, 32, 32))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_tells_when_the_weights_have_changed() -> None:
    model = drawn_model(0)
    fused = FusedSINet(model)
    assert fused.matches(model)
    assert not fused.matches(drawn_model(0))
    with torch.no_grad():
        model.encoder.level3[2].BR.bn.running_var.add_(1)
    assert not fused.matches(model)
    fused = FusedSINet(model)
    model.load_state_dict(drawn_model(1).state_dict())
    assert not fused.matches(model)


def test_a_model_that_trains_and_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        FusedSINet(SINet())
    with pytest.raises(ValueError, match="multiples of 32, found 33x64"):
        FusedSINet(SINet().eval())(torch.zeros(1, 3, 33, 64))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 56), (56, 56), (72, 8), (128, 96)])
def test_the_tail_is_two_enlargements_and_a_convolution(height: int, width: int) -> None:
    bn, conv = nn.BatchNorm2d(2, eps=1e-3).double().eval(), nn.Conv2d(2, 2, 3, padding=1, bias=False).double()
    with torch.no_grad():
        bn.running_mean.copy_(torch.tensor([0.5, -2.0]))
        bn.bias.copy_(torch.tensor([1.0, 3.0]))
        x = picture(0, 2, 2, height, width).double()
        enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        want = conv(enlarge(bn(enlarge(x))))
        torch.testing.assert_close(Tail(bn, conv)(x), want, rtol=1e-11, atol=1e-11)
