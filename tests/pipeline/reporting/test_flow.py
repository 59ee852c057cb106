"""The drawing of counts: every box counts what its metrics say, nothing overlaps, all words stay in place."""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib import get_data_path
from PIL import ImageFont

from pipeline.reporting.flow import extent, flow
from pipeline.reporting.page import flow_svg
from tests.pipeline.report_metrics import metrics, metrics_of_more_sources

MARGIN = 9  # pixels left free beside words inside a box
NAMESPACE = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Area:
    """A rectangle of the drawing, pixels."""

    what: str
    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: "Area") -> bool:
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def holds(self, other: "Area", margin: float = 0) -> bool:
        inside = self.x0 + margin <= other.x0 and other.x1 + margin <= self.x1
        return inside and self.y0 <= other.y0 and other.y1 <= self.y1


def every(value: Any, count: int) -> Any:
    """The same metrics with each count replaced."""
    if isinstance(value, Mapping):
        return {key: every(one, count) for key, one in value.items()}
    return count if isinstance(value, int) and not isinstance(value, bool) else value


def crowded(count: int, full: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Metrics that show every line that a drawing can have, each with this count."""
    full = deepcopy(full)
    full["merge"]["labels"]["pseudo"] = 1
    changed: dict[str, dict[str, Any]] = every(full, count)
    return changed


@cache
def font(size: float, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans comes with matplotlib and is wider than the fonts that a page is likely to be shown in."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", name), size)


def drawn(svg: str) -> tuple[Area, list[Area], list[Area]]:
    """The drawing, its boxes and its lines of words, sized as its own style says."""
    styles = {
        name: (float(size), "font-weight: 6" in rest)
        for name, size, rest in re.findall(r"\.flow \.(\w+) \{ font-size: ([\d.]+)px;([^}]*)\}", svg)
    }
    root = ElementTree.fromstring(svg)
    whole = Area("drawing", 0, 0, float(root.attrib["width"]), float(root.attrib["height"]))
    boxes, words = [], []
    for rect in root.iter(f"{NAMESPACE}rect"):
        x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        boxes.append(Area("box", x, y, x + width, y + height))
    for line in root.iter(f"{NAMESPACE}text"):
        x, y = float(line.attrib["x"]), float(line.attrib["y"])
        size, bold = styles[line.attrib["class"]]
        assert line.text
        words.append(
            Area(line.text, x, y - 0.75 * size, x + font(size, bold).getlength(line.text), y + 0.2 * size)
        )
    return whole, boxes, words


def test_every_box_counts_what_its_metrics_say() -> None:
    nodes, _ = flow(metrics())
    assert [(node.name, node.count, node.notes, node.lost) for node in nodes] == [
        ("eg1800", 20013, ("files, labelled",), ()),
        ("usable pictures", 20002, (), ("11 rejected",)),
        ("baidu", 15032, ("files, bodies",), ()),
        ("usable pictures", 15009, (), ("23 rejected",)),
        ("portrait crops", 14846, ("cut around the face",), ("163 rejected",)),
        ("crawl", 13055, ("files, crawl",), ()),
        ("usable pictures", 13014, (), ("41 rejected",)),
        ("pseudo labels", 12000, ("masks by the teacher",), ("1,014 rejected",)),
        (
            "reviewed",
            698,
            ("accepted 610, fixed 95",),
            ("140 rejected, 55 unsure", "11,105 not judged: left out"),
        ),
        (
            "dataset",
            35497,
            ("19,976 drawn by people", "14,823 portrait crops", "698 reviewed pseudo labels"),
            ("31 shown on another side too", "17 with the same pixels", "3 for their licence"),
        ),
        ("train", 31720, (), ()),
        ("dev", 1773, (), ()),
        ("test", 2004, (), ()),
    ]


def test_each_source_has_a_box_and_those_of_a_role_flow_into_one() -> None:
    nodes, edges = flow(metrics_of_more_sources())
    found = [
        (node.name, node.count, node.notes) for node in nodes if node.notes[:1] and "files" in node.notes[0]
    ]
    assert found == [
        ("a_name_o…ers", 18, ("files, labelled",)),
        ("eg1800", 20013, ("files, labelled",)),
        ("mine", 310, ("files, labelled",)),
        ("baidu", 15032, ("files, bodies",)),
        ("crawl", 13055, ("files, crawl",)),
        ("web_1", 811, ("files, crawl",)),
        ("web_2", 400, ("files, crawl",)),
    ]
    pseudo = next(node for node in nodes if node.name == "pseudo labels")
    assert pseudo.lost == (f"{13014 + 802 + 400 - 12000:,} rejected",)
    assert len([edge for edge in edges if edge.x1 == pseudo.x and edge.y > pseudo.y]) == 3
    assert len([edge for edge in edges if edge.x1 == next(n.x for n in nodes if n.strong)]) == 3 + 1 + 1


def test_what_is_not_there_is_not_drawn() -> None:
    """Without unjudged pseudo labels, leaks and a dev side; unreviewed ones are told from reviewed ones."""
    changed = metrics()
    merge = changed["merge"]
    changed["split@labelled"] |= {"reasons": {}, "leaks": 0}
    merge |= {
        "reasons": {},
        "labels": {"human": 5, "pseudo": 1},
        "sides": {"train": 5, "test": 2},
    }
    nodes = {node.name: node for node in flow(changed)[0]}
    assert nodes["reviewed"].count == 0 and len(nodes["reviewed"].lost) == 1
    assert nodes["dataset"].notes == ("5 drawn by people", "1 unreviewed pseudo labels")
    assert nodes["dataset"].lost == ()
    assert nodes["dev"].count == 0


@pytest.mark.parametrize("counted", [metrics(), metrics_of_more_sources()], ids=["three", "many"])
def test_every_arrow_leads_from_the_side_of_a_box_to_that_of_another(counted: Any) -> None:
    nodes, edges = flow(counted)
    boxes = [Area(node.name, node.x, node.y, node.x + node.width, node.y + node.height) for node in nodes]
    found = set()
    for edge in edges:
        (start,) = (box for box in boxes if box.x1 == edge.x0 and box.y0 < edge.y < box.y1)
        (end,) = (box for box in boxes if box.x0 == edge.x1 and box.y0 < edge.y < box.y1)
        arrow = Area("arrow", edge.x0, edge.y - 1, edge.x1, edge.y + 1)
        assert not any(box.overlaps(arrow) for box in boxes)
        found.add((start.what, end.what, edge.y))
    assert len(found) == len(edges) == len(nodes) - 1  # all boxes hang together, none by two ways


WIDE = {"role": "crawl", "in": 1, "out": 1, "rejected": 0, "reasons": {}}


@pytest.mark.parametrize("count", [0, 1, 99_999])
@pytest.mark.parametrize(
    "counted",
    [
        metrics(),
        metrics_of_more_sources(),
        {**metrics(), **{f"ingest@{letter * 24}": WIDE for letter in "abcdefghijklmnopqrstuvwxyz"}},
    ],
    ids=["three", "many", "long names"],
)
def test_nothing_overlaps_and_all_words_stay_in_their_place(count: int, counted: Any) -> None:
    nodes, _ = flow(crowded(count, counted))
    whole, boxes, words = drawn(flow_svg(crowded(count, counted)))
    assert (whole.x1, whole.y1) == extent(nodes)
    assert len(boxes) == len(nodes)
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for one, other in combinations(words, 2):
        assert not one.overlaps(other), (one, other)
    for line in words:
        assert whole.holds(line), line
        touched = [box for box in boxes if box.overlaps(line)]
        assert all(box.holds(line, MARGIN) for box in touched), line
    assert sum(any(box.holds(line) for box in boxes) for line in words) == sum(
        2 + len(node.notes) for node in nodes
    )


def test_its_colours_come_with_the_file_or_from_the_page() -> None:
    assert "--ink: #" in flow_svg(metrics()) and "prefers-color-scheme: dark" in flow_svg(metrics())
    inside = flow_svg(metrics(), standalone=False)
    assert "var(--ink)" in inside and "--ink: #" not in inside
    assert drawn(inside) == drawn(flow_svg(metrics()))
