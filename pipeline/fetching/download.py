"""One address: from the first request, over redirects, to a picture's bytes in a file, or to the reason why not."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from annotations.ledger.takedowns import Takedowns
from pipeline.core.params import FetchParams
from pipeline.fetching.addresses import without_secrets
from pipeline.fetching.opt_out import OF_AN_ERROR, OPT_OUTS, opt_out
from pipeline.fetching.pace import Pace, retry_after
from pipeline.fetching.reachable import (
    CheckedResolver,
    Permits,
    PrivateAddressError,
    check_address,
    checked_socket,
    is_any,
    is_public,
)
from pipeline.fetching.robots import MOST_BYTES, Robots, RobotsAnswer
from pipeline.fetching.unwanted import named_request
from sinet.images.decode import ImageError, probe

_Answer = TypeVar("_Answer")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # that another try may find gone
_ROBOTS_REDIRECTS = 5  # as RFC 9309 asks for
_LASTING = frozenset({"private_address", "no_address", "asks_to_wait"})  # reasons that hold for the whole run
_OF_THE_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_CHUNK = 2**16  # bytes
_KINDS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
_PLAIN = frozenset({"", "identity"})


@dataclass(frozen=True)
class Validators:
    """What a site said of the version of a picture that is kept, for a request that brings it only if it changed."""

    etag: str = ""
    last_modified: str = ""

    def headers(self) -> dict[str, str]:
        """The headers of a conditional request; none where the site said nothing."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True)
class Downloaded:
    """A picture in a file, and what its site said of it."""

    final_url: str
    sha256: str
    suffix: str  # of what the bytes are, whatever address and headers say
    validators: Validators


