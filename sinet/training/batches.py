"""Where the batches of a training run come from, and how long the run waits for them.

On a CPU each picture is drawn when it is needed. A GPU would wait for that: there all pictures lie in its memory, and
it makes the variants itself (`sinet.training.augment_batch`). What is drawn is the same on both.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from sinet.core.device import loader_workers
from sinet.training.augment import BORDER
from sinet.training.augment_batch import Canvases, apply_batch, sample, upload
from sinet.training.background import soft_mask, without_person
from sinet.training.data import PortraitDataset
from sinet.training.team import ALONE, Team

log = logging.getLogger("sinet")

ROOM = 0.5  # share of a GPU's free memory that pictures may take

Batch = tuple[Tensor, Tensor]  # images (N, S, S, 3) uint8 RGB, masks (N, S, S) uint8 {0, 1}


class Pictures(Protocol):
    """The train side, drawn anew in each epoch of its dataset."""

    def batches(self, batch: int) -> Iterator[Batch]:
        """This process's part of each batch of about `batch` pictures, in the order of `index_batches`."""
        ...


def pictures_for(data: PortraitDataset, device: torch.device, team: Team = ALONE) -> Pictures:
    """In the memory of a GPU where they fit there, else drawn one by one."""
    if device.type != "cuda" or data.recipe is None:
        return DrawnPictures(data, device, team)
    torch.cuda.empty_cache()  # what an earlier training left is free too
    free, _ = torch.cuda.mem_get_info(device)
    needed = ResidentPictures.bytes_needed(data)
    if needed <= ROOM * free:
        return ResidentPictures(data, device, team)
    text = (
        "%.1f GB of pictures are more than %.0f %% of the %.1f GB that are free on %s, so the CPU draws them, which is "
        "slow: free some of it, or name another GPU by SINET_DEVICE"
    )
    log.warning(text, needed / 1e9, 100 * ROOM, free / 1e9, device)
    return DrawnPictures(data, device, team)


def index_batches(data: PortraitDataset, batch: int) -> list[list[int]]:
    """The epoch's samples in batches of `batch`, or of all where there are fewer.

    A last, smaller batch is left out: of one or two pictures it would spoil batch normalisation.
    """
    order, batch = data.order(), min(batch, len(data))
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


class DrawnPictures:
    """Each picture drawn by OpenCV when it is needed, in this process or, for a GPU, in workers."""

    def __init__(self, data: PortraitDataset, device: torch.device, team: Team = ALONE) -> None:
        self._data, self._device, self._team = data, device, team

    def batches(self, batch: int) -> Iterator[Batch]:
        """See `Pictures`; images and masks are on the CPU."""
        loader: DataLoader[Any] = DataLoader(
            self._data,  # collates its items to (index (N,), images, masks)
            batch_sampler=[self._team.part(whole) for whole in index_batches(self._data, batch)],
            num_workers=loader_workers(self._device, self._team.size),
            pin_memory=self._device.type == "cuda",
        )
        for _, images, masks in loader:
            yield images, masks


