"""SINet for prediction on a CPU: the same logits in half the time of the plain modules, nothing to train.

Every BatchNorm is folded into the convolution before it, the channel shuffle into the order of the weights, and both
branches of an S2 module into one depthwise convolution where they see the same picture. Tensors lie as N x H x W x C,
so that a pointwise convolution is a matrix product that adds into its place. Why the result stays the same:

- a pointwise convolution, and an affine map a channel, commute with bilinear enlargement, whose weights add up to 1;
- a depthwise 3x3 is a 5x5 with a border of zeros;
- the two last enlargements and the convolution behind them are one linear map (`sinet.inference.fused_tail`).
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinet.inference.fused_tail import Tail, affine, folded
from sinet.network.model import S2Block, S2Module, SINet, SqueezeDownsample, check_size, dense

LANES = 8  # channels a processor's vector holds; a multiple of it is quicker
TRACE_AFTER = (
    100  # calls: tracing costs what it saves in about 200 pictures, so only films and folders get it
)


class FusedSINet(nn.Module):
    """What `SINet.forward` computes in eval mode: N x 3 x H x W to logits N x classes x H x W, without gradients.

    The weights are copied, `matches` tells whether the model still has them. After `trace_after` calls the network
    runs without Python between its steps, with the same bits. ValueError where the model is in training mode, and
    for heights and widths that are no multiples of 32.
    """

    def __init__(self, model: SINet, trace_after: int = TRACE_AFTER) -> None:
        super().__init__()
        if any(module.training for module in model.modules()):
            raise ValueError("expected a SINet in eval mode, found one that trains; call model.eval()")
        with torch.no_grad():
            self.body: nn.Module = _Body(model)
            convolution: Any = model.classifier[1]
            self.tail = Tail(model.bn_2, convolution)
        self.to(model.level2_C.conv.weight.dtype)
        self.eval().requires_grad_(False)
        self.trace_after = trace_after
        self.calls = 0
        self._copied = Copied(model)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        check_size(x)
        self.calls += 1
        if self.calls == self.trace_after:
            self.body = _traced(self.body, x.dtype)
        logits: Tensor = self.tail(self.body(x))
        return logits

    def matches(self, model: SINet) -> bool:
        """Whether the model is the one that was copied and none of its weights was replaced or written to since."""
        return self._copied.still(model)


class Copied:
    """What a model's tensors were: where each lies and how often it was written to; looking takes 0.1 ms."""

    def __init__(self, model: SINet) -> None:
        self._model = model
        self._tensors = [
            tensors
            for module in model.modules()
            for tensors in (module._parameters, module._buffers)
            if tensors
        ]
        self._state = self._look()

    def still(self, model: SINet) -> bool:
        return model is self._model and self._look() == self._state

    def _look(self) -> list[tuple[int, int]]:
        return [
            (t.data_ptr(), t._version) for tensors in self._tensors for t in tensors.values() if t is not None
        ]


