"""Fetch the pictures of a list of addresses, politely: robots.txt and X-Robots-Tag count, and no host is asked often.

Writes images/ and sources.csv with the provenance of each, and a row with status, reason and date for each address that
gave none. A stopped crawl goes on; a later one asks only for what has changed.

`python -m pipeline.crawl NAME`, a name in `crawl.lists` of params.yaml.
"""

import asyncio
import hashlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver
from tqdm import tqdm

from annotations.ledger.takedowns import Takedowns
from pipeline.core.errors import PipelineError
from pipeline.core.params import FetchParams, load_params
from pipeline.core.paths import CACHE, CRAWL, REJECTED
from pipeline.core.records import account
from pipeline.core.stage import run, write_metrics
from pipeline.dataset.takedown_list import read_requests
from pipeline.fetching.addresses import AddressList, read_addresses
from pipeline.fetching.crawler import IMAGES, UNFINISHED, Crawl, check_folder, drop, sweep
from pipeline.fetching.download import Downloader
from pipeline.fetching.journal import (
    FetchOutcome,
    Journal,
    read_pictures,
    refused,
    take_up,
    write_pictures,
    write_refused,
)
from pipeline.fetching.reachable import Permits
from pipeline.fetching.unwanted import named_request, places
from sinet.core.progress import bar_interval

log = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Crawled:
    """A list, how each of its addresses ended, and how many of these ended in this run."""

    listed: AddressList
    outcomes: dict[str, FetchOutcome]
    asked: int


def today() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def crawl(
    name: str,
    path: Path,
    rules: FetchParams,
    out: Path,
    *,
    takedowns: Takedowns | None = None,
    now: Callable[[], str] = today,
    resolver: AbstractResolver | None = None,
    permits: Permits | None = None,
) -> Crawled:
    """Fetch the list at `path` into `out`, and write `out`/sources.csv and the table of refused addresses.

    What `takedowns` name, by address or as a file fetched before, is not asked for and does not stay. Where they alone
    have changed since a whole pass, nobody is asked but for what is taken down no longer.

    What a pass that was stopped has done is not done again; what an earlier pass has fetched is asked for again only
    where its site says that it changed. `resolver` and `permits` take the place of the machine's DNS and of the rule
    which addresses may be connected to.
    """
    listed = read_addresses(name, path)
    check_folder(out)
    for folder in (IMAGES, UNFINISHED):
        (out / folder).mkdir(parents=True, exist_ok=True)
    takedowns = takedowns or Takedowns()
    unwanted = _hash([sorted(takedowns.urls), sorted(takedowns.files)])
    version = _hash([hashlib.sha256(path.read_bytes()).hexdigest(), rules.model_dump()])
    pictures, noted = read_pictures(out), CACHE / "crawl" / f"{name}.jsonl"
    take_up(noted, version, unwanted, pictures)
    with Journal(noted, version) as journal:
        kept = {**pictures, **journal.kept}
        requests = _requests(takedowns, listed, [*kept.values(), *journal.outcomes.values()])
        drop(out, requests)  # before anybody is asked, who may not answer
        left, standing = [], places(takedowns)
        for url in (one.url for one in listed.addresses):
            before = journal.outcomes.get(url)
            if url in requests:
                if before is None or before.detail != requests[url]:
                    journal.add(FetchOutcome(url, now(), reason="taken_down", detail=requests[url]))
            elif before is None or not _holds(before, out, standing):
                left.append(url)
        with tqdm(
            total=len(listed.addresses),
            initial=len(listed.addresses) - len(left),
            desc=f"crawl {name}",
            unit="address",
            file=sys.stderr,
            mininterval=bar_interval(),
        ) as bar:

            def done(outcome: FetchOutcome) -> None:
                journal.add(outcome)
                bar.update()

            asyncio.run(_fetch(left, Downloader(rules, resolver, permits, takedowns), out, kept, done, now))
        outcomes = {one.url: journal.outcomes[one.url] for one in listed.addresses}
        write_pictures(out, listed.addresses, outcomes)
        write_refused(
            REJECTED / "crawl" / f"{name}.csv", name, list(outcomes.values()), listed.unusable, now()
        )
        sweep(out, {one.file for one in outcomes.values() if not one.reason})
        journal.end(unwanted)
    return Crawled(listed, outcomes, len(left))


def _hash(told: Any) -> str:
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _holds(outcome: FetchOutcome, out: Path, standing: Collection[str]) -> bool:
    """Whether an address need not be asked for again: its request stands, or its picture is there."""
    if outcome.reason == "taken_down":
        return outcome.detail in standing
    return bool(outcome.reason) or (out / outcome.file).is_file()


def _requests(takedowns: Takedowns, listed: AddressList, fetched: Iterable[FetchOutcome]) -> dict[str, str]:
    """Where the request stands that names an address, or what was fetched of it, by address."""
    found = {one.url: named_request(takedowns, one.url) for one in listed.addresses}
    for one in fetched:
        request = named_request(takedowns, one.url, one.final_url, sha256=one.sha256)
        found[one.url] = found.get(one.url) or request
    return {url: request for url, request in found.items() if request}


async def _fetch(
    urls: Sequence[str],
    downloader: Downloader,
    out: Path,
    kept: Mapping[str, FetchOutcome],
    done: Callable[[FetchOutcome], None],
    now: Callable[[], str],
) -> None:
    async with downloader:
        await Crawl(downloader, out, kept, done, now).run(urls)


def summarise(crawled: Crawled) -> dict[str, Any]:
    """What the pictures are under, and which of them a site would not give today, for the metrics."""
    outcomes = crawled.outcomes
    pictures = [one for one in crawled.listed.addresses if not outcomes[one.url].reason]
    later = Counter(outcomes[one.url].detail.split(" ")[0] for one in pictures if outcomes[one.url].detail)
    return {
        "licences": dict(sorted(Counter(one.licence or "unknown" for one in pictures).items())),
        "kept_of_before": dict(sorted(later.items())),
        "notes": dict(crawled.listed.notes),
    }


def _list_name(arguments: Sequence[str], lists: Mapping[str, str]) -> str:
    if len(arguments) != 1 or arguments[0] not in lists:
        found = " ".join(arguments) or "nothing"
        raise PipelineError(
            f"expected one list of crawl.lists in params.yaml, {', '.join(sorted(lists)) or 'which has none'}; found "
            f"{found}"
        )
    return arguments[0]


def main() -> None:
    """Fetch the list that the command line names."""
    params = load_params()
    name = _list_name(sys.argv[1:], params.crawl.lists)
    crawled = crawl(
        name, Path(params.crawl.lists[name]), params.crawl.fetch, CRAWL / name, takedowns=read_requests()
    )
    for what, count in sorted(crawled.listed.notes.items()):
        log.info("crawl@%s: %d %s", name, count, what)
    rejected = [*refused(name, list(crawled.outcomes.values())), *crawled.listed.unusable]
    items = len(crawled.listed.addresses) + len(crawled.listed.unusable)
    counts = account(f"crawl@{name}", items, items - len(rejected), rejected, 1.0)
    if items == len(rejected):
        raise PipelineError(
            f"no address of {params.crawl.lists[name]} gave a picture; {REJECTED / 'crawl' / f'{name}.csv'} has the "
            "reason of each"
        )
    write_metrics(f"crawl/{name}", {**counts, **summarise(crawled)})


if __name__ == "__main__":
    run("crawl", main)
