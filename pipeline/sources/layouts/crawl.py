"""A crawl: photographs without masks and a CSV (file or url, source, licence, author), or a plain folder."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.core.errors import PipelineError
from pipeline.sources.layouts.listing import (
    ListedPicture,
    Listing,
    Unusable,
    files,
    folders_below,
    is_harmless,
    is_picture,
    key_below,
    leads_nowhere,
    pictures,
    printable,
)
from pipeline.sources.layouts.table import TABLES, TableRow, is_known, read_table
from sinet.images.listed import nfc

EXPECTED = "a folder of photographs, with or without a CSV that has a column `file` or `url`"


@dataclass(frozen=True)
class Claim:
    """A row that describes a file, and where it stands."""

    table: Path
    row: TableRow

    @property
    def place(self) -> str:
        """The row's table and line, printable."""
        return printable(f"{self.table.name}:{self.row.line}")


def matches(folder: Path) -> bool:
    """Whether there is a CSV of pictures, or any picture at any depth."""
    if not folder.is_dir():
        return False
    if any(is_known(path) for path in _tables(folder, TABLES)):
        return True
    return any(pictures(one, Listing(), folder) for one in folders_below(folder, Listing(), folder))


def read(folder: Path) -> Listing:
    """List the photographs. With a CSV, a line without a file and a file without a line are both rejected.

    PipelineError for a table that is not understood, or lies where it cannot be meant.
    """
    listing, found = Listing(), []
    for one in folders_below(folder, listing, folder):
        found += pictures(one, listing, folder)
        _check_tables(one, folder)
    tables = _tables(folder, TABLES)
    for suffix in TABLES:
        del listing.ignored[suffix]
    if tables:
        _described(folder, tables, found, listing)
    else:
        listing.items = [ListedPicture(key_below(path, folder), str(path)) for path in found]
    listing.items.sort(key=lambda item: item.source_key)
    return listing


def _check_tables(folder: Path, root: Path) -> None:
    for path in files(folder):
        if not (
            is_picture(path) or path.suffix.lower() in TABLES or is_harmless(path) or leads_nowhere(path)
        ):
            raise PipelineError(
                f"{path} may tell the photographs' licences, but {path.suffix} is not read; save it as CSV, or move it "
                "away"
            )
    for path in _tables(folder, TABLES) if folder != root else []:
        raise PipelineError(f"{path} lies in a folder inside the crawl; move it into {root}, or out of there")


def _described(folder: Path, tables: list[Path], found: list[Path], listing: Listing) -> None:
    waiting: dict[str, list[Path]] = defaultdict(list)  # in one Unicode form, which several files may share
    by_name: dict[str, set[str]] = defaultdict(set)
    for path in found:
        key = nfc(path.relative_to(folder).as_posix())
        waiting[key].append(path)
        by_name[nfc(path.name)].add(key)
    claims: dict[str, list[Claim]] = defaultdict(list)
    for claim in (Claim(table, row) for table in tables for row in read_table(table, listing.notes)):
        key, problem = _file_of(claim.row.values, by_name)
        if problem is None and len(waiting.get(key, [])) > 1:
            problem = (
                "listed_without_file",
                f"{len(waiting[key])} files are named so, in different Unicode forms",
            )
        elif problem is None and key not in waiting:
            problem = _other_file(folder, key, waiting)
        if problem is None:
            claims[key].append(claim)
        else:
            listing.unusable.append(Unusable(f"{claim.place} {printable(key)}".strip(), *problem))
    for key, several in claims.items():
        _take(waiting[key][0], several, folder, listing)
    for key in sorted(set(waiting) - set(claims)):
        for path in waiting[key]:
            _reject_undescribed(path, waiting[key], folder, listing)


def _other_file(folder: Path, key: str, waiting: dict[str, list[Path]]) -> tuple[str, str] | None:
    """Puts a file that is no picture by its name, but is in the table, to those that wait; else why there is none."""
    if not os.path.lexists(folder / key):
        return "listed_without_file", f"the CSV names {printable(key)}, but there is no such file"
    waiting[key] = [folder / key]
    return None


def _reject_undescribed(path: Path, alike: list[Path], folder: Path, listing: Listing) -> None:
    if len(alike) > 1:
        detail = f"{len(alike)} files have this name, in different Unicode forms; rename them"
        listing.reject(path, folder, "two_images", detail)
    else:
        detail = "no line of the CSV describes this file, so its origin is unknown"
        listing.reject(path, folder, "not_listed", detail)


def _take(path: Path, claims: list[Claim], folder: Path, listing: Listing) -> None:
    """Make an item of a file and all that its rows say; where they disagree on its terms, none of them is believed."""
    key, (first, *others) = key_below(path, folder), claims
    values: dict[str, str] = {}
    for claim in claims:
        values = {**claim.row.values, **values}
    said = {name: {v for one in claims if (v := one.row.values.get(name))} for name in ("licence", "author")}
    apart = [name for name, words in said.items() if len(words) > 1]
    if apart:
        places = " and ".join(one.place for one in claims)
        words = " and ".join(repr(word) for word in sorted(said[apart[0]]))
        listing.reject(path, folder, "rows_disagree", f"its {apart[0]} is {words}, say {places}")
    else:
        listing.items.append(_item(key, path, values))
    for other in others:
        if other.table == first.table or apart:
            detail = f"{key} is described by {first.place} already"
            listing.unusable.append(Unusable(other.place, "listed_twice", detail))
        else:
            listing.notes["lines of a second CSV about the same file, joined with the first"] += 1


def _file_of(row: dict[str, str], by_name: dict[str, set[str]]) -> tuple[str, tuple[str, str] | None]:
    """The file that a row means, relative to the folder, and why it means none: (reason, detail)."""
    if row.get("file"):
        path = PurePosixPath(nfc(row["file"]).replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in row["file"]:
            return row["file"], ("outside_folder", "the file must lie inside the folder of the CSV")
        same_name = sorted(by_name.get(path.name, set()))
        # Some tables name files relative to the folder of the pictures rather than to their own.
        alone = len(same_name) == 1 and PurePosixPath(same_name[0]).match(path.as_posix())
        return (same_name[0] if alone else path.as_posix()), None
    if not row.get("url"):
        return "", ("listed_without_file", "the line has neither a file nor a url")
    name = nfc(PurePosixPath(unquote(_path_of(row["url"]))).name)
    keys = sorted(by_name.get(name, set()))
    if len(keys) == 1:
        return keys[0], None
    what = f"{len(keys)} files are named so" if keys else "no file is named so; download it first"
    return row["url"], ("listed_without_file", f"the line has a url ending in {printable(name)!r}: {what}")


def _item(key: str, path: Path, row: dict[str, str]) -> ListedPicture:
    return ListedPicture(
        key,
        str(path),
        url=row.get("url") or row.get("source") or None,
        author=row.get("author") or None,
        licence=row.get("licence") or None,
        retrieved_at=row.get("retrieved_at") or None,
    )


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # brackets, mostly
        return ""


def _tables(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return [path for path in files(folder) if path.suffix.lower() in suffixes]
