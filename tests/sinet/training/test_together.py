"""Several processes that train one network: real ones, started by torchrun on the CPU, that meet by gloo."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sinet.benchmark.timing import one_thread
from sinet.core.device import DeviceError, choose_device
from sinet.core.recipe import TrainRecipe
from sinet.images.sample import Sample
from sinet.training.checkpoint import load_state
from sinet.training.dev_side import evaluate_dev, read_dev
from sinet.training.epoch import TrainingError
from sinet.training.loop import Trained, train
from sinet.training.together import ALONE, Together
from tests.sinet.tiny_training import tiny_recipe, write_portraits
from tests.sinet.training.test_train_steps import plain_training

CPU = torch.device("cpu")

SCRIPT = """
import pickle, sys
from pathlib import Path
import torch
from sinet.core import ranks
from sinet.training.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    result = train(*pickle.loads((folder / "given").read_bytes()), folder / "state", torch.device("cpu"))
    (folder / f"result{ranks.own_rank()}").write_bytes(pickle.dumps(result))
"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("train"), 12)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("dev"), 4, seed=7)


def torchrun(folder: Path, root: Path, *given: object) -> "subprocess.Popen[str]":
    """Two processes that train on what is given (samples, dev, recipe), with their state below `folder`."""
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    (folder / "given").write_bytes(pickle.dumps(given))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", script, folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def result(folder: Path, rank: int = 0) -> Trained:
    found: Trained = pickle.loads((folder / f"result{rank}").read_bytes())
    return found


def steps_recipe() -> TrainRecipe:
    """Batches that two processes share evenly, and such that they do not."""
    phases = tiny_recipe().phases.model_dump()
    phases["full"]["batch"] = 5
    return tiny_recipe(phases=phases, average_decay=0.0, best_from=1.0)


@pytest.fixture(scope="module")
def both(
    samples: list[Sample], dev: list[Sample], tmp_path_factory: pytest.TempPathFactory, root: Path
) -> Path:
    folder = tmp_path_factory.mktemp("both")
    run = torchrun(folder, root, samples, dev, steps_recipe())
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    assert errors.count("train full: 100%") == 1, "rank 0 alone shows bars"
    return folder


def test_a_step_is_that_of_one_process_that_averages_the_same_parts(
    both: Path, samples: list[Sample]
) -> None:
    """Losses to 1e-4 of themselves, weights and the running statistics of rank 0 to 2e-4.

    On one thread, as the processes had: Adam's first steps make much of another rounding.
    """
    with one_thread():
        model, history = plain_training(samples, steps_recipe(), parts=2)
    trained = result(both)
    for row, plain in zip(trained.history, history, strict=True):
        assert {name: row[name] for name in plain} == pytest.approx(plain, rel=1e-4)
    for name, value in model.state_dict().items():
        assert torch.allclose(trained.model.state_dict()[name].float(), value.float(), atol=2e-4), name


def test_both_have_the_same_weights(both: Path) -> None:
    first, second = (dict(result(both, rank).model.named_parameters()) for rank in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_two_train_about_as_one_with_the_whole_batch(
    both: Path, samples: list[Sample], dev: list[Sample], tmp_path: Path
) -> None:
    """Batch normalisation sees parts of 2 or 3 pictures in place of 4 or 5: losses to a fifth of themselves."""
    alone, shared = train(samples, dev, steps_recipe(), tmp_path, CPU), result(both)
    losses = [[row["loss"] for row in one.history] for one in (alone, shared)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.2)
    judged = evaluate_dev(shared.model, read_dev(dev, 64), shared.preprocessing)
    assert judged == pytest.approx((shared.dev_foreground_iou, shared.dev_loss))


def test_a_loss_that_is_no_number_ends_both(
    samples: list[Sample], dev: list[Sample], tmp_path: Path, root: Path
) -> None:
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"] |= {"learning_rate": 1e30, "epochs": 3}
    run = torchrun(tmp_path, root, samples, dev, tiny_recipe(phases=phases))
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 1
    assert "not a number any more in phase encoder" in errors
    assert "is lost" not in errors
    assert sum(sample.id in errors for sample in samples) == 4


def processes(pid: int) -> dict[int, int]:
    """The rank and the process of each one that torchrun has started."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks = [int(entry[5:]) for entry in environment if entry.startswith(b"RANK=")]
        found.update(dict.fromkeys(ranks, int(child)))
    return found


@pytest.fixture(scope="module")
def long_recipe() -> TrainRecipe:
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"]["epochs"], phases["full"]["epochs"] = 2, 8
    return tiny_recipe(phases=phases)


@pytest.fixture(scope="module")
def undisturbed(
    samples: list[Sample],
    dev: list[Sample],
    long_recipe: TrainRecipe,
    tmp_path_factory: pytest.TempPathFactory,
    root: Path,
) -> Trained:
    folder = tmp_path_factory.mktemp("undisturbed")
    torchrun(folder, root, samples, dev, long_recipe).communicate(timeout=300)
    return result(folder)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.long), 1])
def test_after_a_process_is_killed_the_run_ends_and_goes_on_to_the_same_result(
    rank: int,
    samples: list[Sample],
    dev: list[Sample],
    long_recipe: TrainRecipe,
    undisturbed: Trained,
    tmp_path: Path,
    root: Path,
) -> None:
    given: tuple[Any, ...] = (samples, dev, long_recipe)
    broken = torchrun(tmp_path, root, *given)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and broken.poll() is None:
        state = load_state(tmp_path / "state")
        if state and (state.phase, state.epoch) >= ("full", 1):
            break
        time.sleep(0.02)
    both = processes(broken.pid)
    assert both.keys() == {0, 1}
    os.kill(both[rank], signal.SIGKILL)
    _, errors = broken.communicate(timeout=60)
    assert broken.returncode == 1
    assert (
        "TrainingError: one of the 2 processes is lost, or torchrun was ended; it says below which" in errors
    )
    assert f"rank      : {rank} (local_rank: {rank})\n  exitcode  : -9" in errors.partition("Root Cause")[2]
    assert not any(Path(f"/proc/{pid}").exists() for pid in both.values()), "somebody is left behind"
    assert not (tmp_path / "result0").exists(), "the run was over before it could be disturbed"
    run = torchrun(tmp_path, root, *given)
    run.communicate(timeout=300)
    again = result(tmp_path)
    assert again.history == undisturbed.history
    wanted = undisturbed.model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.model.state_dict().items())


def test_parts() -> None:
    batch = list(range(7))
    assert [Together(rank, 3).part(batch) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert ALONE.part(batch) == batch


def started(monkeypatch: pytest.MonkeyPatch, count: int, rank: int) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))


def test_a_batch_must_leave_two_pictures_to_each(
    samples: list[Sample], dev: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, 3, 0)
    assert len(train(samples, dev, tiny_recipe(), tmp_path, CPU).history) == 3  # it was not torchrun
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(TrainingError, match="for each of 3 processes, found a batch of 4"):
        train(samples, dev, tiny_recipe(), tmp_path, CPU)


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # every device is there
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    started(monkeypatch, 2, 1)
    monkeypatch.setenv("SINET_DEVICE", "cuda")
    assert choose_device() == torch.device("cuda", 1)
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    assert choose_device() == CPU
    monkeypatch.setenv("SINET_DEVICE", "cuda:0")
    with pytest.raises(DeviceError, match="'cuda:0' cannot be used here: expected cpu or cuda, since each"):
        choose_device()
    started(monkeypatch, 1, 0)
    assert choose_device() == torch.device("cuda", 0)
