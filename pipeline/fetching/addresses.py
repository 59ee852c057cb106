"""A list of addresses, as people write it, read: one address each, and the lines that are none."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from annotations.ledger.takedowns import one_form
from pipeline.core.errors import PipelineError
from pipeline.core.records import Rejected
from pipeline.sources.layouts.listing import printable
from pipeline.sources.layouts.table import TableRow, read_table

_LONGEST = 8000  # letters of an address; servers refuse longer ones
_TERMS = ("licence", "author")
_USER = re.compile(
    r"(\s*(?:(?:[a-z][\w+.-]*:)?[/\\]+)?)"  # what stands before a name and a password
    r"(?:[^/?#]*|[^/?#:]*:(?!\d*[/?#]).*)[@\uff20\ufe6b]",  # a password may hold a /, behind which no port ends
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ListedAddress:
    """Where a picture is, and what the list says of it ("" for nothing)."""

    url: str  # as `canonical` gives it
    licence: str = ""
    author: str = ""
    source: str = ""  # the page that shows the picture


@dataclass
class AddressList:
    """What a list holds: each address once, and the lines that give none."""

    addresses: list[ListedAddress] = field(default_factory=list)  # sorted by url
    unusable: list[Rejected] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def read_addresses(name: str, path: Path) -> AddressList:
    """Read the CSV of source `name`; PipelineError where it is none, or has no address at all."""
    if not path.is_file():
        raise PipelineError(
            f"expected a CSV of addresses at {path}, found {'a folder' if path.is_dir() else 'nothing'}"
        )
    listed, first, refused = AddressList(), dict[str, TableRow](), set[str]()
    rows = read_table(path, listed.notes)
    if not any("url" in row.values for row in rows):
        raise PipelineError(
            f"{path} holds no address; expected a CSV with a column url, and licence, author and source where they "
            "are known"
        )
    for row in rows:
        text = row.values.get("url", "")
        place = f"{printable(path.name)}:{row.line}"
        try:
            url = canonical(text)
        except ValueError as error:
            listed.unusable.append(
                Rejected(name, f"{place} {printable(without_user(text))}".strip(), "no_address", str(error))
            )
            continue
        known = first.setdefault(url, row)
        if known is not row:
            detail = f"{url} stands in line {known.line} already"
            if any(known.values.get(term) != row.values.get(term) for term in _TERMS):
                refused.add(url)
                detail += ", with another licence or author, so that neither is fetched"
            listed.unusable.append(Rejected(name, place, "listed_twice", detail))
    for url in sorted(refused):
        place = f"{printable(path.name)}:{first.pop(url).line}"
        listed.unusable.append(
            Rejected(
                name, f"{place} {url}", "rows_disagree", "another line tells another licence or author of it"
            )
        )
    for url, row in sorted(first.items()):
        values = row.values
        terms = (values.get("licence", ""), values.get("author", ""), values.get("source", ""))
        listed.addresses.append(ListedAddress(url, *terms))
    return listed


def canonical(text: str) -> str:
    """An address in the one form that names its picture, also for take-downs; ValueError says why it is none."""
    if not text:
        raise ValueError("the line has no address")
    if len(text) > _LONGEST or not text.isprintable() or " " in text:
        raise ValueError(f"expected an address of at most {_LONGEST:,} letters without spaces")
    try:
        url = one_form(text)
    except ValueError as error:
        why = "" if _USER.match(text) else f": {error}"  # which may quote a password
        raise ValueError(f"expected an address as https://example.org/a.jpg{why}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("expected an address that begins with http:// or https:// and a host")
    if url.user is not None or url.password is not None:
        raise ValueError("the address holds a name or a password, which no picture of everybody needs")
    return str(url)


def without_user(text: str) -> str:
    """What may be an address, without the name and the password in it: to be shown."""
    return _USER.sub(r"\1", text, count=1) if _USER.match(text) else text


def without_secrets(text: str) -> str:
    """As `without_user`, and without a query, which may be a signature."""
    return re.split("[?#]", without_user(text), maxsplit=1)[0]
