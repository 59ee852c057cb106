"""The drawn world: exact masks, published layouts, the same bytes everywhere, faces that are found."""

import csv
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.ledger.lock import read_lock, review_key, write_lock
from pipeline.commands.draw_reviews import REVIEWS, Pseudo, chosen, draw_review, review_all, summarise
from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import SampleParams, load_params
from pipeline.drawing import layouts
from pipeline.drawing.camera import Camera, take
from pipeline.drawing.layouts import DrawnSource, crawl_index, crawl_name, draw_picture, eg1800_id
from pipeline.drawing.paint import Frame, Layer, bell, fill, ripple
from pipeline.drawing.picture import body, generator, nobody, portrait
from pipeline.sample import draw_world, publish, tasks
from sinet.images.decode import ImageError, decode_image, read_image, read_mask

SMALL = SampleParams(seed=3, portraits=9, portraits_test=3, bodies=3, crawl=8)
DEFAULT = load_params(Path(__file__).parents[2] / "params.yaml").sample  # the committed world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "sample"
    draw_world(SMALL, root, workers=1)
    return root


def contents(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256(path.read_bytes()).hexdigest() for path in files}


# the layouts


def test_eg1800_layout(world: Path) -> None:
    train = [int(line) for line in (world / "eg1800/train.txt").read_text().split()]
    test = [int(line) for line in (world / "eg1800/val.txt").read_text().split()]
    assert [len([n for n in train if n < 90000]), len(test)] == [9, 3]
    assert train == sorted(train) and not set(train) & set(test)
    for number in (train[0], test[0]):
        image = read_image(world / f"eg1800/images_data_crop/{number:05d}.jpg")
        mask = cv2.imread(str(world / f"eg1800/GT_png/{number:05d}_mask.png"), cv2.IMREAD_UNCHANGED)
        assert image.shape == (400, 300, 3) and mask.shape == (400, 300)
        assert set(np.unique(mask)) == {0, 255}


def test_baidu_profile_thresholds_to_the_exact_mask(world: Path) -> None:
    exact = draw_picture(DrawnSource(SMALL.seed, "baidu", 0)).mask
    profile = cv2.imread(str(world / "baidu/clean_images/profiles/0001-profile.jpg"), cv2.IMREAD_UNCHANGED)
    assert profile.ndim == 2, "a grey JPEG"
    assert len(np.unique(profile)) > 20, "with ringing at the edges"
    assert ((profile > 127) != exact).mean() < 0.0005


def test_crawl_layout_and_sources(world: Path) -> None:
    with (world / "crawl/sources.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == layouts.SOURCE_COLUMNS
    assert all(row["url"].startswith("https://example.org/") for row in rows)
    drawn = [row for row in rows if crawl_index(row["file"]) is not None]
    assert [crawl_index(row["file"]) for row in drawn] == list(range(SMALL.crawl))
    assert all((world / "crawl" / row["file"]).is_file() for row in rows)
    licences = {layouts.source_row(DEFAULT.seed, index)["licence"] for index in range(DEFAULT.crawl)}
    assert {"unknown", "", "CC BY 4.0", "CC0 1.0"} <= licences


BROKEN = [
    ("eg1800/images_data_crop/90001.jpg", "truncated"),
    ("eg1800/images_data_crop/90002.jpg", "not_an_image"),
    ("baidu/clean_images/images/9001.jpg", "empty_file"),
    ("crawl/images/odd-truncated.jpg", "truncated"),
    ("crawl/images/odd-page.jpg", "not_an_image"),
]


@pytest.mark.parametrize(("name", "reason"), BROKEN)
def test_broken_pictures_are_refused_for_the_reason_meant(world: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageError) as refused:
        read_image(world / name)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "name",
    [
        "eg1800/images_data_crop/90003.jpg",
        "crawl/images/odd-cmyk.jpg",
        "crawl/images/odd-turned.jpg",
        "baidu/clean_images/images/9004.jpg",
    ],
)
def test_odd_pictures_can_be_read_upright(world: Path, name: str) -> None:
    height, width = read_image(world / name).shape[:2]
    assert height > width


