"""Portraits and masks as a torch dataset: decoded once, kept small in memory, drawn by a hash of the id."""

import bisect
import hashlib
import logging
import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from sinet.core.progress import bar_interval
from sinet.core.recipe import AugmentRecipe
from sinet.images.decode import Array, read_image, read_mask
from sinet.images.sample import REDUCED_SIDE, Sample, reduce
from sinet.training.augment import augment, squash
from sinet.training.background import before_another_background

log = logging.getLogger("sinet")

CACHE_BYTES = 4 * 2**30
_HASH_BYTES = 16

_Drawn = tuple[int, torch.Tensor, torch.Tensor]


class PortraitDataset(Dataset[_Drawn]):
    """Items are (index, image (size, size, 3) uint8 RGB, mask (size, size) uint8 {0, 1}).

    With a recipe each item is a new variant in each epoch, which depends only on (seed, epoch, sample id), and where
    another background is drawn on the picture that gives it: the same for any number of workers, and adding a picture
    does not change the others, but the few whose background it becomes. Without one it is the evaluation protocol's
    squash of the full-size picture. Pictures are decoded once and kept reduced in memory, up to `cache_bytes`; call
    `preload` before a DataLoader forks workers, else each decodes anew.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: int,
        recipe: AugmentRecipe | None,
        seed: int,
        cache_side: int = REDUCED_SIDE,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.samples = list(samples)
        self.size = size
        self.recipe = recipe
        self.seed = seed
        self.epoch = 0
        self.cached_bytes = 0
        self._cache_side = cache_side
        self._cache_bytes = cache_bytes
        self._cache: dict[int, tuple[Array, Array]] = {}
        self._places = sorted((_seed(sample.id), index) for index, sample in enumerate(self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> _Drawn:
        image, mask = self.picture(index)
        if self.recipe is not None:
            rng = np.random.default_rng(_seed(self.seed, self.epoch, self.samples[index].id))
            background = self.recipe.background
            if background and rng.random() < background:
                image = before_another_background(image, mask, *self.picture(self._other(rng)))
            image, mask = augment(image, mask, self.size, self.recipe, rng)
        return index, torch.from_numpy(image), torch.from_numpy(mask)

    def set_epoch(self, epoch: int) -> None:
        """Draw other variants from now on; call it before the DataLoader is iterated."""
        self.epoch = epoch

    def resize(self, size: int) -> None:
        """Yield items of another size from now on."""
        if self.recipe is None and size != self.size:
            self._cache.clear()
            self.cached_bytes = 0
        self.size = size

    def class_shares(self) -> tuple[float, float]:
        """Shares of background and person among all pixels, each picture counting once."""
        person = float(np.mean([self.picture(index)[1].mean() for index in range(len(self))]))
        return 1 - person, person

    def order(self) -> list[int]:
        """The samples shuffled by a hash of (seed, epoch, id): what a DataLoader takes as its sampler."""
        return sorted(
            range(len(self)), key=lambda index: _seed("order", self.seed, self.epoch, self.samples[index].id)
        )

    def preload(self, desc: str = "pictures") -> None:
        """Decode every picture now and log the memory they take."""
        bar = tqdm(
            range(len(self)),
            desc=desc,
            unit="img",
            file=sys.stderr,
            mininterval=bar_interval(1),
        )
        for index in bar:
            self.picture(index)
        log.info("%s: %d in memory, %.0f MB", desc, len(self._cache), self.cached_bytes / 1e6)

    def _other(self, rng: np.random.Generator) -> int:
        """Whose background is taken: the sample whose hash comes next after a number that is drawn.

        So a picture more or less changes only what the pictures beside it in the order of hashes are drawn for.
        """
        drawn = int.from_bytes(rng.bytes(_HASH_BYTES))
        return self._places[bisect.bisect(self._places, (drawn,)) % len(self._places)][1]

    def picture(self, index: int) -> tuple[Array, Array]:
        """A sample as it lies in memory, from which variants are made: (h, w, 3) uint8 RGB, (h, w) uint8 {0, 1}."""
        if index in self._cache:
            image, packed = self._cache[index]
            mask = np.unpackbits(packed, count=image.shape[0] * image.shape[1]).reshape(image.shape[:2])
            return image, mask
        image, mask = self._read(self.samples[index])
        if self.cached_bytes + image.nbytes <= self._cache_bytes:
            entry = (image, np.packbits(mask))
            self._cache[index] = entry
            self.cached_bytes += entry[0].nbytes + entry[1].nbytes
        return image, mask

    def _read(self, sample: Sample) -> tuple[Array, Array]:
        image, mask = read_image(sample.image), read_mask(sample.mask)
        if image.shape[:2] != mask.shape:
            raise ValueError(
                f"sample {sample.id}: expected a mask of the image's size {image.shape[1]}x{image.shape[0]}, "
                f"found {mask.shape[1]}x{mask.shape[0]}"
            )
        if self.recipe is None:
            return squash(image, mask, self.size)
        return reduce(image, mask, self._cache_side)


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:_HASH_BYTES])
