"""Masks by teachers that never saw the picture: each learns from the other folds. Look-alikes are in one fold."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from annotations.quality.random_slice import hashed_share
from pipeline.core.code import code_of
from pipeline.core.errors import PipelineError
from pipeline.core.params import TeacherParams
from pipeline.core.paths import CACHE
from pipeline.core.store import Result, Store, key_of
from pipeline.deeplab import network as deeplab
from pipeline.teacher import teacher_checkpoint, train_teacher
from sinet.images.decode import encode_png, read_image
from sinet.training.checkpoint import remove_state

STORE = "label_errors"


def folds_of(records: pd.DataFrame, folds: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """For each fold the records outside it, on their sides train and dev, and those in it. Clusters stay whole."""
    fold = records["cluster"].map(lambda one: int(hashed_share(str(one), "fold") * folds))
    for number in range(folds):
        seen, unseen = records[fold != number], records[fold == number]
        sides = set(seen["side"])
        if unseen.empty or sides != {"train", "dev"}:
            raise PipelineError(f"{len(records)} labelled pictures are too few for {folds} folds; take fewer")
        yield seen.reset_index(drop=True), unseen.reset_index(drop=True)


def out_of_fold(
    records: pd.DataFrame, folds: int, params: TeacherParams, encoder: Path | None, cache: Path = CACHE
) -> dict[str, NDArray[np.float32]]:
    """The probability of "person" (size, size) in 0..1 of each record by id, by a teacher that never saw its cluster.

    A picture that was labelled by such a teacher of the same pictures and masks comes from the cache, and with all of
    a fold its training; one that was killed goes on.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for number, (seen, unseen) in enumerate(list(folds_of(records, folds)), start=1):
        checkpoint = teacher_checkpoint(seen, params, encoder, cache / STORE / "teachers")
        store = Store(STORE, cache)
        code = code_of("pipeline.deeplab.network")
        keys = {str(one): key_of(checkpoint.name, code, str(one)) for one in unseen["id"]}
        if any(store.get(key) is None for key in keys.values()):
            _label(seen, unseen, params, encoder, keys, store, f"fold {number} of {folds}")
            remove_state(checkpoint)
        found |= {one: _probability(store, key) for one, key in keys.items()}
    return found


def _label(
    seen: pd.DataFrame,
    unseen: pd.DataFrame,
    params: TeacherParams,
    encoder: Path | None,
    keys: dict[str, str],
    store: Store,
    desc: str,
) -> None:
    """Train a teacher on what is `seen`, and store what it says of the `unseen`."""
    trained = train_teacher(seen, params, encoder, store.folder / "teachers")
    model = deeplab.build(trained.card)
    model.load_state_dict(trained.weights)
    model.eval()
    for row in tqdm(unseen.itertuples(), total=len(unseen), desc=desc, unit="img"):
        image = read_image(Path(str(row.image)))
        straight, mirrored = deeplab.two_opinions(model, trained.card.preprocessing, image)
        levels = np.rint((straight + mirrored) / 2 * 255).astype(np.uint8)
        store.put(keys[str(row.id)], Result({}, {"probability": encode_png(levels)}), str(row.id))


def _probability(store: Store, key: str) -> NDArray[np.float32]:
    result = store.get(key)
    if result is None:
        raise PipelineError(f"{store.folder} lost a result while the command ran; run it again")
    levels = cv2.imdecode(np.frombuffer(result.blobs["probability"], np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.asarray(levels, np.float32) / np.float32(255)
