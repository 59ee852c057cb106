"""The hash of a whole picture: copies are near, other pictures are not."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.store import Store
from pipeline.look_alikes.perceptual_hash import BITS, hash_pictures, near_pairs, perceptual_hash
from sinet.images.decode import Array, encode_png, read_image

AT_MOST = 56  # cluster.max_hash_distance in params.yaml
ALL = np.ones(300, bool)


def scene(seed: int, width: int = 150, height: int = 200) -> Array:
    """A head and shoulders on a background of soft blobs: no two seeds alike."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.integers(0, 255, (6, 5, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    centre = (int(width * rng.uniform(0.35, 0.65)), int(height * rng.uniform(0.3, 0.5)))
    size = (int(width * rng.uniform(0.15, 0.25)), int(height * rng.uniform(0.15, 0.22)))
    cv2.ellipse(
        image, (centre[0], height), (width // 2, height // 3), 0, 0, 360, rng.integers(0, 255, 3).tolist(), -1
    )
    cv2.ellipse(image, centre, size, 0, 0, 360, rng.integers(0, 255, 3).tolist(), -1)
    return image.astype(np.uint8)


def distance(one: Array, other: Array) -> int:
    """Bits between two pictures, the nearer of plain and mirrored."""
    first, second = perceptual_hash(one), perceptual_hash(other)
    return min(int(np.bitwise_count(first[0] ^ second[side]).sum()) for side in (0, 1))


def jpeg(image: Array, quality: int) -> Array:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    mirrored=st.booleans(),
    quality=st.integers(30, 95),
    scale=st.floats(0.4, 2.5),
    light=st.floats(0.85, 1.15),
)
def test_a_mirrored_recompressed_scaled_brighter_copy_is_near(
    seed: int, mirrored: bool, quality: int, scale: float, light: float
) -> None:
    image = scene(seed)
    copy = image[:, ::-1] if mirrored else image
    copy = cv2.resize(copy, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    copy = jpeg(np.clip(copy * light, 0, 255).astype(np.uint8), quality)
    assert distance(image, copy) <= AT_MOST


def test_different_pictures_are_far() -> None:
    hashes = np.stack([perceptual_hash(scene(seed)) for seed in range(120)])
    assert near_pairs(hashes, AT_MOST, ALL[: len(hashes)]).tolist() == []


def test_pairs_equal_those_of_brute_force_whatever_the_chunk() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**63, (90, 2, 4)).astype(np.uint64)
    hashes[40, 0] = hashes[3, 0]  # a copy
    hashes[70, 1] = hashes[5, 0]  # a mirrored one
    hashes[88, 0] = hashes[87, 0] ^ np.uint64(1)  # four bits, one a word
    expected = []
    for i in range(90):
        for j in range(i + 1, 90):
            bits = [np.bitwise_count(hashes[i, 0] ^ hashes[j, side]).sum() for side in (0, 1)]
            if min(bits) <= 4:
                expected.append([i, j])
    assert [3, 40] in expected and [5, 70] in expected and [87, 88] in expected
    plain = np.arange(90) % 3 == 1  # 40 and 70, and 88
    for chunk in (1, 7, 90, 256):
        assert near_pairs(hashes, 4, ALL[:90], chunk).tolist() == expected
        assert near_pairs(hashes, 4, plain, chunk).tolist() == [
            pair for pair in expected if plain[pair].any()
        ]
    assert near_pairs(hashes, 4, ~ALL[:90]).tolist() == []
    assert [87, 88] not in near_pairs(hashes, 3, ALL[:90]).tolist()


def test_opposite_hashes_are_256_bits_apart() -> None:
    hashes = np.zeros((2, 2, 4), np.uint64)
    hashes[1] = ~hashes[1]
    assert len(near_pairs(hashes, BITS - 1, ALL[:2])) == 0
    assert near_pairs(hashes, BITS, ALL[:2]).tolist() == [[0, 1]]


def test_hashes_are_computed_once_and_kept(tmp_path: Path) -> None:
    images = {f"{one:016x}": scene(one) for one in range(3)}
    paths = {}
    for one, image in images.items():
        (tmp_path / f"{one}.png").write_bytes(encode_png(image))
        paths[one] = str(tmp_path / f"{one}.png")
    store = Store("merge", tmp_path / "cache")
    first = hash_pictures(paths, store, workers=1)
    for one, image in images.items():
        assert np.array_equal(first[one], perceptual_hash(image))
        Path(paths[one]).unlink()
    assert {one: value.tolist() for one, value in hash_pictures(paths, store, workers=1).items()} == {
        one: value.tolist() for one, value in first.items()
    }


@pytest.mark.real_data
def test_photographs_of_different_scenes_are_far(real_data: Path) -> None:
    """Of 300 EG1800 portraits, only the pair that is known to be one photograph is near."""
    files = sorted((real_data / "eg1800" / "images_data_crop").glob("*.jpg"))[:300]
    hashes = np.stack([perceptual_hash(read_image(path)) for path in files])
    pairs = [(files[i].stem, files[j].stem) for i, j in near_pairs(hashes, AT_MOST, ALL)]
    assert pairs == [], pairs
