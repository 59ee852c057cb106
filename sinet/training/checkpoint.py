"""The state of a run on disk: replaced whole after every epoch, found only by the same recipe and dataset.

Pictures, their order and the learning rate are functions of the samples, (seed, epoch, id) and the step, so weights,
their running mean, optimizer, best weights and history are all there is to restore; no random generator carries a
state.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sinet.core import atomic

FILE = "checkpoint.pt"
ROOMS = ("core", "images", "network", "training")  # of the library: their code can change a run, no other can


@dataclass
class State:
    """After `epoch` epochs of `phase`: weights as state dicts, `best` are those with `best_iou` on dev.

    `average` is the state of their running mean (`sinet.training.average`), empty where none is kept.
    """

    phase: str
    epoch: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    average: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    best_epoch: int  # 0: none yet
    best_iou: float
    history: list[dict[str, Any]]


def run_hash(recipe: dict[str, Any], dataset: str) -> str:
    """Name of a run, 16 hex digits: the recipe, the dataset's hash, torch's version and this library's code.

    Half a run with another of these must not go on under the name of this one.
    """
    digest = hashlib.sha256(json.dumps([recipe, dataset, torch.__version__], sort_keys=True).encode())
    library = Path(__file__).parents[1]
    modules = [module for room in ROOMS for module in (library / room).rglob("*.py")]
    for module in sorted([*modules, library / "evaluation" / "metrics.py"]):
        digest.update(module.relative_to(library).as_posix().encode() + module.read_bytes())
    return digest.hexdigest()[:16]


def save_state(folder: Path, state: State) -> None:
    """Write FOLDER/checkpoint.pt, whole or not at all; a kill leaves the previous one."""
    with atomic.replacing(folder / FILE) as temporary, temporary.open("wb") as file:
        try:
            torch.save(vars(state), file)
        except RuntimeError as error:  # what torch makes of a full disk
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def load_state(folder: Path) -> State | None:
    """The last state, or None where there is none; only tensors and plain values are unpickled."""
    path = folder / FILE
    if not path.is_file():
        return None
    return State(**torch.load(path, map_location="cpu", weights_only=True))


def remove_state(folder: Path) -> None:
    """Remove the checkpoint of a finished run, so that running again trains again."""
    for path in (folder / FILE, *folder.glob(f".{FILE}.*.tmp")):  # which a kill has left
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
