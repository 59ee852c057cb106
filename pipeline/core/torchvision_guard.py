"""Lets torchvision be imported beside a torch it was not compiled for: its CUDA wheel, a CPU-only torch.

Where torchvision's compiled library loads, nothing changes. Where it does not, `import torchvision` fails for
two missing operators, and with it segmentation_models_pytorch, timm and facenet_pytorch, which need no more.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_BLOCK = 256
_library: torch.library.Library | None = None  # the operators live as long as this object


def install_torchvision_guard() -> bool:
    """Make `import torchvision` work; call it in the function that imports torchvision or what builds on it.

    Returns True where the stand-in is in place, False where the compiled library serves or torchvision is not
    installed. A second call changes nothing. A spawned worker is a new process and needs its own call.
    """
    global _library
    if _library is None and not _compiled_library_loads() and _package_folder() is not None:
        _library = _register()
    return _library is not None


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that stay, int64, by falling score; what torchvision.ops.nms promises.

    `dets` is (N, 4) as x0, y0, x1, y1, `scores` is (N,). A box goes where its intersection over union with a
    kept box of a higher score is above `iou_threshold`. Of equal scores the first counts as the higher.
    """
    order = torch.sort(scores, stable=True, descending=True).indices
    boxes = dets[order] if dets.is_floating_point() else dets[order].float()
    kept = []
    while len(boxes):
        # The best boxes against all that are left, a block at a time: memory grows with N, not N squared.
        above = _overlap(boxes[:_BLOCK], boxes) > iou_threshold
        alive = _alive(above[:, :_BLOCK].cpu().numpy()).to(order.device)
        kept.append(order[: len(alive)][alive])
        left = ~above[alive, len(alive) :].any(0)
        order, boxes = order[len(alive) :][left], boxes[len(alive) :][left]
    return torch.cat(kept) if kept else order


def _alive(above: NDArray[np.bool_]) -> Tensor:
    """Which of (N,) boxes by falling score stay, from the (N, N) table of pairs that overlap too much."""
    alive = np.ones(len(above), dtype=np.bool_)
    for index, row in enumerate(above):
        if alive[index]:
            alive[index + 1 :] &= ~row[index + 1 :]
    return torch.from_numpy(alive)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of (M, 4) with (N, 4) boxes, (M, N); NaN for two boxes without area."""
    size = torch.minimum(one[:, None, 2:], other[:, 2:]) - torch.maximum(one[:, None, :2], other[:, :2])
    shared = size.clamp_(min=0).prod(2)
    area, other_area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (one, other))
    return shared / (area[:, None] + other_area - shared)


def _package_folder() -> Path | None:
    spec = importlib.util.find_spec("torchvision")
    return Path(spec.origin).parent if spec and spec.origin else None


def _compiled_library_loads() -> bool:
    if hasattr(torch.ops.torchvision, "nms"):
        return True
    folder = _package_folder()
    for path in sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]) if folder else ():
        try:
            torch.ops.load_library(path)
        except (ImportError, OSError):
            continue
        return hasattr(torch.ops.torchvision, "nms")
    return False


def _register() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for signature in _SIGNATURES:
        library.define(signature)
        library.impl(signature.split("(")[0], nms, "CompositeExplicitAutograd")
    import torchvision

    # torchvision.ops.nms refuses to run without the compiled library; its other operators still do.
    torchvision.ops.boxes._assert_has_ops = lambda: None
    return library
