"""`python -m sinet benchmark`: each command runs on tiny sizes and prints its rows; nothing here looks at the time."""

import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from sinet.__main__ import app
from sinet.benchmark import data as data_benchmark
from sinet.benchmark import epochs as epochs_benchmark
from sinet.benchmark import predict as predict_benchmark
from sinet.benchmark.drawn import benchmark_portrait
from sinet.benchmark.timing import Row, cpu_times, one_thread, processor, table
from sinet.benchmark.train import our_step, plain_loss, plain_step
from sinet.network.loss import portrait_loss


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_predict_prints_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    done = command("predict", "--size", 32, "--width", 40, "--height", 60, "--rounds", 5)
    assert done.exit_code == 0, done.output
    for name in (
        predict_benchmark.PLAIN,
        predict_benchmark.NATIVE,
        predict_benchmark.ONNX,
        predict_benchmark.WHOLE,
        predict_benchmark.NETWORK,
        predict_benchmark.REST,
    ):
        assert f"{name}  " in done.stdout
    assert "OpenVINO f32       not installed" in done.stdout
    assert f"{processor()}, one thread, CPU time, median of 5" in done.stdout


def test_widths_prints_a_row_a_network() -> None:
    done = command("widths", "--width", 40, "--height", 60, "--rounds", 5)
    assert done.exit_code == 0, done.output
    rows = done.stdout.splitlines()[3:]
    assert [" ".join(row.split()[1:4]) for row in rows[::5]] == ["0.5 at 224", "1 at 320", "2 at 256"]
    assert len(rows) == 12
    assert rows[3].split()[5:] == ["1.000", "86,910", "parameters"]


def test_train_prints_its_rows() -> None:
    done = command("train", "--size", 32, "--batch", 2)
    assert done.exit_code == 0, done.output
    assert "plain eager SINet" in done.stdout
    assert "\nours " in done.stdout
    assert "\nours, bfloat16 " in done.stdout
    assert "torch.compile" not in done.stdout
    assert done.stdout.count("pictures/core-s") == 3


def test_epochs_are_those_beyond_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 s for a first run of one epoch a phase, 15 for the next, 10 for each epoch more: 300 take 20 + 299 * 10 s."""
    clock = iter([0.0, 20.0, 20.0, 35.0, 35.0, 70.0])
    counts = []
    monkeypatch.setattr(epochs_benchmark, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(
        epochs_benchmark,
        "train",
        lambda samples, dev, recipe, *_, **__: counts.append(
            (len(samples), len(dev), recipe.phases.full.epochs)
        ),
    )
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    done = command("epochs", "--pictures", 40, "--size", 32, "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert counts == [(40, 40, 1), (40, 40, 1), (40, 40, 3)]
    assert "mean of 2      10.00 s  8 pictures/s" in done.stdout
    assert "a first run of 1 + 1 epochs      20.00 s" in done.stdout
    assert "300 + 300 epochs at that rate       50.2 min" in done.stdout


def test_epochs_that_took_no_time_are_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs_benchmark, "_seconds", lambda *_: 4.0)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    done = command("epochs", "--pictures", 40, "--size", 32)
    assert done.exit_code == 2
    assert "3 more epochs took no longer" in done.output


@pytest.mark.parametrize("options", [[], ["--bfloat16"]])
def test_epochs_trains(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, taken = epochs_benchmark._seconds, iter((1.0, 2.0, 4.0))
    monkeypatch.setattr(epochs_benchmark, "_seconds", lambda *a: (seconds(*a), next(taken))[1])
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    done = command("epochs", "--pictures", 36, "--size", 32, "--epochs", 1, *options)
    assert done.exit_code == 0, done.output
    assert f"batches of 36 and 24, {'bfloat16' if options else 'float32'}, judged on 36" in done.stdout
    assert processor() in done.stdout


def test_epochs_on_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINET_DEVICE", "cuda:97")
    done = command("epochs")
    assert done.exit_code == 2
    assert "SINET_DEVICE: 'cuda:97' cannot be used" in " ".join(done.output.split())


def test_data_prints_its_rows() -> None:
    done = command("data", "--size", 32, "--width", 60, "--height", 80, "--pictures", 2, "--rounds", 5)
    assert done.exit_code == 0, done.output
    for name in (data_benchmark.PLAIN, data_benchmark.HALF, data_benchmark.ALL, data_benchmark.NONE):
        assert f"\n{name}  " in done.stdout
    assert "squash and noise" in done.stdout


@pytest.mark.parametrize("what", ["predict", "train", "data"])
def test_a_size_that_the_network_does_not_take_is_refused(what: str) -> None:
    done = command(what, "--size", 50)
    assert done.exit_code == 2
    assert "expected a multiple of 32, found 50" in done.stderr


def test_the_commands_help_loads_no_torch() -> None:
    code = "import sinet.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_table_by_hand() -> None:
    rows = [Row("plain", 4.0), Row("quick one", 1.0, "ha"), Row("other", None, "not installed")]
    assert table("T", rows, 4.0, 7).splitlines() == [
        "T",
        f"{processor()}, one thread, CPU time, median of 7",
        "                  ms   ratio",
        "plain          4.000   1.000",
        "quick one      1.000   0.250  ha",
        "other      not installed",
    ]


def test_each_work_is_done_by_turns() -> None:
    calls: list[str] = []
    times = cpu_times({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 5)
    assert "".join(calls) == "aabb" + "ab" * 5
    assert times.keys() == {"a", "b"}
    with pytest.raises(ValueError, match="at least 5 rounds, found 4"):
        cpu_times({}, 4)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    with one_thread():
        assert torch.get_num_threads() == cv2.getNumThreads() == 1
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_the_plain_loss_is_the_same_loss() -> None:
    logits = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    target = torch.from_numpy(np.stack([benchmark_portrait(seed, 32, 32)[1] for seed in range(2)])).long()
    torch.testing.assert_close(
        plain_loss(logits, target, 0.5, 5), portrait_loss(logits, target, 0.5, 5)["loss"]
    )


def test_both_steps_train() -> None:
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    target = (x[:, 0] > 0).long()
    for step in (plain_step(x, target), our_step(x, target)):
        assert step() is None
