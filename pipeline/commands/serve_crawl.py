"""Serve the drawn world's crawl from this machine, so that stage crawl can be seen without a network.

`python -m pipeline serve-crawl` writes the list of addresses that the profile `loopback` fetches, and serves them until
Ctrl-C.
"""

import csv
import io
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from pipeline.core.errors import PipelineError
from pipeline.core.paths import SAMPLE
from pipeline.core.stage import write_text

SERVED = SAMPLE / "crawl"
ADDRESSES = Path("drawn_urls.csv")  # as the profile `loopback` names it
_HOST = "127.0.0.1"


def main(port: int) -> None:
    """Write the list, serve its pictures."""
    write_text(ADDRESSES, list_of(SERVED, port))
    told = f"{ADDRESSES} lists what is served at http://{_HOST}:{port}"
    print(f"{told}; in another terminal `dvc repro crawl` fetches it. Ctrl-C stops this.", flush=True)
    web.run_app(site_of(SERVED), host=_HOST, port=port, print=None)


def list_of(folder: Path, port: int) -> str:
    """A CSV of the addresses of a crawl's files when `folder` is served, with what its own table says of them."""
    table = folder / "sources.csv"
    if not table.is_file():
        raise PipelineError(f"expected the drawn crawl at {table}, found none; run `dvc repro sample` first")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("url", "licence", "author", "source"))
    for row in csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"), newline="")):
        url = f"http://{_HOST}:{port}/{quote(row['file'])}"
        writer.writerow((url, row["licence"], row["author"], row["url"]))
    return buffer.getvalue()


def site_of(folder: Path) -> web.Application:
    """A web site of the files of a folder, which answers conditional requests."""
    application = web.Application()
    application.router.add_static("/", folder)
    return application
