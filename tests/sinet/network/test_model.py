"""SINet: the official architecture to the last key, on any size that is a multiple of 32."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sinet.core.recipe import LEAST_WIDTH, MOST_WIDTH
from sinet.network.model import Channels, SINet

# Reference outputs of the official code in float64, for the weights and the picture of the formulas below.
LOGITS = {
    (0, 0): (-0.023430370246561978, 0.014878413329190427),
    (0, 223): (-0.05609544708412147, -0.02207738781882047),
    (223, 0): (-0.08545186755690061, -0.0721773531662688),
    (223, 223): (-0.08405030784531567, -0.0825671851159502),
    (112, 112): (-0.145078982538684, -0.09855936225708942),
    (57, 101): (-0.14506312946860184, -0.09854480358814592),
    (200, 31): (-0.1436879622434986, -0.09762654405535966),
    (13, 177): (-0.13482538843541486, -0.09134514208565989),
}
LOGITS_SUM = (-7092.1957795955395, -4818.3219472661485)
ENCODER_LOGITS = {
    (0, 0): (0.4143893733948162, -0.34099104588614976),
    (27, 27): (0.3783724230568579, -0.3036145107853358),
    (14, 14): (0.4244770497905736, -0.35049106817950026),
    (5, 20): (0.42374954950566945, -0.34960156083926003),
}
ENCODER_LOGITS_SUM = (328.51724631589894, -270.3850281624051)


def fill(model: nn.Module) -> None:
    """Weights by a formula: key k of the sorted keys is sin(0.37 i + k), scaled by what it is for."""
    state = model.state_dict()
    for k, key in enumerate(sorted(state)):
        tensor = state[key]
        base = torch.sin(0.37 * torch.arange(tensor.numel(), dtype=torch.float64) + k).reshape(tensor.shape)
        if key.endswith("num_batches_tracked"):
            value = torch.zeros_like(base)
        elif key.endswith("running_var"):
            value = 1 + 0.5 * base.abs()
        elif tensor.ndim == 1:
            value = 0.6 + 0.2 * base if key.endswith(".weight") else 0.1 * base
        else:
            value = base * math.sqrt(2 / tensor[0].numel())
        tensor.copy_(value)


def picture() -> Tensor:
    """1 x 3 x 224 x 224 by a formula, float64."""
    c = torch.arange(3, dtype=torch.float64).view(3, 1, 1)
    y = torch.arange(224, dtype=torch.float64).view(1, 224, 1)
    x = torch.arange(224, dtype=torch.float64).view(1, 1, 224)
    return torch.sin(0.05 * x + 0.03 * y * (c + 1) + c)[None]


@pytest.fixture(scope="module")
def reference() -> SINet:
    model = SINet(classes=2).double().eval()
    fill(model)
    return model


def test_logits_equal_the_official_code(reference: SINet) -> None:
    with torch.inference_mode():
        check(reference(picture()), LOGITS, LOGITS_SUM)


def test_encoder_logits_equal_the_official_code(reference: SINet) -> None:
    with torch.inference_mode():
        check(reference.encoder(picture()), ENCODER_LOGITS, ENCODER_LOGITS_SUM)


def check(
    logits: Tensor, points: dict[tuple[int, int], tuple[float, float]], total: tuple[float, float]
) -> None:
    for (row, column), wanted in points.items():
        assert logits[0, :, row, column].tolist() == pytest.approx(wanted, abs=1e-6)
    assert logits.sum((0, 2, 3)).tolist() == pytest.approx(total, abs=1e-6)


def test_parameters() -> None:
    model = SINet(classes=2)
    assert sum(p.numel() for p in model.parameters()) == 86_910
    assert sum(p.numel() for p in model.encoder.parameters()) == 86_764


@pytest.mark.parametrize(
    ("width", "channels", "parameters"),
    [
        (0.5, (8, 8, 32, 24, 48, 16), 28_914),
        (1, (12, 16, 48, 48, 96, 32), 86_910),
        (1.5, (20, 24, 80, 72, 144, 48), 182_462),
        (2, (24, 32, 96, 96, 192, 64), 303_210),
    ],
)
def test_a_width_multiplies_the_channels(width: float, channels: tuple[int, ...], parameters: int) -> None:
    model = SINet(width=width)
    assert model.channels == channels
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.state_dict().keys() == SINet().state_dict().keys()


@given(width=st.floats(LEAST_WIDTH, MOST_WIDTH))
def test_channels_are_whole_vectors(width: float) -> None:
    level1, start2, detail, start3, deep, hidden = Channels.of(width)
    assert level1 % 4 == start2 % 8 == detail % 16 == start3 % 8 == deep % 16 == hidden % 8 == 0
    assert min(level1, start2, detail, start3, deep, hidden) > 0


@pytest.mark.parametrize("width", [0, 0.2, 4.1, -1, float("nan"), float("inf")])
def test_a_width_that_there_is_not_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match=f"expected a width of 0.25 to 4, found {width}"):
        SINet(width=width)


def test_the_official_keys() -> None:
    shapes = {key: tuple(value.shape) for key, value in SINet(classes=2).state_dict().items()}
    assert len(shapes) == 393
    for key, shape in {
        "encoder.level1.conv.weight": (12, 3, 3, 3),
        "encoder.level2_0.conv.1.dense.1.weight": (12,),
        "encoder.level2.0.c1.conv.weight": (24, 8, 1, 1),
        "encoder.level2.0.d2.conv.0.weight": (24, 1, 5, 5),
        "encoder.level2.1.d1.act_conv1x1.1.weight": (24, 24, 1, 1),
        "encoder.BR2.act.weight": (64,),
        "encoder.level3_0.conv.1.dense.2.weight": (64, 32),
        "encoder.level3.0.BR.bn.running_var": (96,),
        "encoder.level3.7.d2.bn.weight": (48,),
        "encoder.classifier.conv.weight": (2, 144, 1, 1),
        "bn_3.weight": (2,),
        "level2_C.conv.weight": (2, 48, 1, 1),
        "level2_C.act.weight": (2,),
        "bn_2.num_batches_tracked": (),
        "classifier.1.weight": (2, 2, 3, 3),
    }.items():
        assert shapes[key] == shape, key


def test_multiply_adds_at_224() -> None:
    model = SINet(classes=2).eval()
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += out.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += out.numel() * module.in_features

    for module in model.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        model(torch.zeros(1, 3, 224, 224))
    assert total == 63_870_448


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    batch=st.integers(1, 2),
    classes=st.integers(2, 3),
    times=st.sampled_from((0.5, 1, 1.5, 2)),
)
def test_any_multiple_of_32(height: int, width: int, batch: int, classes: int, times: float) -> None:
    model = SINet(classes, times).eval()
    x = torch.randn(batch, 3, 32 * height, 32 * width)
    with torch.inference_mode():
        assert model(x).shape == (batch, classes, 32 * height, 32 * width)
        assert model.encoder(x).shape == (batch, classes, 4 * height, 4 * width)


@pytest.mark.parametrize(("height", "width"), [(225, 224), (224, 240), (16, 32), (33, 33)])
def test_other_sizes_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"multiples of 32, found {height}x{width}"):
        SINet()(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize(
    ("size", "width"), [(224, 1), (160, 1), (128, 1), (32, 1), (160, 0.5), (64, 1.5), (32, 2)]
)
def test_a_training_step_reaches_every_parameter(size: int, width: float) -> None:
    torch.manual_seed(0)
    model = SINet(classes=2, width=width).train()
    logits = model(torch.randn(2, 3, size, size))
    logits.square().mean().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_batches_do_not_mix_in_eval() -> None:
    torch.manual_seed(0)
    model = SINet().double().eval()
    x = torch.randn(3, 3, 64, 96, dtype=torch.float64)
    with torch.inference_mode():
        together, alone = model(x), torch.cat([model(one[None]) for one in x])
    assert torch.allclose(together, alone, atol=1e-12)


def test_the_gate_opens_where_the_encoder_is_unsure() -> None:
    logits = torch.tensor([[9.0, 0.0, -9.0], [-9.0, 0.0, 9.0]]).view(1, 2, 1, 3)
    assert SINet.uncertainty(logits).flatten().tolist() == pytest.approx([0, 0.5, 0], abs=1e-6)


def test_the_input_is_not_changed() -> None:
    x = torch.randn(1, 3, 64, 64)
    before = x.clone()
    SINet().eval()(x)
    assert torch.equal(x, before)
