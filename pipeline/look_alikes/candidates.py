"""Which pictures share so many rare words that a closer look is worth it.

An inverted index as text search has it: a shared word counts by the square of its logarithmic rarity. The work a
picture is bounded: of a word that many pictures have, a picture is shown only those that stand near it in the order of
all pictures. That order is the same for every word, so that of twenty thousand frames of one scene each is shown the
same neighbours by all its words, and these hang together. Neither weights nor neighbours change much where pictures
are added, so that the same pairs are named again.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Words = NDArray[np.int32]  # (N, 2, W): of each picture and of its mirror image, -1 for none
_LIST = 48  # pictures; of a word that more have, a picture is shown its neighbours
_NEIGHBOURS = 24  # pictures, half of them before it
_FREQUENT = 8  # a word of more than an eighth of all pictures counts as one of an eighth
_CHUNK = 32  # pictures: what they share with others fits a processor's cache
_FEWEST = 1000  # pictures; of fewer, a word that two of them share would seem common
_RAREST = 65535  # the weight of the rarest word; what is worth a look shares more


def candidates(words: Words, most: int, group: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Pairs (i, j), i < j, of pictures worth a look, sorted: (P, 2).

    Each picture, or its mirror image, names up to `most` others with which it shares the most. With `group`, (N,), only
    pairs of a picture inside and one outside are named. Memory grows with the greatest word.
    """
    every, weight = np.arange(len(words)), _weights(words[:, 0])
    if group is None:
        found = list(_named(words, weight, every, every, most))
    else:
        inside, outside = every[group], every[~group]
        found = [
            *_named(words, weight, inside, outside, most),
            *_named(words, weight, outside, inside, most),
        ]
    codes = np.unique(np.concatenate([every[:0], *found]))
    return np.stack(np.divmod(codes, len(words)), axis=1)


def _named(
    words: Words,
    weight: NDArray[np.int64],
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    most: int,
) -> Iterator[NDArray[np.int64]]:
    """Pairs of one of the pictures `rows` with one of `others`, both ascending, that it names: i * N + j, i < j."""
    index = _Index(words[:, 0] if len(others) == len(words) else words[others, 0], weight)
    for chunk in _chunks(len(rows)):
        some = rows[chunk]
        for turned in (0, 1):
            one, other, shared = index.shared(np.searchsorted(others, some), words[some, turned])
            one, other = some[one], others[other]
            own = one == other
            one, other = _first(one[~own], other[~own], shared[~own], most)
            yield np.minimum(one, other) * len(words) + np.maximum(one, other)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))


def _first(
    one: NDArray[np.int64], other: NDArray[np.int64], shared: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the pairs of each `one` those that share the most."""
    order = np.lexsort((other, -shared, one))
    place = np.arange(len(order)) - np.searchsorted(one[order], one[order])
    chosen = order[place < most]
    return one[chosen], other[chosen]


def _weights(words: NDArray[np.int32]) -> NDArray[np.int64]:
    """How much each word tells, by how few of all pictures have it: of a group's few, every one is rare."""
    sizes: NDArray[np.int64] = np.zeros(int(words.max(initial=0)) + 2, np.int64)
    for rows in _chunks(len(words)):
        np.add.at(sizes, _each_once(words[rows]), 1)
    sizes = sizes[:-1]  # the last one counted what is no word
    rarest = np.log(max(len(words), _FEWEST))
    # Where one scene fills the collection, its words are of all pictures, and yet they tell.
    frequent = np.clip(sizes, 1, np.exp(rarest) / _FREQUENT)
    weight: NDArray[np.int64] = np.round(_RAREST * np.square(1 - np.log(frequent) / rarest)).astype(np.int64)
    return weight


class _Index:
    """The pictures of each word, in their order, and what a word weighs."""

    def __init__(self, words: NDArray[np.int32], weight: NDArray[np.int64]) -> None:
        self.weight = weight
        pointer: NDArray[np.int32] = np.zeros(len(words) + 1, np.int32)
        columns: NDArray[np.int32] = np.empty(words.size, np.int32)
        for rows in _chunks(len(words)):
            row, word = self._entries(words[rows])
            ends = pointer[rows.start] + np.bincount(row, minlength=rows.stop - rows.start).cumsum()
            pointer[rows.start + 1 : rows.stop + 1] = ends
            columns[pointer[rows.start] : pointer[rows.stop]] = word
        columns = columns[: pointer[-1]]
        by_picture = csr_array((np.ones(len(columns), bool), columns, pointer), (len(words), len(weight)))
        by_word = by_picture.tocsc()
        self.pictures, self.pointer = by_word.indices, by_word.indptr.astype(np.int64)

    def shared(
        self, places: NDArray[np.int64], words: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of a row of these words with a picture of the index, and what they share where it is enough.

        `places` says where in the order of the index's pictures each row belongs.
        """
        row, word = self._entries(words)
        begin, end = self.pointer[word], self.pointer[word + 1]
        many = end - begin > _LIST
        near = self._place(begin[many], end[many], places[row[many]])
        begin[many] = np.clip(near - _NEIGHBOURS // 2, begin[many], end[many] - _NEIGHBOURS - 1)
        end[many] = begin[many] + _NEIGHBOURS + 1  # itself among them
        sizes = end - begin
        shown = np.arange(sizes.sum()) + np.repeat(end - sizes.cumsum(), sizes)
        # Row, picture and weight as one number: sorted, what a pair shares stands together.
        keys = self.pictures[shown].astype(np.int64) << 16
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

    def _place(
        self, begin: NDArray[np.int64], end: NDArray[np.int64], pictures: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Where each picture belongs in its own list, self.pictures[begin:end]: all are halved at once."""
        begin = begin.copy()
        while (open_ := begin < end).any():
            middle = (begin + end) >> 1
            before = open_ & (self.pictures[np.minimum(middle, len(self.pictures) - 1)] < pictures)
            begin, end = np.where(before, middle + 1, begin), np.where(before, end, np.minimum(middle, end))
        return begin

    def _entries(self, words: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Row and word of each word that the index knows."""
        words = _each_once(words)
        known = (words >= 0) & (words < len(self.weight))
        return np.nonzero(known)[0], words[known]


def _each_once(words: NDArray[np.int32]) -> NDArray[np.int32]:
    """The words of each picture, sorted, with -1 in the place of one that stands before it too."""
    words = np.sort(words, axis=1)
    words[:, 1:][words[:, 1:] == words[:, :-1]] = -1
    return words
