"""A picture of any size in, its mask at the same size out."""

import copy
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinet import native, predict
from sinet.fused import FusedSINet
from sinet.model import SINet
from sinet.predict import Predictor, enlarge
from sinet.preprocess import squash_image
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
    """Also when the copy in torch is traced, as after a hundred pictures, and without the copy's bytes."""
    if not kernel_there:
        monkeypatch.setattr(native, "kernel", None)
        monkeypatch.setattr(predict, "FusedSINet", partial(FusedSINet, trace_after=1))
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


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_anything_else_is_refused(predictor: Predictor, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected a picture \(H, W, 3\) uint8 RGB"):
        predictor.probability(image)
