"""`python -m sinet benchmark`: measure what docs/results.md claims, on this machine."""

import os
from typing import Annotated

import typer

from sinet.core import paper

app = typer.Typer(no_args_is_help=True, help="Measure prediction, training and drawing on this machine.")


def _multiple_of_32(size: int) -> int:
    if size % 32:
        raise typer.BadParameter(f"expected a multiple of 32, found {size}", param_hint="--size")
    return size


Size = Annotated[
    int,
    typer.Option(min=32, callback=_multiple_of_32, help="pixels of the network's square, a multiple of 32"),
]
Rounds = Annotated[int, typer.Option(min=5, help="times each is measured; the median counts")]
Width = Annotated[int, typer.Option(min=1, help="pixels of the photograph")]
Height = Annotated[int, typer.Option(min=1, help="pixels of the photograph")]


@app.command("predict")
def predict(size: Size = paper.SIZE, width: Width = 600, height: Height = 800, rounds: Rounds = 15) -> None:
    """One picture through SINet: plain, in C, ONNX Runtime, OpenVINO; and a photograph to its mask."""
    from sinet.benchmark import predict as benchmark
    from sinet.benchmark.timing import one_thread

    with one_thread():
        print(benchmark.report(size, width, height, rounds))


@app.command("widths")
def widths(width: Width = 600, height: Height = 800, rounds: Rounds = 15) -> None:
    """A photograph to its mask with networks of other widths (0.5 to 2) and input sizes (224 to 320)."""
    from sinet.benchmark import widths as benchmark
    from sinet.benchmark.timing import one_thread

    with one_thread():
        print(benchmark.report(width, height, rounds))


@app.command("train")
def train(
    size: Size = paper.SIZE,
    batch: Annotated[int, typer.Option(min=2, help="pictures a step")] = 24,
    rounds: Rounds = 5,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile too: a minute or two")] = False,
) -> None:
    """A training step: torch's own pieces as in the official code, and ours."""
    from sinet.benchmark import train as benchmark
    from sinet.benchmark.timing import one_thread

    with one_thread():
        print(benchmark.report(batch, size, rounds, compiled))


@app.command("data")
def data(
    size: Size = paper.SIZE,
    width: Width = 600,
    height: Height = 800,
    pictures: Annotated[int, typer.Option(min=1, help="how many are drawn")] = 20,
    rounds: Rounds = 7,
) -> None:
    """An augmented sample from pictures in memory, and each step of the augmentation."""
    from sinet.benchmark import data as benchmark
    from sinet.benchmark.timing import one_thread

    with one_thread():
        print(benchmark.report(pictures, size, width, height, rounds))


@app.command("epochs")
def epochs(
    pictures: Annotated[int, typer.Option(min=36, help="of the train side; EG1800 had 1,309")] = 1309,
    size: Size = paper.SIZE,
    epochs: Annotated[int | None, typer.Option(min=1, help="of each phase: 3, on a GPU 60")] = None,
    half: Annotated[bool, typer.Option("--bfloat16", help="forward and backward in bfloat16")] = False,
) -> None:
    """Whole epochs of training on this machine's GPU or CPU (SINET_DEVICE), and what the article's 600 would take."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as stage train; see `use_all_cores`
    from sinet.benchmark import epochs as benchmark
    from sinet.core.device import DeviceError, choose_device, use_all_cores
    from sinet.training.epoch import TrainingError

    use_all_cores()
    try:
        device = choose_device()
    except DeviceError as error:
        raise typer.BadParameter(str(error)) from error
    epochs = epochs or (60 if device.type == "cuda" else 3)
    try:
        print(benchmark.report(pictures, size, epochs, half, device))
    except benchmark.TooShortError as error:
        raise typer.BadParameter(str(error), param_hint="--epochs") from error
    except TrainingError as error:
        raise typer.BadParameter(str(error)) from error
