"""A crawl: photographs without masks and a CSV (file or url, source, licence, author), or a plain folder."""

import csv
import io
import os
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.errors import PipelineError
from pipeline.layouts.listing import (
    Item,
    Listing,
    Unusable,
    files,
    folders_below,
    key_below,
    pictures,
    printable,
)

EXPECTED = "a folder of photographs, with or without a CSV that has a column `file` or `url`"
_COLUMNS = {
    "file": ("file", "path", "filename", "file_name", "image"),
    "url": ("url", "image_url", "source_url"),
    "source": ("source", "page", "origin"),
    "author": ("author", "creator", "photographer", "credit"),
    "licence": ("licence", "license", "rights"),
    "retrieved_at": ("retrieved_at", "retrieved", "downloaded_at", "date"),
}


def matches(folder: Path) -> bool:
    """Whether there is a CSV of pictures, or any picture at any depth."""
    if not folder.is_dir():
        return False
    if any(_header(path) for path in _tables(folder)):
        return True
    return any(pictures(one, Listing()) for one in folders_below(folder, Listing(), folder))


def read(folder: Path) -> Listing:
    """List the photographs. With a CSV, a line without a file and a file without a line are both rejected."""
    listing = Listing()
    found = [path for one in folders_below(folder, listing, folder) for path in pictures(one, listing)]
    tables = [path for path in _tables(folder) if _header(path)]
    if tables:
        listing.ignored[".csv"] -= len(tables)
        listing.ignored += type(listing.ignored)()  # drops a count of zero
        _described(folder, tables, found, listing)
    else:
        listing.items = [Item(key_below(path, folder), str(path)) for path in found]
    listing.items.sort(key=lambda item: item.source_key)
    return listing


def _described(folder: Path, tables: list[Path], found: list[Path], listing: Listing) -> None:
    waiting = {path.relative_to(folder).as_posix(): path for path in found}
    by_name: dict[str, list[str]] = {}
    for key, path in waiting.items():
        by_name.setdefault(path.name, []).append(key)
    taken: set[str] = set()
    for table in tables:
        for line, row in _rows(table):
            place = printable(f"{table.name}:{line}")
            key, problem = _file_of(row, by_name)
            if problem is not None:
                listing.unusable.append(Unusable(f"{place} {printable(key)}".strip(), *problem))
            elif key in taken:
                detail = f"{printable(key)} is described by an earlier line already"
                listing.unusable.append(Unusable(place, "listed_twice", detail))
            elif key not in waiting and not os.path.lexists(folder / key):
                detail = f"the CSV names {printable(key)}, but there is no such file"
                listing.unusable.append(Unusable(f"{place} {printable(key)}", "listed_without_file", detail))
            else:
                taken.add(key)
                listing.items.append(_item(printable(key), folder / key, row))
    for key in sorted(set(waiting) - taken):
        detail = "no line of the CSV describes this file, so its origin is unknown"
        listing.unusable.append(Unusable(printable(key), "not_listed", detail))


def _file_of(row: dict[str, str], by_name: dict[str, list[str]]) -> tuple[str, tuple[str, str] | None]:
    """The file that a row means, relative to the folder, and why it means none: (reason, detail)."""
    if row.get("file"):
        path = PurePosixPath(row["file"].replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in row["file"]:
            return row["file"], ("outside_folder", "the file must lie inside the folder of the CSV")
        same_name = by_name.get(path.name, [])
        # Some tables name files relative to the folder of the pictures rather than to their own.
        alone = len(same_name) == 1 and PurePosixPath(same_name[0]).match(path.as_posix())
        return (same_name[0] if alone else path.as_posix()), None
    if not row.get("url"):
        return "", ("listed_without_file", "the line has neither a file nor a url")
    name = PurePosixPath(unquote(urlsplit(row["url"]).path)).name
    keys = by_name.get(name, [])
    if len(keys) == 1:
        return keys[0], None
    what = f"{len(keys)} files are named so" if keys else "no file is named so; download it first"
    return row["url"], ("listed_without_file", f"the line has a url ending in {printable(name)!r}: {what}")


def _item(key: str, path: Path, row: dict[str, str]) -> Item:
    return Item(
        key,
        str(path),
        url=row.get("url") or row.get("source") or None,
        author=row.get("author") or None,
        licence=row.get("licence") or None,
        retrieved_at=row.get("retrieved_at") or None,
    )


def _tables(folder: Path) -> list[Path]:
    return [path for path in files(folder) if path.suffix.lower() == ".csv" and path.is_file()]


def _header(path: Path) -> dict[int, str]:
    """Our name of each column we know, by position; {} where no column names a file or a url."""
    header = next(iter(_parsed(path)), [])
    known = {alias: name for name, aliases in _COLUMNS.items() for alias in aliases}
    names = {
        at: known[text.strip().lower()] for at, text in enumerate(header) if text.strip().lower() in known
    }
    return names if {"file", "url"} & set(names.values()) else {}


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Number and known columns of each line after the header; empty lines left out."""
    names = _header(path)
    rows = []
    for line, cells in enumerate(_parsed(path)[1:], 2):
        row: dict[str, str] = {}
        for at, name in names.items():
            if at < len(cells) and cells[at].strip():
                row.setdefault(name, cells[at].strip())
        if any(cell.strip() for cell in cells):
            rows.append((line, row))
    return rows


def _parsed(path: Path) -> list[list[str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path} describes the crawl, but cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise PipelineError(f"{path} is not a CSV that can be read: {error}") from error
