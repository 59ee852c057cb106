"""What one annotation answers: verdict, reasons and mask. Whatever else stands in it is named, never passed over.

The editor can write more than this review asks for: a stroke whose label is gone becomes a region of type `brush`, a
note or a relation stays beside the mask. To read the known part alone would take a correction away in silence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from xml.etree import ElementTree

from annotations.ledger.lock import KEEPS, VERDICTS, Verdict
from annotations.masks.brush import BrushError, regions_to_mask, type_name
from annotations.tasks.task import CLICK, IMAGE, LABEL_CONFIG, MASK, REASONS, VERDICT
from sinet.images.decode import Array

# By type of item, the tags of label_config.xml that make it.
_MADE_BY = {"choices": (VERDICT, REASONS), "brushlabels": (MASK,)}
# What the editor writes beside `value`, none of which changes the answer. `readonly`: locked against further strokes.
_FRAME = {"id", "type", "from_name", "to_name", "origin", "value", "score", "readonly"}
_SIZE = {"original_width", "original_height", "image_rotation"}


class AnswerError(ValueError):
    """An annotation that does not say one thing: names what was found."""


@dataclass(frozen=True, eq=False)
class Answer:
    """One verdict and what belongs to it."""

    verdict: Verdict
    reasons: tuple[str, ...]  # sorted codes; none with accept and fix
    mask: Array  # (H, W) uint8 {0, 1}: the union of the regions, whatever the verdict


def read_answer(results: object, height: int, width: int) -> Answer:
    """The answer in the `result` of an annotation; AnswerError where it is none, or where it holds anything else."""
    if not isinstance(results, list):
        raise AnswerError(f"expected a list of results, found {type_name(results)}")
    # A click that nobody answered leaves its point, which says nothing of the mask.
    results = [one for one in results if not _is_click(one)]
    for item in results:
        _check_frame(item)
    verdict = _verdict(_choices(results, VERDICT))
    reasons = _reasons(_choices(results, REASONS), verdict)
    try:
        return Answer(verdict, reasons, regions_to_mask(results, height, width))
    except BrushError as error:
        raise AnswerError(f"{verdict}, but its mask cannot be read: {error}") from error


def _is_click(item: object) -> bool:
    found = (item.get("type"), item.get("from_name")) if isinstance(item, Mapping) else None
    return found == ("keypoint", CLICK)


def _check_frame(item: object) -> None:
    if not isinstance(item, Mapping):
        raise AnswerError(f"expected results, found {type_name(item)} among them")
    kind = item.get("type")
    if kind == "brush":
        raise AnswerError("found a stroke without a label: nobody can tell whether it is person")
    if not isinstance(kind, str) or kind not in _MADE_BY:
        raise AnswerError(f"found an item of type {type_name(kind)}, which this review does not ask for")
    if item.get("from_name") not in _MADE_BY[kind] or item.get("to_name") != IMAGE:
        found = f"{type_name(item.get('from_name'))} on {type_name(item.get('to_name'))}"
        raise AnswerError(f"found {kind} of {found}, which this review does not ask for")
    known = _FRAME | _SIZE if kind == "brushlabels" else _FRAME
    for name in sorted(item.keys() - known):
        raise AnswerError(f"found {kind} with {name} {type_name(item[name])}, which nobody would read")


def _choices(results: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """All that was chosen at one tag."""
    chosen: list[str] = []
    for item in results:
        if item["type"] == "choices" and item["from_name"] == name:
            value = item.get("value")
            listed = value.get("choices") if isinstance(value, Mapping) and len(value) == 1 else None
            if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
                raise AnswerError(f"expected {name} as a list of choices, found {type_name(value)}")
            chosen += listed
    return chosen


def _verdict(chosen: Sequence[str]) -> Verdict:
    if len(chosen) != 1:
        raise AnswerError(f"expected one verdict, found {len(chosen)}")
    for verdict in VERDICTS:
        if chosen[0] == verdict:
            return verdict
    raise AnswerError(f"expected {', '.join(VERDICTS)}, found the verdict {type_name(chosen[0])}")


def _reasons(chosen: Sequence[str], verdict: Verdict) -> tuple[str, ...]:
    if chosen and verdict in KEEPS:
        raise AnswerError(f"{verdict}, but with reasons to reject: {type_name(list(chosen))}")
    for unknown in sorted(set(chosen) - _known_reasons()):
        raise AnswerError(
            f"{verdict}, but for the reason {type_name(unknown)}, which this review does not offer"
        )
    return tuple(sorted(set(chosen)))


@cache
def _known_reasons() -> frozenset[str]:
    choices = ElementTree.parse(LABEL_CONFIG).findall(f".//Choices[@name='{REASONS}']/Choice")
    return frozenset(choice.attrib["value"] for choice in choices)
