"""Checkpoints: what is saved comes back, a kill in mid-write harms nothing, other runs have other names."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import pytest
import torch

from sinet.network.model import SINet
from sinet.training import checkpoint
from sinet.training.checkpoint import State, load_state, remove_state, run_hash, save_state
from tests.sinet.tiny_training import tiny_recipe


def some_state(epoch: int) -> State:
    model = SINet()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    weights = model.state_dict()
    history = [{"phase": "full", "epoch": 1, "loss": 0.5, "dev_foreground_iou": None}]
    return State("full", epoch, weights, optimizer.state_dict(), {}, weights, 1, 0.25, history)


def test_round_trip(tmp_path: Path) -> None:
    state = some_state(1)
    save_state(tmp_path, state)
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert (loaded.phase, loaded.epoch, loaded.best_epoch, loaded.best_iou) == ("full", 1, 1, 0.25)
    assert loaded.history == state.history
    assert all(torch.equal(loaded.model[key], value) for key, value in state.model.items())
    assert loaded.optimizer["state"].keys() == state.optimizer["state"].keys()
    torch.optim.Adam(SINet().parameters(), fused=True).load_state_dict(loaded.optimizer)


def test_a_kill_while_writing_leaves_the_previous_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, some_state(1))

    def killed(content: object, file: BinaryIO) -> None:
        file.write(b"half a checkpoint")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, some_state(2))
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert loaded.epoch == 1


def test_nothing_there_is_none_and_removal_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert load_state(folder) is None
    save_state(folder, some_state(1))
    remove_state(folder)
    assert not folder.exists()
    remove_state(folder)


@pytest.mark.parametrize("changes", [{"seed": 4}, {"class_weights": False}, {"predict_size": 96}])
def test_other_params_have_another_name(changes: dict[str, Any]) -> None:
    first = run_hash(tiny_recipe().model_dump(mode="json"), "data")
    assert first == run_hash(tiny_recipe().model_dump(mode="json"), "data")
    assert first != run_hash(tiny_recipe(**changes).model_dump(mode="json"), "data")


def test_another_dataset_has_another_name() -> None:
    recipe = tiny_recipe().model_dump(mode="json")
    assert run_hash(recipe, "data") != run_hash(recipe, "other data")


def test_another_torch_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe().model_dump(mode="json")
    before = run_hash(recipe, "data")
    monkeypatch.setattr(torch, "__version__", "0.0.1")
    assert run_hash(recipe, "data") != before


def test_other_code_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "__file__", str(tmp_path / "training" / "checkpoint.py"))
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/metrics.py").write_text("")
    names = []
    for name, code in (("network/loss.py", "a"), ("network/loss.py", "b"), ("training/epoch.py", "b")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
        names.append(run_hash({}, "data"))
    assert len(set(names)) == 3
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference/video.py").write_text("what cannot change a run")
    assert run_hash({}, "data") == names[-1]


class Planted:
    """Runs something when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_of_somebody_else_runs_nothing(tmp_path: Path) -> None:
    torch.save({"phase": Planted(tmp_path / "planted")}, tmp_path / checkpoint.FILE)
    with pytest.raises(UnpicklingError):
        load_state(tmp_path)
    assert not (tmp_path / "planted").exists()


def test_removal_takes_what_is_its_own(tmp_path: Path) -> None:
    save_state(tmp_path, some_state(1))
    (tmp_path / f".{checkpoint.FILE}.0a1b2c3d.tmp").write_bytes(b"half a checkpoint")
    (tmp_path / "notes.txt").write_text("mine")
    remove_state(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
