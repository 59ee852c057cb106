"""Label Studio tasks: what a curator sees of a pseudo label, with the teacher's mask as a brush prediction.

The editor lays a mask over the picture as a colour, whose opacity no setting governs, and which hides edges
(HumanSignal/label-studio #5857). So each task also shows the mask's outline and the cut-out, drawn here.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from annotations.masks.brush import LABEL, fingerprint, mask_to_rle
from annotations.quality.reviewers import Purpose
from annotations.tasks.purpose import FIELD as SEAL
from annotations.tasks.purpose import seal
from sinet.images.decode import Array

LABEL_CONFIG = Path(__file__).with_name("label_config.xml")

# Names of tags in label_config.xml.
IMAGE, OUTLINE, CUTOUT = "image", "outline", "cutout"
MASK, VERDICT, REASONS = "mask", "verdict", "reasons"
CLICK = "click"  # where clicks repair masks

# Label Studio shows only the predictions of one model version, and orders only their tasks: all of ours have the same
# one, whoever made the mask, which `data` says.
MODEL_VERSION = "portraits"

MAX_TASKS = 250  # of one request; the server's body limit and its misleading 500 are far away
MAX_BYTES = 50_000_000

# RGB grounds of a cut-out; green is the first choice, as skin, hair and most clothes lack it.
_GROUNDS = ((0, 177, 64), (230, 0, 200), (255, 255, 255))
_NEAR = 90  # distance in RGB below which a person's pixel could be taken for the ground
_LINES = ((255, 255, 255), (230, 0, 126))  # outer and inner line: one of the two stands out on any picture
_JPEG_QUALITY = 92


# What stands for what in the labelling page where clicks repair masks. A point is sent as soon as it is set, and taken
# away with the answer. (M would pick a smart brush before it, and KeyPointLabels lose their label after a click.)
_WITH_CLICKS = {
    '<BrushLabels name="mask" toName="image">': '<BrushLabels name="mask" toName="image" smart="false">',
    '<HyperText name="about"': (
        f'<KeyPoint name="{CLICK}" toName="image" smart="true" smartOnly="true" strokeWidth="4" opacity="0.9"/>\n'
        '    <HyperText name="about"'
    ),
    "&lt;tr&gt;&lt;td&gt;B&lt;/td&gt;": (
        "&lt;tr&gt;&lt;td&gt;M&lt;/td&gt;&lt;td&gt;then Ctrl+click on what is wrong: repairs it&lt;/td&gt;&lt;/tr&gt;"
        "\n        &lt;tr&gt;&lt;td&gt;B&lt;/td&gt;"
    ),
}


@dataclass(frozen=True)
class Proposal:
    """A pseudo label that waits for a review."""

    key: str  # annotations.ledger.lock.review_key of the two next
    parent_sha256: str
    crop_box: str
    id: str  # of the picture
    teacher: str  # hash of the weights that made the mask
    uncertainty: float  # 0 = certain, 1 = doubtful; of a second look, how much SINet's mask differs
    flags: str  # space-separated
    score: float  # lower is reviewed earlier


@dataclass(frozen=True)
class TaskPictures:
    """Where the curator's browser finds the three pictures and the guidelines."""

    image: str
    outline: str
    cutout: str
    guidelines: str


def outline_view(image: Array, mask: Array) -> Array:
    """The picture with a double line along the mask's edge, drawn outside of it: (H, W, 3) uint8 RGB."""
    thin = max(1, round(max(mask.shape) / 500))
    drawn = image.copy()
    outer, inner = (_grown(mask, thin * steps) for steps in (3, 2))
    drawn[(outer > 0) & (mask == 0)] = _LINES[0]
    drawn[(inner > 0) & (mask == 0)] = _LINES[1]
    return drawn


def cutout(image: Array, mask: Array) -> Array:
    """The person alone on plain green, or on another ground if they wear green: (H, W, 3) uint8 RGB."""
    sample = image[mask > 0][::7].astype(np.int32)  # every seventh pixel tells the same
    near = [
        float((np.square(sample - ground).sum(1) < _NEAR**2).mean()) for ground in _GROUNDS if len(sample)
    ]
    best = 0 if not near or near[0] < 0.02 else int(np.argmin(near))
    return np.where(mask[..., None] > 0, image, np.array(_GROUNDS[best], np.uint8))


def labelling_interface(clicks: bool) -> str:
    """The labelling page of a project; `clicks` adds the tool whose points repair the mask, and says how."""
    page = LABEL_CONFIG.read_text()
    if not clicks:
        return page
    for usual, other in _WITH_CLICKS.items():
        if page.count(usual) != 1:
            raise ValueError(f"expected '{usual}' once in {LABEL_CONFIG}, found it {page.count(usual)} times")
        page = page.replace(usual, other)
    return page


def encode_jpeg(pixels: Array) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG for the eye; the same pixels give the same bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"cannot encode an array of shape {pixels.shape} as JPEG")
    return bytes(data.tobytes())


