"""The teacher as a file: DeepLabv3+ built, saved and loaded, and what it says about one picture.

The architecture is segmentation_models_pytorch's (Chen et al. 2018, "Encoder-Decoder with Atrous Separable
Convolution"); no other module of the project imports that library.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.errors import PipelineError
from pipeline.core.torchvision_guard import install_torchvision_guard
from pipeline.deeplab.packaged_encoder import ENCODER, packaged_weights, with_names_of
from sinet.core import atomic
from sinet.images.decode import Array
from sinet.images.sample import REDUCED_SIDE, reduce
from sinet.network.preprocess import Preprocessing, squash_image

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, in units of 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)
HUB_TIMEOUT = 5.0  # seconds for the one question whether the hub can be reached

_HEADS = ("fc.", "last_linear.", "classifier.", "head.")  # a classifier's last layer, of no use here


@dataclass(frozen=True)
class TeacherCard:
    """What a weights file needs beside the weights: how to build the network, and what input it wants."""

    encoder: str
    output_stride: int
    atrous_rates: tuple[int, int, int]
    classes: int  # 1: a logit for "person"
    preprocessing: Preprocessing

    @classmethod
    def from_json(cls, text: str) -> "TeacherCard":
        """The inverse of `to_json`; ValueError for anything else."""
        try:
            values = json.loads(text)
            rates, input_ = tuple(values["atrous_rates"]), Preprocessing.from_dict(values["preprocessing"])
            return cls(**{**values, "atrous_rates": rates, "preprocessing": input_})
        except (KeyError, TypeError) as error:
            raise ValueError(f"the card of a teacher is incomplete: {error}") from error

    def to_json(self) -> str:
        """One line, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True)


def imagenet_input(size: int) -> Preprocessing:
    """RGB of `size` x `size` pixels with ImageNet's mean and standard deviation.

    Most encoders' weights were trained on it. EfficientNet-Lite's were on (x - 127) / 128, which is close to it; the
    first epochs make up for the rest.
    """
    return Preprocessing(size=size, order="rgb", mean=IMAGENET_MEAN, std=IMAGENET_STD, scale=1.0)


