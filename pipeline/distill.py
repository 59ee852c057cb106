"""What the teacher thinks of the pictures that SINet trains on, for `train.distill` above 0."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline import deeplab
from pipeline.store import Result, Store, key_of
from sinet.data import Sample
from sinet.images import encode_png, read_image
from sinet.progress import bar_interval

VERSION = 1  # of what is stored
_PROBABILITY = "probability"


def taught(samples: Sequence[Sample], teacher: Path, cache: Path) -> list[Sample]:
    """The samples with the teacher's probabilities, as PNG at its own square: the mean of its two opinions of each.

    A picture that this teacher has seen already comes from the store below `cache`. PipelineError without a teacher.
    """
    model, card = deeplab.load(teacher)
    store, hash_ = Store("distill", cache), deeplab.file_hash(teacher)
    found = []
    for sample in tqdm(samples, desc="distill", unit="img", file=sys.stderr, mininterval=bar_interval()):
        key = key_of(VERSION, sample.id, hash_)
        known = store.get(key)
        if known is None or _PROBABILITY not in known.blobs:
            straight, mirrored = deeplab.two_opinions(model, card.preprocessing, read_image(sample.image))
            grey = np.rint((straight + mirrored) / 2 * 255).astype(np.uint8)
            known = Result({}, {_PROBABILITY: encode_png(grey)})
            store.put(key, known)
        found.append(replace(sample, probability=known.blobs[_PROBABILITY]))
    return found
