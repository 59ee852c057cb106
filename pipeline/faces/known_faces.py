"""The faces of a picture, searched for once: what was found is kept in the store, under the picture's id."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.params import CropParams
from pipeline.core.store import Result, Store, key_of
from pipeline.faces.face import Face, weights_hash
from pipeline.faces.masked_person import faces_in
from sinet.images.decode import Array

if TYPE_CHECKING:
    from pipeline.faces.detector import FaceFinder


def face_key(id_: str, params: CropParams) -> str:
    """The store's key of a picture's faces, which neither a threshold nor the geometry changes."""
    search = params.faces.model_dump(include={"min_size", "max_side"})
    return key_of("faces", code_of("pipeline.faces.detector"), id_, search, weights_hash())


def faces_of(
    id_: str, pixels: Callable[[], Array], params: CropParams, cache: Path, part: Box | None = None
) -> list[Face]:
    """The faces in a picture with this id, or in a part of it, in the picture's pixels.

    `pixels` reads it, (H, W, 3) uint8 RGB, and is called only for faces that the store does not know.
    """
    store, key = Store("faces", cache), face_key(id_, params)
    if part is not None:
        key = key_of(key, str(part))
    known = store.get(key)
    if known is not None:
        return [Face(Box.parse(box), probability) for box, probability in known.meta["faces"]]
    finder, image = face_finder(params), pixels()
    found = finder.find(image) if part is None else faces_in(image, part, finder)
    store.put(key, Result({"faces": [[str(face.box), face.probability] for face in found]}), id_)
    return found


@functools.cache
def face_finder(params: CropParams) -> "FaceFinder":
    """The networks, loaded once a worker, and only where a picture's faces are not known."""
    import torch

    from pipeline.faces.detector import FaceFinder

    torch.set_num_threads(1)
    return FaceFinder(params)
