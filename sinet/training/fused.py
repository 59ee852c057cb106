"""SINet's modules as they train on a CPU: the same numbers, half the tensors kept and read.

`fused` gives a network's modules the forward passes of this file; keys and weights stay. Backward passes compute anew
what is cheap (BatchNorm's affine map, PReLU) instead of keeping it: a training step on a CPU waits for memory. All
tensors are N x C x H x W in channels-last memory, whose pixels are the rows of a matrix (N*H*W) x C, so that pointwise
convolutions are plain matrix products. Elsewhere (`fits` says where) the modules do what their plain classes do;
`python -m pytest tests/sinet/training/test_fused.py` holds both against each other.
"""

from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sinet.network.model import GROUPS, ConvNormAct, NormAct, S2Block, S2Module, SqueezeDownsample, bilinear

LAST = torch.channels_last

Network = TypeVar("Network", bound=nn.Module)


def fused(network: Network) -> Network:
    """Returns the network itself, all of its modules that can be fused made so; a copy of it is fused too."""
    for module in network.modules():
        module.__class__ = FUSED.get(type(module), type(module))
    return network


def fits(x: Tensor, *norms: nn.BatchNorm2d) -> bool:
    """Returns whether x may take the fused way: on a CPU, eagerly, in one precision, all norms on batch statistics."""
    return (
        x.device.type == "cpu"
        and all(norm.training for norm in norms)
        and x.dtype == norms[0].weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class FusedS2Module(S2Module):
    """An S2 module that never lays its concatenated branches down before their norms."""

    def forward(self, x: Tensor) -> Tensor:
        if not fits(x, self.BR.bn, self.d1.bn, self.d2.bn):
            return super().forward(x)
        squeezed = pointwise(x, _dense(self.c1.conv.weight))
        parts = (_before_norm(self.d1, squeezed), _before_norm(self.d2, squeezed))
        residual = x if self.residual else None
        return join(parts, (self.d1.bn, self.d2.bn), residual, self.BR.bn, self.BR.act.weight)


class FusedS2Block(S2Block):
    """An S2 block on its own, as where the module's norms are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        normal: Tensor = self.bn(_before_norm(self, x))
        return normal


class FusedSqueezeDownsample(SqueezeDownsample):
    """Its pointwise convolution as a matrix product, norm and activation in one."""

    def forward(self, x: Tensor) -> Tensor:
        parts: list[Any] = list(self.conv)
        depthwise, attention, last = parts
        x = attention(depthwise(x))
        if not fits(x, self.bn):
            activated: Tensor = self.act(self.bn(last(x)))
            return activated
        return norm_act(pointwise(x, last.weight[:, :, 0, 0]), self.bn, self.act.weight)


class FusedConvNormAct(ConvNormAct):
    """Norm and activation in one."""

    def forward(self, x: Tensor) -> Tensor:
        return _norm_act_where_it_fits(self.conv(x), self.bn, self.act)


class FusedNormAct(NormAct):
    """Norm and activation in one."""

    def forward(self, x: Tensor) -> Tensor:
        return _norm_act_where_it_fits(x, self.bn, self.act)


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    S2Module: FusedS2Module,
    S2Block: FusedS2Block,
    SqueezeDownsample: FusedSqueezeDownsample,
    ConvNormAct: FusedConvNormAct,
    NormAct: FusedNormAct,
}


def _before_norm(block: S2Block, x: Tensor) -> Tensor:
    """Returns what an S2 block gives its last BatchNorm."""
    if block.pool > 1:
        x = functional.avg_pool2d(x, block.pool)
    parts: list[Any] = [*block.conv, *block.act_conv1x1]
    depthwise, norm, act, last = parts
    x = depthwise(x)
    quick = fits(x, norm)
    x = norm_act_pointwise(x, norm, act.weight, last.weight[:, :, 0, 0]) if quick else last(act(norm(x)))
    return bilinear(x, block.pool) if block.pool > 1 else x


def _norm_act_where_it_fits(x: Tensor, norm: nn.BatchNorm2d, act: nn.PReLU) -> Tensor:
    if fits(x, norm):
        return norm_act(x, norm, act.weight)
    activated: Tensor = act(norm(x))
    return activated


def _dense(grouped: Tensor) -> Tensor:
    """Returns the matrix (out x in) of a grouped pointwise convolution and the channel shuffle behind it."""
    matrix: Tensor = torch.block_diag(*grouped[:, :, 0, 0].chunk(GROUPS))
    return matrix.view(GROUPS, -1, matrix.shape[1]).transpose(0, 1).flatten(0, 1)


class Statistics(NamedTuple):
    """Of a batch, each C long."""

    mean: Tensor
    invstd: Tensor


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution as a matrix product; `weight` out x in."""
    pixels = x.contiguous(memory_format=LAST).permute(0, 2, 3, 1)
    return functional.linear(pixels, weight).permute(0, 3, 1, 2)


def norm_act(x: Tensor, norm: nn.BatchNorm2d, slope: Tensor) -> Tensor:
    """PReLU of BatchNorm; keeps x alone."""
    return _applied(_NormAct, x, norm, norm.weight, norm.bias, slope)


def norm_act_pointwise(x: Tensor, norm: nn.BatchNorm2d, slope: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution (`weight` out x in) of PReLU of BatchNorm; keeps x alone."""
    return _applied(_NormActPointwise, x, norm, norm.weight, norm.bias, slope, weight)


def join(
    parts: tuple[Tensor, Tensor],
    norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d],
    residual: Tensor | None,
    norm: nn.BatchNorm2d,
    slope: Tensor,
) -> Tensor:
    """PReLU of BatchNorm of (both parts, each normalised, concatenated, plus the residual)."""
    learnt = [p for n in (*norms, norm) for p in (n.weight, n.bias)]
    return _applied(_Join, *parts, residual, norms, norm, *learnt, slope)


def _applied(function: Any, *arguments: Any) -> Tensor:
    """The result of an autograd function, whose `apply` torch leaves untyped."""
    out: Tensor = function.apply(*arguments)
    return out


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: nn.BatchNorm2d, gamma: Tensor, beta: Tensor, slope: Tensor
    ) -> Tensor:
        x = x.contiguous(memory_format=LAST)
        statistics = _measure(x, norm)
        ctx.eps = norm.eps
        ctx.save_for_backward(x, gamma, beta, slope, *statistics)
        return functional.prelu(_normalised(x, gamma, beta, statistics), slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, slope, *measured = ctx.saved_tensors
        statistics = Statistics(*measured)
        below, to_slope = _prelu_backward(
            gradient.contiguous(memory_format=LAST), _normalised(x, gamma, beta, statistics), slope
        )
        to_x, to_gamma, to_beta = _norm_backward(below, x, gamma, statistics, ctx.eps)
        return to_x, None, to_gamma, to_beta, to_slope


class _NormActPointwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm: nn.BatchNorm2d,
        gamma: Tensor,
        beta: Tensor,
        slope: Tensor,
        weight: Tensor,
    ) -> Tensor:
        x = x.contiguous(memory_format=LAST)
        statistics = _measure(x, norm)
        ctx.eps = norm.eps
        ctx.save_for_backward(x, gamma, beta, slope, weight, *statistics)
        active = functional.prelu(_normalised(x, gamma, beta, statistics), slope)
        return _planes(torch.mm(_rows(active), weight.t()), x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, beta, slope, weight, *measured = ctx.saved_tensors
        statistics = Statistics(*measured)
        rows = _rows(gradient)
        normal = _normalised(x, gamma, beta, statistics)
        to_weight = torch.mm(rows.t(), _rows(functional.prelu(normal, slope)))
        below, to_slope = _prelu_backward(_planes(torch.mm(rows, weight), x), normal, slope)
        to_x, to_gamma, to_beta = _norm_backward(below, x, gamma, statistics, ctx.eps)
        return to_x, None, to_gamma, to_beta, to_slope, to_weight


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor,
        residual: Tensor | None,
        norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d],
        norm: nn.BatchNorm2d,
        *learnt: Tensor,
    ) -> Tensor:
        parts = [part.contiguous(memory_format=LAST) for part in (first, second)]
        half = first.shape[1]
        count, _, height, width = first.shape
        sums = first.new_empty(count, height, width, 2 * half).permute(0, 3, 1, 2)
        measured = [_measure(part, n) for part, n in zip(parts, norms, strict=True)]
        *affine, gamma, beta, slope = learnt
        for i in range(2):
            place = sums[:, i * half : (i + 1) * half]
            _normalised(parts[i], affine[2 * i], affine[2 * i + 1], measured[i], out=place)
        if residual is not None:
            sums += residual
        whole = _measure(sums, norm)
        ctx.has_residual, ctx.eps = residual is not None, [n.eps for n in (*norms, norm)]
        ctx.save_for_backward(*parts, sums, *learnt, *measured[0], *measured[1], *whole)
        return functional.prelu(_normalised(sums, gamma, beta, whole), slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        first, second, sums, *rest = ctx.saved_tensors
        gamma1, _, gamma2, _, gamma, beta, slope, *measured = rest
        of_first, of_second, whole = (Statistics(*measured[i : i + 2]) for i in (0, 2, 4))
        below, to_slope = _prelu_backward(
            gradient.contiguous(memory_format=LAST), _normalised(sums, gamma, beta, whole), slope
        )
        to_sums, to_gamma, to_beta = _norm_backward(below, sums, gamma, whole, ctx.eps[2])
        half = first.shape[1]
        to_first, *learnt1 = _norm_backward(to_sums[:, :half], first, gamma1, of_first, ctx.eps[0])
        to_second, *learnt2 = _norm_backward(to_sums[:, half:], second, gamma2, of_second, ctx.eps[1])
        to_residual = to_sums if ctx.has_residual else None
        return (
            to_first,
            to_second,
            to_residual,
            None,
            None,
            *learnt1,
            *learnt2,
            to_gamma,
            to_beta,
            to_slope,
        )


def _measure(x: Tensor, norm: nn.BatchNorm2d) -> Statistics:
    """Statistics of the batch; the norm's running ones move on as in its own forward pass.

    ValueError, as of the norm itself, where a channel has one value alone: the running variance would be no number.
    """
    if x.numel() <= x.shape[1]:
        raise ValueError(
            f"expected more than one value a channel to train on, found a batch of {tuple(x.shape)}; train on more or "
            "larger pictures"
        )
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    mean, variance = torch.batch_norm_update_stats(x, norm.running_mean, norm.running_var, norm.momentum)
    return Statistics(mean, (variance + norm.eps).rsqrt())


def _normalised(
    x: Tensor, gamma: Tensor, beta: Tensor, statistics: Statistics, out: Tensor | None = None
) -> Tensor:
    scale = gamma * statistics.invstd
    shift = beta - statistics.mean * scale
    return torch.addcmul(_wide(shift), x, _wide(scale), out=out)


def _norm_backward(
    gradient: Tensor, x: Tensor, gamma: Tensor, statistics: Statistics, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for x, gamma and beta."""
    gradient = gradient.contiguous(memory_format=LAST)  # the kernel is slow on slices
    backward = torch.ops.aten.native_batch_norm_backward
    found: tuple[Tensor, Tensor, Tensor] = backward(
        gradient, x, gamma, None, None, *statistics, True, eps, [True] * 3
    )
    return found


def _prelu_backward(gradient: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients for x and the slope; x is used up."""
    above = torch.ops.aten.threshold_backward(gradient, x, 0)  # 0 where x <= 0
    to_x = torch.lerp(above, gradient, _wide(slope))
    return to_x, _rows(x.clamp_(max=0).mul_(gradient)).sum(0)


def _wide(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _rows(x: Tensor) -> Tensor:
    """N x C x H x W as (N*H*W) x C; a view in channels-last memory."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _planes(rows: Tensor, like: Tensor) -> Tensor:
    """(N*H*W) x C as N x C x H x W with N, H and W of `like`."""
    count, _, height, width = like.shape
    return rows.view(count, height, width, -1).permute(0, 3, 1, 2)
