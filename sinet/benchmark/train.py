"""One training step of SINet: with torch's own pieces as the official code puts them together, and with ours."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sinet.benchmark.timing import Row, Work, cpu_times, table
from sinet.core import paper
from sinet.core.recipe import WeightDecay
from sinet.network.loss import portrait_loss
from sinet.network.model import SINet
from sinet.training.fused import fused
from sinet.training.loop import parameter_groups

PLAIN, OURS, HALF, COMPILED = "plain eager SINet", "ours", "ours, bfloat16", "ours, torch.compile"
BOUNDARY_WEIGHT, RATE = 0.5, 5e-4
DECAY = WeightDecay(depthwise=0.0, convolution=2e-4, rest=2e-6)


def report(batch: int, size: int, rounds: int, compiled: bool) -> str:
    """A table of forward, loss, backward and optimizer for `batch` drawn pictures of `size` x `size` pixels."""
    torch.manual_seed(0)
    x = torch.randn(batch, 3, size, size)
    target = (torch.nn.functional.avg_pool2d(torch.randn(batch, 1, size, size), 31, 1, 15)[:, 0] > 0).long()
    works: dict[str, Work] = {
        PLAIN: plain_step(x, target),
        OURS: our_step(x, target),
        HALF: our_step(x, target, half=True),
    }
    if compiled:
        works[COMPILED] = our_step(x, target, compiled=True)
    times = cpu_times(works, rounds)
    rows = [Row(name, time, f"{batch / time * 1e3:.1f} pictures/core-s") for name, time in times.items()]
    return table(f"A training step of {batch} pictures at {size}x{size}", rows, times[PLAIN], rounds)


def plain_step(x: Tensor, target: Tensor) -> Work:
    """torch's modules, the loss by max pooling, one Adam group a tensor: what the official code does.

    `x` N x 3 x H x W float32, `target` N x H x W int64 {0, 1}. Each call trains one step further.
    """
    model = SINet().train()
    groups = [
        {"params": [parameter], "weight_decay": group["weight_decay"]}
        for group in parameter_groups(model, DECAY)
        for parameter in group["params"]
    ]
    optimizer = torch.optim.Adam(groups, lr=RATE)

    def step() -> None:
        loss = plain_loss(model(x), target, BOUNDARY_WEIGHT, paper.BAND)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(x: Tensor, target: Tensor, *, compiled: bool = False, half: bool = False) -> Work:
    """The step of `sinet.training.loop`: its fused modules, band and three groups, a fused Adam, channels last."""
    model = fused(SINet().train())
    optimizer = torch.optim.Adam(parameter_groups(model, DECAY), lr=RATE, fused=True)
    network: Any = torch.compile(model) if compiled else model
    x = x.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(x).float()
        loss = portrait_loss(logits, target, BOUNDARY_WEIGHT, paper.BAND)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain_loss(logits: Tensor, target: Tensor, boundary_weight: float, kernel: int) -> Tensor:
    """The paper's Eq. 1 in its own words: dilate minus erode by max pooling, two cross-entropies; a scalar."""
    labels = target[:, None].float()
    dilated = functional.max_pool2d(labels, kernel, 1, kernel // 2)
    eroded = -functional.max_pool2d(-labels, kernel, 1, kernel // 2)
    on_band = torch.where((dilated != eroded)[:, 0], target, -100)
    return functional.cross_entropy(logits, target) + boundary_weight * functional.cross_entropy(
        logits, on_band
    )
