"""SINet portrait segmentation as a library of its own: `sinet.load().mask(rgb)`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sinet.inference.predictor import Predictor

SHIPPED = Path(__file__).parent / "weights" / "sinet.safetensors"


def load(weights: str | Path | None = None) -> "Predictor":
    """A predictor from a weights file, or from the weights that come with this package.

    Its `mask(picture)` and `probability(picture)` take arrays (H, W, 3) uint8 RGB, Pillow's pictures and paths; its
    `model` is the plain SINet in eval mode on the CPU, N x 3 x H x W float32 to logits N x 2 x H x W, in the scale and
    channel order that its `preprocessing` names. sinet.network.weights.WeightsError where the file cannot be used.
    """
    # Imported here: torch takes seconds, and `import sinet` should not.
    from sinet.inference.predictor import Predictor
    from sinet.network.weights import WeightsError

    if weights is None and not SHIPPED.is_file():
        raise WeightsError(
            f"expected the default weights in {SHIPPED}, found none: the installation is incomplete. Install again, "
            "or name a file of your own (`make repro` trains models/sinet.safetensors; `python -m sinet convert` makes "
            "one from a checkpoint of the official code)"
        )
    return Predictor.load(SHIPPED if weights is None else weights)
