"""How many pictures a second stage crawl fetches on one core from this machine, and how its memory grows.

`python -m pipeline benchmark crawl` (2,000 pictures of 100 KB); with `--pictures 100000 --kilobytes 1` its memory.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from pipeline.core.params import FetchParams, load_params
from pipeline.core.paths import PROFILES
from pipeline.crawl import crawl

_FEW = 200
_HOSTS = 50  # of loopback, 127.0.1.1 and so on: a host asked by many at once is none that we know


def main(pictures: int, kilobytes: int) -> None:
    """Fetch a few and then all of them in processes of one core each, print rates and peaks."""
    port = _serve(_picture(kilobytes * 1000))
    with tempfile.TemporaryDirectory(prefix="benchmark-crawl-") as name:
        few, many = (_measure(Path(name) / str(count), port, count) for count in (_FEW, pictures))
    grown = (many["peak"] - few["peak"]) / pictures * 1000
    print(
        f"{pictures:,} addresses take {many['peak'] - few['peak']:+.0f} MB against {_FEW}: {grown:.2f} KB each"
    )


def _picture(size: int) -> bytes:
    """A JPEG of 600x800 whose file is filled up to `size` bytes behind its end marker."""
    pixels = np.zeros((800, 600, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 5])[1].tobytes()).ljust(size, b"\0")


def _serve(picture: bytes) -> int:
    """Answer every request on loopback with the picture, from a thread of its own; the port."""
    head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(picture)}\r\nETag: "one"\r\n\r\n'.encode()
    ready: list[int] = []
    started = threading.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                robots = asked.startswith(b"GET /robots.txt ")
                writer.write(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n" if robots else head + picture)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(talk, "0.0.0.0", 0)
        ready.append(server.sockets[0].getsockname()[1])
        started.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    started.wait()
    return ready[0]


def _measure(folder: Path, port: int, count: int) -> dict[str, float]:
    folder.mkdir()
    with (folder / "list.csv").open("w") as file:
        file.write("url,licence,author\n")
        for number in range(count):
            file.write(f"http://127.0.1.{number % _HOSTS + 1}:{port}/photos/{number:06d}.jpg,CC BY 4.0,Ann\n")
    done = subprocess.run(
        [sys.executable, "-m", __name__], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    print(
        f"{count:,} pictures: {count / found['seconds']:.0f} a second on one core ({found['cpu']:.1f} s of CPU), "
        f"peak {found['peak']:.0f} MB"
    )
    return found


def _rules() -> FetchParams:
    fetch = load_params(PROFILES / "sample.yaml").crawl.fetch.model_dump()
    return FetchParams(**{**fetch, "contact": "a@example.org", "rate": 10_000.0, "allow_private": True})


def _fetch() -> None:
    """What the measured process does: the stage's work on one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    start, before = time.monotonic(), time.process_time()
    crawled = crawl("web", Path("list.csv"), _rules(), Path("data/crawl/web"))
    if any(one.reason for one in crawled.outcomes.values()):
        raise ValueError(f"an address gave no picture: {next(iter(crawled.outcomes.values()))}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, cpu = time.monotonic() - start, time.process_time() - before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))


if __name__ == "__main__":
    _fetch()
