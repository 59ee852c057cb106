"""How doubtful a pseudo label is, from the teacher's probabilities alone, and what looks wrong with its mask.

All measures are taken at the network's own size, so that they mean the same for small and large pictures.
"""

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Box
from pipeline.core.params import FlagParams, UncertaintyParams
from sinet.evaluation.metrics import boundary_band
from sinet.images.decode import Array

_Probability = NDArray[np.floating]  # (H, W) in 0..1


@dataclass(frozen=True)
class Parts:
    """Three views of a teacher's doubt, each in 0 (none) .. 1.

    `flip`: 1 - IoU of the masks from the picture and from its mirror image.
    `stability`: 1 - IoU of the masks at the thresholds 0.5 + delta and 0.5 - delta (1 - the stability score of
    Segment Anything, Kirillov et al. 2023, on probabilities instead of logits).
    `entropy`: mean binary entropy, in bits, in the band of the outline.
    """

    flip: float
    stability: float
    entropy: float


def doubt(straight: _Probability, mirrored: _Probability, params: UncertaintyParams) -> Parts:
    """The parts for a picture's two probability maps, the second mirrored back.

    Without a pixel of person there is no outline to doubt, yet the picture holds a face: all parts are 1.
    """
    mean = (straight + mirrored) / 2
    mask = (mean > 0.5).astype(np.uint8)
    if not mask.any():
        return Parts(1.0, 1.0, 1.0)
    flip = 1 - _iou(straight > 0.5, mirrored > 0.5)
    stability = 1 - _iou(mean > 0.5 + params.delta, mean > 0.5 - params.delta)
    band = boundary_band(mask, params.band)
    # A person that fills the picture has no outline inside it; its doubt is then that of all pixels.
    entropy = float(_entropy(mean[band] if band.any() else mean).mean())
    return Parts(flip, stability, entropy)


def combine(parts: Parts, params: UncertaintyParams) -> float:
    """The weighted mean of the parts, 0..1."""
    weights = params.weights.model_dump()
    total = sum(weights.values())
    return float(sum(weights[name] * value for name, value in asdict(parts).items()) / total)


def quality_flags(mask: Array, face: Box, params: FlagParams) -> list[str]:
    """What looks wrong with a mask (H, W) whose picture has this face, sorted names; [] where nothing does.

    no_person: less than `min_person` of the picture is person. several_pieces: another piece than the largest holds
    at least `piece` of the mask. touches_every_border: at least `border` of each of the four edges is person.
    face_not_covered: less than `min_face_covered` of the face's box is person.
    """
    flags = []
    if mask.mean() < params.min_person:
        flags.append("no_person")
    if _second_piece(mask) >= params.piece:
        flags.append("several_pieces")
    if min(edge.mean() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1])) >= params.border:
        flags.append("touches_every_border")
    inside = face.clipped(mask.shape[1], mask.shape[0])
    covered = mask[inside.y0 : inside.y1, inside.x0 : inside.x1]
    if covered.size == 0 or covered.mean() < params.min_face_covered:
        flags.append("face_not_covered")
    return sorted(flags)


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / union if union else 1.0


def _entropy(p: _Probability) -> NDArray[np.float64]:
    q = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)))


def _second_piece(mask: Array) -> float:
    """Share of the mask that its second largest 8-connected piece holds, 0 for less than two pieces."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 3:
        return 0.0
    areas = np.sort(stats[1:, cv2.CC_STAT_AREA])
    return float(areas[-2] / areas.sum())
