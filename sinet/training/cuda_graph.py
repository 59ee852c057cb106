"""A network's forward and backward pass as CUDA graphs: SINet's hundreds of small kernels, launched at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def replayed(network: nn.Module, x: Tensor, half: bool) -> Iterator[None]:
    """Inside, `network` in training mode replays its passes, for inputs of the shape and kind of `x` alone.

    `half` is bfloat16 by autocast, which must then surround the calls with cache_enabled=False. In evaluation mode, and
    on anything but a CUDA device, the network is as it was; so are its weights and running statistics.
    """
    if x.device.type != "cuda":
        yield
        return
    before = {key: value.clone() for key, value in network.state_dict().items()}
    gc.collect()  # an earlier graph must not be destroyed while this one is recorded
    # Recorded on the current device, whatever the tensors' own, and on the stream of the process's first recording: on
    # another device the graph would be empty, and replay nothing.
    torch.cuda.graph.default_capture_stream = None
    with (
        torch.cuda.device(x.device),
        torch.autocast("cuda", torch.bfloat16, enabled=half, cache_enabled=False),
    ):
        torch.cuda.make_graphed_callables(network.train(), (x,))
    # The parameters' gradients belong to the stream of the recording; at each step torch joins it to the one in use.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    network.load_state_dict(before)  # the passes before the recording moved the running statistics
    try:
        yield
    finally:
        del network.forward  # torch put it on the object; the class's own is behind it
