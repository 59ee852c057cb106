"""A checkpoint of the official code into a weights file of ours, which says how its pictures are prepared."""

import hashlib
import io
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinet.core import atomic
from sinet.network.model import SINet
from sinet.network.preprocess import OFFICIAL
from sinet.network.weights import WeightsCard, WeightsError, save_weights

# Training checkpoints of the official code hold their scores as numpy numbers: data, whose reading runs no code
# of the file. The first name is that of numpy before 2.0.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    _SCALAR,
    np.dtype,
    *{type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)},
]


def convert_official(checkpoint: Path, out: Path) -> WeightsCard:
    """Write `out` from a .pth of the official code (state dict, bare or wrapped, with or without `module.`).

    Its preprocessing is the official one: BGR, the published mean and std, the second division by 255.
    WeightsError where the file needs code to be read, lacks tensors or is a network of another kind.
    """
    model = SINet(classes=2)
    tensors = state_dict(checkpoint)
    if out.exists() and out.samefile(checkpoint):
        raise WeightsError(f"{out} is the checkpoint itself; name another file to write")
    _check(tensors, model, checkpoint)
    model.load_state_dict(tensors)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
    card = WeightsCard(
        classes=2,
        preprocessing=OFFICIAL,
        dataset=f"unknown; converted from the official code's checkpoint with sha256 {digest}",
        metrics={},
        unreviewed_pseudo_labels=0,  # people looked at every pseudo label, says the paper
    )
    save_weights(out, model.eval(), card)
    return card


def state_dict(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names without `module.`; nothing in the file is executed."""
    content = _read(checkpoint)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(
            f"expected a state dict, bare or under 'state_dict', {checkpoint} holds {_described(content)}"
        )
    tensors = {}
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"expected tensors by name in {checkpoint}, found {name!r} with {_described(value)}"
            )
        tensors[str(name).removeprefix("module.")] = value
    return tensors


def _read(checkpoint: Path) -> Any:
    try:
        atomic.check_no_pipe(checkpoint)
        data = checkpoint.read_bytes()
    except OSError as error:
        raise WeightsError(f"{checkpoint} cannot be read: {error.strerror}") from error
    try:
        with torch.serialization.safe_globals(_NUMBERS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the age of the file's format
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{checkpoint} cannot be read as plain tensors: it is damaged, or reading it would execute code that "
            "it brings along. Save the state dict alone: torch.save(model.state_dict(), PATH)"
        ) from error
    except Exception as error:  # torch's readers raise a dozen types for files that are no checkpoint
        raise WeightsError(f"expected a checkpoint that torch.save wrote, {checkpoint} is none") from error


def _check(tensors: Mapping[str, Tensor], model: SINet, checkpoint: Path) -> None:
    wanted = model.state_dict()
    head = tensors.get("classifier.1.weight")
    if head is not None and head.ndim == 4 and head.shape[0] != model.classes:
        raise WeightsError(
            f"expected a network of {model.classes} classes (background and person), {checkpoint} has "
            f"{head.shape[0]}. A one-class network of the official code was trained with a Lovasz loss; train one "
            "with two classes and cross-entropy, as the paper did"
        )
    if "level1.conv.weight" in tensors:
        raise WeightsError(f"expected the whole network, {checkpoint} holds its encoder alone")
    problems = list(_differences(tensors, wanted))
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(
            f"the tensors in {checkpoint} are not those of SINet: {'; '.join(problems[:3])}{more}"
        )


def _differences(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in wanted.items():
        if name not in tensors:
            if not name.endswith("num_batches_tracked"):  # old versions of torch did not count them
                yield f"{name} is missing"
        elif tensors[name].shape != tensor.shape:
            yield f"{name} is {_shape(tensors[name])} and not {_shape(tensor)}"
        elif not tensors[name].isfinite().all():
            yield f"{name} holds values that are no numbers"
    yield from (f"{name} is unknown" for name in tensors if name not in wanted)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _described(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(repr, list(value)[:5]))}" if value else "an empty dict"
    return f"a {type(value).__name__}"
