from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinet.network.model import Channels

LAYOUT: int

def supported() -> bool: ...
def weights_size(channels: Channels, /) -> int: ...
def scratch_size(channels: Channels, height: int, width: int, /) -> int: ...
def logits(
    channels: Channels,
    weights: NDArray[np.float32],
    x: NDArray[np.float32],
    scratch: NDArray[np.uint8],
    out: NDArray[Any],
    count: int,
    height: int,
    width: int,
    /,
) -> None: ...
def probability(
    channels: Channels,
    weights: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    scratch: NDArray[np.uint8],
    out: NDArray[np.float32],
    height: int,
    width: int,
    mean: tuple[float, ...],
    factor: tuple[float, ...],
    order: tuple[int, ...],
    /,
) -> None: ...
