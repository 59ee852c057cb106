"""Look-alikes: changed copies of drawn people are found, other drawn people are not, and nothing is done twice."""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.core.params import ClusterParams
from pipeline.core.store import Store
from pipeline.drawing.picture import generator, portrait
from pipeline.experiments.copies import CHANGES, captioned, planted
from pipeline.look_alikes import finder as module
from pipeline.look_alikes.candidates import candidates
from pipeline.look_alikes.finder import PICTURE_WORDS, PLAIN, look_alikes, prints_of
from pipeline.look_alikes.local_features import (
    FEATURE_WORDS,
    FEATURES,
    VOCABULARY_WORDS,
    local_features,
    words_of,
)
from pipeline.look_alikes.perceptual_hash import hash_words
from pipeline.look_alikes.same_scene import matches
from sinet.images.decode import Array, encode_png
from tests.pipeline.dataset_inputs import portrait as blobs

PARAMS = ClusterParams(min_matches=25, max_hash_distance=56)
PEOPLE = 24


@pytest.fixture(scope="module")
def people() -> list[Array]:
    return [portrait(generator(5, "portrait", number)).image for number in range(PEOPLE)]


def names(count: int) -> list[str]:
    return [f"{number:016x}" for number in range(count)]


def written(folder: Path, images: list[Array]) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    paths = {name: str(folder / f"{name}.png") for name in names(len(images))}
    for path, image in zip(paths.values(), images, strict=True):
        Path(path).write_bytes(encode_png(image))
    return paths


def test_every_kind_of_copy_of_a_drawn_person_is_found_and_no_other_person(
    people: list[Array], tmp_path: Path
) -> None:
    """Two copies of each kind, one of them of a picture changed before."""
    rng = np.random.default_rng(3)
    made = [
        (number % PEOPLE, *planted(people[number % PEOPLE], number, people, rng))
        for number in range(2 * len(CHANGES) + 2)
    ]
    paths = written(tmp_path, [*people, *(copy for _, _, copy in made)])
    pairs = set(look_alikes(prints_of(paths, Store("c", tmp_path), "all", 1), PARAMS, "all", workers=1))
    of = dict(zip(names(len(paths)), [*range(PEOPLE), *(at for at, _, _ in made)], strict=True))
    collages = {
        name
        for name, (_, change, _) in zip(names(len(paths))[PEOPLE:], made, strict=True)
        if "coll" in change
    }
    lost = [
        (at, change)
        for name, (at, change, _) in zip(names(len(paths))[PEOPLE:], made, strict=True)
        if (names(PEOPLE)[at], name) not in pairs
    ]
    assert not lost
    wrong = [pair for pair in pairs if of[pair[0]] != of[pair[1]] and not collages & set(pair)]
    assert not wrong


