from typing import Any

import numpy as np
from numpy.typing import NDArray

LAYOUT: int

def supported() -> bool: ...
def weights_size() -> int: ...
def scratch_size(height: int, width: int, /) -> int: ...
def logits(
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
