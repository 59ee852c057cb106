"""A picture of any size in, its mask at the same size out."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sinet import native
from sinet.images.decode import ImageError, read_image
from sinet.inference.predictor import Predictor, enlarge
from sinet.network.model import SINet
from sinet.network.preprocess import squash_image
from tests.sinet.portraits import SMALL, portrait, write_weights


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 150), height=st.integers(1, 150))
def test_any_size(predictor: Predictor, width: int, height: int) -> None:
    image = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)
    probability = predictor.probability(image)
    mask = predictor.mask(image)
    assert probability.shape == mask.shape == (height, width)
    assert probability.dtype == np.float32
    assert mask.dtype == np.uint8
    assert 0 <= probability.min() <= probability.max() <= 1
    assert np.array_equal(mask, probability > 0.5)


def test_at_the_networks_size_the_mask_is_the_larger_logit(predictor: Predictor) -> None:
    image, _ = portrait(1, 64, 64)
    with torch.inference_mode():
        logits = predictor.model(SMALL.tensor(torch.from_numpy(image)[None]))
    assert np.array_equal(predictor.mask(image), logits[0].argmax(0).numpy())


def test_the_probability_is_that_of_the_squashed_picture(predictor: Predictor) -> None:
    image, _ = portrait(2, 130, 200)
    small = predictor.probability(squash_image(image, 64))
    assert np.array_equal(predictor.probability(image), enlarge(small, 130, 200))


def test_enlarging_is_bilinear_with_pixel_centres_at_halves() -> None:
    small = np.array([[0.0, 1.0]], np.float32)
    assert enlarge(small, 4, 1)[0].tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert enlarge(small, 2, 1) is small


def test_it_finds_the_ellipse(predictor: Predictor) -> None:
    image, mask = portrait(3, 200, 260)
    found = predictor.mask(image)
    assert (found & mask).sum() / (found | mask).sum() > 0.6


def test_it_follows_the_models_weights(predictor: Predictor) -> None:
    model = copy.deepcopy(predictor.model)
    ours, (image, _) = Predictor(model, SMALL), portrait(4, 64, 64)
    x = SMALL.tensor(torch.from_numpy(image)[None])
    for change in (
        lambda: None,
        lambda: model.classifier[1].weight.mul_(-1),
        lambda: model.to(torch.float64).float(),
    ):
        with torch.no_grad():
            change()
            want = model(x).softmax(1)[0, 1].numpy()
        assert np.abs(ours.probability(image) - want).max() < 1e-5


def test_a_model_made_in_inference_mode_predicts_by_itself(predictor: Predictor) -> None:
    with torch.inference_mode():
        model = copy.deepcopy(predictor.model)
    image, _ = portrait(5)
    assert np.abs(Predictor(model, SMALL).probability(image) - predictor.probability(image)).max() < 1e-5


@pytest.mark.parametrize("kernel_there", [True, False])
def test_it_can_be_sent_to_another_process_at_any_time(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, kernel_there: bool
) -> None:
    """Without the copy's bytes."""
    if not kernel_there:
        monkeypatch.setattr(native, "kernel", None)
    ours, (image, _) = Predictor(predictor.model, SMALL), portrait(6)
    size = len(pickle.dumps(ours))
    want = ours.probability(image)
    sent = pickle.dumps(ours)
    assert len(sent) == size
    for same in (pickle.loads(sent), copy.deepcopy(ours)):
        assert np.array_equal(same.probability(image), want)


def test_from_a_file(tmp_path: Path, predictor: Predictor) -> None:
    path = write_weights(tmp_path / "w.safetensors", predictor.model)
    image, _ = portrait(1)
    for name in (path, str(path)):
        assert np.array_equal(Predictor.load(name).probability(image), predictor.probability(image))


def test_a_model_in_training_mode_is_put_into_eval() -> None:
    assert not Predictor(SINet().train(), SMALL).model.training


def test_pictures_of_pillow_and_paths_are_read_as_predict_reads_them(
    tmp_path: Path, predictor: Predictor
) -> None:
    """Upright, on white, of any mode: not as their arrays would be."""
    image = Image.fromarray(portrait(3, 90, 130)[0])
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "turned.jpg", quality=95, exif=turned)
    clear.save(tmp_path / "clear.png")
    image.quantize(16).save(tmp_path / "palette.gif")
    image.convert("CMYK").save(tmp_path / "ink.tif")
    Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for path in sorted(tmp_path.iterdir()):
        want = predictor.probability(read_image(path))
        with Image.open(path) as opened:
            for given in (path, str(path), opened):
                assert np.array_equal(predictor.probability(given), want), path.name
                assert np.array_equal(predictor.mask(given), want > 0.5), path.name
    assert predictor.mask(tmp_path / "turned.jpg").shape == (90, 130)
    assert np.array_equal(predictor.mask(image), predictor.mask(np.asarray(image)))


def test_a_path_that_is_no_picture_and_a_damaged_picture(tmp_path: Path, predictor: Predictor) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.jpg: the file is no JPEG"):
        predictor.mask(tmp_path / "text.jpg")
    (tmp_path / "link.jpg").symlink_to("nowhere")
    for path in ("nowhere.jpg", tmp_path / "link.jpg"):
        with pytest.raises(FileNotFoundError, match=f"No such file or directory: '{path}'"):
            predictor.mask(path)
    Image.fromarray(portrait(3)[0]).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with Image.open(tmp_path / "half.png") as half, pytest.raises(ImageError, match="ends early"):
        predictor.mask(half)


IMAGE = np.zeros((10, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (IMAGE[..., 0], r"\(10, 12\) uint8; of grey make three channels: np.dstack"),
        (IMAGE[..., :1], r"\(10, 12, 1\) uint8; of grey make three channels"),
        (
            np.zeros((10, 12, 4), np.uint8),
            r"\(10, 12, 4\) uint8; leave out its transparency: rgba.*, or of OpenCV.s BGRA bgra",
        ),
        (np.ma.array(IMAGE, mask=IMAGE == 0), "a MaskedArray; what it masks out would count"),
        (IMAGE.transpose(2, 0, 1), r"\(3, 10, 12\) uint8; put the channels last"),
        (IMAGE[None], r"\(1, 10, 12, 3\) uint8; give one picture at a time"),
        (IMAGE.astype(np.float32), r"\(10, 12, 3\) float32; round it to levels 0..255"),
        (IMAGE.astype(np.uint16), r"\(10, 12, 3\) uint16; turn it into such an array"),
        (IMAGE[:0], r"\(0, 12, 3\) uint8; it has no pixels"),
        (torch.zeros(3, 10, 12), r"a Tensor; give \(C, H, W\) as tensor.permute"),
        (IMAGE.tolist(), "a list; turn it into such an array"),
        (None, "a NoneType; turn it"),
        (b"\xff\xd8\xff", "a bytes; turn it"),
    ],
)
def test_anything_else_is_refused(predictor: Predictor, given: object, found: str) -> None:
    for method in (predictor.probability, predictor.mask, predictor.square_probability):
        with pytest.raises(ValueError, match=r"expected a picture \(H, W, 3\) uint8 RGB, .*, found " + found):
            method(given)