def task_version(candidate: Proposal, mask: Array, label_config: str, purpose: Purpose = "review") -> str:
    """16 hex digits of picture, mask, teacher, config and purpose: what a sender recognises an equal task by."""
    digest = hashlib.sha256(repr((candidate.key, candidate.id, candidate.teacher, mask.shape)).encode())
    digest.update(np.packbits(mask).tobytes())
    digest.update(label_config.encode())
    if purpose != "review":
        digest.update(f" for {purpose}".encode())
    return digest.hexdigest()[:16]


def build_task(
    candidate: Proposal,
    mask: Array,
    pictures: TaskPictures,
    version: str,
    purpose: Purpose = "review",
    truth: Array | None = None,
) -> dict[str, Any]:
    """One task as Label Studio imports it; `mask` (H, W) uint8 {0, 1}, an empty one proposes no region.

    `truth` is the right mask of a gold task. A mask drawn from scratch is nobody's proposal: its task names no teacher.
    """
    data = {
        IMAGE: pictures.image,
        OUTLINE: pictures.outline,
        CUTOUT: pictures.cutout,
        "about": _about(candidate, purpose),
        "guidelines": pictures.guidelines,
        "key": candidate.key,
        "version": version,
        "id": candidate.id,
        "parent_sha256": candidate.parent_sha256,
        "crop_box": candidate.crop_box,
        "width": mask.shape[1],
        "height": mask.shape[0],
        "proposed": fingerprint(mask),  # an export names predictions by number only
        "teacher": "" if purpose == "scratch" else candidate.teacher,
        SEAL: seal(purpose, version, truth, (mask.shape[0], mask.shape[1])),
        "uncertainty": candidate.uncertainty,
        "flags": candidate.flags,
    }
    result = [build_region(candidate.key, mask)] if mask.any() else []
    prediction = {"model_version": MODEL_VERSION, "score": candidate.score, "result": result}
    return {"data": data, "predictions": [prediction]}


def task_batches(
    tasks: Iterable[Mapping[str, Any]], max_tasks: int = MAX_TASKS, max_bytes: int = MAX_BYTES
) -> Iterator[bytes]:
    """JSON lists of at most `max_tasks` tasks and `max_bytes` bytes (a single larger task stands alone)."""
    return text_batches(map(task_text, tasks), max_tasks, max_bytes)


def text_batches(
    texts: Iterable[str], max_tasks: int = MAX_TASKS, max_bytes: int = MAX_BYTES
) -> Iterator[bytes]:
    """The same of tasks that are text already (`task_text`, `with_score`)."""
    parts: list[bytes] = []
    size = 0
    for text in texts:
        part = text.encode()
        if parts and (len(parts) == max_tasks or size + len(part) + 3 > max_bytes):
            yield _joined(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 2
    if parts:
        yield _joined(parts)


def task_text(task: Mapping[str, Any]) -> str:
    """A task as JSON: one line, its names sorted."""
    return json.dumps(task, sort_keys=True, separators=(",", ":"), allow_nan=False)


def without_score(task: Mapping[str, Any]) -> str:
    """The text of a task (`build_task`) up to its score, which stands last; `with_score` makes it whole."""
    start, name, end = task_text(task).rpartition('"score":')
    if end != _score_and_rest(task["predictions"][-1]["score"]):
        raise ValueError(f"expected the score as the last value of a task, found {name}{end[-60:]}")
    return start + name


def with_score(text: str, score: float) -> str:
    """The whole text of a task, from what `without_score` gave of it."""
    return text + _score_and_rest(score)


def region_id(key: str) -> str:
    """How the region of the proposed mask is known in the editor and in an export."""
    return f"mask-{key}"


def build_region(key: str, mask: Array, identity: str | None = None) -> dict[str, Any]:
    """The brush region of a mask (H, W) uint8 {0, 1}; with the `identity` of one on the screen it replaces that."""
    return {
        "id": identity or region_id(key),
        "type": "brushlabels",
        "from_name": MASK,
        "to_name": IMAGE,
        "original_width": mask.shape[1],
        "original_height": mask.shape[0],
        "image_rotation": 0,
        "value": {"format": "rle", "rle": mask_to_rle(mask), "brushlabels": [LABEL]},
    }


def _about(candidate: Proposal, purpose: Purpose) -> str:
    """What the editor says of a task before its link to the guidelines; the list of tasks shows it as it is."""
    if purpose == "scratch":
        return "no mask is proposed: draw it, then F"
    if purpose == "student":
        return f"second look: SINet's own mask differs by {candidate.uncertainty:.0%}"
    flags = ", ".join(candidate.flags.split())
    return f"doubt {candidate.uncertainty:.2f}" + (f" · {flags}" if flags else "")


def _score_and_rest(score: float) -> str:
    """How the text of a task ends, of which the last prediction's score is the last value."""
    return json.dumps(score, allow_nan=False) + "}]}"


def _grown(mask: Array, pixels: int) -> Array:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return np.asarray(cv2.dilate(mask, kernel), np.uint8)


def _joined(parts: list[bytes]) -> bytes:
    return b"[" + b",\n".join(parts) + b"]\n"
