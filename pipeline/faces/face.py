"""A face that was found, and by which weights: what can be said of known faces without loading the networks."""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError


@dataclass(frozen=True)
class Face:
    """A face inside the picture, whole pixels, and the detector's probability in 0..1."""

    box: Box
    probability: float


@functools.cache
def weights_hash() -> str:
    """sha256 over the three networks' weight files, 64 hex digits: part of the key of a cached result."""
    spec = importlib.util.find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise PipelineError("expected the package facenet-pytorch, found none; `make install` installs it")
    digest = hashlib.sha256()
    for name in ("pnet", "rnet", "onet"):
        digest.update((Path(spec.origin).parent / "data" / f"{name}.pt").read_bytes())
    return digest.hexdigest()
