"""What an augmented training sample costs, and each step of the augmentation by itself."""

import tempfile
from itertools import cycle
from pathlib import Path

import torch

from sinet.benchmark.drawn import write_samples
from sinet.benchmark.timing import Row, Work, cpu_times, table
from sinet.core.recipe import AugmentRecipe, BlurKinds
from sinet.network.model import SINet
from sinet.training.data import PortraitDataset

PLAIN, HALF, ALL, NONE = "plain eager SINet", "the official recipe", "every step drawn", "squash alone"

# The ranges of PortraitNet that the paper and the official code take; each step is always drawn.
EVERY_STEP = AugmentRecipe(
    aspect="squash",
    flip=0.5,
    background=0,
    affine=1,
    rotation=(-45, 45),
    scale=(0.5, 1.5),
    translation=(-0.25, 0.25),
    colour_jitter=1,
    colour=(0.4, 1.7),
    brightness=(0.4, 1.7),
    contrast=(0.6, 1.5),
    sharpness=(0.8, 1.3),
    blur=1,
    blur_kernels=(3, 5),
    blur_kinds=BlurKinds(gaussian=0.3, median=0.3, box=0.4),
    noise=1,
    noise_sigma=(0, 10),
)
STEPS = {"flip": 0, "affine": 0, "colour_jitter": 0, "blur": 0, "noise": 0}  # probabilities


def report(pictures: int, size: int, width: int, height: int, rounds: int) -> str:
    """A table of ms a sample of `size` x `size` pixels, from `pictures` drawn ones of `width` x `height` in memory."""
    recipes = {
        HALF: EVERY_STEP.model_copy(update={"colour_jitter": 0.5, "blur": 0.5, "noise": 0.5}),
        ALL: EVERY_STEP,
        NONE: EVERY_STEP.model_copy(update=STEPS),
    }
    for step in ("background", "affine", "colour_jitter", "blur", "noise"):
        recipes[f"squash and {step}" if step != "affine" else step] = EVERY_STEP.model_copy(
            update={**STEPS, step: 1}
        )
    model = SINet().eval()
    x = torch.randn(1, 3, size, size)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        samples = write_samples(Path(folder), pictures, width, height)
        works: dict[str, Work] = {
            name: _pass(PortraitDataset(samples, size, recipe, 0)) for name, recipe in recipes.items()
        }
        times = cpu_times({PLAIN: lambda: model(x), **works}, rounds)
    each = {name: time if name == PLAIN else time / pictures for name, time in times.items()}
    rows = [
        Row(name, time, "a picture at batch 1, for comparison" if name == PLAIN else "")
        for name, time in each.items()
    ]
    title = (
        f"A training sample of {size}x{size}, drawn from {pictures} pictures of {width}x{height} in memory"
    )
    return table(title, rows, each[PLAIN], rounds)


def _pass(data: PortraitDataset) -> Work:
    """All samples once, in another epoch at each call; the first one decodes them."""
    epochs = cycle(range(1000))

    def work() -> None:
        data.set_epoch(next(epochs))
        for index in range(len(data)):
            data[index]

    return work
