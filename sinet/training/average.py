"""The running mean of a network's weights, which is judged and kept in their place."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class RunningMean(nn.Module):
    """`module` is the mean of a network's weights and running statistics, with `decay` (0..1) a step.

    It forgets within the `steps` of an epoch, decay at most 1 - 1 / steps: over a longer time its running statistics
    fit no weights. torch's AveragedModel would make a GPU wait at each step, and launch a kernel for each norm.
    """

    updates: Tensor  # how often it moved, on the CPU

    def __init__(self, model: nn.Module, decay: float, steps: int) -> None:
        super().__init__()
        self.module = deepcopy(model)
        self.register_buffer("updates", torch.tensor(0))
        self._move = get_ema_multi_avg_fn(min(decay, 1 - 1 / steps))

    @torch.no_grad()
    def move(self, model: nn.Module) -> None:
        """Take in the weights of `model`; the first ones are the mean."""
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        if self.updates == 0:
            for mine, its in pairs:
                mine.copy_(its)
        else:
            self._move(*_columns(pairs, floating=True), None)
            torch._foreach_copy_(*_columns(pairs, floating=False))  # counts of batches, which have no mean
        self.updates += 1


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]


def _columns(pairs: list[tuple[Tensor, Tensor]], *, floating: bool) -> tuple[list[Tensor], list[Tensor]]:
    chosen = [pair for pair in pairs if pair[0].is_floating_point() is floating]
    return [mine for mine, _ in chosen], [its for _, its in chosen]
