"""What became of each address: kept line by line while a crawl runs, so that it goes on after any kill, and as tables.

A line is written when an address is done, after its picture has its name. A line that a kill cut off, or that is
damaged, is the journal's end. That of a whole pass is kept, for one that only new take-downs ask for.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipeline.core.records import Rejected
from pipeline.core.stage import write_text
from pipeline.fetching.addresses import ListedAddress
from pipeline.fetching.download import Validators

PICTURES = "sources.csv"  # the table of a crawl's pictures, in the layout `crawl`
_COLUMNS = (
    *("file", "url", "final_url", "licence", "author", "source"),
    *("retrieved_at", "sha256", "etag", "last_modified"),
)


@dataclass(frozen=True, slots=True)
class FetchOutcome:
    """How an address ended: as a picture (reason ""), or as a reason."""

    url: str
    date: str  # UTC, when its site gave the picture or the reason
    status: int | None = None  # of HTTP; None where no answer came
    reason: str = ""
    detail: str = ""  # of a picture: what a later try met that did not take it away
    file: str = ""  # below the folder of the crawl
    final_url: str = ""  # behind the redirects
    sha256: str = ""
    etag: str = ""
    last_modified: str = ""

    @property
    def validators(self) -> Validators:
        """What a conditional request tells the site."""
        return Validators(self.etag, self.last_modified)


@dataclass
class _Told:
    """What the lines of a journal tell."""

    version: str | None = None
    takedowns: str | None = None  # a hash of those that the pass ended with; None where it did not end
    outcomes: dict[str, FetchOutcome] = field(default_factory=dict)
    kept: dict[str, FetchOutcome] = field(default_factory=dict)  # outcomes of other versions
    whole: int = 0  # bytes that were understood

    def begin_anew(self, version: str) -> None:
        """Another pass: what was fetched before may be kept."""
        self.kept.update(self.outcomes)
        self.version, self.takedowns, self.outcomes = version, None, {}


def _read(lines: Iterable[bytes]) -> _Told:
    told = _Told()
    for line in lines:
        if not line.endswith(b"\n"):  # cut off by a kill
            break
        try:
            values = json.loads(line)
            if "version" in values:
                if values["version"] != told.version:
                    told.begin_anew(values["version"])
            elif "takedowns" in values:
                told.takedowns = values["takedowns"]
            else:
                told.outcomes[values["url"]] = FetchOutcome(**values)
        except (ValueError, TypeError, KeyError):  # damaged
            break
        told.whole += len(line)
    return told


def _read_file(path: Path) -> _Told:
    return _read(path.read_bytes().splitlines(keepends=True)) if path.exists() else _Told()


class Journal:
    """The outcomes of a pass over a list; `version` is a hash of the list and of the rules.

    A pass that did not end is gone on with. Where it was of another version, its pictures are `kept` for this one.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path, self._version = path, version

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = self._path.open("a+b")
        self._file.seek(0)
        told = _read(self._file)
        self._file.truncate(told.whole)
        if told.version != self._version:
            told.begin_anew(self._version)
            self._write({"version": self._version})
        self.outcomes, self.kept = told.outcomes, told.kept
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, outcome: FetchOutcome) -> None:
        """Note that an address is done."""
        self.outcomes[outcome.url] = outcome
        self._write(asdict(outcome))

    def end(self, takedowns: str) -> None:
        """Put it beside: its pass has ended, with the take-downs of this hash."""
        self._write({"takedowns": takedowns})
        self._path.replace(_ended(self._path))

    def _write(self, told: dict[str, Any]) -> None:
        self._file.write(json.dumps(told).encode() + b"\n")
        self._file.flush()


def _ended(path: Path) -> Path:
    return path.with_suffix(".whole")


def take_up(path: Path, version: str, takedowns: str, pictures: Mapping[str, FetchOutcome]) -> None:
    """Make the journal of the last whole pass this one's, where only the take-downs have changed since.

    `pictures` are those of today; where they are not those of that pass, as after a checkout, it is of no use.
    """
    begun, told = (_read_file(one) for one in (path, _ended(path)))
    if begun.outcomes or begun.kept:
        return
    fetched = {url: one.sha256 for url, one in told.outcomes.items() if not one.reason}
    same = fetched == {url: one.sha256 for url, one in pictures.items()}
    if same and told.version == version and told.takedowns not in (None, takedowns):
        _ended(path).replace(path)


def write_pictures(
    folder: Path, addresses: Sequence[ListedAddress], outcomes: Mapping[str, FetchOutcome]
) -> None:
    """Write FOLDER/sources.csv: each picture with its provenance, by address."""
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for address in addresses:
        outcome = outcomes[address.url]
        if not outcome.reason:
            said = {**asdict(outcome), **asdict(address), "retrieved_at": outcome.date}
            table.writerow({name: said[name] for name in _COLUMNS})
    write_text(folder / PICTURES, buffer.getvalue())


def read_pictures(folder: Path) -> dict[str, FetchOutcome]:
    """The pictures that FOLDER/sources.csv tells of, by address; none where it is missing or not as we write it."""
    try:
        text = (folder / PICTURES).read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeError, csv.Error):
        return {}
    names = {field.name for field in fields(FetchOutcome)} & set(_COLUMNS)
    return {
        row["url"]: FetchOutcome(date=row["retrieved_at"], status=200, **{name: row[name] for name in names})
        for row in rows
        if set(row) == set(_COLUMNS) and all(value is not None for value in row.values())
    }


def write_refused(
    path: Path, name: str, outcomes: Sequence[FetchOutcome], unusable: Sequence[Rejected], now: str
) -> None:
    """Write a row for each address that gave no picture, and for each line that is none, with status and date."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(("source", "source_key", "reason", "detail", "status", "date"))
    rows = [(one.source, one.source_key, one.reason, one.detail, "", now) for one in unusable]
    rows += [
        (name, one.url, one.reason, one.detail, str(one.status or ""), one.date)
        for one in outcomes
        if one.reason
    ]
    table.writerows(sorted(rows))
    write_text(path, buffer.getvalue())


def refused(name: str, outcomes: Sequence[FetchOutcome]) -> Iterator[Rejected]:
    """The addresses that gave no picture."""
    yield from (Rejected(name, one.url, one.reason, one.detail) for one in outcomes if one.reason)
