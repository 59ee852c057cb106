"""What training starts from: random weights, those that come with the package, or a file's."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

import sinet
from sinet.core.recipe import NONE, PACKAGED, TrainRecipe

if TYPE_CHECKING:
    from torch import Tensor

    from sinet.network.weights import WeightsCard


class StartError(ValueError):
    """`train.weights` cannot be started from; the message says what was expected and found."""


@dataclass(frozen=True)
class Start:
    """The first weights of a training run."""

    state: Mapping[str, "Tensor"]  # as SINet's state dict
    card: "WeightsCard"
    digest: str  # sha256 of the file


def check_start(recipe: TrainRecipe) -> Path | None:
    """The file that `train.weights` names, None for "none", as far as can be told without torch: at once.

    StartError where there is no such file, or it wants its pixels in another scale or order than `train.input`: what
    its first layer learned would be lost without a word. Another size is no fault, since every layer is a convolution.
    """
    if recipe.weights == NONE:
        return None
    path = sinet.SHIPPED if recipe.weights == PACKAGED else Path(recipe.weights)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file" if not path.exists() else "no regular file"
        raise StartError(f"expected {NONE}, {PACKAGED} or a file of SINet weights, found {found}")
    card, broken = _card(path)
    if card.get("classes") != 2:
        raise StartError(f"expected weights of 2 classes, found {card.get('classes')}")
    if (width := card.get("width", 1.0)) != recipe.width:
        raise StartError(
            f"expected weights of train.width {recipe.width:g}, found width {width}: set train.width to it, or start "
            "from none"
        )
    if broken:
        raise StartError(f"expected numbers, found NaN or infinity in {broken}")
    theirs = dict(card["preprocessing"])
    ours = recipe.input.model_dump(mode="json")
    different = [f"{key} {theirs.get(key)}, not {ours[key]}" for key in ours if theirs.get(key) != ours[key]]
    if different:
        raise StartError(
            f"these weights were trained with another train.input: {'; '.join(different)}. Set train.input to "
            "their values"
        )
    return path


def read_start(recipe: TrainRecipe) -> Start | None:
    """What `train.weights` names, None for "none"; StartError, WeightsError where it is no SINet of two classes."""
    from sinet.network.weights import read_weights

    path = check_start(recipe)
    if path is None:
        return None
    model, card = read_weights(path)
    return Start(model.state_dict(), card, hashlib.sha256(path.read_bytes()).hexdigest())


def _card(path: Path) -> tuple[Mapping[str, Any], str]:
    """The card inside the file as JSON, and the name of a tensor that holds no number, "" for none."""
    try:
        with safe_open(path, framework="np") as file:
            card = json.loads((file.metadata() or {})["sinet"])
            dict(card["preprocessing"])
            names = file.keys()
            broken = next((name for name in names if not np.isfinite(file.get_tensor(name)).all()), "")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StartError(
            "expected a weights file of this project, which says what input it wants, found another file (`python -m "
            "sinet convert` makes one from a checkpoint of the official code)"
        ) from error
    return card, broken