def test_a_stretched_copy_and_one_full_of_text_are_found_by_the_whole(
    people: list[Array], tmp_path: Path
) -> None:
    height, width = people[0].shape[:2]
    wide, text = cv2.resize(people[0], (width * 3 // 2, height)), people[1].copy()
    for line in range(14):
        place, white = (2, round((line + 0.8) * height / 14)), (255, 255, 255)
        cv2.putText(text, "LOREM IPSUM DOLOR SIT", place, cv2.FONT_HERSHEY_SIMPLEX, width / 420, white)
    of = [local_features(one) for one in (*people[:2], wide, text)]
    assert max(matches(of[0], of[2]), matches(of[1], of[3])) < PARAMS.min_matches
    a, b, c, d = names(4)
    prints = prints_of(written(tmp_path, [wide, text, *people[:8]]), Store("c", tmp_path), "all", 1)
    assert look_alikes(prints, PARAMS, "all", workers=1) == [(a, c), (b, d)]


def test_the_same_caption_on_two_people_makes_them_not_alike(people: list[Array]) -> None:
    rng = np.random.default_rng(0)
    one, other, *_ = (local_features(captioned(image, rng)) for image in people[:2])
    assert matches(one, other) < PARAMS.min_matches


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mirrors_features_are_those_of_the_mirrored_picture(people: list[Array], mirrored: bool) -> None:
    image = people[0]
    seen = local_features(np.ascontiguousarray(image[:, ::-1]) if mirrored else image)
    ours = local_features(image)
    turned = ours.mirrored() if mirrored else ours
    near = np.linalg.norm(turned.points[:, None] - seen.points, axis=2).min(1) < 1.5
    assert near.mean() > 0.7
    assert np.array_equal(ours.mirrored().mirrored().descriptors, ours.descriptors)
    assert np.allclose(ours.mirrored().mirrored().points, ours.points, atol=1e-3)


def test_features_are_spread_so_that_a_busy_corner_does_not_take_them_all() -> None:
    rng = np.random.default_rng(1)
    image = np.full((288, 288, 3), 128, np.uint8)
    image[:192, :192] = np.kron(rng.integers(0, 256, (48, 48, 1), np.uint8), np.ones((4, 4, 3), np.uint8))
    for x, y in rng.integers(205, 280, (12, 2)).tolist():
        cv2.circle(image, (x, y), 5, (200, 90, 40), -1)
    found = local_features(image)
    assert len(found.points) == FEATURES
    assert (found.points[:100] > 198).all(1).sum() > 8


def test_a_plain_picture_has_no_features_and_no_words() -> None:
    found = local_features(np.full((50, 70, 3), 9, np.uint8))
    assert len(found.points) == 0 and (words_of(found) == -1).all() and matches(found, found) == 0


def test_pictures_with_hardly_a_feature_are_compared_as_a_whole(tmp_path: Path) -> None:
    images = [blobs(seed)[0] for seed in range(5)]
    images.append(np.clip(images[2].astype(int) + 9, 0, 255).astype(np.uint8)[:, ::-1])
    assert len(local_features(images[2]).points) < PLAIN
    prints = prints_of(written(tmp_path, images), Store("c", tmp_path), "all", 1)
    assert look_alikes(prints, PARAMS, "all", workers=1) == [(names(6)[2], names(6)[5])]
    none = ClusterParams(min_matches=25, max_hash_distance=0)
    assert look_alikes(prints, none, "all", workers=1) == []


def test_pairs_across_a_group_and_among_some(people: list[Array], tmp_path: Path) -> None:
    flat = blobs(0)[0]
    images = [people[0], people[0][:, ::-1], people[0][5:, 5:], flat, flat[:, ::-1], people[1]]
    prints = prints_of(written(tmp_path, images), Store("c", tmp_path), "all", 1)
    a, b, c, d, e, f = names(6)
    assert look_alikes(prints, PARAMS, "all", workers=1) == [(a, b), (a, c), (b, c), (d, e)]
    assert look_alikes(prints, PARAMS, "x", {a, d, f}, workers=1) == [(a, b), (a, c), (d, e)]
    assert look_alikes(prints.among({b, c, e}), PARAMS, "y", workers=1) == [(b, c)]
    assert look_alikes(prints.among(set()), PARAMS, "z", workers=1) == []


def test_what_is_kept_is_not_done_again_and_a_lost_part_of_it_is(
    people: list[Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    compared: list[int] = []

    def count(calls: list[int], real: Callable[..., object]) -> Callable[..., object]:
        def counted(*given: object) -> object:
            calls.append(1)
            return real(*given)

        return counted

    monkeypatch.setattr(module, "local_features", count(looked, local_features))
    monkeypatch.setattr(module, "matches", count(compared, matches))
    images = [people[0], people[0][:, ::-1], people[1], people[1][9:, 9:]]
    store = Store("c", tmp_path / "cache")

    def run(images: list[Array]) -> tuple[list[tuple[str, str]], int, int]:
        looked.clear()
        compared.clear()
        pairs = look_alikes(
            prints_of(written(tmp_path / "p", images), store, "all", 1), PARAMS, "all", workers=1
        )
        return pairs, len(looked), len(compared)

    pairs, looks, comparisons = run(images)
    assert len(pairs) == 2 and looks == 4 and comparisons >= 2
    assert run(images) == (pairs, 0, 0)
    more, looks, _ = run([*images, people[2]])
    assert more == pairs and looks == 1
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file() and file.stat().st_size > 20_000:
            file.unlink()  # the features, whose tables stay
    assert run([*images, people[2], people[0][:, ::-1][7:]])[0][:1] == pairs[:1]


def random_words(
    rng: np.random.Generator, count: int, kinds: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return rng.integers(0, kinds, (count, 2, PICTURE_WORDS)).astype(np.int32)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 300), kinds=st.sampled_from([500, 100_000]))
def test_a_picture_names_the_one_that_shares_the_most_rare_words(seed: int, count: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    words = random_words(rng, count, kinds) * 7
    one, other = rng.permutation(count)[:2].tolist()
    shared = np.arange(10**6, 10**6 + 40)  # that nobody else has
    side = int(rng.integers(2))
    words[one, 0, :40], words[other, side, :40] = shared, shared
    if side:
        words[other, 0, :40] = -1
    found = candidates(words, 1)
    assert [min(one, other), max(one, other)] in found.tolist()
    assert (found[:, 0] < found[:, 1]).all() and len(found) <= 2 * count
    inside = np.zeros(count, bool)
    inside[one] = True
    assert [min(one, other), max(one, other)] in candidates(words, 1, inside).tolist()
    inside[other] = True
    assert all(inside[i] != inside[j] for i, j in candidates(words, 8, inside))


def test_across_a_group_of_few_a_word_weighs_what_it_does_among_all() -> None:
    """Of ten pictures alone each word is rare, and many others would be looked at for words that tell little."""
    words = random_words(np.random.default_rng(6), 2000, 27_000)  # each of some twelve pictures
    few = np.arange(len(words)) < 10
    among_all = set(map(tuple, candidates(words, len(words)).tolist()))
    across = candidates(words, 12, few)
    assert len(across) and set(map(tuple, across.tolist())) <= among_all


def test_no_words_and_no_pictures_have_no_candidates() -> None:
    assert candidates(np.empty((0, 2, PICTURE_WORDS), np.int32), 8).shape == (0, 2)
    assert candidates(np.full((3, 2, PICTURE_WORDS), -1, np.int32), 8).shape == (0, 2)


def connected(
    pairs: np.ndarray[tuple[int, ...], np.dtype[np.int64]], count: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """The part of each picture that it hangs together with."""
    edges = coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count))
    return np.asarray(connected_components(edges, directed=False)[1])


def peak_memory() -> int:
    """Bytes that this process held at once, since it wrote 5 to clear_refs."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def scale(count: int) -> tuple[float, int, int, int]:
    """CPU seconds and most bytes of made words' candidates; of 1,000 copies how many are found; parts of a burst."""
    rng = np.random.default_rng(0)
    words = np.empty((count, 2, PICTURE_WORDS), np.int32)
    for start in range(0, count, 10_000):  # some words are common, as those of photographs are
        part = words[start : start + 10_000]
        halves = (rng.random((2, *part.shape), np.float32) ** np.float32(1.35) * 2048).astype(np.int32)
        part[:] = halves[0] * 2048 + halves[1]
        part[..., FEATURE_WORDS:] = VOCABULARY_WORDS + hash_words(
            rng.integers(0, 2**64, (len(part), 2, 4), np.uint64)
        )
    burst, frame = rng.permutation(count)[: count // 50], words[0, 0].copy()
    for one in burst:
        words[one, 0] = np.where(rng.random(PICTURE_WORDS) < 0.45, frame, words[one, 0])
    copies = rng.permutation(count)[:2000].reshape(-1, 2)
    for one, other in copies:
        words[other, 0] = np.where(rng.random(PICTURE_WORDS) < 0.08, words[one, 0], words[other, 0])
    start_time = time.process_time()
    found = candidates(words, 12)
    seconds, memory = time.process_time() - start_time, peak_memory()
    hits = np.isin(np.sort(copies, axis=1) @ [count, 1], found @ [count, 1]).sum()
    return seconds, memory, int(hits), len(np.unique(connected(found, count)[burst]))


@pytest.mark.parametrize("changed", [0.0, 0.02, 0.2, 0.4])
@pytest.mark.parametrize(
    ("frames", "others"), [(49, 0), (65, 0), (200, 0), (300, 300), (1500, 3), (5000, 900)]
)
def test_frames_with_nearly_the_same_words_hang_together(frames: int, others: int, changed: float) -> None:
    """Each is shown only some of the others, and their words tell although nearly every picture has them."""
    rng = np.random.default_rng(4)
    words = random_words(rng, frames + others, 2**22)
    frame = words[0, 0].copy()
    for row in words[:frames, 0]:
        row[:] = np.where(rng.random(PICTURE_WORDS) < changed, row, frame)
    order = rng.permutation(len(words))
    words = words[order]
    burst = order < frames
    found = candidates(words, 8)
    assert len(np.unique(connected(found, len(words))[burst])) == 1
    few = np.zeros(len(words), bool)  # which no other frame has among its neighbours
    few[np.flatnonzero(burst)[[3, frames // 2]]] = True
    across = candidates(words, 8, few)
    assert set(np.flatnonzero(few)) <= set(across.ravel().tolist())
    assert (burst[across].all(1) & (few[across].sum(1) == 1)).all()


@pytest.mark.parametrize(("kinds", "skew", "bound"), [(20_000, 3, 0.025), (1_000_000, 2, 0.005)])
def test_added_pictures_change_hardly_a_pair_of_those_that_were_there(
    kinds: int, skew: int, bound: float
) -> None:
    """With far too few words, most of a picture's neighbours are chance; with as many as photographs have, few are."""
    rng = np.random.default_rng(2)
    words = (rng.random((5050, 2, PICTURE_WORDS)) ** skew * kinds).astype(np.int32)  # some are very common
    new = rng.permutation(len(words)) < 50
    there = np.flatnonzero(~new)
    before, after = candidates(words[~new], 8), candidates(words, 8)
    old = set(map(tuple, there[before].tolist()))
    again = {(i, j) for i, j in after.tolist() if not new[i] and not new[j]}
    assert len(old) > 20_000
    assert len(again - old) < bound * len(old)


@pytest.mark.slow
def test_a_burst_of_frames_hangs_together_and_copies_beside_it_are_found() -> None:
    seconds, _, hits, parts = scale(20_000)
    assert hits >= 995 and parts == 1
    assert seconds < 30


@pytest.mark.long
@pytest.mark.timeout(7200)  # of the clock, on a busy machine; what counts is CPU time
def test_a_million_pictures_have_their_candidates_in_ten_minutes() -> None:
    Path("/proc/self/clear_refs").write_text("5")
    seconds, memory, hits, parts = scale(1_000_000)
    print(f"{seconds:.0f} s of CPU, {memory / 1e9:.1f} GB, {hits} copies, the burst in {parts} parts")
    assert hits >= 995 and parts == 1
    assert seconds < 600
    assert memory < 4e9
