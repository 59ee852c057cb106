"""SINet: portrait segmentation with 86,910 parameters (Park et al., WACV 2020, arXiv 1911.09099, Table 2).

The state-dict keys are the official code's: weights can be exchanged. Another `width` than 1 multiplies the channels,
as alpha does in the authors' Keras code. Plain torch throughout; what makes it quicker on a CPU stands elsewhere
(`sinet.training.fused` to train, `sinet.native` to predict).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinet.core.recipe import LEAST_WIDTH, MOST_WIDTH

STRIDE = 32  # 8 of the encoder times the largest pooling of an S2 block
GROUPS = 2  # of the S2 module's pointwise convolution, and of the channel shuffle behind it


class Branch(NamedTuple):
    """One S2 block: a depthwise `kernel` x `kernel` on a picture averaged down by `pool`."""

    kernel: int
    pool: int


# Rows 6 to 13 of Table 2; the first changes the number of channels, the others have a residual.
LEVEL3 = (
    (Branch(3, 1), Branch(5, 1)),
    (Branch(3, 1), Branch(3, 1)),
    (Branch(5, 1), Branch(3, 2)),
    (Branch(5, 2), Branch(3, 4)),
    (Branch(3, 1), Branch(3, 1)),
    (Branch(5, 1), Branch(5, 1)),
    (Branch(3, 2), Branch(3, 4)),
    (Branch(3, 1), Branch(5, 2)),
)


class Channels(NamedTuple):
    """How many channels SINet's tensors have; the paper's are 12, 16, 48, 48, 96, 32."""

    level1: int  # at 1/2; a multiple of 4
    start2: int  # at 1/4, before the S2 modules
    detail: int  # at 1/4, behind them: two halves, each a multiple of 8
    start3: int  # the same two at 1/8
    deep: int
    hidden: int  # of the second channel attention; like those at 1/4 and 1/8 a multiple of 8

    @classmethod
    def of(cls, width: float) -> "Channels":
        """The paper's numbers times `width`, rounded; ValueError beyond LEAST_WIDTH and MOST_WIDTH."""
        if not LEAST_WIDTH <= width <= MOST_WIDTH:
            raise ValueError(f"expected a width of {LEAST_WIDTH} to {MOST_WIDTH:g}, found {width}")

        def times(paper: int, step: int = 8) -> int:
            return max(step, math.floor(paper * width / step + 0.5) * step)

        return cls(times(12, 4), times(16), 2 * times(24), times(48), 2 * times(48), times(32))