def test_the_other_faults_are_there(world: Path) -> None:
    images, masks = world / layouts.EG1800_IMAGES, world / layouts.EG1800_MASKS
    train = {int(line) for line in (world / "eg1800/train.txt").read_text().split()}
    assert read_mask(masks / "90004_mask.png").shape != read_image(images / "90004.jpg").shape[:2]
    assert not read_mask(masks / "90005_mask.png").any()
    assert 90006 in train and not (images / "90006.jpg").exists()
    assert 90007 not in train and (images / "90007.jpg").exists()
    assert (images / "90008.jpg").read_bytes() == (images / "90009.jpg").read_bytes()
    assert (masks / "90008_mask.png").read_bytes() != (masks / "90009_mask.png").read_bytes()
    assert cv2.imread(str(masks / "90010_mask.png"), cv2.IMREAD_UNCHANGED).max() == 1
    profiles = world / layouts.BAIDU_MASKS
    assert not list(profiles.glob("9002*")) and (profiles / "9003.jpg").is_file()
    turned = read_image(world / "baidu/clean_images/images/9004.jpg").shape[:2]
    profile = cv2.imread(str(profiles / "9004-profile.jpg"), cv2.IMREAD_GRAYSCALE)
    assert turned == profile.shape
    assert "odd-unlisted" not in (world / "crawl/sources.csv").read_text()


# names


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_eg1800_ids_never_collide_whatever_the_counts(seed: int, train: int, test: int) -> None:
    ids = [eg1800_id(seed, "train", i) for i in range(train)] + [
        eg1800_id(seed, "test", i) for i in range(test)
    ]
    assert len(set(ids)) == len(ids)


@given(st.integers(0, 20_000))
def test_crawl_names_lead_back_to_their_index(index: int) -> None:
    assert crawl_index(crawl_name(index)) == index
    assert crawl_index("images/" + crawl_name(index)) == index


@pytest.mark.parametrize("name", ["odd-cmyk.jpg", "photo-1.jpg", "photo-00008.jpg", "someone.jpg"])
def test_other_names_have_no_index(name: str) -> None:
    assert crawl_index(name) is None


# the same bytes


def test_same_seed_same_bytes_whatever_the_workers_and_what_lay_there(world: Path, tmp_path: Path) -> None:
    (tmp_path / "eg1800").mkdir()
    (tmp_path / "eg1800" / "stale.txt").write_text("half a run")
    draw_world(SMALL, tmp_path, workers=2)
    assert contents(tmp_path) == contents(world)


@pytest.fixture
def published(world: Path, tmp_path: Path) -> Path:
    """A drawn world in its place, with its list."""
    republish(world, tmp_path)
    return tmp_path / "sample"


def republish(world: Path, folder: Path, **more: bytes) -> None:
    drawn = folder / "drawing"
    shutil.copytree(world, drawn)
    for name, content in more.items():
        (drawn / "crawl/images" / f"{name}.jpg").write_bytes(content)
    publish(drawn, folder / "sample", folder / "sample/drawn.sha256")


def test_the_world_is_published_with_a_list_that_sha256sum_reads(world: Path, published: Path) -> None:
    listed = published / "drawn.sha256"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", listed], cwd=published, check=True)
    assert contents(published) == {**contents(world), "drawn.sha256": sha256(listed.read_bytes()).hexdigest()}
    assert sorted(path.name for path in published.parent.iterdir()) == ["sample"]


def test_a_world_drawn_anew_takes_the_place_of_the_old_one(world: Path, published: Path) -> None:
    republish(world, published.parent, new=b"drawn with other params")
    assert (published / "crawl/images/new.jpg").exists()
    republish(world, published.parent)
    assert not (published / "crawl/images/new.jpg").exists()
    (published / "drawn.sha256").unlink()  # as an older version has left it
    republish(world, published.parent)
    assert (published / "drawn.sha256").exists()


