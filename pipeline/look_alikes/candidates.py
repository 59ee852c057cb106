"""Which pictures share so many rare words that a closer look is worth it.

An inverted index as text search has it: a shared word counts by the square of its logarithmic rarity. The work a
picture is bounded: a word of many pictures has several lists, each of those whose ids lie in one stretch. Twenty
thousand frames of one scene, whose words all are such, are then each found with some of the others. Neither weights nor
stretches change much where pictures are added, so that the same pairs are named again.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ids = NDArray[np.uint64]  # (N,): hashes, so that they lie anywhere
Words = NDArray[np.int32]  # (N, 2, W): of each picture and of its mirror image, -1 for none
_LIST = 48  # pictures; a word of more has several lists
_STRETCH = 16  # pictures that each of several lists has at most, on average
_MIXER = 2654435761  # Knuth's multiplicative hash
_FREQUENT = 8  # a word of more than an eighth of all pictures counts as one of an eighth
_CHUNK = 32  # pictures: what they share with others fits a processor's cache
_FEWEST = 1000  # pictures; of fewer, a word that two of them share would seem common
_RAREST = 65535  # the weight of the rarest word; what is worth a look shares more


def candidates(
    ids: Ids, words: Words, most: int, group: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Pairs (i, j), i < j, of pictures worth a look, sorted: (P, 2).

    Each picture, or its mirror image, names up to `most` others with which it shares the most. With `group`, (N,), only
    pairs of a picture inside and one outside are named. Memory grows with the greatest word.
    """
    if not len(words):
        return np.empty((0, 2), np.int64)
    index = _Index(ids, words[:, 0])
    found = []
    for rows in _chunks(len(words)):
        for turned in (0, 1):
            one, other, shared = index.shared(ids[rows], words[rows, turned])
            one += rows.start
            others = one != other if group is None else group[one] != group[other]
            found.append(_first(one[others], other[others], shared[others], most))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))


def _first(
    one: NDArray[np.int64], other: NDArray[np.int64], shared: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Of the pairs of each `one` those that share the most."""
    order = np.lexsort((other, -shared, one))
    place = np.arange(len(order)) - np.searchsorted(one[order], one[order])
    chosen = order[place < most]
    return np.stack([one[chosen], other[chosen]], axis=1)


class _Index:
    """The pictures of each word: one list, or lists by stretches of the ids, which begin elsewhere for each word.

    So what the same pictures have in common joins the pictures of neighbouring stretches, too.
    """

    def __init__(self, ids: Ids, words: NDArray[np.int32]) -> None:
        sizes: NDArray[np.int64] = np.zeros(int(words.max(initial=0)) + 2, np.int64)
        for rows in _chunks(len(words)):
            np.add.at(sizes, _each_once(words[rows]), 1)
        sizes = sizes[:-1]  # the last one counted what is no word
        self.halvings = np.ceil(np.log2(np.where(sizes > _LIST, sizes / _STRETCH, 1))).astype(np.uint8)
        lists = 1 << self.halvings.astype(np.int32)
        self.first = np.cumsum(lists, dtype=np.int32) - lists
        rarest = np.log(max(len(words), _FEWEST))
        # Where one scene fills the collection, its words are of all pictures, and yet they tell.
        frequent = np.clip(sizes, 1, np.exp(rarest) / _FREQUENT)
        self.weight = np.round(_RAREST * np.square(1 - np.log(frequent) / rarest)).astype(np.int64)

        pointer, columns = np.zeros(len(words) + 1, np.int32), np.empty(sizes.sum(), np.int32)
        for rows in _chunks(len(words)):
            row, _, column = self._entries(ids[rows], words[rows])
            ends = pointer[rows.start] + np.bincount(row, minlength=rows.stop - rows.start).cumsum()
            pointer[rows.start + 1 : rows.stop + 1] = ends
            columns[pointer[rows.start] : pointer[rows.stop]] = column
        shape = len(words), int(lists.sum())
        by_list = csr_array((np.ones(len(columns), bool), columns, pointer), shape=shape).tocsc()
        self.pictures, self.pointer = by_list.indices, by_list.indptr

    def shared(
        self, ids: Ids, words: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of a row of these ids and words with a picture of the index, and what they share where it is enough."""
        row, word, column = self._entries(ids, words)
        begin, end = self.pointer[column], self.pointer[column + 1]
        sizes = end - begin
        places = np.arange(sizes.sum()) + np.repeat(end - sizes.cumsum(), sizes)
        # Row, picture and weight as one number: sorted, what a pair shares stands together.
        keys = self.pictures[places].astype(np.int64) << 16
        keys += np.repeat((row << 48) + self.weight[word], sizes)
        keys.sort()
        new = np.diff(keys >> 16, prepend=-1, append=-1) != 0
        keys = keys[~(new[:-1] & new[1:])]  # one word alone is never enough
        pairs = keys >> 16
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        shared = np.add.reduceat(keys & 0xFFFF, starts) if len(starts) else starts
        enough = shared > _RAREST
        pairs = pairs[starts[enough]]
        return pairs >> 32, pairs & 0xFFFFFFFF, shared[enough]

    def _entries(
        self, ids: Ids, words: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Row, word and list of each word that the index knows."""
        words = _each_once(words)
        known = (words >= 0) & (words < len(self.weight))
        row = np.nonzero(known)[0]
        word = words[known]
        place = (ids.astype(np.uint32)[row] + word.astype(np.uint32)) * np.uint32(_MIXER)
        stretch = place >> np.uint32(1) >> (31 - self.halvings[word])
        return row, word, self.first[word] + stretch.astype(np.int32)


def _each_once(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """The words of each picture, sorted, with -1 in the place of one that stands before it too."""
    words = np.sort(words, axis=1)
    words[:, 1:][words[:, 1:] == words[:, :-1]] = -1
    return words
