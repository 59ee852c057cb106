"""Our drive of MTCNN's networks: the faces of facenet-pytorch's own detector, in any picture."""

from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.boxes import Box
from pipeline.core.params import load_params
from pipeline.drawing.picture import body, generator, portrait, wide
from pipeline.faces.detector import FaceFinder, _Averages, _bins
from pipeline.faces.face import weights_hash

PARAMS = load_params(Path(__file__).parents[3] / "params.yaml").crop


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    torch.set_num_threads(1)
    return FaceFinder(PARAMS)


DRAWN = {
    "bodies": [body(generator(7, "faces", index)).image for index in range(5)],
    "portraits": [portrait(generator(7, "faces", index)).image for index in range(3)],
    "several people": [wide(generator(7, "faces", index)).image for index in range(3)],
}


@pytest.mark.parametrize("kind", DRAWN)
def test_finds_the_faces_of_the_default_detector(kind: str, finder: FaceFinder) -> None:
    from facenet_pytorch import MTCNN

    default = MTCNN(keep_all=True)
    for image in DRAWN[kind]:
        boxes, probabilities = default.detect(image)
        expected = sorted(zip(probabilities, boxes, strict=True), key=lambda pair: -pair[0])
        found = finder.find(image)
        assert len(found) == len(expected) > 0
        for face, (probability, box) in zip(found, expected, strict=True):
            clipped = np.clip(np.asarray(box, float), 0, [*image.shape[1::-1]] * 2)
            assert face.probability == pytest.approx(probability, abs=1e-3)
            corners = [face.box.x0, face.box.y0, face.box.x1, face.box.y1]
            assert np.abs(np.array(corners) - clipped).max() <= 1


def test_order_is_by_probability_and_the_result_repeats(finder: FaceFinder) -> None:
    image = DRAWN["several people"][0]
    found = finder.find(image)
    assert [face.probability for face in found] == sorted((f.probability for f in found), reverse=True)
    assert found == finder.find(image.copy()) == FaceFinder(PARAMS).find(image)


@pytest.mark.parametrize(
    "shape", [(0, 0, 3), (5, 300, 3), (12, 12, 3), (19, 21, 3), (200, 200, 3), (40, 900, 3)]
)
def test_pictures_without_a_face(shape: tuple[int, int, int], finder: FaceFinder) -> None:
    assert finder.find(np.full(shape, 127, np.uint8)) == []


def test_a_large_picture_is_searched_small_and_answered_in_its_own_pixels(finder: FaceFinder) -> None:
    image = DRAWN["portraits"][0]
    large = np.kron(image, np.ones((5, 5, 1), np.uint8))
    assert max(large.shape) > PARAMS.faces.max_side
    [small_face, *_], [face, *_] = finder.find(image), finder.find(large)
    scaled = np.array([face.box.x0, face.box.y0, face.box.x1, face.box.y1]) / 5
    box = small_face.box
    assert np.abs(scaled - [box.x0, box.y0, box.x1, box.y1]).max() < 0.08 * box.height


def test_faces_stay_inside_the_picture(finder: FaceFinder) -> None:
    image = DRAWN["portraits"][0]
    face = finder.find(image)[0].box
    cut = np.ascontiguousarray(image[face.y0 + 8 :, face.x0 + 8 :])
    height, width = cut.shape[:2]
    for found in finder.find(cut):
        assert found.box == found.box.clipped(width, height) != Box(0, 0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1)
)
def test_averages_are_torchs_adaptive_pooling(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = (torch.nn.functional.adaptive_avg_pool2d(planes, (rows, columns)) - 127.5) * 0.0078125
    assert torch.allclose(_Averages(image).resized(rows, columns), expected, atol=1e-6)
    x0, y0 = seed % width, seed % height
    patch = torch.nn.functional.adaptive_avg_pool2d(planes[:, :, y0:, x0:], (rows, rows))
    boxes = np.array([[x0, y0, width, height]])
    assert torch.allclose(_Averages(image).patches(boxes, rows), (patch - 127.5) * 0.0078125, atol=1e-6)


def test_bins_cover_without_gaps() -> None:
    first, last = _bins(np.array([3]), np.array([13]), 4)
    assert first.tolist() == [[3, 5, 8, 10]]
    assert last.tolist() == [[6, 8, 11, 13]]


def test_the_weights_are_facenet_pytorchs_own() -> None:
    package = distribution("facenet-pytorch")
    files = [
        Path(str(package.locate_file(f"facenet_pytorch/data/{name}.pt"))) for name in ("pnet", "rnet", "onet")
    ]
    assert weights_hash() == sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