class SINet(nn.Module):
    """Encoder at 1/8, and a decoder that lets low-level detail in only where the encoder is unsure.

    The input is N x 3 x H x W with H and W multiples of 32, in the scale and channel order of the weights
    (`sinet.network.preprocess`); the output is logits N x classes x H x W. `encoder` alone gives logits at 1/8.
    """

    def __init__(self, classes: int = 2, width: float = 1.0) -> None:
        super().__init__()
        self.classes, self.width = classes, width
        self.channels = Channels.of(width)
        self.encoder = Encoder(classes, self.channels)
        self.bn_3 = _batch_norm(classes)
        self.level2_C = ConvNormAct(self.channels.detail, classes, kernel=1)
        self.bn_2 = _batch_norm(classes)
        self.classifier = nn.Sequential(Upsample(2), nn.Conv2d(classes, classes, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        detail, coarse = self.encoder.features(x)
        coarse = self.bn_3(bilinear(coarse, 2))
        blocked = self.level2_C(detail) * self.uncertainty(coarse)
        logits: Tensor = self.classifier(self.bn_2(bilinear(blocked + coarse, 2)))
        return logits

    @staticmethod
    def uncertainty(logits: Tensor) -> Tensor:
        """The information blocking gate, N x 1 x H x W: 0 where the encoder is sure, at most 1 - 1/classes.

        Its gradient flows. With one class it is 0 everywhere and the low-level branch never learns.
        """
        return 1 - logits.softmax(dim=1).amax(dim=1, keepdim=True)


class Encoder(nn.Module):
    """The spatial squeeze encoder: N x 3 x H x W to logits N x classes x H/8 x W/8."""

    def __init__(self, classes: int, channels: Channels) -> None:
        super().__init__()
        level1, start2, detail, start3, deep, hidden = channels
        self.level1 = ConvNormAct(3, level1, kernel=3, stride=2)
        self.level2_0 = SqueezeDownsample(level1, start2, hidden=())
        self.level2 = nn.ModuleList(
            [
                S2Module(start2, detail, (Branch(3, 1), Branch(5, 1)), residual=False),
                S2Module(detail, detail, (Branch(3, 1), Branch(3, 1)), residual=True),
            ]
        )
        self.BR2 = NormAct(start2 + detail)
        self.level3_0 = SqueezeDownsample(start2 + detail, start3, hidden=(hidden,))
        self.level3 = nn.ModuleList(
            S2Module(deep if index else start3, deep, branches, residual=index > 0)
            for index, branches in enumerate(LEVEL3)
        )
        self.BR3 = NormAct(start3 + deep)
        self.classifier = Pointwise(start3 + deep, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[1]

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Low-level detail N x 48 (at width 1) x H/4 x W/4 for the decoder, and the logits at 1/8."""
        check_size(x)
        start2 = self.level2_0(self.level1(x))
        detail = start2
        for module in self.level2:
            detail = module(detail)
        start3 = self.level3_0(self.BR2(torch.cat((start2, detail), dim=1)))
        deep = start3
        for module in self.level3:
            deep = module(deep)
        logits: Tensor = self.classifier(self.BR3(torch.cat((start3, deep), dim=1)))
        return detail, logits


class S2Module(nn.Module):
    """Spatial squeeze module: one shuffled pointwise convolution feeds two S2 blocks of different reach."""

    def __init__(
        self, channels_in: int, channels_out: int, branches: tuple[Branch, Branch], residual: bool
    ) -> None:
        super().__init__()
        half = channels_out // 2
        self.residual = residual
        self.c1 = Pointwise(channels_in, half, groups=GROUPS)
        self.d1 = S2Block(half, branches[0])
        self.d2 = S2Block(half, branches[1])
        self.BR = NormAct(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = _shuffle(self.c1(x))
        out = torch.cat((self.d1(squeezed), self.d2(squeezed)), dim=1)
        if self.residual:
            out += x
        activated: Tensor = self.BR(out)
        return activated


class S2Block(nn.Module):
    """Pool, depthwise, pointwise, enlarge: a depthwise separable convolution on a squeezed picture."""

    def __init__(self, channels: int, branch: Branch) -> None:
        super().__init__()
        self.pool = branch.pool
        self.conv = nn.Sequential(_depthwise(channels, branch.kernel), _batch_norm(channels))
        self.act_conv1x1 = nn.Sequential(nn.PReLU(channels), nn.Conv2d(channels, channels, 1, bias=False))
        self.bn = _batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool > 1:
            x = functional.avg_pool2d(x, self.pool)
        x = self.act_conv1x1(self.conv(x))
        normal: Tensor = self.bn(bilinear(x, self.pool) if self.pool > 1 else x)
        return normal


class SqueezeDownsample(nn.Module):
    """Halve the picture: depthwise with stride 2, channel attention, pointwise."""

    def __init__(self, channels_in: int, channels_out: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _depthwise(channels_in, 3, stride=2),
            ChannelAttention(channels_in, hidden),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
        )
        self.bn = _batch_norm(channels_out)
        self.act = nn.PReLU(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.bn(self.conv(x)))
        return activated


class ChannelAttention(nn.Module):
    """Squeeze and excitation that ends in PReLU, not a sigmoid: the factor of a channel is unbounded."""

    def __init__(self, channels: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (channels, *hidden, channels)
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.PReLU(after)]
        self.dense = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        factor: Tensor = self.dense(x.mean(dim=(2, 3)))
        return x * factor[:, :, None, None]


class ConvNormAct(nn.Module):
    """Convolution, BatchNorm, PReLU (CBR)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = _batch_norm(channels_out)
        self.act = nn.PReLU(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.bn(self.conv(x)))
        return activated


class NormAct(nn.Module):
    """BatchNorm, PReLU (BR)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = _batch_norm(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.bn(x))
        return activated


class Pointwise(nn.Module):
    """A bare 1x1 convolution, a level deeper in the state dict as the official keys have it."""

    def __init__(self, channels_in: int, channels_out: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    """Bilinear enlargement as a module, for use inside nn.Sequential."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return bilinear(x, self.factor)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


def _depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False)


def _shuffle(x: Tensor) -> Tensor:
    """Interleave the channels of the groups: a1 a2 b1 b2 becomes a1 b1 a2 b2."""
    count, channels, height, width = x.shape
    grouped = x.view(count, GROUPS, channels // GROUPS, height, width)
    return grouped.transpose(1, 2).reshape(x.shape)


def bilinear(x: Tensor, factor: int) -> Tensor:
    """Returns N x C x H x W enlarged bilinearly, corners on corners."""
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


def check_size(x: Tensor) -> None:
    """ValueError where the height or the width of N x C x H x W is no multiple of 32."""
    height, width = x.shape[-2:]
    if height % STRIDE or width % STRIDE:
        raise ValueError(
            f"SINet takes pictures whose height and width are multiples of {STRIDE}, found {height}x{width}; "
            "the predictor (sinet.inference.predictor) resizes for you"
        )
