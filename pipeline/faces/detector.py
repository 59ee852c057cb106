"""Finds faces in a photograph with MTCNN: the networks of facenet-pytorch, whose weights lie in that package.

The cascade is driven here rather than by facenet-pytorch's `detect_face`, for the same faces in less than
half the CPU time: averages come from one integral image, pooling from slices, and boxes are arrays.
Source: Zhang et al. 2016, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks".
"""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Box
from pipeline.core.torchvision_guard import install_torchvision_guard, nms
from pipeline.faces.face import Face

if TYPE_CHECKING:
    from pipeline.core.params import CropParams

_Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# MTCNN's published settings, facenet-pytorch's defaults.
_THRESHOLDS = (0.6, 0.7, 0.7)  # of the three networks
_FACTOR = 0.709  # from one size of the pyramid to the next
_CELL = 12  # pixels that the first network sees, in steps of _STRIDE
_STRIDE = 2

_STRIP = 128  # rows of the first network's output at a time, and
_BATCH = 64  # patches: what lies in a CPU's cache is several times faster


class FaceFinder:
    """MTCNN on the CPU; holds the three networks, so build one a process."""

    def __init__(self, params: "CropParams") -> None:
        install_torchvision_guard()
        from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

        self.min_size = params.faces.min_size
        self.max_side = params.faces.max_side
        self._proposal, self._refine, self._output = (
            network().eval().to(memory_format=torch.channels_last) for network in (PNet, RNet, ONet)
        )

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces of an (H, W, 3) uint8 RGB picture, the most probable first, of equal ones the largest.

        A picture whose longer side is above `max_side` is reduced to it first, which bounds time and memory.
        """
        height, width = image.shape[:2]
        if min(height, width) < _CELL:
            return []
        small = _reduced(image, self.max_side)
        with torch.inference_mode():
            boxes, probability = self._cascade(_Averages(small))
        boxes *= np.array([width / small.shape[1], height / small.shape[0]] * 2, np.float32)
        found = []
        for edges, value in zip(boxes.round().astype(int).tolist(), probability.tolist(), strict=True):
            x0, y0, x1, y1 = edges
            box = Box(x0, y0, max(x0, x1), max(y0, y1)).clipped(width, height)
            if box.width and box.height:
                found.append(Face(box, value))
        return sorted(found, key=lambda f: (-f.probability, -f.box.width * f.box.height, f.box.x0, f.box.y0))

    def _cascade(self, image: "_Averages") -> tuple[_Floats, _Floats]:
        boxes = self._proposals(image)
        boxes, keep = _visible(boxes, image)
        if len(boxes):
            shift, score = _run(self._refine, image.patches(keep, 24))
            good = score > _THRESHOLDS[1]
            boxes, shift, score = boxes[good], shift[good], score[good]
            stay = _suppress(boxes, score, 0.7)
            boxes = _square(_moved(boxes[stay], shift[stay], 1))
        boxes, keep = _visible(boxes, image)
        if not len(boxes):
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        shift, score = _run(self._output, image.patches(keep, 48))
        good = score > _THRESHOLDS[2]
        boxes, score = _moved(boxes[good], shift[good], 1), score[good]
        stay = _suppress_nested(boxes, score, 0.7)
        return boxes[stay], score[stay]

    def _proposals(self, image: "_Averages") -> _Floats:
        """Square candidates (N, 4) of the first network over a pyramid of sizes."""
        boxes, shifts, scores = [], [], []
        scale = _CELL / self.min_size
        while min(image.height, image.width) * scale >= _CELL:
            level = image.resized(int(image.height * scale + 1), int(image.width * scale + 1))
            shift, score = _propose(self._proposal, level)
            y, x = np.nonzero(score >= _THRESHOLDS[0])
            corner = np.stack([x, y], 1).astype(np.float32) * _STRIDE + 1
            box = np.floor(np.concatenate([corner, corner + _CELL - 1], 1) / np.float32(scale))
            stay = _suppress(box, score[y, x], 0.5)
            boxes.append(box[stay])
            shifts.append(shift[y, x][stay])
            scores.append(score[y, x][stay])
            scale *= _FACTOR
        if not boxes:
            return np.zeros((0, 4), np.float32)
        box, shift, score = np.concatenate(boxes), np.concatenate(shifts), np.concatenate(scores)
        stay = _suppress(box, score, 0.7)
        return _square(_moved(box[stay], shift[stay], 0))


def _reduced(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class _Averages:
    """Averages over rectangles of an RGB picture, scaled to about -1..1 as the networks expect.

    `resized` and `patches` give exactly what torch's adaptive average pooling gives (the detector's resize).
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.height, self.width = image.shape[:2]
        self.sums = cv2.integral(image)  # (H + 1, W + 1, 3) int32

    def resized(self, height: int, width: int) -> torch.Tensor:
        """The whole picture as (1, 3, height, width) float32, channels last."""
        y0, y1 = _bins(np.zeros(1, np.int64), np.array([self.height]), height)
        x0, x1 = _bins(np.zeros(1, np.int64), np.array([self.width]), width)
        rows = self.sums[y1[0]] - self.sums[y0[0]]
        cells = np.take(rows, x1[0], axis=1) - np.take(rows, x0[0], axis=1)
        return _tensor(cells[None], (y1 - y0)[:, :, None] * (x1 - x0)[:, None, :])

    def patches(self, boxes: Ints, size: int) -> torch.Tensor:
        """The rectangles (N, 4) as (N, 3, size, size) float32, channels last."""
        x0, x1 = _bins(boxes[:, 0], boxes[:, 2], size)
        y0, y1 = _bins(boxes[:, 1], boxes[:, 3], size)
        flat, stride = self.sums.reshape(-1, 3), self.width + 1

        def corner(y: Ints, x: Ints) -> NDArray[np.int32]:
            return np.take(flat, y[:, :, None] * stride + x[:, None, :], axis=0)

        cells = corner(y1, x1) - corner(y0, x1) - corner(y1, x0) + corner(y0, x0)
        return _tensor(cells, (y1 - y0)[:, :, None] * (x1 - x0)[:, None, :])


