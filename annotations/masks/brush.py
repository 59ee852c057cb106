"""Label Studio's brush masks: its run-length format to and from (H, W) uint8 masks in {0, 1}.

The format is that of @thi.ng/rle-pack, which the server's editor uses, a stream of bits, highest first:
32 bits the number of values; 5 bits the word size - 1; four times 4 bits a run size - 1. Then runs until all
values are there: 1 bit "repeat", 2 bits which run size, that many bits the length - 1, and one word (repeat)
or `length` words. A brush mask holds RGBA values, so 4 * H * W of them; its alpha is the mask.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinet.images.decode import MAX_PIXELS, Array

Longs = NDArray[np.int64]

LABEL = "person"
ALPHA_THRESHOLD = 127  # the editor's strokes have soft edges: alpha above it is person

_WORD = 8
_SIZES = (3, 4, 8, 16)  # bits of a run's length, as the editor and the SDK choose them
_HEADER = 32 + 5 + 4 * 4
_FILL = 8  # bits at most after the last run: the editor fills a byte, the SDK adds one where it is full


class BrushError(ValueError):
    """A brush region that cannot be read: says what was expected and what was found."""


def encode_rle(values: Array) -> list[int]:
    """Run-length encode (N,) uint8, N >= 1, to numbers 0..255; equal to the SDK's `encode_rle`."""
    if values.ndim != 1 or values.dtype != np.uint8 or values.size == 0:
        raise BrushError(f"expected values (N,) uint8 with N >= 1, found {values.shape} {values.dtype}")
    return _encode_runs(*_runs(values))


def decode_rle(rle: Sequence[int], length: int | None = None) -> Array:
    """The (N,) uint8 values of an encoded region; equal to the SDK's `decode_rle` wherever the data is whole.

    Raises BrushError for damaged data, and where N is not `length` (checked before anything is allocated).
    """
    if not isinstance(rle, Sequence) or isinstance(rle, str):  # of a number, bytes() would make as many zeros
        raise BrushError(f"expected a brush region as numbers 0..255, found {type_name(rle)}")
    try:
        data = bytes(rle)
    except (ValueError, TypeError) as error:
        raise BrushError(f"expected a brush region as numbers 0..255: {error}") from error
    if len(data) * 8 < _HEADER:
        raise BrushError(f"expected a brush region of at least 7 bytes, found {len(data)}")
    header = int.from_bytes(data[:7], "big") >> (56 - _HEADER)
    count, word = header >> 21, (header >> 16 & 31) + 1
    sizes = [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    if length is not None and count != length:
        raise BrushError(f"expected a brush region of {length} values (4 a pixel), found {count}")
    return _decode_runs(data, count, word, np.array(sizes, np.int64))


def mask_to_rle(mask: Array) -> list[int]:
    """A mask (H, W) uint8 in {0, 1} as a brush region; equal to the SDK's `mask2rle` of the 0/255 mask."""
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.size == 0 or mask.max() > 1:
        raise BrushError(f"expected a mask (H, W) uint8 in {{0, 1}}, found {_described(mask)}")
    lengths, values = _runs(mask.ravel())
    return _encode_runs(lengths * 4, values * np.uint8(255))


def rle_to_mask(rle: Sequence[int], height: int, width: int) -> Array:
    """The mask (height, width) uint8 in {0, 1} of one region: its alpha above 127."""
    values = decode_rle(rle, length=4 * height * width)
    return (values[3::4].reshape(height, width) > ALPHA_THRESHOLD).astype(np.uint8)


def regions_to_mask(results: object, height: int, width: int, label: str = LABEL) -> Array:
    """The union of all brush regions in the `result` of an annotation or prediction; without any the mask is empty.

    Results are as the API gives them; choices are passed over. Raises BrushError for anything else: another type of
    region, another label or none, another size, format or rotation, and strokes that are not in the pixels.
    """
    if not isinstance(results, list):
        raise BrushError(f"expected a list of results, found {type_name(results)}")
    if height * width > MAX_PIXELS:
        raise BrushError(f"expected a mask of at most {MAX_PIXELS} pixels, found {width}x{height}")
    union = np.zeros((height, width), np.uint8)
    for result in results:
        if not isinstance(result, Mapping) or result.get("type") not in ("choices", "brushlabels"):
            kind = result.get("type") if isinstance(result, Mapping) else result
            raise BrushError(f"expected brush regions, found {type_name(kind)}")
        if result["type"] == "brushlabels":
            union |= rle_to_mask(_rle_of(result, height, width, label), height, width)
    return union


def _rle_of(region: Mapping[str, Any], height: int, width: int, label: str) -> Any:
    """The runs of a brush region that is all as this review makes it."""
    size = (region.get("original_height"), region.get("original_width"))
    if size != (height, width):
        found = f"{type_name(size[1])}x{type_name(size[0])}"
        raise BrushError(f"expected a region of {width}x{height} pixels, found {found}")
    if region.get("image_rotation", 0) != 0:
        found = type_name(region["image_rotation"])
        raise BrushError(f"expected a region of an upright picture, found rotation {found}")
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise BrushError(f"expected a region's value, found {type_name(value)}")
    if value.get("brushlabels") != [label]:
        raise BrushError(
            f"expected a region of {label}, found the labels {type_name(value.get('brushlabels'))}"
        )
    if value.get("format") != "rle":
        raise BrushError(f"expected a region in format rle, found {type_name(value.get('format'))}")
    for unknown in sorted(value.keys() - {"brushlabels", "format", "rle"}):
        raise BrushError(f"expected a region's pixels alone, found {unknown} {type_name(value[unknown])}")
    rle: Any = value.get("rle")
    return rle  # decode_rle looks at it


def type_name(found: object) -> str:
    """What was found, in at most 60 characters of any terminal."""
    text = json.dumps(found, default=repr)
    return text if len(text) <= 60 else f"{text[:56]} ..."


def fingerprint(mask: Array) -> str:
    """16 hex digits of a mask (H, W) uint8 in {0, 1}: equal for equal masks, whatever their run lengths."""
    digest = hashlib.sha256(repr(mask.shape).encode() + np.packbits(mask).tobytes())
    return digest.hexdigest()[:16]


def _runs(values: Array) -> tuple[Longs, Array]:
    """Lengths and values of the runs of equal neighbours."""
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), values.size - 1)
    return np.diff(ends, prepend=-1), values[ends]