def build(card: TeacherCard) -> nn.Module:
    """DeepLabv3+ with random weights: N x 3 x size x size float32 to logits N x 1 x size x size."""
    install_torchvision_guard()
    import segmentation_models_pytorch as smp

    try:
        model: nn.Module = smp.DeepLabV3Plus(
            card.encoder,
            encoder_weights=None,
            encoder_output_stride=card.output_stride,
            decoder_atrous_rates=card.atrous_rates,
            classes=card.classes,
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise PipelineError(
            f"teacher.encoder: DeepLabv3+ cannot be built with {card.encoder!r} at output stride "
            f"{card.output_stride}: {str(error)[:200]}. Known to work: se_resnext50_32x4d, resnet18, resnet50"
        ) from error
    return model


def find_encoder_weights(weights: str, encoder: str) -> Path | None:
    """The file that `teacher.weights` means: None for "none", ImageNet's, or a local one.

    ImageNet's come from an installed package where there is one for this encoder, else from the hub or its cache.

    Meant for the very start of a stage: asks the hub once, and PipelineError within seconds where it has no answer.
    """
    if weights == "none":
        return None
    if weights == "imagenet":
        return packaged_weights(encoder) or _imagenet_file(encoder)
    path = Path(weights)
    if not path.is_file():
        raise PipelineError(
            f"teacher.weights: expected none, imagenet, or a file with the encoder's weights; found {weights!r}, "
            f"and there is no such file"
        )
    return path


def load_encoder(model: nn.Module, path: Path) -> None:
    """Put a file of weights (safetensors, or torch.save of a state dict) into the encoder; all keys must fit."""
    encoder = model.get_submodule("encoder")
    wanted = encoder.state_dict()
    named = with_names_of(wanted, _read_state(path))
    found = {key: value for key, value in named.items() if not key.startswith(_HEADS)}
    missing = [k for k in wanted if k not in found and not k.endswith("num_batches_tracked")]
    unknown = [k for k in found if k not in wanted]
    unlike = [k for k in found if k in wanted and found[k].shape != wanted[k].shape]
    if missing or unknown or unlike:
        raise PipelineError(
            f"teacher.weights: {path.name} does not fit the encoder {type(encoder).__name__}: "
            f"{_listed('missing', missing)}, {_listed('unknown', unknown)}, {_listed('of another shape', unlike)}. "
            f"Give the state dict of this very encoder, as segmentation_models_pytorch names its keys"
        )
    encoder.load_state_dict({**wanted, **found})


def save_teacher(path: Path, state: Mapping[str, Tensor], card: TeacherCard) -> None:
    """Write weights and card as safetensors, whole or not at all; the same values give the same bytes."""
    from safetensors.torch import save as to_bytes

    tensors = {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}
    # One metadata entry only: the format does not fix the order of several.
    atomic.write_atomic(path, to_bytes(tensors, metadata={"card": card.to_json()}))


def load_teacher(path: Path) -> tuple[nn.Module, TeacherCard]:
    """The network in evaluation mode on the CPU, and its card."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise PipelineError(f"expected a teacher at {path}, found none; run `dvc repro teacher`")
    try:
        with safe_open(path, framework="pt") as file:
            card = TeacherCard.from_json((file.metadata() or {}).get("card", "{}"))
            names = file.keys()
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, ValueError) as error:
        raise PipelineError(f"{path} is no teacher of this project: {error}") from error
    model = build(card)
    model.load_state_dict(state)
    return model.eval(), card


def teacher_input(image: Array, size: int) -> Array:
    """An (H, W, 3) uint8 picture at (size, size, 3), reduced the way the training pictures are."""
    height, width = image.shape[:2]
    small, _ = reduce(image, np.zeros((height, width), np.uint8), REDUCED_SIDE)
    return squash_image(small, size)


def two_opinions(
    model: nn.Module, preprocessing: Preprocessing, image: Array
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probability of "person" from the picture and from its mirror image (mirrored back), (size, size) in 0..1."""
    picture = torch.from_numpy(teacher_input(image, preprocessing.size)[None])
    with torch.inference_mode():
        x = preprocessing.tensor(picture)
        probability = torch.sigmoid(model(torch.cat([x, x.flip(-1)])))[:, 0]
    straight, mirrored = probability[0], probability[1].flip(-1)
    return straight.numpy(), mirrored.contiguous().numpy()


def _imagenet_file(encoder: str) -> Path:
    install_torchvision_guard()
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from segmentation_models_pytorch.encoders import encoders

    source = encoders.get(encoder, {}).get("pretrained_settings", {}).get("imagenet")
    if source is None:
        raise PipelineError(
            f"teacher.weights: no ImageNet weights are known for the encoder {encoder!r} (those of {ENCODER} come with "
            "the installation); give a local file, or none"
        )
    repo, revision, name = source["repo_id"], source["revision"], "model.safetensors"
    cached = try_to_load_from_cache(repo, name, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    try:
        get_hf_file_metadata(hf_hub_url(repo, name, revision=revision), timeout=HUB_TIMEOUT)
        return Path(hf_hub_download(repo, name, revision=revision, etag_timeout=HUB_TIMEOUT))
    except (
        Exception
    ) as error:  # the hub's client has changed its HTTP library, and its errors, more than once
        raise PipelineError(
            f"teacher.weights: imagenet needs {name} of {repo} at {revision[:12]}, which is not in this machine's "
            f"Hugging Face cache, and the hub gave {type(error).__name__}. Download it elsewhere and set "
            f"teacher.weights to the file, or set it to none and train from scratch"
        ) from error


def _read_state(path: Path) -> dict[str, Tensor]:
    from pickle import UnpicklingError

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise PipelineError(
            f"teacher.weights: {path.name} is neither safetensors nor a file of torch.save with tensors alone: "
            f"{str(error)[:200]}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise PipelineError(
            f"teacher.weights: expected a state dict (names to tensors) in {path.name}, found "
            f"{sorted(map(str, state))[:4] if isinstance(state, dict) else type(state).__name__}"
        )
    return state


def _listed(what: str, keys: Sequence[str]) -> str:
    return f"{len(keys)} {what}" + (
        f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""
    )
