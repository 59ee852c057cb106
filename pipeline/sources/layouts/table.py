"""A CSV that describes photographs: which file or url a row means, its licence, author, origin.

What can be read without doubt is read: UTF-8 and UTF-16, four separators, a `sep=` line, lines before the header, names
of columns in any spelling. Everything else is refused by name, since a table that counts as none takes licences away.
"""

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.sources.layouts.listing import printable
from sinet.images.listed import ListError, decoded, nfc

TABLES = frozenset({".csv", ".tsv"})
_HEADERS = {
    "file": ("file", "path", "filename", "image"),
    "url": ("url", "image_url", "source_url"),
    "source": ("source", "page", "origin"),
    "author": ("author", "creator", "photographer", "credit"),
    "licence": (
        *("licence", "license", "licence_name", "license_name", "licence_type", "license_type", "rights"),
        *("licence_url", "license_url", "licence_link", "license_link", "rights_url", "usage_rights"),
        *("usage_terms", "terms", "copyright"),
    ),
    "retrieved_at": ("retrieved_at", "retrieved", "downloaded_at", "date"),
}
_TELLS_TERMS = re.compile(
    "licen[cs]|li[cz]en[csz]|rights|copyright|terms|permission|usage|^(lic|cc)$|author|autor|photograph|fotograf|artist"
    "|attribution|credit|creator|owner|urheber|byline|courtesy"
)
_JOINED = ("author", "licence")  # all columns that tell it count, as a licence and its address do
_OF_A_CRAWL = frozenset({"finalurl", "sha256", "etag", "lastmodified"})  # what stage crawl writes for itself
_SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class TableRow:
    """A row: the number of its first line in the file, and what its known columns say, without empty cells."""

    line: int
    values: dict[str, str]


def read_table(path: Path, notes: Counter[str]) -> list[TableRow]:
    """The rows of a table, empty ones left out; PipelineError for all that is not understood.

    What is not read of them is counted in `notes`.
    """
    lines = _lines(path)
    at, separator = _header_line(path, lines)
    header = _cells(lines[at].lstrip("# "), separator)
    columns = known_columns(path, header)
    rows = []
    for line, cells in _parsed(path, lines[at + 1 :], at + 1, separator):
        if _fits(path, line, cells, len(header)):
            _note_unread(path, header, cells, columns, notes)
            rows.append(TableRow(line, _values(path, line, cells, columns, notes)))
    return rows


def known_columns(path: Path, header: list[str]) -> dict[int, str]:
    """Our name of each column we know, by position; PipelineError for an unknown one that seems to tell terms."""
    for name in header:
        if _bare(name) not in _NAMES and _TELLS_TERMS.search(_bare(name)):
            known = ", ".join((*_HEADERS["licence"], *_HEADERS["author"]))
            raise PipelineError(
                f"{path}: the column {name!r} seems to tell licences or authors, but is none of {known}; rename or "
                "remove it"
            )
    return _known(header)


def is_known(path: Path) -> bool:
    """Whether a table describes pictures."""
    try:
        _header_line(path, _lines(path))
    except PipelineError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    try:
        if not path.is_file():
            raise PipelineError(
                f"{path} has the name of a table, but is no file, or a link that leads nowhere"
            )
        return list(io.StringIO(decoded(path.read_bytes()), newline=""))
    except OSError as error:
        raise PipelineError(f"{path} describes the crawl, but cannot be read: {error.strerror}") from error
    except ListError as error:
        raise PipelineError(f"{path} describes the crawl, but cannot be read: {error}") from error


