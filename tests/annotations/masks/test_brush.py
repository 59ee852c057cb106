"""The brush codec: equal to label_studio_sdk's both ways, and clear about damaged regions."""

import functools
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotations.masks.brush import (
    BrushError,
    decode_rle,
    encode_rle,
    fingerprint,
    mask_to_rle,
    regions_to_mask,
    rle_to_mask,
)

# Runs of every length class: single, 3, 4, 8 and 16 bits, and the borders between them.
LENGTHS = st.one_of(
    st.integers(1, 20), st.sampled_from([8, 9, 16, 17, 255, 256, 257, 1000, 65535, 65536, 65537])
)
RUNS = st.lists(st.tuples(LENGTHS, st.integers(0, 255)), min_size=1, max_size=30)
MASKS = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1))


@functools.cache
def sdk() -> ModuleType:
    """Label Studio's own codec, which takes a second and more to import."""
    from label_studio_sdk.converter import brush

    return brush


def values_of(runs: list[tuple[int, int]]) -> np.ndarray:
    return np.repeat(np.array([value for _, value in runs], np.uint8), [length for length, _ in runs])


@settings(max_examples=300, deadline=None)
@given(RUNS)
def test_encoding_and_decoding_equal_the_sdk(runs):
    values = values_of(runs)
    ours = encode_rle(values)
    assert ours == sdk().encode_rle(values)
    assert all(type(number) is int for number in ours[:3])  # what JSON can write
    assert np.array_equal(decode_rle(ours), values)
    assert np.array_equal(sdk().decode_rle(ours), values)


@pytest.mark.parametrize("length", [65536, 65537, 2 * 65536, 2 * 65536 + 1, 5 * 65536 - 1, 300_000])
def test_long_runs_are_split_as_the_sdk_splits_them(length: int):
    values = np.repeat(np.array([0, 255], np.uint8), [length, 7])
    assert encode_rle(values) == sdk().encode_rle(values)
    assert np.array_equal(decode_rle(encode_rle(values)), values)


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_masks_equal_the_sdk_both_ways(mask):
    height, width = mask.shape
    theirs = sdk().mask2rle(mask * 255)
    assert mask_to_rle(mask) == theirs
    assert np.array_equal(rle_to_mask(theirs, height, width), mask)
    assert np.array_equal(sdk().decode_rle(mask_to_rle(mask)).reshape(height, width, 4)[..., 3], mask * 255)
    assert mask_to_rle(np.asfortranarray(mask)) == theirs


@st.composite
def streams(draw) -> tuple[list[int], np.ndarray]:
    """What the editor's own encoder may write: any run sizes, any word size, runs of several words."""
    word = draw(st.integers(8, 12))
    sizes = draw(st.lists(st.integers(1, 16), min_size=4, max_size=4))
    bits, values = "", []
    for _ in range(draw(st.integers(0, 12))):
        index = draw(st.integers(0, 3))
        length = draw(st.integers(1, min(2 ** sizes[index], 300)))
        repeat = draw(st.booleans())
        words = (
            [draw(st.integers(0, 255))]
            if repeat
            else draw(st.lists(st.integers(0, 255), min_size=length, max_size=length))
        )
        bits += f"{int(repeat)}{index:02b}{length - 1:0{sizes[index]}b}" + "".join(
            f"{w:0{word}b}" for w in words
        )
        values += words * length if repeat else words
    bits = f"{len(values):032b}{word - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes) + bits
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)], np.array(values, np.uint8)


@settings(max_examples=300, deadline=None)
@given(streams())
def test_any_whole_stream_is_read_as_the_sdk_reads_it(stream):
    rle, values = stream
    assert np.array_equal(sdk().decode_rle(rle), values)
    assert np.array_equal(decode_rle(rle, length=len(values)), values)


@settings(max_examples=300, deadline=None)
@given(MASKS, st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_byte_is_read_as_the_sdk_reads_it_or_refused(mask, place, number):
    rle = mask_to_rle(mask)
    rle[place % len(rle)] = number
    try:
        values = decode_rle(rle, length=mask.size * 4)
    except BrushError:
        return
    assert np.array_equal(values, sdk().decode_rle(rle))


def test_a_repeat_past_the_end_is_cut_as_the_sdk_cuts_it():
    rle = encode_rle(np.full(40, 9, np.uint8))
    rle[3] = 30  # the number of values
    assert np.array_equal(decode_rle(rle), sdk().decode_rle(rle))
    assert decode_rle(rle).size == 30


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([0], "at least 7 bytes, found 1"),
        ([], "at least 7 bytes, found 0"),
        ([256] * 9, r"numbers 0\.\.255"),
        ([1.5] * 9, r"numbers 0\.\.255"),
        (mask_to_rle(np.eye(9, dtype=np.uint8))[:-3], r"ends .* of 324 values"),
        (
            mask_to_rle(np.zeros((9, 10), np.uint8)),
            r"expected a brush region of 324 values \(4 a pixel\), found 360",
        ),
        ([255, 255, 255, 255, *mask_to_rle(np.zeros((9, 9), np.uint8))[4:]], "found 4294967295"),
    ],
)
def test_damage_is_refused_with_what_was_found(rle, message: str):
    with pytest.raises(BrushError, match=message):
        rle_to_mask(rle, 9, 9)