class RefusedError(Exception):
    """An address that gave no picture. `again`: another try may, `wait` seconds later where the site asks for that.

    `host` is the one that it was about, behind the redirects, as `host_of` gives it.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        status: int | None = None,
        *,
        again: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.host = ""
        self.reason, self.detail, self.status, self.again, self.wait = reason, detail, status, again, wait


class Downloader:
    """A session of requests that keep to the rules of params.yaml; to be used with `async with`."""

    def __init__(
        self,
        rules: FetchParams,
        resolver: AbstractResolver | None = None,
        permits: Permits | None = None,
        takedowns: Takedowns | None = None,
    ) -> None:
        self.rules = rules
        self.pace = Pace(rules.rate)
        self.robots = Robots(self._ask_robots, rules.user_agent, rules.tries)
        self.given_up: dict[str, RefusedError] = {}  # hosts that are asked no more, and why
        self.connected = False  # whether any host was ever reached
        self._permits = permits or (is_any if rules.allow_private else is_public)
        self._resolver = resolver
        self._takedowns = takedowns or Takedowns()

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(self.rules.concurrency)
        )  # of names
        resolver = self._resolver or aiohttp.ThreadedResolver()
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._note_connection)
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(resolver, self._permits),
            socket_factory=checked_socket(self._permits),
            use_dns_cache=False,  # a name is asked for at each connection, whose addresses are those that were checked
            limit=0,
            keepalive_timeout=5,  # seconds; an open file for each host that was asked meanwhile
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,  # a small answer could else be an endless one
            trace_configs=[trace],
            trust_env=False,  # a proxy would resolve the names itself
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.rules.max_seconds),
            headers={
                "User-Agent": f"{self.rules.user_agent} (+{self.rules.contact})",
                "Accept": "image/*",
                "Accept-Encoding": "identity",
            },
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def _note_connection(self, *_: object) -> None:
        self.connected = True

    async def download(self, url: str, kept: Validators | None, part: Path) -> Downloaded | None:
        """Write the picture at `url` to `part`; None where its site says that the kept version is today's.

        RefusedError says why there is none. The time is that of the address alone: what is waited for a turn of its
        host, or for a robots.txt, comes on top.
        """
        asked = [URL(url, encoded=True)]
        try:
            async with asyncio.timeout(self.rules.max_seconds) as deadline:
                return await self._follow(asked, kept or Validators(), part, deadline)
        except RefusedError as error:
            error.host = host_of(asked[-1])
            raise
        except (TimeoutError, PrivateAddressError, aiohttp.ClientError, ValueError) as error:
            refusal = self._refusal_of(error)
            refusal.host = host_of(asked[-1])
            raise refusal from error

    async def _follow(
        self, asked: list[URL], kept: Validators, part: Path, deadline: asyncio.Timeout
    ) -> Downloaded | None:
        """Ask for the last address of `asked`, to which each redirect's target is added."""
        while True:
            url = asked[-1]
            await _beside(deadline, self._admit(url))
            async with self._asked(url, kept.headers()) as response:
                self._check_opt_out(response)
                target = _target(response)
                if target is None:
                    return await self._take(response, kept, part)
            if target in asked:
                raise RefusedError(
                    "redirects",
                    f"redirects lead in a circle to {without_secrets(str(target))}",
                    response.status,
                )
            if len(asked) > self.rules.max_redirects:
                raise RefusedError(
                    "redirects", f"more than {self.rules.max_redirects} redirects", response.status
                )
            self._check_request(response.status, url=str(target))
            asked.append(target)

    @asynccontextmanager
    async def _asked(self, url: URL, headers: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request of one address, in its host's turn, without redirects; the body is not read yet."""
        if url.host and _is_literal(url.host):
            check_address(url.host, url.host, self._permits)
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            yield response

    async def _admit(self, url: URL) -> None:
        """Wait for a turn; RefusedError where the host is given up, or its robots.txt does not allow the address."""
        host = host_of(url)
        self._check_given_up(host)
        rules = await self.robots.rules_of(url)
        if rules.unknown:
            again = rules.reason not in _LASTING and self.robots.may_ask_again(url)
            raise RefusedError(rules.reason, rules.unknown, again=again)
        if not rules.allows(str(url)):
            raise RefusedError("robots", f"the robots.txt of {url.host} does not allow {url.raw_path}")
        if rules.delay > self.rules.max_wait:
            raise RefusedError(
                "asks_to_wait",
                f"the robots.txt of {url.host} asks for {rules.delay:.0f} seconds between two requests, more than "
                f"crawl.fetch.max_wait ({self.rules.max_wait:g})",
            )
        self.pace.slow_down(host, rules.delay)
        await self.pace.turn(host)
        self._check_given_up(host)  # which may have come while it waited

    async def _take(
        self, response: aiohttp.ClientResponse, kept: Validators, part: Path
    ) -> Downloaded | None:
        """The answer's picture; all that its headers tell is looked at before its body is read."""
        status, headers = response.status, response.headers
        unchanged = status == 304 and bool(kept.headers())
        if status != 200 and not unchanged:
            raise RefusedError(
                "http_status",
                f"the site answers {status}",
                status,
                again=status in _PASSING,
                wait=retry_after(headers.get("Retry-After")),
            )
        if unchanged:
            return None
        if headers.get("Content-Encoding", "").strip().lower() not in _PLAIN:
            raise RefusedError(
                "encoded", f"packed as {headers['Content-Encoding'][:40]!r}, which nobody asked for", status
            )
        if (response.content_length or 0) > self.rules.max_bytes:
            raise self._too_many(f"{response.content_length:,} bytes", status)
        digest = await self._stream(response, part)
        self._check_request(status, sha256=digest)
        try:
            width, height = probe(part)
        except ImageError as error:
            raise RefusedError(error.reason, error.detail, status) from error
        low, high = self.rules.min_side, self.rules.max_side
        if min(width, height) < low or max(width, height) > high:
            detail = f"{width}x{height}; each side has to be of {low} to {high} pixels"
            raise RefusedError("too_small" if min(width, height) < low else "too_large", detail, status)
        validators = Validators(_plain(headers.get("ETag")), _plain(headers.get("Last-Modified")))
        return Downloaded(str(response.url), digest, _suffix(part), validators)

    def _check_opt_out(self, response: aiohttp.ClientResponse) -> None:
        """RefusedError where an answer of any kind, a redirect among them, says that the picture must not be used."""
        words = OPT_OUTS if response.status < 400 else OF_AN_ERROR
        directive = opt_out(response.headers.getall("X-Robots-Tag", []), self.rules.user_agent, words)
        if directive:
            raise RefusedError("opted_out", f"X-Robots-Tag says {directive}", response.status)

    def _check_given_up(self, host: str) -> None:
        if host in self.given_up:
            raise self.given_up[host]

    def _check_request(self, status: int, url: str = "", sha256: str = "") -> None:
        """RefusedError where somebody asked to have an address or a file taken out."""
        request = named_request(self._takedowns, url, sha256=sha256)
        if request:
            raise RefusedError("taken_down", request, status)

    async def _stream(self, response: aiohttp.ClientResponse, part: Path) -> str:
        """Write the body; return its sha256."""
        digest, size = hashlib.sha256(), 0
        with part.open("wb") as file:
            async for chunk in response.content.iter_chunked(_CHUNK):
                size += len(chunk)
                if size > self.rules.max_bytes:
                    raise self._too_many(f"{size:,} bytes and more", response.status)
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _too_many(self, found: str, status: int) -> RefusedError:
        return RefusedError(
            "too_many_bytes", f"{found}, over {self.rules.max_bytes:,} (crawl.fetch.max_bytes)", status
        )

    async def _ask_robots(self, url: URL) -> RobotsAnswer:
        """What a site's robots.txt holds; of a longer one the first 500 KiB, as the RFC allows."""
        try:
            async with asyncio.timeout(self.rules.max_seconds) as deadline:
                for _ in range(_ROBOTS_REDIRECTS + 1):
                    await _beside(deadline, self.pace.turn(host_of(url)))
                    async with self._asked(url, {}) as response:
                        target = _target(response)
                        if target is None:
                            return await self._robots_of(response)
                    url = target
            return RobotsAnswer(unknown=f"the robots.txt has more than {_ROBOTS_REDIRECTS} redirects")
        except RefusedError as error:
            return RobotsAnswer(unknown=f"its robots.txt: {error.detail}")
        except (TimeoutError, PrivateAddressError, aiohttp.ClientError, ValueError) as error:
            found = self._refusal_of(error)
            if found.reason in _LASTING:
                return RobotsAnswer(unknown=found.detail, reason=found.reason)
            return RobotsAnswer(unknown=f"its robots.txt: {found.detail}")

    async def _robots_of(self, response: aiohttp.ClientResponse) -> RobotsAnswer:
        status = response.status
        if status == 429 or status >= 500 or status < 200:
            wait = retry_after(response.headers.get("Retry-After"))
            if wait is not None and wait > self.rules.max_wait:
                detail = (
                    f"{response.url.host} asks to wait {wait:.0f} seconds, more than crawl.fetch.max_wait"
                )
                return RobotsAnswer(unknown=detail, reason="asks_to_wait")
            self.pause(host_of(response.url), wait, 1)
            return RobotsAnswer(unknown=f"the site answers {status} when asked for its robots.txt")
        if status != 200:  # there is none, so that everything is allowed
            return RobotsAnswer()
        if response.headers.get("Content-Encoding", "").strip().lower() not in _PLAIN:
            return RobotsAnswer(unknown="its robots.txt is packed, which nobody asked for")
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) >= MOST_BYTES:
                break
        return RobotsAnswer(bytes(body[:MOST_BYTES]))

    def pause(self, host: str, asked: float | None, attempt: int) -> None:
        """Leave a host alone for as long as it asks for, or twice as long at each attempt, at most `max_wait`."""
        self.pace.pause(host, min(2.0 ** (attempt - 1) if asked is None else asked, self.rules.max_wait))

    def _refusal_of(self, error: Exception) -> RefusedError:
        """What an error of a connection means for the address."""
        told = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            raise error  # no fault of the site's, so that no address is refused for it
        if isinstance(error, TimeoutError):
            return RefusedError("too_slow", f"not done within {self.rules.max_seconds:g} seconds", again=True)
        if isinstance(error, PrivateAddressError):
            return RefusedError("private_address", told)
        if isinstance(error, aiohttp.ClientSSLError):
            self.connected = True
            return RefusedError("unreachable", f"its certificate is not valid: {told}")
        if isinstance(error, aiohttp.InvalidURL | ValueError):
            return RefusedError("no_address", f"no address that can be asked: {told}")
        if isinstance(error, aiohttp.ClientPayloadError):
            return RefusedError("truncated", f"the answer ends early: {told}", again=True)
        if isinstance(error, aiohttp.ClientResponseError):
            return RefusedError("bad_answer", f"no answer as HTTP has it: {told[:200]}")
        return RefusedError("unreachable", told, again=True)