def _header_line(path: Path, lines: list[str]) -> tuple[int, str]:
    """The number of the line with the header, from 0, and its separator.

    Before it may be a `sep=` line as of Excel, empty lines and comments, of which one may be the header itself.
    """
    filled = [(at, line) for at, line in enumerate(lines) if line.strip(" \t\r\n\"'" + _SEPARATORS)]
    said = re.fullmatch(r'"?sep=(.)"?', filled[0][1].rstrip("\r\n"), re.IGNORECASE) if filled else None
    filled = filled[1:] if said else filled
    comments = list(itertools.takewhile(lambda one: one[1].startswith("#"), filled))
    plain = filled[len(comments) : len(comments) + 1]
    for at, line in (*plain, *comments):
        separator = _separator(line.lstrip("# "), said[1] if said else _SEPARATORS)
        if separator:
            return at, separator
    header = plain[0][1].strip()[:200] if plain else ""
    raise PipelineError(
        f"{path} has no column that is known to name a picture: its header is {header!r}, expected one of "
        f"{', '.join((*_HEADERS['file'], *_HEADERS['url']))} in it, and a licence, author or source beside it "
        "(separated by comma, semicolon, tab or |). Rename the column, or move the file out of this folder"
    )


def _separator(line: str, candidates: str) -> str:
    """The separator with which a header has most known columns, one of them a file or url; "" where none has."""
    count = {
        one: len(columns) for one in candidates if _names_a_picture(columns := _known(_cells(line, one)))
    }
    return max(count, key=lambda one: count[one]) if count else ""


def _names_a_picture(columns: dict[int, str]) -> bool:
    return bool({"file", "url"} & set(columns.values()))


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line.strip("\r\n")], delimiter=separator, skipinitialspace=True), [])


def _bare(name: str) -> str:
    """The name of a column without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]", "", nfc(name).casefold())


_NAMES = {_bare(alias): name for name, aliases in _HEADERS.items() for alias in aliases}


def _known(header: list[str]) -> dict[int, str]:
    """Our name of each column we know, by position."""
    return {at: _NAMES[_bare(text)] for at, text in enumerate(header) if _bare(text) in _NAMES}


def _parsed(path: Path, lines: list[str], before: int, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    at = 0
    try:
        for cells in reader:
            yield before + at + 1, cells
            at = reader.line_num
    except csv.Error as error:
        raise PipelineError(f"{path}: line {before + at + 1} is not CSV that can be read: {error}") from error


def _fits(path: Path, line: int, cells: list[str], columns: int) -> bool:
    """Whether a row says anything; PipelineError where it has more cells than the header has columns."""
    if any(cell.strip() for cell in cells[columns:]):
        raise PipelineError(
            f"{path}: line {line} has {len(cells)} cells, but the header {columns} columns; quote a cell that "
            "holds the separator"
        )
    return any(cell.strip() for cell in cells)


def _note_unread(
    path: Path, header: list[str], cells: list[str], columns: dict[int, str], notes: Counter[str]
) -> None:
    """Count the filled cells of each column that is not read, and the row where it ends before the header does."""
    table = printable(path.name)
    for at, name in enumerate(header):
        if at not in columns and _bare(name) not in _OF_A_CRAWL and at < len(cells) and cells[at].strip():
            column = f"column {printable(name)!r}" if name.strip() else f"nameless column {at + 1}"
            notes[f"cells in the {column} of {table}, which is not read"] += 1
    if len(cells) < len(header):
        notes[f"lines of {table} with fewer cells than its header; the missing ones count as empty"] += 1


def _values(
    path: Path, line: int, cells: list[str], columns: dict[int, str], notes: Counter[str]
) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for at, name in columns.items():
        cell = cells[at].strip() if at < len(cells) else ""
        if cell and cell not in found.setdefault(name, []):
            found[name].append(cell)
    if len(found.get("file", [])) > 1:
        raise PipelineError(f"{path}: line {line} names several files, {' and '.join(found['file'])}")
    for name, said in found.items():
        if len(said) > 1 and name not in _JOINED:
            notes[
                f"lines of {printable(path.name)} that tell several of {name}, of which the first is kept"
            ] += 1
    return {name: "; ".join(said) if name in _JOINED else said[0] for name, said in found.items() if said}
