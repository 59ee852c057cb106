"""The two-part loss against a slow reference, hand-made cases, and the one-class trap."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sinet.network.loss import class_weights, outline_band, portrait_loss
from sinet.network.model import SINet


def slow_band(target: NDArray[np.int64], kernel: int) -> NDArray[np.bool_]:
    """Window by window: does it hold two labels?"""
    reach = kernel // 2
    band = np.zeros(target.shape, bool)
    for y, x in np.ndindex(*target.shape):
        window = target[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        band[y, x] = window.min() != window.max()
    return band


def slow_loss(
    logits: NDArray[np.float64],
    target: NDArray[np.int64],
    boundary_weight: float,
    kernel: int,
    weights: NDArray[np.float64],
) -> tuple[float, float, float]:
    """Equation 1, pixel by pixel."""
    sums = {"all": [0.0, 0.0], "band": [0.0, 0.0]}
    for n in range(len(target)):
        band = slow_band(target[n], kernel)
        for y, x in np.ndindex(*target[n].shape):
            scores, label = logits[n, :, y, x], target[n, y, x]
            each = math.log(np.exp(scores).sum()) - scores[label]
            for part in ("all", "band") if band[y, x] else ("all",):
                sums[part][0] += weights[label] * each
                sums[part][1] += weights[label]
    segmentation = sums["all"][0] / sums["all"][1]
    boundary = sums["band"][0] / sums["band"][1] if sums["band"][1] else 0.0
    return segmentation + boundary_weight * boundary, segmentation, boundary


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.sampled_from([1, 3, 5, 15]),
    weighted=st.booleans(),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_equals_the_slow_reference(
    seed: int, height: int, width: int, kernel: int, weighted: bool, share: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 2, height, width)) * 3
    target = (rng.random((2, height, width)) < share).astype(np.int64)
    weights = np.array([1.3, 2.7]) if weighted else np.ones(2)
    terms = portrait_loss(
        torch.from_numpy(logits),
        torch.from_numpy(target),
        0.9,
        kernel,
        torch.from_numpy(weights) if weighted else None,
    )
    found = [terms[name].item() for name in ("loss", "segmentation", "boundary")]
    assert found == pytest.approx(slow_loss(logits, target, 0.9, kernel, weights), abs=1e-12)


def test_the_terms_by_hand() -> None:
    # A row of 20 pixels, person from the 10th on; certain and right everywhere but at pixels 0 and 9.
    target = (torch.arange(20) >= 10).long().view(1, 1, 20)
    logits = torch.where(target == 1, 30.0, -30.0)
    logits[0, 0, [0, 9]] = 0.0
    logits = torch.stack((torch.zeros_like(logits), logits), dim=1)
    terms = portrait_loss(logits, target, boundary_weight=0.5, kernel=5)
    half = math.log(2)  # the price of an undecided pixel
    assert terms["segmentation"].item() == pytest.approx(2 * half / 20)
    assert terms["boundary"].item() == pytest.approx(half / 4)  # the band is pixels 8 to 11
    assert terms["loss"].item() == pytest.approx(2 * half / 20 + 0.5 * half / 4)


def test_the_band_wants_the_true_label_not_a_half() -> None:
    target = (torch.arange(12) >= 6).long().view(1, 1, 12)
    score = torch.where(target == 1, 1.0, -1.0)

    def boundary(certainty: float) -> float:
        logits = torch.stack((-certainty * score, certainty * score), dim=1)
        return portrait_loss(logits, target, 1.0, 5)["boundary"].item()

    assert boundary(8.0) < boundary(1.0) < boundary(0.0) < boundary(-1.0)


@pytest.mark.parametrize("label", [0, 1])
def test_an_empty_band_is_zero_and_harmless(label: int) -> None:
    logits = torch.randn(2, 2, 8, 8, requires_grad=True)
    terms = portrait_loss(logits, torch.full((2, 8, 8), label), 0.5)
    assert terms["boundary"].item() == 0
    assert terms["loss"].item() == terms["segmentation"].item()
    terms["loss"].backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_lambda_zero_is_plain_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    terms = portrait_loss(logits, target, 0.0)
    assert terms["loss"].item() == pytest.approx(torch.nn.functional.cross_entropy(logits, target).item())


def test_class_weights_give_torchs_weighted_mean() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    weights = class_weights([0.6, 0.4])
    assert weights.tolist() == pytest.approx([1 / math.log(1.7), 1 / math.log(1.5)])
    wanted = torch.nn.functional.cross_entropy(logits, target, weight=weights)
    assert portrait_loss(logits, target, 0.0, class_weights=weights)["loss"].item() == pytest.approx(
        wanted.item()
    )


@pytest.mark.parametrize("shares", [[0.5, 0.4], [-0.1, 1.1], [3.0, 1.0]])
def test_frequencies_must_be_shares(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares that add up to 1"):
        class_weights(shares)


@pytest.mark.parametrize("kernel", [0, 4, -3])
def test_the_kernel_must_be_odd(kernel: int) -> None:
    with pytest.raises(ValueError, match="odd number of pixels"):
        outline_band(torch.zeros(1, 4, 4, dtype=torch.int64), kernel)


def test_a_person_cut_by_the_border_has_no_band_there() -> None:
    assert not outline_band(torch.ones(1, 30, 30, dtype=torch.int64), 15).any()


@pytest.mark.parametrize(("classes", "reached"), [(2, True), (1, False)])
def test_gradients_reach_the_information_blocking_branch(classes: int, reached: bool) -> None:
    """With one class the softmax is 1 everywhere, the gate is shut, and level2_C never learns."""
    torch.manual_seed(0)
    model = SINet(classes)
    target = torch.zeros(2, 64, 64, dtype=torch.int64)
    target[:, 16:48, 16:48] = 1
    logits = model(torch.randn(2, 3, 64, 64))
    if classes == 2:
        portrait_loss(logits, target, 0.5)["loss"].backward()
    else:
        torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target.float()).backward()
    gradient = model.level2_C.conv.weight.grad
    assert gradient is not None
    assert bool((gradient.abs() > 0).any()) is reached


@pytest.mark.parametrize("weighted", [False, True])
def test_what_goes_backward_is_both_terms(weighted: bool) -> None:
    """The slope of the loss along each logit, measured by moving it a little."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(1, 2, 4, 5))).requires_grad_()
    target = (torch.arange(5) >= 3).long().expand(1, 4, 5)
    weights = torch.tensor([1.3, 2.7], dtype=torch.float64) if weighted else None
    assert torch.autograd.gradcheck(lambda x: portrait_loss(x, target, 0.7, 3, weights)["loss"], (logits,))
