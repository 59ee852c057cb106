"""Training: schedule, weight decay, two phases, the best on dev, a kill in the middle, a loss that is NaN."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import sinet.training.epoch as epoch_
import sinet.training.loop as training
from sinet.core.device import DeviceError, choose_device, cores, loader_workers, use_all_cores
from sinet.core.recipe import Schedule, TrainRecipe, WeightDecay
from sinet.images.sample import Sample
from sinet.network.model import SINet
from sinet.training.batches import Waiting
from sinet.training.checkpoint import State, load_state, save_state
from sinet.training.dev_side import evaluate_dev, read_dev
from sinet.training.epoch import TrainingError
from sinet.training.fused import FUSED
from sinet.training.loop import Trained, parameter_groups, train
from sinet.training.schedule import rate_factor
from tests.sinet.tiny_training import STILL, portrait, tiny_recipe, write_portraits

CPU = torch.device("cpu")
POLY = {"kind": "poly", "power": 1.0, "warmup": 0.0}
STEPS = {"kind": "steps", "milestones": (2, 3), "factor": 0.5, "warmup": 0.0}
COSINE = {"kind": "cosine", "warmup": 1.0}


@pytest.mark.parametrize(
    ("schedule", "step", "want"),
    [
        # 4 epochs of 10 steps
        (POLY, 0, 1),
        (POLY, 10, 0.75),
        (POLY, 39, 1 / 40),
        ({**POLY, "power": 2.0}, 20, 0.25),
        ({**POLY, "warmup": 1.0}, 0, 1 / 11),
        ({**POLY, "warmup": 1.0}, 10, 1),
        (STEPS, 19, 1),
        (STEPS, 20, 0.5),
        (STEPS, 39, 0.25),
        ({**STEPS, "warmup": 2.0}, 19, 20 / 21),
        ({**STEPS, "warmup": 2.0}, 20, 0.5),
        (COSINE, 9, 10 / 11),
        (COSINE, 10, 1),
        (COSINE, 25, 0.5),
    ],
)
def test_rate_factor(schedule: dict[str, Any], step: int, want: float) -> None:
    parsed: Any = TypeAdapter(Schedule).validate_python(schedule)
    assert rate_factor(parsed, step, steps_an_epoch=10, epochs=4) == pytest.approx(want)


def test_three_weight_decay_tiers_hold_every_parameter_once() -> None:
    model = SINet()
    depthwise, dense, rest = parameter_groups(model, WeightDecay(depthwise=0, convolution=2e-4, rest=2e-6))
    assert [group["weight_decay"] for group in (depthwise, dense, rest)] == [0, 2e-4, 2e-6]
    listed = [id(parameter) for group in (depthwise, dense, rest) for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in model.parameters())
    assert all(weight.ndim == 4 and weight.shape[1] == 1 for weight in depthwise["params"])
    assert all(weight.ndim == 4 for weight in dense["params"])
    assert all(weight.ndim < 4 for weight in rest["params"])


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("train"), 10)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("dev"), 4, seed=7)


@pytest.fixture(scope="module")
def trained(samples: list[Sample], dev: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(samples, dev, tiny_recipe(), tmp_path_factory.mktemp("state"), CPU)


def test_history_has_a_row_an_epoch(trained: Trained) -> None:
    assert [(row["phase"], row["epoch"]) for row in trained.history] == [
        ("encoder", 1),
        ("full", 1),
        ("full", 2),
    ]
    for row in trained.history:
        assert row["loss"] == pytest.approx(row["segmentation"] + 0.5 * row["boundary"], rel=1e-5)
        assert 0 <= row["dev_foreground_iou"] <= 1
    assert trained.history[1]["learning_rate"] > trained.history[2]["learning_rate"]


def test_the_result_is_the_best_on_dev(trained: Trained, dev: list[Sample]) -> None:
    full = [row for row in trained.history if row["phase"] == "full"]
    assert trained.dev_foreground_iou == max(row["dev_foreground_iou"] for row in full)
    again = evaluate_dev(trained.model, read_dev(dev, 64), trained.preprocessing)
    assert again == pytest.approx((trained.dev_foreground_iou, trained.dev_loss))
    assert not trained.model.training
    assert not {type(module) for module in trained.model.modules()} & set(FUSED.values()), "a plain SINet"


def test_the_same_run_twice_is_the_same(
    trained: Trained, samples: list[Sample], dev: list[Sample], tmp_path: Path
) -> None:
    torch.manual_seed(99)  # nobody's business
    assert train(samples, dev, tiny_recipe(), tmp_path, CPU).history == trained.history


def test_it_learns(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"] |= {"epochs": 4, "batch": 2}
    phases["full"] |= {"epochs": 16, "batch": 2}
    recipe = tiny_recipe(phases=phases, augment=STILL.model_dump(), evaluate_every=8)
    result = train(samples, dev, recipe, tmp_path, CPU)
    assert result.dev_foreground_iou > 0.8
    evaluated = [row["epoch"] for row in result.history if row["dev_foreground_iou"] is not None]
    assert evaluated == [4, 8, 16]


def test_the_encoder_phase_leaves_the_decoder_alone_and_may_be_left_out(
    samples: list[Sample], dev: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"]["epochs"] = 0
    whole = train(samples, dev, tiny_recipe(phases=phases), tmp_path / "whole", CPU)
    assert {row["phase"] for row in whole.history} == {"full"}
    monkeypatch.setattr(training, "PHASES", ("encoder",))
    with pytest.raises(StopIteration):  # without the second phase there is no row to report
        train(samples, dev, tiny_recipe(), tmp_path / "half", CPU)
    state = load_state(tmp_path / "half")
    assert state is not None
    fresh = training._initial_model(tiny_recipe()).state_dict()
    same = {key for key, value in state.model.items() if torch.equal(value, fresh[key])}
    assert {key for key in fresh if not key.startswith("encoder.")} <= same
    assert "encoder.level1.conv.weight" not in same


@pytest.mark.parametrize(("best_from", "best_epoch"), [(0.0, 1), (0.5, 2), (1.0, 3)])
def test_what_counts_as_best(
    best_from: float,
    best_epoch: int,
    samples: list[Sample],
    dev: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"]["epochs"], phases["full"]["epochs"] = 0, 3
    scores = iter([(0.9, 1.0), (0.8, 1.0), (0.7, 1.0)])
    monkeypatch.setattr(training, "evaluate_dev", lambda *_: next(scores))
    result = train(samples, dev, tiny_recipe(phases=phases, best_from=best_from), tmp_path, CPU)
    assert result.best_epoch == best_epoch
    assert result.dev_foreground_iou == {1: 0.9, 2: 0.8, 3: 0.7}[best_epoch]


SCRIPT = """
import sys
from pathlib import Path
import torch
from sinet.training.loop import train
from tests.sinet.tiny_training import tiny_recipe, write_portraits
torch.set_num_threads(1)
folder = Path(sys.argv[1])
samples, dev = write_portraits(folder / "t", 10), write_portraits(folder / "d", 4, seed=7)
phases = tiny_recipe().phases.model_dump()
phases["encoder"]["epochs"] = phases["full"]["epochs"] = 3
result = train(samples, dev, tiny_recipe(phases=phases), folder / "state", torch.device("cpu"))
print(result.history)
print(sum(value.double().sum().item() for value in result.model.state_dict().values()))
"""


def start(folder: Path, root: Path) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


@pytest.mark.parametrize("killed_after", [pytest.param(("encoder", 2), marks=pytest.mark.long), ("full", 1)])
def test_after_a_kill_the_run_goes_on_to_the_same_result(
    killed_after: tuple[str, int], undisturbed: str, tmp_path: Path, root: Path
) -> None:
    run = start(tmp_path / "run", root)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and run.poll() is None:
        state = load_state(tmp_path / "run" / "state")
        order = training.PHASES.index
        if state and (order(state.phase), state.epoch) >= (order(killed_after[0]), killed_after[1]):
            break
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    assert start(tmp_path / "run", root).communicate()[0] == undisturbed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> str:
    output = start(tmp_path_factory.mktemp("undisturbed"), root).communicate()[0]
    assert output.count("dev_foreground_iou") == 6
    return output


def test_a_loss_that_is_no_number_names_the_batch(
    samples: list[Sample], dev: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.tensor(math.nan)
    monkeypatch.setattr(epoch_, "portrait_loss", lambda *_: dict.fromkeys(epoch_.TERMS, nothing))
    with pytest.raises(TrainingError) as error:
        train(samples, dev, tiny_recipe(), tmp_path, CPU)
    named = [sample.id for sample in samples if sample.id in str(error.value)]
    assert len(named) == 4
    assert "phase encoder, epoch 1" in str(error.value)
    assert "lower train.phases.encoder.learning_rate" in str(error.value)
    assert load_state(tmp_path) is None


def test_a_loss_is_looked_at_even_where_one_of_its_terms_is_a_number(
    samples: list[Sample], dev: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = {"loss": torch.tensor(math.nan), "segmentation": torch.tensor(1.0), "boundary": torch.tensor(0.0)}
    monkeypatch.setattr(epoch_, "portrait_loss", lambda *_: terms)
    with pytest.raises(TrainingError, match="the loss is not a number any more in phase encoder, epoch 1"):
        train(samples, dev, tiny_recipe(), tmp_path, CPU)


@pytest.mark.parametrize(("train_count", "dev_count"), [(0, 4), (1, 4), (10, 0)])
def test_an_empty_side_is_an_error(
    train_count: int, dev_count: int, samples: list[Sample], dev: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=f"found {train_count} and {dev_count}"):
        train(samples[:train_count], dev[:dev_count], tiny_recipe(), tmp_path, CPU)


@pytest.mark.parametrize(("asked", "decay"), [(0.25, 0.25), (0.98, 0.5)])
def test_the_running_mean_is_kept_and_judged(
    samples: list[Sample],
    dev: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: float,
    decay: float,
) -> None:
    """Two steps an epoch, so that 0.98 becomes 0.5: a longer mean would reach past the epoch."""
    seen: list[dict[str, torch.Tensor]] = []
    update = training.RunningMean.move

    def noted(self: training.RunningMean, model: torch.nn.Module) -> None:
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        update(self, model)

    monkeypatch.setattr(training.RunningMean, "move", noted)
    phase = tiny_recipe().phases.full.model_dump()
    phases = {"encoder": {**phase, "epochs": 0}, "full": {**phase, "epochs": 2, "batch": 5}}
    result = train(
        samples, dev, tiny_recipe(phases=phases, average_decay=asked, best_from=1.0), tmp_path, CPU
    )
    assert len(seen) == 4
    for key, mean in seen[0].items():
        if mean.is_floating_point():
            for one in seen[1:]:
                mean = decay * mean + (1 - decay) * one[key]
            assert torch.allclose(result.model.state_dict()[key], mean, atol=1e-6), key
    judged = evaluate_dev(result.model, read_dev(dev, 64), result.preprocessing)
    assert judged[0] == result.dev_foreground_iou


def test_without_a_running_mean_the_last_weights_are_kept(
    samples: list[Sample], dev: list[Sample], tmp_path: Path
) -> None:
    result = train(samples, dev, tiny_recipe(average_decay=0, best_from=1.0), tmp_path, CPU)
    state = load_state(tmp_path)
    assert state is not None and state.average == {}
    assert all(torch.equal(value, state.model[key]) for key, value in result.model.state_dict().items())


def test_bfloat16_learns_about_the_same(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        result = train(samples, dev, tiny_recipe(precision=precision), tmp_path / precision, CPU)
        losses[precision] = [row["loss"] for row in result.history]
        assert all(value.dtype != torch.bfloat16 for value in result.model.state_dict().values())
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)


def test_compiled_it_learns_the_same(
    samples: list[Sample], dev: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as for a GPU; the generator of code is torch's own, and takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, compiled = (
        train(samples, dev, tiny_recipe(compile=compiles), tmp_path / str(compiles), CPU)
        for compiles in (False, True)
    )
    losses = [[row["loss"] for row in result.history] for result in (plain, compiled)]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-3)
    assert losses[1] == pytest.approx(losses[0], rel=0.05), "steps of Adam enlarge what rounding began"
    assert compiled.history != plain.history, "it was not compiled: the fused way adds in another order"
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()


def test_waiting_for_pictures_is_a_share_of_the_steps_not_of_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches of 3 s each and a last look of 1 s, steps of 2 s: 10 of 16 s; the 50 s of dev do not count."""
    clock = [100.0]
    monkeypatch.setattr("sinet.training.batches.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def batches() -> Iterator[Any]:
        for _ in range(3):
            clock[0] += 3
            yield None, None
        clock[0] += 1

    waiting = Waiting()
    for _ in range(2):
        for _ in waiting.counted(batches()):
            clock[0] += 2
        clock[0] += 50
        assert waiting.share() == pytest.approx(10 / 16)


def test_fewer_samples_than_a_batch(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    assert len(train(samples[:3], dev, tiny_recipe(), tmp_path, CPU).history) == 3


def test_dev_is_judged_at_224_whatever_the_networks_size(dev: list[Sample]) -> None:
    read = read_dev(dev, 96)
    assert read.images.shape == (4, 96, 96, 3)
    assert read.masks.shape == (4, 224, 224)


def test_the_label_of_the_encoder_is_the_nearest_neighbour() -> None:
    mask = torch.from_numpy(portrait(np.random.default_rng(0), 64, 64)[1])[None]
    assert torch.equal(epoch_._label(mask, torch.zeros(1, 2, 8, 8)), mask[:, ::8, ::8].long())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predict_size": 100}, "multiple of 32"),
        ({"evaluate_every": 0}, "greater than or equal to 1"),
        ({"phases.full.boundary_kernel": 4}, "boundary_kernel must be odd"),
        ({"phases.full.epochs": 0}, "full.epochs must be at least 1"),
        ({"phases.full.batch": 1}, "greater than or equal to 2"),
        ({"phases.full.schedule": {"kind": "exp"}}, "'poly', 'steps', 'cosine'"),
        (
            {"phases.full.schedule": {"kind": "steps", "warmup": 0, "milestones": [0], "factor": 0.5}},
            "milestones",
        ),
        ({"epochs": 3}, "Extra inputs"),
    ],
)
def test_a_bad_recipe_is_refused(changes: dict[str, Any], message: str) -> None:
    values = tiny_recipe().model_dump()
    for name, value in changes.items():
        *parents, key = name.split(".")
        section = values
        for parent in parents:
            section = section[parent]
        section[key] = value
    with pytest.raises(ValidationError, match=message):
        TrainRecipe.model_validate(values)


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINET_DEVICE", "cpu")
    assert choose_device() == CPU
    assert loader_workers(CPU) == 0
    for name in ("gpu", "cuda:97"):
        monkeypatch.setenv("SINET_DEVICE", name)
        with pytest.raises(DeviceError, match=f"SINET_DEVICE: '{name}' cannot be used here: "):
            choose_device()
    before = torch.get_num_threads()
    use_all_cores()
    assert torch.get_num_threads() == cores()
    torch.set_num_threads(before)


def test_a_state_of_the_whole_network_is_taken_up(
    samples: list[Sample], dev: list[Sample], tmp_path: Path
) -> None:
    """After the last epoch there is nothing left to train: the result is there at once."""
    first = train(samples, dev, tiny_recipe(), tmp_path, CPU)
    state = load_state(tmp_path)
    assert isinstance(state, State)
    save_state(tmp_path, state)
    assert train(samples, dev, tiny_recipe(), tmp_path, CPU).history == first.history
