"""Several processes that train one network: real ones, on the CPU, that meet by gloo."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from sinet.core.device import DeviceError, choose_device, choose_devices
from sinet.training.checkpoint import load_state
from sinet.training.data import Sample
from sinet.training.dev_side import evaluate_dev, read_dev
from sinet.training.epoch import TrainingError
from sinet.training.loop import train
from sinet.training.team import ALONE, Team, TeamError, team_of
from tests.sinet.tiny_training import tiny_recipe, write_portraits

CPU = torch.device("cpu")


def meet(folder: Path, device: torch.device, team: Team) -> None:
    """What every process does in `test_a_team_agrees`; it writes what it found."""
    mine = torch.arange(3.0) + 10 * team.rank
    count = torch.tensor(team.rank)  # not floating: stays each one's own
    layer = torch.nn.Linear(2, 1, bias=False)
    layer(torch.full((1, 2), 1.0 + team.rank)).backward()
    team.average([mine, count])
    team.average_gradients(layer)
    told = team.told(lambda: (0.25, 0.5 + team.rank), 2, device)
    gradient = layer.weight.grad
    assert gradient is not None
    (folder / str(team.rank)).write_text(f"{mine.tolist()} {count.item()} {gradient.tolist()} {told}")


def err(cause: str, device: torch.device, team: Team) -> None:
    """The leader waits for another process, which ends with an error of its own."""
    if not team.leads:
        raise ValueError(cause)
    team.average([torch.zeros(1)])


def draw(folder: Path, device: torch.device, team: Team) -> None:
    """Each process has a worker that draws pictures, as beside a GPU without room for them."""
    loader: DataLoader[torch.Tensor] = DataLoader([torch.ones(2)], num_workers=1)
    (folder / str(team.rank)).write_text(str([batch.tolist() for batch in loader]))


def fail(folder: Path, device: torch.device, team: Team) -> None:
    """One of the others is lost before it meets the leader's second question."""
    team.average([torch.zeros(1)])
    if not team.leads:
        os._exit(7)
    team.average([torch.zeros(1)])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_team_agrees(count: int, tmp_path: Path) -> None:
    with team_of([CPU] * count, meet, tmp_path) as team:
        assert team == Team(0, count)
        meet(tmp_path, CPU, team)
    mean = 10 * sum(range(count)) / count
    gradient = 1 + sum(range(count)) / count
    for rank in range(count):
        wanted = f"{[mean, mean + 1, mean + 2]} {rank} {[[gradient, gradient]]} {(0.25, 0.5)}"
        assert (tmp_path / str(rank)).read_text() == wanted


def test_a_lost_process_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(TeamError, match=r"cpu, cpu lost each other: .* exit code 7\. .*SINET_DEVICE"),
        team_of([CPU] * 2, fail, tmp_path) as team,
    ):
        fail(tmp_path, CPU, team)


def test_what_another_process_failed_of_is_told() -> None:
    cause = "the true cause"
    with (
        pytest.raises(TeamError, match=r"lost each other: ValueError: the true cause\."),
        team_of([CPU] * 2, err, cause) as team,
    ):
        err(cause, CPU, team)


@pytest.mark.parametrize("error", [ZeroDivisionError, RuntimeError])
def test_the_leaders_own_error_stays_its_own(error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match=r"^mine$"), team_of([CPU] * 2, meet, tmp_path):
        raise error("mine")


def test_each_process_may_have_workers(tmp_path: Path) -> None:
    with team_of([CPU] * 2, draw, tmp_path) as team:
        draw(tmp_path, CPU, team)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["[[[1.0, 1.0]]]"] * 2


UNGUARDED = """
import torch
from sinet.training.team import team_of
from tests.sinet.training.test_team import meet
cpu = torch.device("cpu")
with team_of([cpu, cpu], meet, None):
    pass
"""


