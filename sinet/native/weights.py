"""The weights of a SINet in the order and the layout in which `network.c` takes them, as one row of float32.

Channels are the innermost dimension, in vectors of 8; pointwise matrices lie as tiles, each in x 24, the last one in x
what is left. The squeezed picture of an S2 module keeps the order of the groups: the shuffle behind it is in the order
of the depthwise weights, and of the columns of the pointwise matrix that reads them.
"""

from typing import Any

import torch
from torch import Tensor, nn

from sinet.network.model import GROUPS, ChannelAttention, S2Block, S2Module, SINet, SqueezeDownsample

LAYOUT = 2  # of `network.h`, which says when it changes
CLASSES = 2
LANES = 8
TILE = 24


def pack(model: SINet) -> Tensor:
    """One dimension, float32, contiguous; computed in float64. The model is in eval mode and has two classes."""
    encoder = model.encoder
    padding = -model.channels.level1 % LANES  # channels of level 1 that are always 0 and fill its last vector
    parts: list[Tensor] = [
        *_entry(model, padding),
        *_downsample(encoder.level2_0, padding),
        *_modules(encoder.level2),
        *_norm_act(encoder.BR2.bn, encoder.BR2.act),
        *_downsample(encoder.level3_0, 0),
        *_modules(encoder.level3),
        *_norm_act(encoder.BR3.bn, encoder.BR3.act),
        *folded(encoder.classifier.conv.weight, model.bn_3),
        *folded(model.level2_C.conv.weight, model.level2_C.bn),
        model.level2_C.act.weight,
        *_affine(model.bn_2),
    ]
    convolution: Any = model.classifier[1]
    parts.append(convolution.weight.transpose(1, 2))  # out x rows x in x columns
    return torch.cat([part.detach().double().flatten() for part in parts]).float()


def _affine(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Returns scale and shift of a BatchNorm in eval mode, float64, one a channel."""
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    return scale, bn.bias.double() - bn.running_mean.double() * scale


def folded(weight: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Returns weight (out x ...) and bias, float64, of a convolution without bias and the BatchNorm behind it."""
    scale, shift = _affine(bn)
    return weight.double() * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def _entry(model: SINet, padding: int) -> list[Tensor]:
    block = model.encoder.level1
    weight, bias = folded(block.conv.weight, block.bn)
    by_tap = weight.permute(2, 1, 3, 0)  # rows x in x columns x out
    return [_widened(part, padding) for part in (by_tap, bias, block.act.weight)]


def _downsample(block: SqueezeDownsample, padding: int) -> list[Tensor]:
    steps: list[Any] = list(block.conv)
    depthwise, attention, pointwise = steps
    weight, bias = folded(pointwise.weight, block.bn)
    return [
        _taps(_widened(depthwise.weight.permute(1, 2, 3, 0), padding)),
        *_attention(attention),
        _tiles(weight[:, :, 0, 0].t()),
        bias,
        block.act.weight,
    ]


def _attention(attention: ChannelAttention) -> list[Tensor]:
    layers: list[Any] = list(attention.dense)
    return [
        part
        for linear, act in zip(layers[::2], layers[1::2], strict=True)
        for part in (linear.weight, linear.bias, act.weight)
    ]


def _modules(modules: nn.ModuleList) -> list[Tensor]:
    of_s2: list[Any] = list(modules)
    return [part for module in of_s2 for part in _module(module)]


def _module(module: S2Module) -> list[Tensor]:
    scale, shift = _affine(module.BR.bn)
    parts = [_squeeze(module.c1.conv.weight[:, :, 0, 0].double())]
    blocks = (module.d1, module.d2)
    for block, scales, shifts, slopes in zip(
        blocks, scale.chunk(2), shift.chunk(2), module.BR.act.weight.chunk(2), strict=True
    ):
        parts += [*_block(block, scales, shifts), scales, slopes]
    return parts


def _squeeze(weight: Tensor) -> Tensor:
    """A grouped pointwise weight, out x in of a group: tiles of what they read, one group, or both with zeros."""
    dense = torch.block_diag(*weight.chunk(GROUPS)).t()
    half, group = len(dense) // GROUPS, dense.shape[1] // GROUPS
    parts = []
    for start in range(0, dense.shape[1], TILE):
        tile = dense[:, start : start + TILE]
        read = slice(0 if start < group else half, half if start + tile.shape[1] <= group else None)
        parts.append(tile[read].flatten())
    return torch.cat(parts)


def _block(block: S2Block, scale: Tensor, shift: Tensor) -> list[Tensor]:
    """A branch and the part of the module's BatchNorm behind it."""
    convolutions: list[Any] = [*block.conv, *block.act_conv1x1]
    depthwise, norm, act, pointwise = convolutions
    taps, bias = folded(depthwise.weight, norm)
    order = torch.arange(len(bias), device=bias.device)
    order = order.view(-1, GROUPS).t().flatten()  # a1 b1 a2 b2 becomes a1 a2 b1 b2
    matrix, added = folded(pointwise.weight, block.bn)
    matrix = matrix[:, order, 0, 0] * scale[:, None]
    return [
        _taps(taps[order].permute(1, 2, 3, 0)),
        bias[order],
        act.weight[order],
        _tiles(matrix.t()),
        added * scale + shift,
    ]


def _norm_act(bn: nn.BatchNorm2d, act: nn.PReLU) -> list[Tensor]:
    return [*_affine(bn), act.weight]


def _widened(values: Tensor, padding: int) -> Tensor:
    """With so many zeros behind the last dimension."""
    return nn.functional.pad(values, [0, padding])


def _taps(weight: Tensor) -> Tensor:
    """1 x rows x columns x channels to chunks of 8 channels x taps x 8."""
    return weight.reshape(-1, weight.shape[-1] // LANES, LANES).transpose(0, 1)


def _tiles(matrix: Tensor) -> Tensor:
    """in x out to tiles, one behind another, each in x 24, the last one what is left."""
    return torch.cat([tile.flatten() for tile in matrix.split(TILE, dim=1)])
