"""CPU time and faces found: the crop stage's face search beside MTCNN's default settings, in the same run.

`python -m pipeline benchmark crop [DIR]`: DIR is a folder of photographs, or one in Baidu's layout, where the
search is measured a second time as the stage does it, with the masks.
"""

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.core.boxes import Box
from pipeline.core.errors import PipelineError
from pipeline.core.params import CropParams, load_params
from pipeline.core.paths import SAMPLE
from pipeline.core.torchvision_guard import install_torchvision_guard
from pipeline.faces.detector import FaceFinder
from pipeline.faces.face import Face
from pipeline.faces.masked_person import faces_in, find_portrait, masked_portrait
from pipeline.faces.portrait import NoPortraitError, Portrait
from pipeline.sources.layouts import baidu
from sinet.images.decode import Array, ImageError, read_bytes, read_image
from sinet.images.mask_file import MaskRules, decode_mask

log = logging.getLogger("pipeline")


PHOTOGRAPHS = 150  # evenly spread over the folder
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
SAME_FACE = 0.5  # intersection over union


@dataclass
class Tally:
    """What one way of searching took and found, over photographs."""

    seconds: list[float] = field(default_factory=list)
    faces: int = 0
    wanted: int = 0  # faces that the default settings found
    shared: int = 0  # those of them that this way found as well

    def add(self, seconds: float, found: Sequence[Face], wanted: Sequence[Face]) -> None:
        """Count one photograph."""
        self.seconds.append(seconds)
        self.faces += len(found)
        self.wanted += len(wanted)
        self.shared += sum(any(one.box.iou(other.box) > SAME_FACE for other in found) for one in wanted)

    def row(self, name: str) -> str:
        """A row of the printed table."""
        share = f"{self.shared} of {self.wanted} = {self.shared / self.wanted:.1%}" if self.wanted else "-"
        median, mean = 1000 * statistics.median(self.seconds), 1000 * statistics.fmean(self.seconds)
        return f"{name:<42}{median:>9.1f}{mean:>9.1f}{self.faces:>8}   {share}"


def main(folder: Path | None) -> None:
    """Print the table for a folder, data/sample/baidu where none is named."""
    folder = folder or SAMPLE / "baidu"
    params = load_params()
    paths, masks = photographs(folder), masks_by_picture(folder)
    tallies = _measure(paths, masks, params.crop, params.ingest.mask_threshold)
    print(f"{len(paths)} photographs of {folder.name}/; CPU milliseconds a photograph on one thread")
    print(f"{'':<42}{'median':>9}{'mean':>9}{'faces':>8}   of the default's faces")
    for name, tally in tallies.items():
        print(tally.row(name))


def photographs(folder: Path) -> list[Path]:
    """At most PHOTOGRAPHS pictures, evenly spread over those of the folder by name, without masks."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    paths = sorted(path for path in found if path.parent.name not in ("profiles", "masks", "GT_png"))
    if not paths:
        raise PipelineError(f"expected photographs in {folder}, found none; name a folder that holds some")
    count = min(len(paths), PHOTOGRAPHS)
    return [paths[index * len(paths) // count] for index in range(count)]


def masks_by_picture(folder: Path) -> dict[Path, Path]:
    """Picture to mask in Baidu's layout, {} in any other."""
    items = baidu.read(folder).items if baidu.matches(folder) else []
    return {Path(item.image): Path(item.mask) for item in items if item.mask}


def _measure(
    paths: Sequence[Path], masks: Mapping[Path, Path], params: CropParams, mask_threshold: int
) -> dict[str, Tally]:
    """Search each picture in every way before the next, so that a busy machine slows all of them alike."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    finder, default = FaceFinder(params), default_search()
    blank = np.zeros((830, 550, 3), np.uint8)
    default(blank)  # the first call of a network prepares it
    finder.find(blank)
    theirs, ours, stage = Tally(), Tally(), Tally()
    for path in paths:
        try:
            image = read_image(path)
            rules = MaskRules(mask_threshold)
            mask = decode_mask(read_bytes(masks[path]), rules).person if path in masks else None
        except ImageError as error:
            log.warning("%s left out: %s", path.name, error)
            continue
        wanted, seconds = timed(default, image)
        theirs.add(seconds, wanted, wanted)
        faces, seconds = timed(finder.find, image)
        ours.add(seconds, faces, wanted)
        if mask is not None:
            chosen, seconds = timed(
                _passed, find_portrait, mask, partial(faces_in, image, finder=finder), params
            )
            stage.add(seconds, chosen, _passed(masked_portrait, wanted, mask, params))
    if not theirs.seconds:
        raise PipelineError("expected photographs that can be read, found none; the log names what is wrong")
    rows = {"MTCNN, default settings": theirs, "crop's search, whole photograph": ours}
    return {**rows, "crop stage, faces of its portraits": stage} if stage.seconds else rows


def timed(function: Callable[..., list[Face]], *arguments: object) -> tuple[list[Face], float]:
    """What the function returns, and its CPU seconds."""
    start = time.process_time()
    found = function(*arguments)
    return found, time.process_time() - start


def default_search() -> Callable[[Array], list[Face]]:
    """facenet-pytorch's own detector with its default settings."""
    install_torchvision_guard()
    from facenet_pytorch import MTCNN

    detector = MTCNN(keep_all=True)

    def search(image: Array) -> list[Face]:
        boxes, probabilities = detector.detect(image)
        if boxes is None:
            return []
        corners = np.asarray(boxes, np.float64).round().astype(int).tolist()
        return [Face(Box(*box), float(p)) for box, p in zip(corners, probabilities, strict=True)]

    return search


def _passed(search: Callable[..., Portrait], *arguments: object) -> list[Face]:
    """The face of the portrait that passes the gates, if there is one."""
    try:
        return [search(*arguments).face]
    except NoPortraitError:
        return []