def _traced(body: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The same steps without Python; they hold for every size, so a small picture shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(body, torch.zeros(1, 3, 64, 64, dtype=dtype), check_trace=False)
        frozen: nn.Module = torch.jit.freeze(traced)
    return frozen


class _Body(nn.Module):
    """All up to the blend of detail and encoder: N x 3 x H x W to N x classes x H/4 x W/4."""

    def __init__(self, model: SINet) -> None:
        super().__init__()
        encoder = model.encoder
        self.level1 = _Entry(model)
        self.start2 = _Squeeze(encoder.level2_0, padded=self.level1.channels)
        self.level2 = _all_fused(encoder.level2)
        self.BR2 = _NormAct(encoder.BR2.bn, encoder.BR2.act)
        self.start3 = _Squeeze(encoder.level3_0)
        self.level3 = _all_fused(encoder.level3)
        self.BR3 = _NormAct(encoder.BR3.bn, encoder.BR3.act)
        self.head = _ToPlanes(encoder.classifier.conv.weight, model.bn_3)
        self.detail = _ToPlanes(model.level2_C.conv.weight, model.level2_C.bn)
        self.detail_slope = _kept(model.level2_C.act.weight)

    def forward(self, x: Tensor) -> Tensor:
        start2 = self.start2(self.level1(x))
        detail = start2
        for module in self.level2:
            detail = module(detail)
        start3 = self.start3(self.BR2(start2, detail))
        deep = start3
        for module in self.level3:
            deep = module(deep)
        coarse = functional.interpolate(
            self.head(self.BR3(start3, deep)), scale_factor=2, mode="bilinear", align_corners=True
        )
        fine = functional.prelu(self.detail(detail), self.detail_slope)
        return torch.addcmul(coarse, fine, SINet.uncertainty(coarse))


class _Entry(nn.Module):
    """level1: N x 3 x H x W to N x H/2 x W/2 x `channels`, of which the last ones are 0."""

    def __init__(self, model: SINet) -> None:
        super().__init__()
        block = model.encoder.level1
        self.channels = -(-block.conv.out_channels // LANES) * LANES
        weight, bias = folded(block.conv.weight, block.bn)
        self.weight = _kept(_padded(weight, self.channels).contiguous(memory_format=torch.channels_last))
        self.bias = _kept(_padded(bias, self.channels))
        self.slope = _kept(_padded(block.act.weight, self.channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = torch.conv2d(x, self.weight, self.bias, stride=2, padding=1)
        return _pixels(functional.prelu(x, self.slope))


def _all_fused(modules: nn.ModuleList) -> nn.ModuleList:
    """Each S2 module of a list, fused."""
    listed: list[Any] = list(modules)
    return nn.ModuleList(_S2(module) for module in listed)


class _Squeeze(nn.Module):
    """SqueezeDownsample: the factor of each channel goes into the pointwise weights of its picture."""

    def __init__(self, module: SqueezeDownsample, padded: int = 0) -> None:
        super().__init__()
        parts: list[Any] = list(module.conv)
        depthwise, attention, pointwise = parts
        channels: int = max(padded, depthwise.out_channels)
        self.channels = channels
        self.depthwise = _kept(_padded(depthwise.weight, channels))
        layers = list(attention.dense)
        self.dense, self.biases, self.slopes = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for linear, act in zip(layers[::2], layers[1::2], strict=True):
            last, first = linear is layers[-2], linear is layers[0]
            rows = channels if last else linear.out_features
            columns = channels if first else linear.in_features
            weight = _padded(_padded(linear.weight, rows).t(), columns).t()
            self.dense.append(_kept(weight))
            self.biases.append(_kept(_padded(linear.bias, rows)))
            self.slopes.append(_kept(_padded(act.weight, rows)))
        weight, bias = folded(pointwise.weight, module.bn)
        self.weight = _kept(_padded(weight[:, :, 0, 0].t(), channels))  # in x out
        self.bias = _kept(bias)
        self.slope = _kept(module.act.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.conv2d(_planes(x), self.depthwise, stride=2, padding=1, groups=self.channels)
        factor = x.mean((2, 3))
        for weight, bias, slope in zip(self.dense, self.biases, self.slopes, strict=True):
            factor = functional.prelu(functional.linear(factor, weight, bias), slope)
        count, _, height, width = x.shape
        rows = _pixels(x).reshape(count, height * width, self.channels)
        rows = torch.baddbmm(self.bias, rows, factor[:, :, None] * self.weight)
        return _prelu(rows.view(count, height, width, -1), self.slope)


class _S2(nn.Module):
    """S2Module with its BatchNorms folded; the sum of bias and scaled residual is what the products add into."""

    def __init__(self, module: S2Module) -> None:
        super().__init__()
        self.residual = module.residual
        half = module.c1.conv.out_channels
        scale, shift = affine(module.BR.bn)
        self.squeeze = _kept(dense(module.c1.conv.weight.double()).t())  # in x half
        branches = _branches((module.d1, module.d2), scale)
        self.branches = nn.ModuleList(branches)
        self.bias = _kept(shift + torch.cat([affine(d.bn)[1] for d in (module.d1, module.d2)]) * scale)
        self.scale = _kept(scale)
        self.slope = _kept(module.BR.act.weight)
        self.copies = 2 if len(branches) == 1 else 1
        self.squeezed = half

    def forward(self, x: Tensor) -> Tensor:
        count, height, width, channels = x.shape
        squeezed = x.new_empty(count, height, width, self.squeezed * self.copies)
        rows = squeezed.view(-1, self.squeezed * self.copies)
        torch.mm(x.view(-1, channels), self.squeeze, out=rows[:, : self.squeezed])
        if self.copies == 2:
            rows[:, self.squeezed :] = rows[:, : self.squeezed]
        if self.residual:
            out = torch.addcmul(self.bias, x, self.scale, out=x)  # nobody else reads x any more
        else:
            out = x.new_empty(count, height, width, 2 * self.squeezed).copy_(self.bias)
        for branch in self.branches:
            branch(squeezed, out)
        return _prelu(out, self.slope)


class _Product(NamedTuple):
    """Which channels of the depthwise result a pointwise matrix takes, and where it adds them."""

    taken: slice
    added: slice


class _Branch(nn.Module):
    """One S2 block, or two of them that pool alike: adds to channels of `out`, N x H x W x C, in place."""

    def __init__(self, blocks: Sequence[S2Block], places: Sequence[slice], scales: Sequence[Tensor]) -> None:
        super().__init__()
        self.pool = blocks[0].pool
        pairs: list[tuple[Any, Any]] = [(block.conv[0], block.conv[1]) for block in blocks]
        depthwise = [folded(conv.weight, bn) for conv, bn in pairs]
        inner: list[tuple[Any, Any]] = [(block.act_conv1x1[0], block.act_conv1x1[1]) for block in blocks]
        kernel = max(weight.shape[-1] for weight, _ in depthwise)
        self.kernel = kernel
        self.weight = _kept(torch.cat([_wider(weight, kernel) for weight, _ in depthwise]))
        self.bias = _kept(torch.cat([bias for _, bias in depthwise]))
        self.slope = _kept(torch.cat([act.weight for act, _ in inner]))
        self.channels = len(self.slope)
        self.matrices = nn.ParameterList()
        self.products: list[_Product] = []
        start = 0
        for block, (_, pointwise), place, scale in zip(blocks, inner, places, scales, strict=True):
            weight, _ = folded(pointwise.weight, block.bn)
            self.matrices.append(_kept((weight[:, :, 0, 0] * scale[:, None]).t()))  # in x out
            self.products.append(_Product(slice(start, start + len(scale)), place))
            start += len(scale)

    def forward(self, x: Tensor, out: Tensor) -> None:
        planes = _planes(x)
        if self.pool > 1:
            planes = functional.avg_pool2d(planes, self.pool)
        planes = torch.conv2d(planes, self.weight, self.bias, padding=self.kernel // 2, groups=self.channels)
        pixels = _pixels(functional.prelu(planes, self.slope))
        rows, sums = pixels.reshape(-1, pixels.shape[-1]), out.view(-1, out.shape[-1])
        for (taken, added), matrix in zip(self.products, self.matrices, strict=True):
            if self.pool > 1:
                small = torch.mm(rows[:, taken], matrix).view(*pixels.shape[:3], -1)
                out[..., added] += _enlarge(small, self.pool)
            else:
                sums[:, added].addmm_(rows[:, taken], matrix)


class _NormAct(nn.Module):
    """NormAct of two concatenated tensors N x H x W x C."""

    def __init__(self, bn: nn.BatchNorm2d, act: nn.PReLU) -> None:
        super().__init__()
        scale, shift = affine(bn)
        self.scale, self.shift, self.slope = _kept(scale), _kept(shift), _kept(act.weight)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        border, channels = first.shape[-1], first.shape[-1] + second.shape[-1]
        out = first.new_empty(*first.shape[:3], channels)
        for part, place in ((first, slice(border)), (second, slice(border, channels))):
            torch.addcmul(self.shift[place], part, self.scale[place], out=out[..., place])
        return _prelu(out, self.slope)


class _ToPlanes(nn.Module):
    """A pointwise convolution to few channels and the BatchNorm behind it: N x H x W x C to N x few x H x W."""

    def __init__(self, weight: Tensor, bn: nn.BatchNorm2d) -> None:
        super().__init__()
        weight, bias = folded(weight, bn)
        self.weight, self.bias = _kept(weight[:, :, 0, 0]), _kept(bias[:, None])

    def forward(self, x: Tensor) -> Tensor:
        count, height, width, channels = x.shape
        columns = x.view(count, height * width, channels).transpose(1, 2)
        planes = torch.baddbmm(self.bias, self.weight.expand(count, -1, -1), columns)
        return planes.view(count, -1, height, width)


def _branches(blocks: tuple[S2Block, S2Block], scale: Tensor) -> list[_Branch]:
    half = len(scale) // 2
    places, scales = (slice(half), slice(half, 2 * half)), (scale[:half], scale[half:])
    if blocks[0].pool == blocks[1].pool:
        return [_Branch(blocks, places, scales)]
    return [_Branch([blocks[i]], [places[i]], [scales[i]]) for i in range(2)]


def _wider(weight: Tensor, kernel: int) -> Tensor:
    """A depthwise weight with a border of zeros, `kernel` x `kernel`."""
    return functional.pad(weight, [(kernel - weight.shape[-1]) // 2] * 4)


def _padded(values: Tensor, length: int) -> Tensor:
    """Zeros behind the first dimension, up to `length`."""
    return functional.pad(values, [0, 0] * (values.ndim - 1) + [0, length - len(values)])


def _kept(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(), requires_grad=False)


def _planes(pixels: Tensor) -> Tensor:
    """N x H x W x C seen as N x C x H x W."""
    return pixels.permute(0, 3, 1, 2)


def _pixels(planes: Tensor) -> Tensor:
    """N x C x H x W seen as N x H x W x C."""
    return planes.permute(0, 2, 3, 1)


def _prelu(pixels: Tensor, slope: Tensor) -> Tensor:
    return _pixels(functional.prelu(_planes(pixels), slope))


def _enlarge(pixels: Tensor, factor: int) -> Tensor:
    planes: Tensor = functional.interpolate(
        _planes(pixels), scale_factor=factor, mode="bilinear", align_corners=True
    )
    return _pixels(planes)
