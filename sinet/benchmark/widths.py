"""A photograph to its mask with networks of several widths and input sizes: what more channels and pixels cost."""

import torch

from sinet import native
from sinet.benchmark.drawn import benchmark_portrait
from sinet.benchmark.timing import Row, Work, cpu_times, table
from sinet.core import paper
from sinet.inference.predictor import Predictor
from sinet.network.model import SINet
from sinet.network.preprocess import STANDARD, Preprocessing

WIDTHS, SIZES = (0.5, 1, 1.5, 2), (224, 256, 320)


def report(width: int, height: int, rounds: int) -> str:
    """A table of a `width` x `height` photograph to its mask, a row a network; the weights are drawn.

    Ratios are to the paper's network at its own size.
    """
    torch.manual_seed(0)
    models = {times: SINet(width=times).eval() for times in WIDTHS}
    image = benchmark_portrait(1, width, height)[0]
    works: dict[str, Work] = {}
    notes: dict[str, str] = {}
    for times, model in models.items():
        for size in SIZES:
            predictor = Predictor(model, Preprocessing(**{**STANDARD.to_dict(), "size": size}))
            name = _named(times, size)
            works[name] = lambda predictor=predictor: predictor.mask(image)  # type: ignore[misc]
            notes[name] = f"{sum(one.numel() for one in model.parameters()):,} parameters"
    found = cpu_times(works, rounds)
    how = "in C" if native.runs(models[1]) else "in torch"
    title = f"A picture of {width}x{height} to its mask, {how}, by width and input size"
    rows = [Row(name, time, notes[name]) for name, time in found.items()]
    return table(title, rows, found[_named(1, paper.SIZE)], rounds)


def _named(width: float, size: int) -> str:
    return f"width {width:g} at {size}"
