"""What became of each address: kept line by line while a crawl runs, so that it goes on after any kill, and as tables.

A line is written when an address is done, after its picture has its name. A line that a kill cut off counts as none.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
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


class Journal:
    """The outcomes of a pass over a list; `version` is a hash of all that the pass depends on.

    A pass that did not end is gone on with. Where it was of another version, its pictures are `kept` for this one.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path, self._version = path, version
        self.outcomes: dict[str, FetchOutcome] = {}
        self.kept: dict[str, FetchOutcome] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = self._path.open("a+b")
        self._file.seek(0)
        version, whole = None, 0
        for line in self._file:
            if not line.endswith(b"\n"):  # cut off by a kill
                break
            whole += len(line)
            told = json.loads(line)
            if "version" not in told:
                self.outcomes[told["url"]] = FetchOutcome(**told)
            elif told["version"] != version:
                version = told["version"]
                self._begin_anew()
        self._file.truncate(whole)
        if version != self._version:
            self._begin_anew()
            self._write({"version": self._version})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, outcome: FetchOutcome) -> None:
        """Note that an address is done."""
        self.outcomes[outcome.url] = outcome
        self._write(asdict(outcome))

    def remove(self) -> None:
        """Take it away: its pass has ended."""
        self._path.unlink(missing_ok=True)

    def _begin_anew(self) -> None:
        self.kept.update(self.outcomes)
        self.outcomes = {}

    def _write(self, told: dict[str, Any]) -> None:
        self._file.write(json.dumps(told).encode() + b"\n")
        self._file.flush()


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
