"""The faces of a picture, searched for once: what was found is kept in the store, under the picture's id."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.params import CropParams
from pipeline.core.store import Result, Store, key_of
from sinet.images.decode import Array

if TYPE_CHECKING:
    from pipeline.faces.detector import Face, FaceFinder


def face_key(id_: str, params: CropParams) -> str:
    """The store's key of a picture's faces, which neither a threshold nor the geometry changes."""
    from pipeline.faces.detector import weights_hash

    search = params.faces.model_dump(include={"min_size", "max_side"})
    return key_of("faces", code_of("pipeline.faces.detector"), id_, search, weights_hash())


def faces_of(image: Array, id_: str, params: CropParams, cache: Path) -> list["Face"]:
    """The faces of a picture (H, W, 3) uint8 RGB with this id, from the store where they were found before."""
    from pipeline.faces.detector import Face

    store, key = Store("faces", cache), face_key(id_, params)
    known = store.get(key)
    if known is not None:
        return [Face(Box.parse(box), probability) for box, probability in known.meta["faces"]]
    found = face_finder(params).find(image)
    store.put(key, Result({"faces": [[str(face.box), face.probability] for face in found]}), id_)
    return found


@functools.cache
def face_finder(params: CropParams) -> "FaceFinder":
    """The networks, loaded once a worker, and only where a picture's faces are not known."""
    import torch

    from pipeline.faces.detector import FaceFinder

    torch.set_num_threads(1)
    return FaceFinder(params)
