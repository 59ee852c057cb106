"""How many pictures pass from the sources through each stage to the three sides, as a drawing of counts.

Only what the data stages decide goes in, so that the drawing does not depend on a training run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline.core.records import SIDES

Metrics = Mapping[str, Mapping[str, Any]]  # by the name of the metrics file: ingest_eg1800, crop, merge, ...

SOURCES = {"eg1800": "EG1800", "baidu": "Baidu", "crawl": "Crawl"}
KINDS = {
    "human": "drawn by people",
    "crop": "portrait crops",
    "reviewed": "reviewed pseudo labels",
    "pseudo": "unreviewed pseudo labels",
}

_TALL, _GAP, _ROW = 82, 38, 132  # pixels
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


def flow(metrics: Metrics) -> tuple[list[Node], list[Edge]]:
    """Boxes and arrows, from left to right: files, pictures, portraits, reviews, dataset, sides."""
    merge, bodies, crawl = metrics["merge"], metrics["crop"]["bodies"], metrics["crop"]["crawl"]
    ingest = {source: metrics[f"ingest_{source}"] for source in SOURCES}
    files = ("portraits with masks", "full bodies with masks", "photographs")
    rows = []
    for row, (source, title) in enumerate(SOURCES.items()):
        counts = ingest[source]
        rows.append(
            [
                _node(0, row, f"{title}, files", counts["in"], (files[row],)),
                _node(1, row, "usable pictures", counts["out"], (), _lost(counts["rejected"])),
            ]
        )
    rows[1].append(
        _node(2, 1, "portrait crops", bodies["out"], ("cut around the face",), _lost(bodies["rejected"]))
    )
    pseudo = merge["inputs"]["pseudo"]
    rows[2].append(_node(2, 2, "pseudo labels", pseudo, ("masks by the teacher",), _lost(crawl["rejected"])))
    rows[2].append(_reviews(merge))
    dataset = _dataset(merge)
    sides = [_node(5, row, side, merge["sides"].get(side, 0)) for row, side in enumerate(SIDES)]
    edges = [Edge(a.x + a.width, b.x, _middle(b)) for row in rows for a, b in pairwise(row)]
    edges += [Edge(row[-1].x + row[-1].width, dataset.x, _middle(row[-1])) for row in rows]
    edges += [Edge(dataset.x + dataset.width, side.x, _middle(side)) for side in sides]
    return [node for row in rows for node in row] + [dataset, *sides], edges


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
    return _node(3, 2, "reviewed", accepted, notes, tuple(lost))


def _dataset(merge: Mapping[str, Any]) -> Node:
    labels, reasons = merge["labels"], merge["reasons"]
    notes = tuple(f"{labels[kind]:,} {name}" for kind, name in KINDS.items() if kind in labels)
    lost = [
        f"{count:,} {text}"
        for text, count in (
            ("shown on the test side too", merge["leaks"]),
            ("with the same pixels", reasons.get("duplicate_pixels", 0)),
            ("for their licence", reasons.get("licence", 0)),
        )
        if count
    ]
    height = 2 * _ROW + _TALL
    return Node(_left(4), 4, _WIDE[4], height, "dataset", merge["out"], notes, tuple(lost), strong=True)


def _lost(count: int) -> tuple[str, ...]:
    return (f"{count:,} rejected",) if count else ()


def _middle(node: Node) -> float:
    return node.y + node.height / 2