def test_literals_past_the_end_are_refused():
    bits = (
        f"{2:032b}{7:05b}" + "0010" * 4 + "0" + "00" + "010" + "00000001" * 3
    )  # 2 values announced, 3 given
    bits += "0" * (-len(bits) % 8)
    with pytest.raises(BrushError, match="holds more than the 2 values it announces"):
        decode_rle([int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)])


def test_a_word_above_255_is_refused():
    bits = f"{1:032b}{8:05b}" + "0010" * 4 + "0" + "00" + "000" + f"{300:09b}"
    bits += "0" * (-len(bits) % 8)
    with pytest.raises(BrushError, match=r"expected values 0\.\.255 in a brush region, found 300"):
        decode_rle([int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.full((3, 4), 255, np.uint8), "with values up to 255"),
        (np.zeros((3, 4), bool), r"\(3, 4\) bool"),
        (np.zeros((3, 4), np.float32), r"\(3, 4\) float32"),
        (np.zeros((3, 4, 1), np.uint8), r"\(3, 4, 1\) uint8"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\) uint8"),
    ],
)
def test_only_masks_are_encoded(mask, message: str):
    with pytest.raises(BrushError, match=rf"expected a mask \(H, W\) uint8 in \{{0, 1\}}, found .*{message}"):
        mask_to_rle(mask)


@pytest.mark.parametrize("values", [np.zeros(0, np.uint8), np.zeros(3, bool), np.zeros((2, 2), np.uint8)])
def test_only_values_are_encoded(values):
    with pytest.raises(BrushError, match=r"expected values \(N,\) uint8"):
        encode_rle(values)


def region(mask: np.ndarray, alpha: int = 255, **changes: object) -> dict[str, object]:
    """A region as the editor writes it: colour and alpha."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[mask > 0] = (255, 0, 40, alpha)
    value = {"format": "rle", "rle": sdk().encode_rle(rgba.ravel()), "brushlabels": ["person"]}
    size = {"original_height": mask.shape[0], "original_width": mask.shape[1]}
    return {"type": "brushlabels", **size, "value": {**value, **changes}}


def test_regions_are_united_and_soft_edges_cut_at_half():
    left, right = np.zeros((5, 8), np.uint8), np.zeros((5, 8), np.uint8)
    left[:, :3], right[1:3, 2:6] = 1, 1
    choice = {"type": "choices", "value": {"choices": ["fix"]}}
    assert np.array_equal(regions_to_mask([region(left), choice, region(right)], 5, 8), left | right)
    assert np.array_equal(regions_to_mask([region(left, alpha=128)], 5, 8), left)
    assert not regions_to_mask([region(left, alpha=127)], 5, 8).any()
    assert not regions_to_mask([choice], 5, 8).any()
    assert regions_to_mask([], 5, 8).shape == (5, 8)


def test_a_region_of_another_size_or_format_is_refused():
    mask = np.ones((5, 8), np.uint8)
    with pytest.raises(BrushError, match="expected a region of 5x8 pixels, found 8x5"):
        regions_to_mask([region(mask)], 8, 5)
    with pytest.raises(BrushError, match='expected a region in format rle, found "png"'):
        regions_to_mask([region(mask, format="png")], 5, 8)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (None, "expected a list of results, found null"),
        ([None], "expected brush regions, found null"),
        ([{"type": "brush"}], 'expected brush regions, found "brush"'),
        (
            [region(np.ones((5, 8), np.uint8), brushlabels=["bag"])],
            r'a region of person, found the labels \["bag"\]',
        ),
        (
            [region(np.ones((5, 8), np.uint8)) | {"image_rotation": 180}],
            "an upright picture, found rotation 180",
        ),
        ([region(np.ones((5, 8), np.uint8)) | {"value": 7}], "expected a region's value, found 7"),
        ([region(np.ones((5, 8), np.uint8), touches=[])], r"pixels alone, found touches \[\]"),
        ([region(np.ones((5, 8), np.uint8), rle=10**12)], "numbers 0..255, found 1000000000000"),
        ([region(np.ones((5, 8), np.uint8), rle={"0": 1})], "numbers 0..255, found"),
    ],
)
def test_what_is_no_region_of_ours_is_refused_by_name(results: object, message: str):
    with pytest.raises(BrushError, match=message):
        regions_to_mask(results, 5, 8)


def test_a_fingerprint_is_of_the_pixels_and_of_the_shape():
    mask = np.eye(8, dtype=np.uint8)
    prints = [fingerprint(one) for one in (mask, mask[::-1].copy(), np.zeros((6, 8), np.uint8))]
    prints.append(fingerprint(np.zeros((8, 6), np.uint8)))
    assert len(set(prints)) == 4 and fingerprint(np.asfortranarray(mask)) == prints[0]


def test_a_mask_is_no_larger_than_a_picture_may_be():
    """Before anything is allocated: width and height are what a server says."""
    with pytest.raises(BrushError, match="at most 64000000 pixels, found 300000x300000"):
        regions_to_mask([], 300_000, 300_000)
