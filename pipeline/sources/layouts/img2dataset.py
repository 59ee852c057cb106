"""What img2dataset leaves behind: shards of photographs, each a folder `00000/` or a WebDataset tar `00000.tar`.

Beside a shard lies `00000.parquet` with a row for each address it was given: url, key, status and what it was asked to
keep, a licence perhaps. Where that is gone, the `.json` of each picture tells the same.
"""

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.sources.layouts.listing import ListedPicture, Listing, files, is_picture, printable
from pipeline.sources.layouts.table import known_columns

EXPECTED = "img2dataset's 00000/ or 00000.tar with 00000.parquet beside it"
_SHARD = re.compile(r"\d{5,}")
_PARQUET, _TAR, _JSON = ".parquet", ".tar", ".json"
_DONE = "success"


@dataclass(frozen=True)
class _File:
    """A file of a shard: of a folder, or inside a tar."""

    name: str  # without folders
    path: Path
    part: tuple[int, int] | None = None  # its first byte in the tar, and how many it has

    def read(self) -> bytes:
        return ListedPicture("", str(self.path), part=self.part).read()


def matches(folder: Path) -> bool:
    """Whether a shard with its table lies in it, or one as a tar, or one whose pictures have a `.json` each."""
    return any(
        (folder / f"{name}{_TAR}").is_file()
        or (folder / f"{name}{_PARQUET}").is_file()
        or any(path.suffix == _JSON for path in (folder / name).iterdir())
        for name in _shards(folder)
    )


def read(folder: Path) -> Listing:
    """List the photographs that it fetched; what it did not get is counted in the notes, as no file is missing.

    PipelineError for a tar or a table that cannot be read, or that tells terms under a name that is not known.
    """
    listing = Listing()
    for name in _shards(folder):
        _list_shard(folder, name, listing)
    for path in files(folder):
        if not _SHARD.match(path.name):
            listing.ignored[printable(path.suffix.lower())] += 1
    listing.items.sort(key=lambda item: item.source_key)
    return listing


def _shards(folder: Path) -> list[str]:
    """The numbers of the shards, as they are written."""
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if path.suffix in (_TAR, _PARQUET) or path.is_dir()]
    return sorted({path.stem for path in paths if _SHARD.fullmatch(path.stem)})


def _list_shard(folder: Path, name: str, listing: Listing) -> None:
    pictures, told = defaultdict(list), dict[str, _File]()
    for file in _files_of(folder, name):
        key = PurePosixPath(file.name).stem
        if file.name.endswith(_JSON):
            told[key] = file
        elif is_picture(Path(file.name)):
            pictures[key].append(file)
    rows = _rows(folder / f"{name}{_PARQUET}", told, listing)
    for key in sorted({*rows, *pictures}):
        place, found = printable(f"{name}/{key}"), pictures.get(key, [])
        if key not in rows:
            detail = f"no row of {name}{_PARQUET} and no {key}{_JSON} tells its origin"
            listing.reject(folder / name / found[0].name, folder, "not_listed", printable(detail))
        elif len(found) > 1:
            listing.reject(
                folder / name / key, folder, "two_images", f"{len(found)} files have the name {key}"
            )
        elif not found:
            listing.reject(
                folder / name / key,
                folder,
                "listed_without_file",
                f"{place} was fetched, but there is no such file",
            )
        else:
            listing.items.append(_item(place, found[0], rows[key]))


def _files_of(folder: Path, name: str) -> Iterator[_File]:
    """The files of a shard; PipelineError where it is a folder and a tar, or a tar that is not whole."""
    below, archive = folder / name, folder / f"{name}{_TAR}"
    if below.is_dir() and archive.is_file():
        raise PipelineError(f"{below} and {archive} are both shard {name}; keep one of the two")
    if below.is_dir():
        yield from (_File(path.name, path) for path in files(below))
    if archive.is_file():
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    if member.isreg():
                        part = member.offset_data, member.size
                        yield _File(PurePosixPath(member.name).name, archive, part)
        except tarfile.TarError as error:
            raise PipelineError(
                f"{archive} is no whole, plain tar: {error}; fetch the shard again"
            ) from error


def _rows(table: Path, told: Mapping[str, _File], listing: Listing) -> dict[str, dict[str, str]]:
    """What is known of each picture that was fetched, by key, under our names of the columns."""
    if table.is_file():
        try:
            frame = pd.read_parquet(table)
        except (ValueError, OSError) as error:
            raise PipelineError(f"{table} is no Parquet that can be read: {error}") from error
        if not {"key", "status", "url"} <= set(frame.columns):
            found = ", ".join(map(str, frame.columns))
            raise PipelineError(
                f"{table} has the columns {found}; expected key, status and url of img2dataset"
            )
    else:
        frame = pd.DataFrame([{"status": _DONE, **_parsed(file), "key": key} for key, file in told.items()])
    fetched = frame[frame["status"] == _DONE] if len(frame) else frame
    for status, count in frame["status"].value_counts().items() if len(frame) else ():
        if status != _DONE:
            listing.notes[f"addresses that img2dataset did not fetch ({printable(str(status))})"] += int(
                count
            )
    columns = known_columns(table, [str(name) for name in frame.columns])
    return {
        str(row[0]): _known_values(row[1:], columns)
        for row in zip(*(fetched[name] for name in ["key", *frame.columns] if len(frame)), strict=True)
    }


def _parsed(file: _File) -> dict[str, Any]:
    try:
        told = json.loads(file.read())
    except ValueError as error:
        raise PipelineError(f"{file.path}: {printable(file.name)} is no JSON: {error}") from error
    return told if isinstance(told, dict) else {}


def _known_values(cells: Sequence[Any], columns: Mapping[int, str]) -> dict[str, str]:
    """The cells of the columns that we know, of a name's first one that says anything."""
    values: dict[str, str] = {}
    for at, name in columns.items():
        if isinstance(cells[at], str) and cells[at].strip():
            values.setdefault(name, cells[at].strip())
    return values


def _item(key: str, file: _File, values: Mapping[str, str]) -> ListedPicture:
    return ListedPicture(
        f"{key}{Path(file.name).suffix}",
        str(file.path),
        url=values.get("url"),
        author=values.get("author"),
        licence=values.get("licence"),
        retrieved_at=values.get("retrieved_at"),
        part=file.part,
    )