def host_of(url: URL) -> str:
    """A site as the pace knows it: http and https are one; a port stays where it is neither 80 nor 443."""
    host = (url.host or "").rstrip(".")
    return host if url.port in (80, 443) else f"{host}:{url.port}"


async def _beside(deadline: asyncio.Timeout, waiting: Awaitable[_Answer]) -> _Answer:
    """Wait for something that is not of the address's own time."""
    clock, ends = asyncio.get_running_loop().time, deadline.when()
    start = clock()
    deadline.reschedule(None)
    try:
        return await waiting
    finally:
        deadline.reschedule(None if ends is None else ends + clock() - start)


def _target(response: aiohttp.ClientResponse) -> URL | None:
    """Where a redirect leads; None where the answer is none."""
    location = response.headers.get("Location", "")
    if response.status not in _REDIRECTS or not location:
        return None
    shown = repr(without_secrets(location)[:200])
    try:
        target = response.url.join(URL(location)).with_fragment(None)
    except ValueError as error:
        raise RefusedError(
            "redirects", f"a redirect leads to no address: {shown}", response.status
        ) from error
    if target.scheme not in ("http", "https") or not target.host:
        raise RefusedError(
            "redirects", f"a redirect leads to no address of the web: {shown}", response.status
        )
    if target.user is not None or target.password is not None:
        raise RefusedError(
            "redirects", f"a redirect leads to an address with a name or a password: {shown}", response.status
        )
    return target


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _suffix(part: Path) -> str:
    with part.open("rb") as file:
        head = file.read(8)
    return next((suffix for magic, suffix in _KINDS.items() if head.startswith(magic)), ".tif")


def _plain(value: str | None) -> str:
    """A header's value where it can be kept and sent back as it is, else ""."""
    return (
        value if value is not None and value.isascii() and value.isprintable() and len(value) <= 300 else ""
    )
