"""The running mean of a network's weights, which is judged and kept in their place."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def running_mean(model: nn.Module, decay: float, steps: int) -> AveragedModel:
    """The mean of `model`'s weights and running statistics, with `decay` (0..1) a step.

    It forgets within the `steps` of an epoch, decay at most 1 - 1 / steps: over a longer time its running statistics
    fit no weights.
    """
    decay = min(decay, 1 - 1 / steps)
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