def test_a_process_that_never_arrives_is_not_waited_for(tmp_path: Path, root: Path) -> None:
    """A script without a main part starts itself again in each process, which Python refuses."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "the processes on cpu, cpu lost each other: " in done.stderr
    assert "exit code 1" in done.stderr


def test_parts() -> None:
    batch = list(range(7))
    assert [Team(rank, 3).part(batch) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert ALONE.part(batch) == batch


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("train"), 12)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return write_portraits(tmp_path_factory.mktemp("dev"), 4, seed=7)


def test_two_train_as_one_would_about(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    alone = train(samples, dev, tiny_recipe(), tmp_path / "alone", CPU)
    both = train(samples, dev, tiny_recipe(), tmp_path / "both", CPU, others=[CPU])
    rows = [[row["loss"] for row in result.history] for result in (alone, both)]
    assert rows[0] != rows[1]  # batch normalisation sees parts
    assert rows[1] == pytest.approx(rows[0], rel=0.2)
    judged = evaluate_dev(both.model, read_dev(dev, 64), both.preprocessing)
    assert judged == pytest.approx((both.dev_foreground_iou, both.dev_loss))
    again = train(samples, dev, tiny_recipe(), tmp_path / "again", CPU, others=[CPU])
    assert again.history == both.history


def test_a_batch_must_leave_two_pictures_to_each(
    samples: list[Sample], dev: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="for each of 3 devices, found a batch of 4"):
        train(samples, dev, tiny_recipe(), tmp_path, CPU, others=[CPU] * 2)


def test_a_loss_that_is_no_number_ends_all(samples: list[Sample], dev: list[Sample], tmp_path: Path) -> None:
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"] |= {"learning_rate": 1e30, "epochs": 3}
    with pytest.raises(TrainingError, match="not a number any more in phase encoder") as error:
        train(samples, dev, tiny_recipe(phases=phases), tmp_path, CPU, others=[CPU])
    assert sum(sample.id in str(error.value) for sample in samples) == 4


SCRIPT = """
import sys
from pathlib import Path
import torch
from sinet.training.loop import train
from tests.sinet.tiny_training import tiny_recipe, write_portraits

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, cpu = Path(sys.argv[1]), torch.device("cpu")
    samples, dev = write_portraits(folder / "t", 12), write_portraits(folder / "d", 4, seed=7)
    phases = tiny_recipe().phases.model_dump()
    phases["encoder"]["epochs"], phases["full"]["epochs"] = 2, 4
    print(train(samples, dev, tiny_recipe(phases=phases), folder / "state", cpu, others=[cpu]).history)
"""


def run(folder: Path, root: Path) -> "subprocess.Popen[str]":
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def children(pid: int) -> list[int]:
    """The processes of Python's multiprocessing below a process that train along."""
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in below if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> str:
    output, _ = run(tmp_path_factory.mktemp("undisturbed"), root).communicate()
    assert output.count("dev_foreground_iou") == 6
    return output


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["the leader", "another"])
def test_after_a_process_is_killed_the_run_goes_on_to_the_same_result(
    lost: str, undisturbed: str, tmp_path: Path, root: Path
) -> None:
    broken = run(tmp_path / "run", root)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and broken.poll() is None:
        state = load_state(tmp_path / "run" / "state")
        if state and (state.phase, state.epoch) >= ("full", 1):
            break
        time.sleep(0.02)
    others = children(broken.pid)
    assert len(others) == 1
    os.kill(broken.pid if lost == "the leader" else others[0], signal.SIGKILL)
    _, errors = broken.communicate(timeout=120)
    assert broken.returncode
    if lost == "another":
        assert "TrainingError: the processes on cpu, cpu lost each other: process 0 terminated" in errors
    while Path(f"/proc/{others[0]}").exists():  # nobody is left behind
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert run(tmp_path / "run", root).communicate()[0] == undisturbed


def test_several_devices_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINET_DEVICE", "cpu, cpu")
    assert choose_devices() == [CPU, CPU]
    assert choose_device() == CPU
    monkeypatch.setenv("SINET_DEVICE", "cpu,")
    with pytest.raises(DeviceError, match="SINET_DEVICE: '' cannot be used here"):
        choose_devices()
    monkeypatch.setenv("SINET_DEVICE", "cpu,cuda:97")
    with pytest.raises(DeviceError, match="'cuda:97' cannot be used here"):
        choose_devices()


@pytest.mark.parametrize("asked", ["cuda:0,cuda:0", "cuda,cuda:0", "cpu,cuda:0"])
def test_no_gpu_twice_and_no_mix(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)  # every device is there
    monkeypatch.setenv("SINET_DEVICE", asked)
    with pytest.raises(DeviceError, match="expected devices of one kind, no GPU twice"):
        choose_devices()