@pytest.mark.parametrize(
    "name", ["crawl/images/IMG_1.jpg", "eg1800/mine/deep/1.jpg", "baidu/clean_images/note.txt"]
)
@pytest.mark.parametrize("kind", ["file", "link to nothing", "link to a folder"])
def test_what_somebody_put_into_the_drawn_world_stays(
    world: Path, published: Path, name: str, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = published / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.write_bytes(b"mine")
    else:
        path.symlink_to(tmp_path_factory.mktemp("mine") if "folder" in kind else "nowhere")
    before = contents(published)
    with pytest.raises(PipelineError, match=f"found 1 file that this stage did not write .*{name}.*EG1800="):
        republish(world, published.parent)
    assert path.is_symlink() or path.read_bytes() == b"mine"
    assert contents(published) == before


def test_a_drawn_picture_that_somebody_edited_stays(world: Path, published: Path) -> None:
    mask = min((published / "eg1800/GT_png").iterdir())
    mask.write_bytes(b"mended by hand")
    with pytest.raises(PipelineError, match=f"found 1 file .*{mask.name}"):
        republish(world, published.parent)
    assert mask.read_bytes() == b"mended by hand"


def test_more_pictures_change_no_old_ones() -> None:
    larger = SMALL.model_copy(update={"portraits": 12, "crawl": 11, "bodies": 4})
    assert set(tasks(SMALL)) < set(tasks(larger))
    # a task holds all that a picture depends on, so equal tasks are equal pictures
    one, two = (draw_picture(DrawnSource(3, "crawl", 5)).jpeg() for _ in range(2))
    assert one == two


def test_another_seed_draws_another_picture() -> None:
    assert not np.array_equal(
        draw_picture(DrawnSource(1, "eg1800_train", 0)).image,
        draw_picture(DrawnSource(2, "eg1800_train", 0)).image,
    )


_DIGEST = """
import hashlib
from pipeline.drawing.layouts import DrawnSource, draw_picture
files = [draw_picture(DrawnSource(5, kind, i)).jpeg() for kind in ("eg1800_train", "baidu", "crawl") for i in range(3)]
print(hashlib.sha256(b"".join(files)).hexdigest())
"""


def test_an_older_processor_draws_the_same_bytes() -> None:
    """The lock in git names pictures by the hash of their file: no vector unit may change a bit of it."""
    older = {
        "OPENCV_IPP": "disabled",
        "OPENCV_CPU_DISABLE": "AVX2,AVX",
        "OPENCV_LOG_LEVEL": "ERROR",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F",
    }
    digests = [
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, **more},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for more in ({}, older)
    ]
    assert digests[0] == digests[1]


# masks


def test_mask_is_exactly_what_the_layer_covers() -> None:
    """More than half covered is person, and the colours mix by cover."""
    layer = Layer(4, 1)
    layer.paint(layer.box, np.array([[0.0, 0.5, 0.6, 1.0]], np.float32), (1.0, 0.5, 0.0))
    picture = np.full((1, 4, 3), 0.2, np.float32) * (1 - layer.cover)[..., None] + layer.colour
    plain = Camera(1, 1, 0, False, 0, 0, 0, 0, 90)
    image, mask = take(picture, layer.cover, plain, np.random.default_rng(0))
    assert mask.tolist() == [[0, 0, 1, 1]]
    assert image[0].tolist() == [[51, 51, 51], [153, 89, 25], [173, 97, 20], [255, 128, 0]]


def test_a_filled_square_covers_its_pixels() -> None:
    """Inside fully, outside hardly: an edge may be a quarter of a pixel too far."""
    alpha = fill([np.array([[2.0, 2.0], [6.0, 2.0], [6.0, 5.0], [2.0, 5.0]])], Box(0, 0, 8, 7))
    assert (alpha[2:5, 2:6] == 1).all() and (alpha > 0.5).sum() == 12
    assert alpha[:2].max() == 0 and alpha[:, :2].max() == 0 and alpha[6].max() == 0


