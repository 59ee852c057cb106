"""How many pictures pass from the sources through each stage to the three sides, as a drawing of counts.

Only what the data stages decide goes in, so that the drawing does not depend on a training run.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from pipeline.core.params import ROLES, Role
from pipeline.core.records import SIDES

Metrics = Mapping[
    str, Mapping[str, Any]
]  # by stage: ingest@NAME of each source, crop@ROLE, split@ROLE, merge, ...
# Stages that count the pictures of some roles apart; split counts those cut out of bodies as labelled ones.
BY_ROLE: dict[str, tuple[Role, ...]] = {"crop": ("bodies", "crawl"), "split": ("labelled", "crawl")}

KINDS = {
    "human": "drawn by people",
    "crop": "portrait crops",
    "reviewed": "reviewed pseudo labels",
    "pseudo": "unreviewed pseudo labels",
}

_TALL, _GAP, _ROW = 82, 38, 132  # pixels
_NAME = 118  # pixels that a source's name may take
_WIDE = (148, 134, 146, 194, 212, 104)  # pixels by column: notes with counts of five digits fit


@dataclass(frozen=True)
class Node:
    """A box of the drawing: pixels, what it counts, lines inside and (for what was lost) under it."""

    x: int
    y: int
    width: int
    height: int
    name: str
    count: int
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Edge:
    """An arrow from x0 to x1 at height y, pixels."""

    x0: int
    x1: int
    y: float


def sources_of(metrics: Metrics, role: Role) -> dict[str, Mapping[str, Any]]:
    """What ingest counted of each source of a role, by the source's name, sorted."""
    found = {
        stage.partition("@")[2]: metrics[stage] for stage in sorted(metrics) if stage.startswith("ingest@")
    }
    return {name: counts for name, counts in found.items() if counts["role"] == role}


def flow(metrics: Metrics) -> tuple[list[Node], list[Edge]]:
    """Boxes and arrows, from left to right: files, pictures, portraits, reviews, dataset, sides.

    Each source has a row of its own. What the sources of a role flow into is as tall as their rows together.
    """
    merge = metrics["merge"]
    row, nodes, edges, ends = 0, [], [], []
    for role in ROLES:
        sources = sources_of(metrics, role)
        pictures = []
        for at, (name, counts) in enumerate(sources.items(), row):
            files = _node(0, at, _fitting(name), counts["in"], (f"files, {role}",))
            pictures.append(_node(1, at, "usable pictures", counts["out"], (), _lost(counts["rejected"])))
            nodes += [files, pictures[-1]]
            edges.append(_edge(files, pictures[-1], _middle(files)))
        further = _further(
            role, sum(counts["out"] for counts in sources.values()), metrics, row, len(sources)
        )
        nodes += further
        edges += [_edge(one, further[0], _middle(one)) for one in pictures if further]
        edges += [_edge(one, other, _middle(other)) for one, other in pairwise(further)]
        ends += further[-1:] or pictures
        row += len(sources)
    dataset = _dataset(merge, metrics["split@labelled"], row)
    sides = [
        replace(_node(5, 0, side, merge["sides"].get(side, 0)), y=4 + at * (row - 1) * _ROW // 2)
        for at, side in enumerate(SIDES)
    ]
    edges += [_edge(end, dataset, _middle(end)) for end in ends]
    edges += [_edge(dataset, side, _middle(side)) for side in sides]
    return [*nodes, dataset, *sides], edges


def _further(role: Role, pictures: int, metrics: Metrics, row: int, rows: int) -> list[Node]:
    """What becomes of the pictures of a role before they are in the dataset; `rows` from `row` on are its sources'."""
    tall = (rows - 1) * _ROW + _TALL
    if role == "bodies":
        count = metrics["crop@bodies"]["out"]
        crops = _node(2, row, "portrait crops", count, ("cut around the face",), _lost(pictures - count))
        return [replace(crops, height=tall)]
    if role == "crawl":
        count = metrics["merge"]["inputs"]["pseudo"]
        pseudo = _node(2, row, "pseudo labels", count, ("masks by the teacher",), _lost(pictures - count))
        reviews = _reviews(metrics["merge"])
        return [replace(pseudo, height=tall), replace(reviews, y=pseudo.y + (tall - _TALL) // 2)]
    return []


def _edge(one: Node, other: Node, y: float) -> Edge:
    return Edge(one.x + one.width, other.x, y)


def _fitting(name: str) -> str:
    """A source's name, or its beginning and end, as wide as its box allows in a wide bold font of 12.5 pixels."""
    wide = {"m": 13.1, "w": 11.6}
    for kept in range(len(name), 0, -1):
        shown = name if kept == len(name) else f"{name[: kept - kept // 3]}…{name[len(name) - kept // 3 :]}"
        if sum(wide.get(letter, 9.0) for letter in shown) <= _NAME:
            return shown
    return name[:1]


def extent(nodes: list[Node]) -> tuple[int, int]:
    """Width and height of the drawing in pixels."""
    return max(node.x + node.width for node in nodes) + 4, max(node.y + node.height for node in nodes) + 48


def _node(column: int, row: int, name: str, count: int, *more: Any) -> Node:
    return Node(_left(column), 4 + row * _ROW, _WIDE[column], _TALL, name, count, *more)


def _left(column: int) -> int:
    return 4 + sum(_WIDE[:column]) + column * _GAP


def _reviews(merge: Mapping[str, Any]) -> Node:
    reviews, reasons = merge["reviews"], merge["reasons"]
    accepted = merge["labels"].get("reviewed", 0)
    notes = (f"accepted {reviews['accept']:,}, fixed {reviews['fix']:,}",)
    lost = [f"{reviews['reject']:,} rejected, {reviews['unsure']:,} unsure"]
    if "not_reviewed" in reasons:
        lost.append(f"{reasons['not_reviewed']:,} not judged: left out")
    return _node(3, 0, "reviewed", accepted, notes, tuple(lost))


def _dataset(merge: Mapping[str, Any], split: Mapping[str, Any], rows: int) -> Node:
    labels = merge["labels"]
    reasons = Counter(split["reasons"]) + Counter(merge["reasons"])
    notes = tuple(f"{labels[kind]:,} {name}" for kind, name in KINDS.items() if kind in labels)
    lost = [
        f"{count:,} {text}"
        for text, count in (
            ("shown on another side too", split["leaks"] + merge["leaks"]),
            ("with the same pixels", reasons["duplicate_pixels"]),
            ("for their licence", reasons["licence"]),
        )
        if count
    ]
    height = (rows - 1) * _ROW + _TALL
    return Node(_left(4), 4, _WIDE[4], height, "dataset", merge["out"], notes, tuple(lost), strong=True)


def _lost(count: int) -> tuple[str, ...]:
    return (f"{count:,} rejected",) if count else ()


def _middle(node: Node) -> float:
    return node.y + node.height / 2
