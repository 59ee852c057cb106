"""Weights files: safetensors, which load without executing code, and a card that says how to use them.

The card (classes, preprocessing with its input size, dataset hash, metrics) travels inside the file. A file
without one is refused: guessed preprocessing gives bad masks without a word.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise

from sinet.core import atomic
from sinet.network.model import Channels, SINet
from sinet.network.preprocess import Preprocessing

# One entry for the whole card: safetensors writes several in an order that changes from run to run.
CARD = "sinet"


class WeightsError(ValueError):
    """A file that cannot be used as SINet weights; the message says what was expected and found."""


@dataclass(frozen=True)
class WeightsCard:
    """What a user of the weights must know."""

    classes: int
    preprocessing: Preprocessing  # holds the input size
    dataset: str  # hash of what they were trained on
    metrics: Mapping[
        str, float
    ]  # by their names in `sinet.evaluation.metrics`, with the side in front: dev_foreground_iou
    unreviewed_pseudo_labels: int  # masks trained on that no person has looked at
    started_from: str | None = None  # `dataset` of the weights that training started from; None: random ones
    width: float = 1.0  # of the network, times the paper's channels

    def to_json(self) -> str:
        """Canonical JSON: the same card gives the same text."""
        values = {
            "classes": self.classes,
            "preprocessing": self.preprocessing.to_dict(),
            "dataset": self.dataset,
            "metrics": dict(self.metrics),
            "unreviewed_pseudo_labels": self.unreviewed_pseudo_labels,
        }
        if self.started_from is not None:
            values["started_from"] = self.started_from
        if self.width != 1:  # the paper's network keeps the bytes of before there were others
            values["width"] = self.width
        return json.dumps(values, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "WeightsCard":
        """The inverse of `to_json`; WeightsError names what is missing or wrong."""
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(
                classes=int(values["classes"]),
                preprocessing=Preprocessing.from_dict(values["preprocessing"]),
                dataset=str(values["dataset"]),
                metrics={str(name): float(value) for name, value in values["metrics"].items()},
                unreviewed_pseudo_labels=int(values["unreviewed_pseudo_labels"]),
                started_from=values.get("started_from"),
                width=_width(values.get("width", 1.0)),
            )
        except KeyError as error:
            raise WeightsError(f"the card inside the weights file lacks {error}") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise WeightsError(f"the card inside the weights file cannot be used: {error}") from error


def save_weights(path: Path, model: SINet, card: WeightsCard) -> None:
    """Write weights and card, whole or not at all; the same content gives the same bytes."""
    if card.classes != model.classes:
        raise WeightsError(f"the model has {model.classes} classes, its card says {card.classes}")
    if card.width != model.width:
        raise WeightsError(f"the model has width {model.width:g}, its card says {card.width:g}")
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    atomic.write_atomic(path, serialise(tensors, metadata={CARD: card.to_json()}))


def read_weights(path: Path, classes: int = 2) -> tuple[SINet, WeightsCard]:
    """The model in eval mode on the CPU, and its card.

    Its width is what the card says, the paper's where it says none. WeightsError where the file is missing or damaged,
    has no card, another number of classes than `classes`, a width that there is not, the tensors of another network or
    width, or numbers that are none.
    """
    try:
        atomic.check_no_pipe(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise WeightsError(f"expected SINet weights in {path}, found no such file") from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"expected a safetensors file, {path} is none: {error}") from error
    if CARD not in metadata:
        raise WeightsError(
            f"{path} does not say which classes, preprocessing and dataset its weights belong to, and these "
            "cannot be guessed; save it with sinet.network.weights.save"
        )
    card = WeightsCard.from_json(metadata[CARD])
    if card.classes != classes:
        raise WeightsError(f"expected weights of {classes} classes, {path} has {card.classes}")
    model = SINet(card.classes, card.width)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"the tensors in {path} are not those of SINet of width {card.width:g}, as its card says: "
            f"{_first_line(error)}"
        ) from error
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"expected numbers in {path}, found NaN or infinity in {broken[0]}")
    return model.eval(), card


def _width(value: object) -> float:
    """The width in a card; ValueError where it is none that SINet has."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number for width, found {value!r}")
    Channels.of(value)
    return float(value)


def _first_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