def test_two_layers_cover_as_glass_on_glass() -> None:
    layer = Layer(2, 1)
    half = np.full((1, 2), 0.5, np.float32)
    for _ in range(2):
        layer.paint(layer.box, half, (1.0, 1.0, 1.0))
    assert layer.cover.tolist() == [[0.75, 0.75]]
    layer.tint(layer.box, half, (0.0, 0.0, 0.0))
    assert layer.cover.tolist() == [[0.75, 0.75]] and layer.colour[0, 0, 0] == 0.375


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 90), st.floats(-3, 3))
def test_frame_grid_is_the_inverse_of_points(x: float, y: float, unit: float, angle: float) -> None:
    frame = Frame(x, y, unit, angle)
    u, v = frame.grid(Box(0, 0, 3, 2))
    back = frame.points(np.stack([u.ravel(), v.ravel()], axis=1).astype(float))
    expected = [(column + 0.5, row + 0.5) for row in range(2) for column in range(3)]
    assert np.allclose(back, expected, atol=1e-2)


def test_fill_of_an_empty_box_is_empty() -> None:
    assert fill([np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])], Box(5, 5, 5, 9)).shape == (4, 0)


def test_bell_and_ripple_are_close_to_exp_and_sin() -> None:
    x = np.linspace(0, 4, 50, dtype=np.float32)
    assert np.abs(bell(x) - np.exp(-x)).max() < 0.04
    assert np.abs(ripple(x) - np.sin(2 * np.pi * x)).max() < 0.07


def test_pictures_without_people_have_empty_masks() -> None:
    assert not nobody(generator(1, "nobody", 0)).mask.any()


def test_passers_by_are_background() -> None:
    """Every body picture holds one labelled person: its mask is one piece, but for a few crumbs."""
    for index in range(12):
        mask = body(generator(4, "baidu", index)).mask
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        assert stats[1:, cv2.CC_STAT_AREA].max() > 0.97 * mask.sum()


def test_drawn_jpeg_is_the_drawn_image() -> None:
    drawn = portrait(generator(2, "portrait", 1))
    difference = np.abs(decode_image(drawn.jpeg()).astype(int) - drawn.image)
    assert difference.mean() < 12


# how hard it is


def squashed(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask, (224, 224), interpolation=cv2.INTER_NEAREST).astype(bool)


def test_a_constant_mean_mask_does_not_win() -> None:
    """Below 70 % foreground IoU per image on the test side, at 224x224 as the paper measures."""
    train = [
        squashed(draw_picture(DrawnSource(DEFAULT.seed, "eg1800_train", i)).mask)
        for i in range(0, DEFAULT.portraits, 4)
    ]
    test = [
        squashed(draw_picture(DrawnSource(DEFAULT.seed, "eg1800_test", i)).mask)
        for i in range(DEFAULT.portraits_test)
    ]
    mean = np.mean(train, axis=0) > 0.5
    ious = [(mean & mask).sum() / (mean | mask).sum() for mask in test]
    assert 0.4 < float(np.mean(ious)) < 0.70


@pytest.mark.parametrize(("kind", "count"), [("eg1800_train", 40), ("baidu", 30), ("crawl", 40)])
def test_mtcnn_finds_nine_of_ten_faces(kind: str, count: int) -> None:
    """The largest part of the recipe hangs on it: portraits are cut out of bodies and the crawl by their faces."""
    from pipeline.core.torchvision_guard import install_torchvision_guard

    install_torchvision_guard()
    import torch
    from facenet_pytorch import MTCNN

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    detector = MTCNN(keep_all=True, min_face_size=24)
    found = 0
    pictures = [draw_picture(DrawnSource(DEFAULT.seed, kind, index)) for index in range(count)]
    people = [drawn for drawn in pictures if drawn.mask.any()]  # the crawl shows some places without anyone
    for drawn in people:
        boxes, probabilities = detector.detect(drawn.image)
        for box, probability in zip(() if boxes is None else boxes, probabilities, strict=False):
            column, row = (
                int(np.clip((box[i] + box[i + 2]) / 2, 0, drawn.mask.shape[1 - i] - 1)) for i in (0, 1)
            )
            if probability > 0.9 and drawn.mask[row, column]:
                found += 1
                break
    torch.set_num_threads(threads)
    assert len(people) > 0.8 * count
    assert found >= 0.9 * len(people)


# the reviews of the drawn world


