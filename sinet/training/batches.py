"""The batches of a training run, and how long the run waits for them."""

import time
from collections.abc import Iterator
from typing import Any

from torch import Tensor, device
from torch.utils.data import DataLoader

from sinet.training.data import PortraitDataset
from sinet.training.together import ALONE, Together

Batch = tuple[Tensor, Tensor]  # images (N, S, S, 3) uint8 RGB, masks (N, S, S) uint8 {0, 1}, on the CPU


def training_batches(
    data: PortraitDataset, batch: int, device: device, workers: int, team: Together = ALONE
) -> Iterator[Batch]:
    """This process's part of each batch of about `batch` pictures, in the order of `index_batches`.

    `workers` processes draw them, or this one; the pictures are the same.
    """
    loader: DataLoader[Any] = DataLoader(
        data,  # collates its items to (index (N,), images, masks)
        batch_sampler=[team.part(whole) for whole in index_batches(data, batch)],
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    for _, images, masks in loader:
        yield images, masks


def index_batches(data: PortraitDataset, batch: int) -> list[list[int]]:
    """The epoch's samples in batches of `batch`, or of all where there are fewer.

    A last, smaller batch is left out: of one or two pictures it would spoil batch normalisation.
    """
    order, batch = data.order(), min(batch, len(data))
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


class Waiting:
    """How much of an epoch's steps went into the next pictures: drawing them, or waiting for workers that do."""

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
