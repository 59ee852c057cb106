"""Checkpoints: what is saved comes back, a kill in mid-write harms nothing, other runs have other names."""

from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from sinet import checkpoint
from sinet.checkpoint import State, load_state, remove_state, run_hash, save_state
from sinet.model import SINet
from tests.sinet.training import tiny_recipe


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
