"""What training starts from: random weights, those that come with the package, or a file's."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

import sinet
from sinet.preprocess import Preprocessing
from sinet.recipe import TrainRecipe
from sinet.weights import WeightsCard, WeightsError, load

NONE, PACKAGED = "none", "packaged"


@dataclass(frozen=True)
class Start:
    """The first weights of a training run."""

    state: Mapping[str, Tensor]  # as SINet's state dict
    card: WeightsCard
    digest: str  # sha256 of the file


def read_start(recipe: TrainRecipe) -> Start | None:
    """What `train.weights` names, None for "none".

    WeightsError where the file is missing or no SINet of two classes, or wants its pixels in another scale or order
    than `train.input`: what its first layer learned would be lost without a word.
    """
    if recipe.weights == NONE:
        return None
    path = sinet.SHIPPED if recipe.weights == PACKAGED else Path(recipe.weights)
    if not path.is_file():
        raise WeightsError(
            f"train.weights: expected {NONE}, {PACKAGED} or a file of SINet weights; found {recipe.weights!r}, and "
            "there is no such file"
        )
    model, card = load(path)
    # The size may differ: every layer is a convolution, and training gets used to another one.
    wanted = Preprocessing(size=card.preprocessing.size, **recipe.input.model_dump())
    if card.preprocessing != wanted:
        ours, theirs = ({**one.to_dict(), "size": None} for one in (wanted, card.preprocessing))
        keys = [key for key in ours if ours[key] != theirs[key]]
        raise WeightsError(
            f"train.weights: {path.name} was trained with another train.input: "
            + "; ".join(f"{key} {theirs[key]}, found {ours[key]}" for key in keys)
            + ". Set train.input to the file's values"
        )
    return Start(model.state_dict(), card, hashlib.sha256(path.read_bytes()).hexdigest())
