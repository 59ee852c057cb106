"""The list of what people asked to have taken out: sorted JSON lines of hashes in git, sharded as the lock is.

A line is a request. It names the picture, what was cut out of it and its look-alikes by hashes alone, so that they are
known again wherever they come from; nobody can make the picture of it. Deleting the line by hand undoes the request.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from yarl import URL

from annotations.ledger.shards import parse_line, read_shards, write_shards

TAKEDOWNS = Path("annotations/takedowns")

_DEFAULT_PORTS = {80, 443}

_Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Hex128 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class TakenDown(BaseModel):
    """One request. Lists are sorted, each hash once."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: _Hex16  # names the line: the picture's id, or the first digits of the file's or address's hash
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    reason: str = ""  # whatever helps later; the list is as public as the repository
    pixels: Annotated[tuple[_Hex16, ...], Field(strict=False)] = ()  # ids of pictures, crops among them
    files: Annotated[tuple[_Hex64, ...], Field(strict=False)] = ()  # sha256 of files
    looks: Annotated[
        tuple[_Hex128, ...], Field(strict=False)
    ] = ()  # two perceptual hashes, one of the mirror image
    urls: Annotated[tuple[_Hex64, ...], Field(strict=False)] = ()  # `url_hash` of addresses
    reviews: Annotated[tuple[_Hex16, ...], Field(strict=False)] = ()  # keys of tasks and reviews

    @field_validator("pixels", "files", "looks", "urls", "reviews")
    @classmethod
    def _sorted_once(cls, hashes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(hashes)))

    def joined(self, other: "TakenDown") -> "TakenDown":
        """This request with what another one of the same picture names too."""
        lists = ("pixels", "files", "looks", "urls", "reviews")
        both = {name: (*getattr(self, name), *getattr(other, name)) for name in lists}
        return TakenDown(key=self.key, date=self.date, reason=self.reason or other.reason, **both)


class Takedowns:
    """The requests, to ask what one of them names. Each question is answered with the request's key, or None."""

    def __init__(self, requests: Iterable[TakenDown] = ()) -> None:
        self.requests: Sequence[TakenDown] = tuple(requests)
        self.pixels = {one: line.key for line in self.requests for one in line.pixels}
        self.files = {one: line.key for line in self.requests for one in line.files}
        self.looks = {one: line.key for line in self.requests for one in line.looks}
        self.urls = {one: line.key for line in self.requests for one in line.urls}
        self.reviews = {one: line.key for line in self.requests for one in line.reviews}

    def of_url(self, url: str) -> str | None:
        """Which request names this address, however it writes scheme, usual port and host; None for what is none."""
        try:
            return self.urls.get(url_hash(url))
        except ValueError:
            return None

    def of_task(self, key: str, parent_sha256: str) -> str | None:
        """Which request names the picture of this task or review."""
        return self.files.get(parent_sha256) or self.reviews.get(key)


def one_form(text: str) -> URL:
    """An address in the one form of all ways to write it, without what stands behind #; ValueError where it is none.

    Other alphabets and needless escapes become what a browser sends: `ä` is `%C3%A4`, `%7E` is `~`, `/a/../b` is `/b`.
    """
    url = URL(text).with_fragment(None)
    _ = url.host, url.explicit_port, url.user  # read only when asked for, with an error of their own
    return url


def url_hash(url: str) -> str:
    """sha256 of an address as 64 hex digits: of `one_form` the host, path and query, without scheme, user and port.

    So http and https are one, and a host with and without a dot at its end; a port stays where it is neither 80 nor
    443. ValueError where it is no address.
    """
    parts = one_form(url.strip())
    host = (parts.raw_host or "").rstrip(".")
    if not host:
        raise ValueError(f"expected an address such as https://example.org/picture.jpg, found {url!r}")
    usual = parts.explicit_port is None or parts.explicit_port in _DEFAULT_PORTS
    port = "" if usual else f":{parts.explicit_port}"
    plain = f"//{host}{port}{parts.raw_path_qs}"
    return hashlib.sha256(plain.encode()).hexdigest()


def read_takedowns(folder: Path = TAKEDOWNS) -> Takedowns:
    """The list; a missing folder is an empty one. LockError names file and line of damage."""
    return Takedowns(
        read_shards(
            folder, lambda line, where: parse_line(TakenDown, line, where), lambda one: f"key {one.key}"
        )
    )


def write_takedowns(requests: Iterable[TakenDown], folder: Path = TAKEDOWNS) -> None:
    """Make the folder hold exactly these requests; equal files stay untouched."""
    write_shards(folder, requests, lambda one: f"key {one.key}")
