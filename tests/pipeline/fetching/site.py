"""A web site on loopback that does what it is told, byte by byte, and a DNS of one's own."""

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from aiohttp.abc import AbstractResolver

Answer = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    number: int  # of the requests of this path, from 1


def answer(
    body: bytes = b"", status: int = 200, headers: Iterable[tuple[str, str]] = (), length: int | None = None
) -> Answer:
    """An answer of HTTP, with another length than it has if one is given."""

    async def given(_: Request, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)
        await writer.drain()
        if length is not None:
            writer.close()

    return given


class Site:
    """Answers by path; an Answer may be a list, of which each request takes the next, and the last one stays."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.connections = 0
        self.host, self.tls = host, tls

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def serve() -> None:
            self._server = await asyncio.start_server(
                self._talk, self.host, 0, family=socket.AF_INET, ssl=self.tls
            )
            self.port = self._server.sockets[0].getsockname()[1]
            ready.set()

        def work() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(serve())
            self._loop.run_forever()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0))
            self._loop.close()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def url(self, path: str, host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                path = head[0].split(" ")[1]
                self.asked[path] += 1
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                request = Request(path, headers, self.asked[path])
                self.requests.append(request)
                found = self.answers.get(path, answer(b"gone", 404))
                if isinstance(found, list):
                    found = found[min(request.number, len(found)) - 1]
                await found(request, writer)
                if writer.is_closing():
                    return
        writer.close()


class Names(AbstractResolver):
    """A DNS that answers each name's addresses in turn, and its last one for ever."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): list(addresses) for name, addresses in names.items()}
        self.asked: Counter[str] = Counter()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET):
        self.asked[host] += 1
        if host not in self.names:
            raise OSError(f"no such name: {host}")
        addresses = self.names[host]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
        ]

    async def close(self) -> None:
        pass
