"""Which pictures share so many rare words that a closer look is worth it.

An inverted index as text search has it: a shared word counts by the square of its logarithmic rarity. The work a
picture is bounded: a word of very many pictures is parted into several, each of neighbours in the order of pictures.
Twenty thousand frames of one scene, whose words all are such, are then each found with some of the others.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Words = NDArray[np.int32]  # (N, 2, W): of each picture and of its mirror image, -1 for none
_COMMON = 64  # pictures with a word, from which on it is parted
_PART = 32
_MIXER = 2654435761  # Knuth's multiplicative hash
_FREQUENT = 8  # a word of more than an eighth of all pictures counts as one of an eighth
_CHUNK = 512
_FEWEST = 1000  # pictures; of fewer, a word that two of them share would seem common
_LEAST = 1.5  # times the weight of the rarest word: one word alone is chance


def candidates(words: Words, most: int, group: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Pairs (i, j), i < j, of pictures worth a look, sorted: (P, 2).

    Each picture, or its mirror image, names up to `most` others with which it shares the most. With `group`, (N,), only
    pairs of a picture inside and one outside are named.
    """
    index = _Index(words[:, 0])
    found: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    for start in range(0, len(words), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(words)))
        for turned in (0, 1):
            one, other, shared = index.shared(rows, words[rows, turned])
            others = one != other if group is None else group[one] != group[other]
            found.append(_first(one[others], other[others], shared[others], most))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _first(
    one: NDArray[np.int64], other: NDArray[np.int64], shared: NDArray[np.float32], most: int
) -> NDArray[np.int64]:
    """Of the pairs of each `one` those that share the most."""
    order = np.lexsort((other, -shared, one))
    place = np.arange(len(order)) - np.searchsorted(one[order], one[order])
    chosen = order[place < most]
    return np.stack([one[chosen], other[chosen]], axis=1)


class _Index:
    """The pictures of each word, in their order; a column is a word, or a part of a common one."""

    def __init__(self, words: NDArray[np.int32]) -> None:
        self.count = len(words)
        entries = self._entries(np.arange(self.count), words)
        first = np.flatnonzero(np.diff((entries // max(self.count, 1)).astype(np.int32), prepend=-1))
        sizes = np.diff(first, append=len(entries))
        place = np.arange(len(entries), dtype=np.int32)  # of a picture among those of its word
        place -= np.repeat(first.astype(np.int32), sizes)
        parted = np.repeat(sizes > _COMMON, sizes)
        # Words that the same pictures have are parted at other pictures each, or no part would share any with the next.
        shift = (entries[first] // max(self.count, 1)) * _MIXER % 2**32 // 2**16 % _PART
        parted &= (place + np.repeat(shift.astype(np.int32), sizes)) % _PART == 0
        starts = np.flatnonzero(parted | (place == 0))
        del place, parted  # a million pictures fill a gigabyte with each of these
        self.columns = entries[starts]  # word * count + the part's first picture
        word_of = np.searchsorted(first, starts, side="right") - 1
        self.rarest = np.log(max(self.count, _FEWEST))
        # Where one scene fills the collection, its words are of all pictures, and yet they tell.
        frequent = np.minimum(sizes[word_of], np.exp(self.rarest) / _FREQUENT)
        self.weight = np.square(self.rarest - np.log(frequent)).astype(np.float32)
        pictures = (entries % max(self.count, 1)).astype(np.int32)
        pointer = np.append(starts, len(entries)).astype(np.int32)
        del entries
        ones = np.ones(len(pictures), np.float32)
        self.pictures = csr_array((ones, pictures, pointer), shape=(len(starts), self.count))

    def shared(
        self, rows: NDArray[np.int64], words: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Pairs of one of `rows`, which have these words, with a picture of the index, and what they share."""
        entries = self._entries(rows, words)
        column = np.maximum(np.searchsorted(self.columns, entries, side="right") - 1, 0)
        # All parts of the word may begin with a later picture.
        before = self.columns[column] // self.count < entries // self.count
        column = np.minimum(column + before, len(self.columns) - 1)
        known = self.columns[column] // self.count == entries // self.count
        column, row = column[known], entries[known] % self.count - rows[0]
        asked = csr_array((self.weight[column], (row, column)), shape=(len(rows), len(self.columns)))
        product = asked @ self.pictures
        one = np.repeat(rows, np.diff(product.indptr))
        enough = product.data > _LEAST * np.square(self.rarest)
        return one[enough], product.indices[enough].astype(np.int64), product.data[enough]

    def _entries(self, rows: NDArray[np.int64], words: NDArray[np.int32]) -> NDArray[np.int64]:
        """word * count + picture, sorted, each once."""
        keys = words.astype(np.int64)
        keys *= self.count
        keys += rows[:, None]
        keys = keys[words >= 0]
        keys.sort()
        return np.asarray(keys[np.diff(keys, prepend=-1) != 0])
