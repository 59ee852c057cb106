"""Prediction in C gives the plain model's logits, refuses what does not fit, and is no loss where it is not built."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sinet
from sinet import native
from sinet.inference.predictor import Predictor
from sinet.native import NativeSINet
from sinet.native.weights import LAYOUT, pack
from sinet.network.model import Channels, SINet
from sinet.network.preprocess import STANDARD, Preprocessing
from tests.sinet.portraits import SMALL, UNEQUAL, portrait

PAPERS = Channels.of(1)
WIDTHS = (0.25, 0.5, 0.75, 1, 1.5, 2)


def drawn_model(seed: int, classes: int = 2, width: float = 1) -> SINet:
    """Random BatchNorm statistics and weights, some of them negative; slopes below 0 and above 1."""
    generator = torch.Generator().manual_seed(seed)
    model = SINet(classes, width).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.3, 2, generator=generator)
                module.weight.normal_(1, 0.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.5, 1.3, generator=generator)
            elif isinstance(module, nn.Conv2d):
                deviation = module.weight[0].numel() ** -0.5
                module.weight.normal_(0, deviation, generator=generator)
    return model


def picture(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def kernel() -> Any:
    if native.kernel is None:
        pytest.skip("prediction in C: not built; it needs a C compiler and Python.h at installation")
    if not native.kernel.supported():
        pytest.skip("prediction in C: this processor has no AVX2 or no FMA")
    return native.kernel


pytestmark = pytest.mark.filterwarnings("error")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    batch=st.integers(1, 3),
    times=st.sampled_from(WIDTHS),
)
def test_the_logits_are_the_plain_models(
    kernel: Any, seed: int, height: int, width: int, batch: int, times: float
) -> None:
    model, x = drawn_model(seed, width=times), picture(seed, batch, 3, 32 * height, 32 * width)
    before = x.clone()
    with torch.inference_mode():
        want, got = model(x), NativeSINet(model)(x)
    assert torch.equal(x, before)
    assert got.shape == want.shape
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert (got - want).abs().max() <= 1e-5 * max(1, want.abs().max())


@pytest.mark.parametrize("size", [224, 256])
@pytest.mark.parametrize("seed", range(3))
def test_they_are_about_as_exact_as_the_plain_models(kernel: Any, seed: int, size: int) -> None:
    model, x = drawn_model(seed), picture(seed, 1, 3, size, size)
    with torch.inference_mode():
        got, want = NativeSINet(model)(x), model(x)
        exact = model.double()(x.double())
    assert (got - want).abs().max() <= 1e-4
    assert (got - exact).abs().max() <= 3 * (want - exact).abs().max()


def test_with_the_weights_of_the_package(kernel: Any) -> None:
    predictor = sinet.load()
    size = predictor.preprocessing.size
    square = np.stack([portrait(seed, size, size)[0] for seed in range(3)])
    x = predictor.preprocessing.tensor(torch.from_numpy(square))
    with torch.inference_mode():
        want, got = predictor.model(x), NativeSINet(predictor.model)(x)
    assert (got - want).abs().max() <= 5e-5


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 64, 96), (1, 3, 224, 224)])
@pytest.mark.parametrize("times", WIDTHS)
def test_no_memory_is_read_before_it_is_written(kernel: Any, shape: tuple[int, ...], times: float) -> None:
    """The working memory may hold anything: here it holds NaN."""
    model = drawn_model(0, width=times)
    weights, x = pack(model).numpy(), picture(0, *shape).numpy()
    count, _, height, width = shape
    results = []
    for byte in (0, 255):
        scratch = np.full(kernel.scratch_size(model.channels, height, width), byte, np.uint8)
        out = np.full((count, 2, height, width), np.nan, np.float32)
        kernel.logits(model.channels, weights, x, scratch, out, count, height, width)
        results.append(out)
    assert np.isfinite(results[0]).all()
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.flip(-1).flip(-1),
        lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
        lambda x: torch.cat((x, x), dim=1)[:, 3:],
        lambda x: x.clone().requires_grad_(),
    ],
)
def test_where_the_pixels_lie_does_not_matter(kernel: Any, change: Callable[[Tensor], Tensor]) -> None:
    network, x = NativeSINet(drawn_model(0)), picture(0, 2, 3, 64, 96)
    got = network(change(x))
    assert torch.equal(got, network(x))
    assert not got.requires_grad


@pytest.mark.parametrize("default", ["dtype", "device"])
def test_torchs_defaults_do_not_matter(kernel: Any, default: str) -> None:
    model, x = drawn_model(0), picture(0, 1, 3, 32, 64)
    want, dtype = NativeSINet(model)(x), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if default == "dtype" else dtype)
        torch.set_default_device("meta" if default == "device" else None)
        got = NativeSINet(model)(x)
    finally:
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
    assert torch.equal(got, want)


def test_a_batch_is_its_pictures(kernel: Any) -> None:
    network, x = NativeSINet(drawn_model(0)), picture(0, 3, 3, 64, 32)
    assert torch.equal(network(x), torch.cat([network(one[None]) for one in x]))
    assert network(x[:0]).shape == (0, 2, 64, 32)


@pytest.mark.parametrize("preprocessing", [STANDARD, SMALL, UNEQUAL.preprocessing])
@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (224, 224)])
def test_the_probability_is_the_softmax_of_the_logits(
    kernel: Any, preprocessing: Preprocessing, shape: tuple[int, int]
) -> None:
    model = drawn_model(1)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    with torch.inference_mode():
        logits = model(preprocessing.tensor(torch.from_numpy(pixels)[None]))
    want = logits.softmax(1)[0, 1].numpy()
    got = NativeSINet(model).person(pixels, preprocessing)
    assert got.dtype == np.float32
    assert 0 <= got.min() <= got.max() <= 1
    # At most a quarter as steep as the difference of two logits, which are exact to 1e-5 of the largest.
    assert np.abs(got - want).max() <= 0.5e-5 * max(1, logits.abs().max())
    turned = np.asfortranarray(pixels)
    assert np.array_equal(NativeSINet(model).person(turned, preprocessing), got)


def test_sure_pixels_are_0_and_1(kernel: Any) -> None:
    """Logits that differ by hundreds: the exponential neither overflows nor loses its sign."""
    model = drawn_model(1)
    with torch.no_grad():
        model.classifier[1].weight.mul_(1e3)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    with torch.inference_mode():
        want = model(STANDARD.tensor(torch.from_numpy(pixels)[None])).softmax(1)[0, 1].numpy()
    got = NativeSINet(model).person(pixels, STANDARD)
    assert {0.0, 1.0} <= set(want.round(6).ravel().tolist())
    assert np.abs(got - want).max() <= 1e-2  # rounding of logits in the thousands
    assert got.min() < 1e-30


def test_threads_do_not_disturb_one_another(kernel: Any) -> None:
    network = NativeSINet(drawn_model(0))
    pictures = [picture(seed, 1, 3, 64, 64 + 32 * (seed % 3)) for seed in range(6)]
    wanted = [network(x) for x in pictures]
    wrong: list[int] = []

    def predict(start: int) -> None:
        for turn in range(60):
            number = (start + turn) % len(pictures)
            if not torch.equal(network(pictures[number]), wanted[number]):
                wrong.append(number)

    threads = [threading.Thread(target=predict, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_tells_when_the_weights_have_changed(kernel: Any) -> None:
    model = drawn_model(0)
    network = NativeSINet(model)
    assert network.matches(model)
    assert not network.matches(drawn_model(0))
    with torch.no_grad():
        model.encoder.level3[2].BR.bn.running_var.add_(1)
    assert not network.matches(model)


def test_making_it_draws_nothing_and_changes_nothing(kernel: Any) -> None:
    model = drawn_model(0)
    before, state = torch.random.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    NativeSINet(model)(torch.zeros(1, 3, 32, 32))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 33, 64), "multiples of 32, found 33x64"),
        (torch.zeros(1, 3, 64, 16), "multiples of 32, found 64x16"),
        (torch.zeros(1, 4, 32, 32), "expected N x 3 x H x W float32"),
        (torch.zeros(3, 32, 32), "expected N x 3 x H x W float32"),
        (torch.zeros(1, 3, 32, 32).double(), "found .* torch.float64"),
        (torch.zeros(1, 3, 0, 32), "sides of 32 to 8192"),
        (torch.zeros(0, 3, 8224, 32), "sides of 32 to 8192"),
    ],
)
def test_other_pictures_are_refused(kernel: Any, x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NativeSINet(drawn_model(0))(x)


@pytest.mark.parametrize("pixels", [np.zeros((33, 32, 3), np.uint8), np.zeros((32, 32, 4), np.uint8)])
def test_other_pixels_are_refused(kernel: Any, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        NativeSINet(drawn_model(0)).person(pixels, STANDARD)


@pytest.mark.parametrize("short", range(4))
@pytest.mark.parametrize("pixels", [False, True])
def test_no_buffer_of_another_size_is_touched(kernel: Any, short: int, pixels: bool) -> None:
    x = np.zeros((32, 32, 3), np.uint8) if pixels else np.zeros((1, 3, 32, 32), np.float32)
    out = np.full((1, 32, 32) if pixels else (1, 2, 32, 32), 7, np.float32)
    buffers = [
        pack(drawn_model(0)).numpy(),
        x,
        np.full(kernel.scratch_size(PAPERS, 32, 32), 7, np.uint8),
        out,
    ]
    buffers[short] = buffers[short].ravel()[:-1].copy()
    before = [buffer.copy() for buffer in buffers]
    with pytest.raises(ValueError, match=r"expected \d+ bytes"):
        if pixels:
            kernel.probability(PAPERS, *buffers, 32, 32, (0, 0, 0), (1, 1, 1), (0, 1, 2))
        else:
            kernel.logits(PAPERS, *buffers, 1, 32, 32)
    assert all(np.array_equal(*pair) for pair in zip(buffers, before, strict=True))


@pytest.mark.parametrize("order", [(0, 1, 3), (-1, 1, 2)])
def test_a_channel_that_a_pixel_does_not_have_is_refused(kernel: Any, order: tuple[int, ...]) -> None:
    scratch, out = np.zeros(kernel.scratch_size(PAPERS, 32, 32), np.uint8), np.zeros((32, 32), np.float32)
    buffers = (pack(drawn_model(0)).numpy(), np.zeros((32, 32, 3), np.uint8), scratch, out)
    with pytest.raises(ValueError, match="expected channels 0 to 2"):
        kernel.probability(PAPERS, *buffers, 32, 32, (0, 0, 0), (1, 1, 1), order)


def test_what_is_read_only_is_not_written(kernel: Any) -> None:
    out = np.zeros((1, 2, 32, 32), np.float32)
    out.flags.writeable = False
    scratch = np.zeros(kernel.scratch_size(PAPERS, 32, 32), np.uint8)
    weights, x = pack(drawn_model(0)).numpy(), np.zeros((1, 3, 32, 32), np.float32)
    with pytest.raises((ValueError, TypeError, BufferError)):
        kernel.logits(PAPERS, weights, x, scratch, out, 1, 32, 32)


def test_an_address_that_holds_no_float_is_refused(kernel: Any) -> None:
    x = torch.frombuffer(bytearray(4 * 3 * 32 * 32 + 1), dtype=torch.float32, offset=1).view(1, 3, 32, 32)
    with pytest.raises(ValueError, match="x: expected an address that is a multiple of 4"):
        NativeSINet(drawn_model(0))(x)


def test_the_kernel_knows_the_weights_and_how_many_there_are(kernel: Any) -> None:
    assert kernel.LAYOUT == LAYOUT
    for times in WIDTHS:
        model = SINet(width=times).eval()
        assert kernel.weights_size(model.channels) == len(pack(model))


@pytest.mark.parametrize(
    "channels",
    [
        PAPERS._replace(start2=12),
        PAPERS._replace(detail=24),
        PAPERS._replace(deep=8),
        PAPERS._replace(start3=0),
        PAPERS._replace(level1=-12),
        PAPERS._replace(hidden=2**20),
        PAPERS._replace(deep=2**30),
    ],
)
def test_channels_that_it_does_not_compute_are_refused(kernel: Any, channels: Channels) -> None:
    with pytest.raises(ValueError, match=f"in vectors of 8, .* found {', '.join(map(str, channels))}$"):
        kernel.weights_size(channels)
    with pytest.raises(ValueError, match="in vectors of 8"):
        kernel.scratch_size(channels, 32, 32)


def test_another_arrangement_of_the_weights_has_another_number() -> None:
    """Where this fails raise LAYOUT, here and in both files that have it: kernels of before would give wrong masks."""
    model, start = SINet().eval(), 1
    for name, values in model.state_dict().items():
        if name.endswith("running_var"):
            values.fill_(0.999)
        elif values.is_floating_point():
            values.copy_(torch.arange(start, start + values.numel()).view_as(values))
            start += values.numel()
    digest = hashlib.sha256(pack(model).numpy().tobytes()).hexdigest()
    assert (LAYOUT, digest[:16]) == (2, "3e1ed59e3a76f57f")


class _Variant(SINet):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: SINet(1).eval(),
        lambda: SINet(3).eval(),
        lambda: SINet().eval().double(),
        lambda: SINet(),
        lambda: SINet().eval().to("meta"),
        lambda: _Variant().eval(),
    ],
)
def test_it_runs_no_other_model(make: Callable[[], SINet]) -> None:
    model = make()
    assert not native.runs(model)
    with pytest.raises(ValueError, match="two classes in float32 and eval mode"):
        NativeSINet(model)


def test_the_predictor_takes_it(kernel: Any) -> None:
    predictor = Predictor(drawn_model(0), SMALL)
    image, _ = portrait(0)
    predictor.mask(image)
    assert isinstance(predictor._copy, NativeSINet)
    x = SMALL.tensor(torch.from_numpy(portrait(0, 64, 64)[0])[None])
    with torch.inference_mode():
        assert (predictor.logits(x) - predictor.model(x)).abs().max() <= 1e-4


def test_three_classes_are_predicted_by_the_model() -> None:
    predictor = Predictor(drawn_model(0, classes=3), SMALL)
    predictor.mask(portrait(0)[0])
    assert predictor._copy is None


class _Unfit:
    """A kernel that nobody may call."""

    def __init__(self, supported: bool, layout: int | None) -> None:
        self.supported = lambda: supported
        self.LAYOUT = layout


@pytest.mark.parametrize(
    ("changed", "found"), [(False, "in C"), (True, "nothing was built of sinet/native/c")]
)
def test_a_second_checkout_takes_the_kernel_of_the_installation(
    kernel: Any, tmp_path: Path, root: Path, changed: bool, found: str
) -> None:
    """As a git worktree or a temporary experiment: all but what git ignores. Of other C files, none and not silent."""
    for checkout in ("installed", "second"):
        leave_out = shutil.ignore_patterns("__pycache__", *(["*.so"] if checkout == "second" else []))
        shutil.copytree(root / "sinet", tmp_path / checkout / "sinet", ignore=leave_out)
    if kernel.__file__ and not list((tmp_path / "installed/sinet/native").glob("*.so")):
        shutil.copy(kernel.__file__, tmp_path / "installed/sinet/native")
    if changed:
        (tmp_path / "second/sinet/native/c/network.c").write_text("// another one\n")
    origin = {"dir_info": {"editable": True}, "url": (tmp_path / "installed").as_uri()}
    info = tmp_path / "second/sinet_portraits-0.1.0.dist-info"  # before the one of this environment
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sinet-portraits\nVersion: 0.1.0\n")
    (info / "direct_url.json").write_text(json.dumps(origin))
    program = "from sinet import native; print(native.why_torch() or 'in C', native.kernel and native.kernel.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {[str(tmp_path / 'second'), *sys.path]!r}; {program}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found in done.stdout
    assert changed or str(tmp_path / "installed") in done.stdout


@pytest.mark.parametrize("kernel_there", [None, _Unfit(supported=False, layout=LAYOUT)])
def test_without_it_the_model_predicts(monkeypatch: pytest.MonkeyPatch, kernel_there: object) -> None:
    model, (image, _) = drawn_model(0), portrait(0)
    ours = Predictor(model, SMALL).probability(image)
    monkeypatch.setattr(native, "kernel", kernel_there)
    predictor = Predictor(model, SMALL)
    assert np.abs(predictor.probability(image) - ours).max() <= 1e-5
    assert predictor._copy is None


@pytest.mark.parametrize("layout", [None, LAYOUT - 1, LAYOUT + 1])
def test_a_kernel_of_other_files_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, layout: int | None
) -> None:
    monkeypatch.setattr(native, "kernel", _Unfit(supported=True, layout=layout))
    predictor = Predictor(drawn_model(0), SMALL)
    with pytest.warns(RuntimeWarning, match=r"built of older files .* pip install -e \."):
        predictor.mask(portrait(0)[0])
    assert predictor._copy is None
