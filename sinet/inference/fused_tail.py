"""SINet's last steps as one linear map: BatchNorm, twice bilinear x2, and the 3x3 convolution.

Both enlargements are a matrix a direction, U (4n x n), and the three columns of the kernel shift it: the result is
sum over kernel rows r of A_r (X B_r), where A_r is U shifted by r and B_r holds the kernel's row. A block of output
pixels needs few input pixels, so the products go block by block, over a twentieth of what whole matrices would cost.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCK = 32  # output pixels a block: SINet's sizes are multiples of it
KERNEL = 3


class Tail(nn.Module):
    """N x C x H/4 x W/4 to logits N x C x H x W."""

    def __init__(self, bn: nn.BatchNorm2d, conv: nn.Conv2d) -> None:
        super().__init__()
        scale, shift = affine(bn)
        self.scale = nn.Parameter(scale.view(-1, 1, 1).detach().clone())
        self.shift = nn.Parameter(shift.view(-1, 1, 1).detach().clone())
        self.kernel = nn.Parameter(conv.weight.detach().double().clone())  # out x in x 3 x 3
        self._sides: dict[tuple[int, torch.dtype, bool], tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        x = torch.addcmul(self.shift, x, self.scale)
        columns, across = self._side(width, x.dtype, across=True)
        rows, down = self._side(height, x.dtype, across=False)
        reach = columns.numel() // len(across)
        # blocks x (N, H/4) x (C, reach), by matrices blocks x (C, reach) x (C, 3, 32)
        windows = x.index_select(3, columns).view(count, channels, height, -1, reach)
        windows = windows.permute(3, 0, 2, 1, 4).reshape(len(across), count * height, channels * reach)
        wide = torch.bmm(windows, across).view(len(across), count, height, channels, KERNEL, BLOCK)
        wide = wide.permute(1, 3, 2, 4, 0, 5).reshape(count * channels, height * KERNEL, -1)
        # (N, C, blocks) x (reach, 3) x W, by matrices blocks x 32 x (reach, 3)
        windows = wide.index_select(1, rows).view(count * channels * len(down), -1, wide.shape[-1])
        tall = torch.bmm(down.repeat(count * channels, 1, 1), windows)
        return tall.view(count, channels, 4 * height, 4 * width)

    def _side(self, length: int, dtype: torch.dtype, across: bool) -> tuple[Tensor, Tensor]:
        """Indices of the input that each block takes, and each block's matrix; made once a length."""
        key = (length, dtype, across)
        if key not in self._sides:
            starts, shifted = _blocks(length)
            reach = shifted.shape[-1]
            taken = starts[:, None] + torch.arange(reach)
            if across:
                matrix = torch.einsum("oirk,bkxj->bijorx", self.kernel.double(), shifted)
                matrix = matrix.reshape(len(starts), -1, len(self.kernel) * KERNEL * BLOCK)
            else:
                matrix = shifted.permute(0, 2, 3, 1).reshape(len(starts), BLOCK, reach * KERNEL)
                taken = (taken[:, :, None] * KERNEL + torch.arange(KERNEL)).flatten(1)
            self._sides[key] = taken.flatten(), matrix.to(dtype).contiguous()
        return self._sides[key]


def affine(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a BatchNorm in eval mode, float64, one a channel."""
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    return scale, bn.bias.double() - bn.running_mean.double() * scale


def folded(weight: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight (out x ...) and bias, float64, of a convolution without bias and the BatchNorm behind it."""
    scale, shift = affine(bn)
    return weight.double() * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def _blocks(length: int) -> tuple[Tensor, Tensor]:
    """Where each block's window of the input starts, and blocks x 3 x 32 x window: its rows of U, shifted, float64."""
    unit = torch.eye(length, dtype=torch.float64)[None, :, :, None]
    for _ in range(2):
        unit = functional.interpolate(unit, size=(2 * unit.shape[2], 1), mode="bilinear", align_corners=True)
    enlarge = unit[0, :, :, 0].t()  # 4 length x length
    bordered = functional.pad(enlarge, (0, 0, 1, 1))
    # blocks x 3 x 32 x length
    shifted = torch.stack([bordered[r : r + 4 * length] for r in range(KERNEL)])
    shifted = shifted.view(KERNEL, -1, BLOCK, length).transpose(0, 1)
    used = (shifted != 0).any(dim=1).any(dim=1).int()  # blocks x length
    first = used.argmax(1)
    last = length - 1 - used.flip(1).argmax(1)
    reach = int((last - first).max()) + 1
    starts = first.clamp_max(length - reach)
    windows = [
        part[:, :, start : start + reach] for part, start in zip(shifted, starts.tolist(), strict=True)
    ]
    return starts, torch.stack(windows)