def pseudo(exact: np.ndarray, box: Box, shrink: int, index: int = 0, sha: str = "a" * 64) -> Pseudo:
    """A made-up pseudo label: the exact crop with `shrink` rows of person lost at the top."""
    crop = np.zeros((box.height, box.width), np.uint8)
    inside = box.clipped(exact.shape[1], exact.shape[0])
    crop[inside.y0 - box.y0 : inside.y1 - box.y0, inside.x0 - box.x0 : inside.x1 - box.x0] = exact[
        inside.y0 : inside.y1, inside.x0 : inside.x1
    ]
    crop[:shrink] = 0
    return Pseudo(index, sha, str(box), crop, "teacher")


def sha_with_lot(box: Box, accepted: bool = True) -> str:
    """A parent hash whose review is not left to the lots for unsure and reject."""
    from annotations.quality.random_slice import hashed_share
    from pipeline.commands.draw_reviews import REJECT_SHARE, UNSURE_SHARE

    shas = (sha256(str(i).encode()).hexdigest() for i in range(1000))
    return next(
        sha
        for sha in shas
        if (hashed_share(review_key(sha, str(box)), "verdict") >= UNSURE_SHARE + REJECT_SHARE) == accepted
    )


PERSON = np.zeros((100, 80), np.uint8)
PERSON[20:, 10:70] = 1


@pytest.mark.parametrize(
    ("box", "shrink", "verdict", "reasons"),
    [
        (Box(0, 0, 80, 100), 21, "accept", ()),  # one of 80 rows is lost: IoU 0.99
        (Box(0, 0, 80, 100), 40, "fix", ()),  # 20 of 80 rows: IoU 0.75
        (Box(0, 0, 80, 100), 60, "reject", ("bad_mask",)),  # half: IoU 0.5
        (Box(0, 0, 80, 15), 0, "reject", ("no_person",)),
        (Box(-10, -10, 70, 90), 0, "accept", ()),  # reaches outside: nothing is there
    ],
)
def test_verdicts(box: Box, shrink: int, verdict: str, reasons: tuple[str, ...]) -> None:
    given_ = pseudo(PERSON, box, shrink, sha=sha_with_lot(box))
    entry = draw_review(given_, PERSON)
    assert (entry.verdict, entry.reasons) == (verdict, reasons)
    if verdict == "accept":
        assert np.array_equal(entry.mask_array(), given_.mask)
    if verdict == "fix":
        assert np.array_equal(entry.mask_array(), PERSON)


def test_reviews_are_the_same_every_time_and_make_a_small_lock(tmp_path: Path) -> None:
    box = Box(0, 0, 80, 100)
    pseudos = [pseudo(PERSON, box, 21, i, sha256(bytes([i])).hexdigest()) for i in range(100)]
    entries = review_all(pseudos, lambda index: PERSON)
    assert entries == review_all(reversed(pseudos), lambda index: PERSON)
    assert len(entries) == REVIEWS and {"accept", "reject", "unsure"} <= set(summarise(entries))
    assert {entry.reviewer for entry in entries} == {"curator-1", "curator-2", "curator-3"}
    write_lock(tmp_path / "lock", entries)
    assert read_lock(tmp_path / "lock") == entries
    assert sum(path.stat().st_size for path in (tmp_path / "lock").iterdir()) < 60_000


def test_more_pseudo_labels_hardly_change_who_is_reviewed() -> None:
    box = Box(0, 0, 80, 100)
    pseudos = [pseudo(PERSON, box, 0, i, sha256(bytes([i])).hexdigest()) for i in range(110)]
    before, after = ({one.key for one in chosen(some)} for some in (pseudos[:100], pseudos))
    assert len(before - after) <= 10


def test_a_mask_of_another_world_is_refused() -> None:
    other = Pseudo(7, "b" * 64, "0,0,80,100", np.ones((50, 40), np.uint8), None)
    with pytest.raises(
        PipelineError, match=r"crop 0,0,80,100 of crawl picture 7 is 80x100.*is 40x50.*dvc repro"
    ):
        draw_review(other, PERSON)