def _encode_runs(lengths: Longs, values: Array) -> list[int]:
    total = int(lengths.sum())
    if total >= 2**32:
        raise BrushError(f"a region holds fewer than 2**32 values, found {total}")
    # A run above 65536 becomes several; all of its parts, the last and shorter one too, take the widest size.
    kinds = np.searchsorted([8, 16, 256], lengths)
    parts = -(-lengths // 2**16)
    pieces = np.full(int(parts.sum()), 2**16, np.int64)
    pieces[np.cumsum(parts) - 1] = lengths - (parts - 1) * 2**16
    kinds, words = np.repeat(kinds, parts), np.repeat(values, parts).astype(np.int64)
    repeats = np.repeat(lengths > 1, parts).astype(np.int64)

    bits = np.array(_SIZES)[kinds]
    codes = (((repeats << 2 | kinds) << bits | (pieces - 1)) << _WORD) | words
    widths = 3 + bits + _WORD
    header = total << 21 | (_WORD - 1) << 16
    for size, shift in zip(_SIZES, (12, 8, 4, 0), strict=True):
        header |= (size - 1) << shift
    return _pack(np.append(header, codes), np.append(_HEADER, widths))


def _pack(codes: Longs, widths: Longs) -> list[int]:
    """The lowest `widths` bits of each code, one after another, as bytes."""
    ends = np.cumsum(widths)
    shifts = np.repeat(ends, widths) - 1 - np.arange(ends[-1])
    bits = (np.repeat(codes, widths) >> shifts & 1).astype(np.uint8)
    fill = 8 - bits.size % 8  # the SDK adds 8 bits where none are needed; so do we
    packed: list[int] = np.packbits(np.append(bits, np.zeros(fill, np.uint8))).tolist()
    return packed


def _decode_runs(data: bytes, count: int, word: int, sizes: Longs) -> Array:
    # Where a run ends depends on its own first bits only. So "what if a run began here?" is answered for
    # every bit at once, and what is left to do one by one is to hop from run to run.
    windows = _windows(data)
    size = sizes[(windows >> np.uint64(61)).astype(np.int64) & 3]
    length = ((windows << np.uint64(3)) >> (64 - size).astype(np.uint64)).astype(np.int64) + 1
    repeat = windows >> np.uint64(63) == 1
    first_word = np.arange(windows.size) + 3 + size
    following = first_word + word * np.where(repeat, 1, length)
    starts, reached = _hop(memoryview(following), memoryview(length), count)

    repeat, length, first_word = repeat[starts], length[starts], first_word[starts]
    if starts.size and reached > count and not repeat[-1]:
        raise BrushError(f"the brush region holds more than the {count} values it announces")
    words = np.where(repeat, 1, length)
    before = np.cumsum(words) - words
    places = np.repeat(first_word - word * before, words) + word * np.arange(int(words.sum()))
    values = windows[places] >> np.uint64(64 - word)
    if values.size and values.max() > 255:
        raise BrushError(f"expected values 0..255 in a brush region, found {values.max()}")
    times = np.repeat(np.where(repeat, length, 1), words)
    return np.repeat(values.astype(np.uint8), times)[:count]


def _windows(data: bytes) -> NDArray[np.uint64]:
    """For every bit of the data, the bits from there on (57 or more of them, then zeros), highest first."""
    padded = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint64)
    long: NDArray[np.uint64] = np.zeros(len(data), np.uint64)
    for number in range(8):
        long |= padded[number : number + len(data)] << np.uint64(56 - 8 * number)
    return (long[:, None] << np.arange(8, dtype=np.uint64)).ravel()


def _hop(following: memoryview, length: memoryview, count: int) -> tuple[Longs, int]:
    """The first bit of every run, and how many values the runs announce."""
    starts = []
    position, reached, end = _HEADER, 0, len(following)
    while reached < count:
        if position >= end:
            raise BrushError(f"the brush region ends after {reached} of {count} values")
        starts.append(position)
        reached += length[position]
        position = following[position]
    if position > end:
        raise BrushError(
            f"the brush region ends in the middle of its last run, at {reached} of {count} values"
        )
    if end - position > _FILL:
        raise BrushError(f"the brush region goes on for {end - position} bits after its {count} values")
    return np.array(starts, np.int64), reached


def _described(mask: NDArray[Any]) -> str:
    text = f"{mask.shape} {mask.dtype}"
    return f"{text} with values up to {mask.max()}" if mask.dtype == np.uint8 and mask.size else text
