"""Whole epochs of training as a user waits for them: pictures, steps, judging on dev, checkpoints; wall time.

The article's recipe, two phases of 300 epochs, is what it is reckoned up to.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from sinet.benchmark.data import EVERY_STEP
from sinet.benchmark.drawn import write_samples
from sinet.benchmark.timing import processor
from sinet.core import paper
from sinet.core.recipe import NONE, InputScale, Phase, Phases, Poly, TrainRecipe, WeightDecay
from sinet.images.sample import REDUCED_SIDE, Sample
from sinet.training.loop import train

WHOLE = 300  # epochs of each phase in the article
DEV = 100  # pictures
HALVES = {"affine": 0.5, "colour_jitter": 0.5, "blur": 0.5, "noise": 0.5}


class TooShortError(ValueError):
    """More epochs took no longer than fewer."""


def report(pictures: int, size: int, epochs: int, half: bool, device: torch.device) -> str:
    """What `epochs` epochs of each phase take on `pictures` drawn portraits, beyond a run of one epoch of each.

    A run of one epoch is taken twice: the first also wakes a GPU up, and is what a whole run starts with; the second is
    what the epochs are counted from. TooShortError where that leaves nothing.
    """
    width = REDUCED_SIDE * 3 // 4
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder, "train"), pictures, width, REDUCED_SIDE)
        dev = write_samples(Path(folder, "dev"), min(DEV, pictures), width, REDUCED_SIDE)
        cold, once, more = (
            _seconds(samples, dev, article(size, count, half), Path(folder, str(run)), device)
            for run, count in enumerate((1, 1, 1 + epochs))
        )
    if more <= once:
        raise TooShortError(
            f"{epochs} more epochs took no longer ({more:.1f} s after {once:.1f} s); ask for more by --epochs"
        )
    each = (more - once) / epochs
    whole = cold + (WHOLE - 1) * each
    return (
        f"{pictures:,} pictures at {size}x{size}, batches of 36 and 24, {'bfloat16' if half else 'float32'}, judged on "
        f"{len(dev)} after each epoch\n"
        f"{_device_name(device)}, wall time\n"
        f"an epoch of each phase, mean of {epochs}  {each:9.2f} s  {2 * pictures / each:,.0f} pictures/s\n"
        f"a first run of 1 + 1 epochs  {cold:9.2f} s\n"
        f"{WHOLE} + {WHOLE} epochs at that rate  {whole / 60:9.1f} min"
    )


def article(size: int, epochs: int, half: bool) -> TrainRecipe:
    """The article's recipe with `epochs` epochs a phase, every augmentation at its odds."""
    encoder, full = (
        Phase(
            epochs=epochs,
            batch=batch,
            size=size,
            learning_rate=7.5e-3,
            schedule=Poly(kind="poly", power=1, warmup=0),
            boundary_weight=0.9,
            boundary_kernel=kernel,
        )
        for batch, kernel in ((36, 5), (24, paper.BAND))
    )
    return TrainRecipe(
        seed=1,
        weights=NONE,
        width=1,
        predict_size=size,
        input=InputScale(order="rgb", mean=(128, 128, 128), std=(64, 64, 64), scale=1),
        precision="bfloat16" if half else "float32",
        compile=False,
        class_weights=False,
        weight_decay=WeightDecay(depthwise=2e-4, convolution=2e-4, rest=2e-4),
        average_decay=0,
        evaluate_every=1,
        best_from=0.6,
        phases=Phases(encoder=encoder, full=full),
        augment=EVERY_STEP.model_copy(update=HALVES),
    )


def _device_name(device: torch.device) -> str:
    """The device's own name, with cores where it is the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _seconds(
    samples: Sequence[Sample],
    dev: Sequence[Sample],
    recipe: TrainRecipe,
    state: Path,
    device: torch.device,
) -> float:
    start = time.monotonic()
    train(samples, dev, recipe, state, device)
    return time.monotonic() - start
