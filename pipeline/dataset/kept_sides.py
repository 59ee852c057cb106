"""Sides that stay: which side each photograph was given first, in small files in git.

FOLDER/00.txt to FOLDER/ff.txt hold a line `ID SIDE` a photograph, sorted, in the file of the id's first two digits: at
a million photographs about 90 KB a file. A line never changes and never goes, so that what was rejected, or was gone,
comes back to its side. Branches that add photographs merge by `merge=union` (.gitattributes). A crop has the side of
the photograph that it was cut from, and so has the next crop of it; its own pixels have a line too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.records import SIDES
from sinet.core.atomic import write_atomic

_LINE = re.compile(rf"([0-9a-f]{{16}}) ({'|'.join(SIDES)})")
_MARKER = re.compile(r"<{7}|={7}|>{7}|\|{7}")  # what git leaves where it could not merge


def is_published_test(records: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each record is of a source's own test side."""
    return records["published_side"].isin(["test"]).astype(bool)


def _as_they_are(records: pd.DataFrame) -> "pd.Series[str]":
    return records["cluster"]


@dataclass(frozen=True)
class Kept:
    """Sides by photograph, and a way to ask which of some records are alike with no others between them.

    `alone` gives the cluster of each of the records, found among them only; by default the one that they have.
    """

    sides: Mapping[str, str] = field(default_factory=dict)
    alone: Callable[[pd.DataFrame], "pd.Series[str]"] = _as_they_are

    def of(self, records: pd.DataFrame) -> "pd.Series[str]":
        """The kept side of each record, missing where there is none; a published test side is always one."""
        sides = dict(self.sides)
        behind, own = (ids.map(sides).astype("str") for ids in (photographs_of(records), records["id"]))
        kept = behind.fillna(own)
        return kept.mask(is_published_test(records), "test")


NOTHING_KEPT = Kept()


def photographs_of(records: pd.DataFrame) -> "pd.Series[str]":
    """The id of the photograph behind each record: of a crop that of its parent, else its own."""
    return records["parent_id"].fillna(records["id"]).astype("str")


def sides_of(records: pd.DataFrame) -> dict[str, str]:
    """The side of each record's photograph, and of its own pixels: a crop may come as a picture of its own."""
    own = zip(records["id"], records["side"], strict=True)
    return {**dict(own), **dict(zip(photographs_of(records), records["side"], strict=True))}


def moved(sides: Mapping[str, str], records: pd.DataFrame) -> int:
    """How many records stand on another side than the first: those that a source has published as test since."""
    return int((photographs_of(records).map(dict(sides)) != records["side"]).sum())


def read_sides(folder: Path) -> dict[str, str]:
    """The kept side of each photograph, {} where the folder is missing.

    PipelineError names file and line of what is no such line, and the id that has two sides.
    """
    sides: dict[str, str] = {}
    places: dict[str, str] = {}
    for path in sorted(folder.glob("*.txt")):
        for where, one, side in _lines(path):
            if sides.setdefault(one, side) != side:
                raise PipelineError(
                    f"{one} has two sides: {sides[one]} ({places[one]}) and {side} ({where}), as when two branches "
                    "have each given it one; keep the line of the side on which it was tested or trained, remove the "
                    "other, and run `dvc repro`"
                )
            places[one] = where
    return sides


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        where = f"{path}, line {number}"
        found = _LINE.fullmatch(line)
        if found is None:
            cure = "remove git's marks and keep the lines" if _MARKER.match(line) else "restore it from git"
            raise PipelineError(
                f"{where}: expected an id of 16 hex digits and {', '.join(SIDES)}, found {line[:60]!r}; {cure}"
            )
        if found[1][:2] != path.stem:
            raise PipelineError(f"{where}: {found[1]} belongs into {found[1][:2]}.txt; move the line there")
        yield where, found[1], found[2]


def write_sides(folder: Path, sides: Mapping[str, str]) -> None:
    """Make the folder hold these sides; a file that has them already stays untouched."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.tmp"):  # of a writer that was killed
        left.unlink()
    shards: dict[str, list[str]] = {}
    for one, side in sorted(sides.items()):
        shards.setdefault(one[:2], []).append(f"{one} {side}\n")
    for shard, lines in shards.items():
        path, content = folder / f"{shard}.txt", "".join(lines).encode()
        if not path.is_file() or path.read_bytes() != content:
            write_atomic(path, content)