class ResidentPictures:
    """All pictures on the device, as they lie in the dataset's memory, and the variants made there."""

    def __init__(self, data: PortraitDataset, device: torch.device, team: Team = ALONE) -> None:
        self._data, self._device, self._team = data, device, team
        self._sizes = [(width, height) for height, width in _shapes(data)]
        lends = bool(data.recipe is not None and data.recipe.background)
        count, side = len(data), max(max(size) for size in self._sizes)
        self._images = torch.full((count, 3, side, side), BORDER, dtype=torch.uint8, device=device)
        self._masks = torch.zeros((count, side, side), dtype=torch.uint8, device=device)
        self._grounds = torch.full_like(self._images, BORDER) if lends else None
        self._soft = torch.zeros_like(self._masks) if lends else None
        self._bare: set[int] = set()  # pictures without any ground to lend
        for index in range(count):  # one by one: the CPU need not have room for all
            image, mask = data.picture(index)
            _place(self._images, index, image)
            _place(self._masks, index, mask)
            if self._grounds is not None and self._soft is not None:
                ground = without_person(image, mask)
                if ground is None:
                    self._bare.add(index)
                else:
                    _place(self._grounds, index, ground)
                _place(self._soft, index, np.rint(soft_mask(mask) * 255).astype(np.uint8))

    @staticmethod
    def bytes_needed(data: PortraitDataset) -> int:
        """On the device, between the epochs: each picture and mask in a square, twice with other backgrounds."""
        shapes = _shapes(data)
        twice = 2 if data.recipe is not None and data.recipe.background else 1
        return len(shapes) * max(max(shape) for shape in shapes) ** 2 * 4 * twice

    def batches(self, batch: int) -> Iterator[Batch]:
        """See `Pictures`; images and masks are on the device."""
        for whole in index_batches(self._data, batch):
            indexes = self._team.part(whole)
            sizes = [self._sizes[index] for index in indexes]
            drawn = [
                self._data.draw(index, height, width)
                for index, (width, height) in zip(indexes, sizes, strict=True)
            ]
            place = upload(np.array(indexes), self._device)
            images = self._images[place]
            swaps = [
                (n, other)
                for n, (other, _) in enumerate(drawn)
                if other is not None and other not in self._bare
            ]
            if swaps:
                self._put_before(images, place, sizes, swaps)
            canvases = Canvases(images, self._masks[place], sizes)
            yield apply_batch(canvases, self._data.size, [variant for _, variant in drawn])

    def _put_before(
        self,
        images: Tensor,
        place: Tensor,
        sizes: Sequence[tuple[int, int]],
        swaps: Sequence[tuple[int, int]],
    ) -> None:
        """Give some of `images` another background, as `sinet.training.background` does; swaps are (row, whose background)."""
        assert self._soft is not None and self._grounds is not None
        rows, others = (upload(np.array(column), self._device) for column in zip(*swaps, strict=True))
        own = np.array([sizes[row] for row, _ in swaps], np.float64)
        theirs = np.array([self._sizes[other] for _, other in swaps], np.float64)
        size, last, ratio = upload(np.stack([own, theirs - 1, theirs / own]), self._device)[:, :, None, None]
        side = images.shape[-1]
        steps = torch.arange(side, device=self._device, dtype=torch.float64)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        pixels = torch.stack((x, y), dim=-1)
        stretched = torch.minimum((pixels + 0.5) * ratio - 0.5, last).clamp_min(0)
        ground = sample(self._grounds[others].float(), stretched)
        person = self._soft[place[rows]][:, None].float() / 255
        image = images[rows].float()
        mixed = (person * image + (1 - person) * ground).round_()
        inside = (pixels < size).all(dim=-1)[:, None]
        images[rows] = torch.where(inside, mixed, image).to(torch.uint8)


def _shapes(data: PortraitDataset) -> list[tuple[int, int]]:
    return [data.shape(index) for index in range(len(data))]


def _place(squares: Tensor, index: int, array: NDArray[np.uint8]) -> None:
    """Put (h, w) or (h, w, 3) into the upper left corner of a square (S, S) or (3, S, S)."""
    tensor = torch.from_numpy(array)
    height, width = array.shape[:2]
    squares[index, ..., :height, :width] = tensor if tensor.ndim == 2 else tensor.permute(2, 0, 1)


class Waiting:
    """How much of an epoch's steps went into the next pictures: drawing them, or waiting for workers that do.

    Of pictures that a GPU makes it is the time to draw the numbers and to launch the work.
    """

    def __init__(self) -> None:
        self._waited = self._taken = 0.0

    def counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, with the time that each let wait."""
        start, self._waited = time.monotonic(), 0.0
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            now = time.monotonic()
            self._waited, self._taken = self._waited + now - asked, now - start
            if batch is None:
                return
            yield batch

    def share(self) -> float:
        """0..1 of the time from the first batch asked for to the end; what comes after, as dev, does not count."""
        return self._waited / max(1e-9, self._taken)