def _bins(start: Ints, stop: Ints, count: int) -> tuple[Ints, Ints]:
    """First and last-plus-one pixel of `count` bins over each start..stop, both (N, count)."""
    size = (stop - start)[:, None]
    index = np.arange(count)
    return start[:, None] + index * size // count, start[:, None] - (-(index + 1) * size // count)


def _tensor(sums: NDArray[np.int32], pixels: Ints) -> torch.Tensor:
    values = sums.astype(np.float32)
    values /= pixels[..., None].astype(np.float32)
    values -= 127.5
    values *= 0.0078125
    return torch.from_numpy(values).permute(0, 3, 1, 2)


def _propose(net: Any, image: torch.Tensor) -> tuple[_Floats, _Floats]:
    """The first network, in strips that fit the CPU's cache: shifts (h, w, 4), face probability (h, w)."""
    height = image.shape[2]
    cells = (height - _CELL + 1) // _STRIDE + 1
    parts = []
    for first in range(0, cells, _STRIP):
        last = min(first + _STRIP, cells)
        parts.append(_propose_strip(net, image[:, :, _STRIDE * first : _STRIDE * (last - 1) + _CELL]))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _propose_strip(net: Any, image: torch.Tensor) -> tuple[_Floats, _Floats]:
    x = net.prelu1(net.conv1(image))
    # Its 2x2 maximum pooling, written as maxima of slices, which is many times faster on a CPU.
    x = torch.nn.functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-torch.inf)
    x = torch.maximum(x[:, :, 0::2], x[:, :, 1::2])
    x = torch.maximum(x[..., 0::2], x[..., 1::2])
    x = net.prelu3(net.conv3(net.prelu2(net.conv2(x))))
    return net.conv4_2(x)[0].permute(1, 2, 0).numpy(), net.softmax4_1(net.conv4_1(x))[0, 1].numpy()


def _run(net: Any, patches: torch.Tensor) -> tuple[_Floats, _Floats]:
    """The second or third network: shifts (N, 4) and face probability (N,)."""
    results = [net(part) for part in patches.split(_BATCH)]
    return torch.cat([r[0] for r in results]).numpy(), torch.cat([r[-1][:, 1] for r in results]).numpy()


def _visible(boxes: _Floats, image: _Averages) -> tuple[_Floats, Ints]:
    """Boxes that show something of the picture, and what they show, as the detector counts pixels."""
    edges = np.trunc(boxes).astype(np.int64)
    low, high = np.maximum(edges[:, :2], 1) - 1, np.minimum(edges[:, 2:], [image.width, image.height])
    seen = (high > low).all(1)
    return boxes[seen], np.concatenate([low, high], 1)[seen]


def _moved(boxes: _Floats, shift: _Floats, extra: int) -> _Floats:
    """Each edge moved by a share of the box's size (plus `extra` pixel, as the detector counts sizes)."""
    size = boxes[:, 2:] - boxes[:, :2] + np.float32(extra)
    return boxes + shift * np.tile(size, 2)


def _square(boxes: _Floats) -> _Floats:
    """Squares of the longer side around the same centres."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdims=True)
    corner = boxes[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side], 1)


def _suppress(boxes: _Floats, score: _Floats, threshold: float) -> Ints:
    return nms(torch.from_numpy(boxes), torch.from_numpy(score), threshold).numpy()


def _suppress_nested(boxes: _Floats, score: _Floats, threshold: float) -> Ints:
    """NMS that divides the shared area by the smaller box, so that a face inside a face goes too."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    area = size.prod(1)
    waiting = np.argsort(-score, kind="stable")
    kept = []
    while waiting.size:
        first, waiting = waiting[0], waiting[1:]
        kept.append(first)
        rest = boxes[waiting]
        shared = np.minimum(boxes[first, 2:], rest[:, 2:]) - np.maximum(boxes[first, :2], rest[:, :2])
        overlap = np.maximum(shared + 1, 0).prod(1) / np.minimum(area[first], area[waiting])
        waiting = waiting[overlap <= threshold]
    return np.asarray(kept, dtype=np.int64)
