"""What is plain to see of each picture of a dataset: light, colour, faces, where the person stands.

They say of whom and in which light a dataset has many or few pictures, and cut a test side into slices
(`sinet.evaluation.slices`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from pipeline.core.boxes import Box
from pipeline.core.code import code_of
from pipeline.core.execute import map_images
from pipeline.core.folder import FileNotes
from pipeline.core.params import CropParams
from pipeline.core.paths import CACHE
from pipeline.core.store import Result, Store, key_of
from pipeline.dataset.facts_table import FACTS
from pipeline.faces.face import Face
from pipeline.faces.known_faces import face_key, faces_of
from pipeline.faces.portrait import cut, is_confident
from sinet.evaluation.plain_facts import mask_alone, picture_alone
from sinet.images.decode import Array, read_image, read_mask

_SEARCHED = 320  # pixels, the longer side in which faces are looked for: a portrait's face is large
_INNER = 0.6  # of a face's box, around its middle: skin more than hair and background


@dataclass(frozen=True)
class _Task:
    """One picture for a worker."""

    id: str
    image: str
    mask: str
    cache: Path
    params: CropParams
    key: str  # of its facts (`_facts_key`)


def picture_facts(records: pd.DataFrame, params: CropParams, cache: Path = CACHE) -> pd.DataFrame:
    """`id` and FACTS of each record, by id; each has a mask. What was found of a picture before comes from the cache.

    A face counts where `faces.min_probability` says that it is one, and where it is of at least `other_face` of the
    largest one's height. The skin tone is a proxy: the light of a picture changes it as much as skin does.
    """
    rows = records.sort_values("id")
    columns = (rows["id"], rows["image"], rows["mask"])
    search = params.faces.model_copy(update={"max_side": max(_SEARCHED, params.faces.min_size)})
    small = params.model_copy(update={"faces": search})
    store, masks = Store("facts", cache), FileNotes("masks of facts", cache)
    tasks = [
        _Task(one, image, mask, cache, small, _facts_key(one, masks.hash_of(mask), small))
        for one, image, mask in zip(*columns, strict=True)
    ]
    masks.save()
    found = store.complete(
        tasks,
        lambda task: store.head(task.key),
        lambda todo: map_images(_store_facts, todo, desc="facts", initializer=_one_thread),
    )
    table = pd.DataFrame([one.meta for one in found], columns=list(FACTS)).astype("float64")
    table = table.astype({"grey": "bool", "faces": "int64"})
    table.insert(0, "id", rows["id"].to_numpy())
    return table


def facts_of(image: Array, mask: Array, faces: Sequence[Face], params: CropParams) -> dict[str, Any]:
    """FACTS of one picture (H, W, 3) uint8 RGB with its mask (H, W) uint8 {0, 1}, which holds somebody."""
    plain = {**picture_alone(image), **mask_alone(mask)}
    sure = [face.box for face in faces if is_confident(face, params)]
    largest = max(sure, key=lambda box: (box.height, box.width, -box.x0, -box.y0), default=None)
    of_faces = {
        "face_height": math.nan if largest is None else largest.height / mask.shape[0],
        "faces": sum(box.height >= params.other_face * largest.height for box in sure) if largest else 0,
        "skin_tone": math.nan if largest is None or plain["grey"] else skin_tone(image, mask, largest),
    }
    found = {**plain, **of_faces}
    return {name: found[name] for name in FACTS}


def skin_tone(image: Array, mask: Array, face: Box) -> float:
    """The individual typology angle of a face, in degrees: about 90 is the lightest, -90 the darkest.

    arctan((L - 50) / b) of the median CIELab colour of the person inside the middle of the box (Chardon et al. 1991,
    "Skin colour typology and suntanning pathways"); NaN where no pixel of that is person.
    """
    x, y = round(face.width * (1 - _INNER) / 2), round(face.height * (1 - _INNER) / 2)
    box = Box(face.x0 + x, face.y0 + y, face.x1 - x, face.y1 - y)
    skin = cut(image, box, 0)[cut(mask, box, 0) == 1]
    if not len(skin):
        return math.nan
    lab = cv2.cvtColor(skin[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    light, _, yellow = np.median(lab, axis=0).tolist()
    return math.degrees(math.atan2(light - 50, max(yellow, 1e-6)))


def _facts_key(id_: str, mask_hash: str, params: CropParams) -> str:
    """The store's key of a picture's facts."""
    limits = params.faces.min_probability, params.other_face
    return key_of(code_of("pipeline.dataset.picture_facts"), face_key(id_, params), mask_hash, limits)


def _store_facts(task: _Task) -> None:
    image = read_image(Path(task.image))
    faces = faces_of(task.id, lambda: image, task.params, task.cache)
    found = facts_of(image, read_mask(Path(task.mask)), faces, task.params)
    Store("facts", task.cache).put(task.key, Result(found), task.id)


def _one_thread() -> None:
    cv2.setNumThreads(1)
