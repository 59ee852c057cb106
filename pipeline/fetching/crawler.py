"""All addresses of a list: many hosts at once, each at its own pace, and never too many requests at a time."""

import asyncio
import hashlib
import heapq
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from yarl import URL

from pipeline.core.errors import PipelineError
from pipeline.fetching.download import Downloaded, Downloader, RefusedError, host_of
from pipeline.fetching.journal import FetchOutcome

IMAGES = "images"
UNFINISHED = ".parts"  # the folder of files that are not whole yet
_MADE = re.compile(
    r"images/[0-9a-f]{32}\.\w+|\.parts/[0-9a-f]{32}|sources\.csv|(.*/)?(\.[^/]+\.tmp|\.DS_Store)"
)
_MANY_HOSTS = 10  # of which none is reached: this machine is on no network
_GIVE_UP = 10  # addresses of one host in a row that failed for its own fault: it is left alone
_SILENCE = frozenset({"unreachable", "too_slow", "robots_unreachable"})
_TAKES_AWAY = frozenset(
    {"opted_out", "robots", "taken_down"}
)  # reasons for which a picture that is kept goes too


class Crawl:
    """One pass over addresses; `done` is told of each outcome, after its picture is in `folder`."""

    def __init__(
        self,
        downloader: Downloader,
        folder: Path,
        kept: Mapping[str, FetchOutcome],
        done: Callable[[FetchOutcome], None],
        now: Callable[[], str],
    ) -> None:
        self._downloader, self._folder, self._kept = downloader, folder, kept
        self._done, self._now = done, now
        self._tries: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()  # in a row, of each host
        self._silent: set[str] = set()  # hosts that were not reached
        self._unsure: list[FetchOutcome] = []  # what ended before any host was reached

    async def run(self, urls: Iterable[str]) -> None:
        """Ask for every address; PipelineError where no host at all is reached, as on a machine without a network."""
        hosts: dict[str, deque[str]] = {}
        for url in urls:
            hosts.setdefault(host_of(URL(url, encoded=True)), deque()).append(url)
        self._hosts = len(hosts)
        try:
            await self._take_turns(hosts)
        except BaseExceptionGroup as group:
            raise _first_of(group) from None
        self._pass_on()

    async def _take_turns(self, waiting: dict[str, deque[str]]) -> None:
        """Ask for what waits, by host; a host stands among the `turns` while it has an address and a request free."""
        rules, pace = self._downloader.rules, self._downloader.pace
        turns, queued = [(0.0, host) for host in waiting], set(waiting)
        busy: Counter[str] = Counter()
        tasks: set[asyncio.Task[None]] = set()
        changed, clock = asyncio.Event(), asyncio.get_running_loop().time

        def enqueue(host: str) -> None:
            if host in waiting and host not in queued and busy[host] < rules.per_host:
                queued.add(host)
                heapq.heappush(turns, (pace.ready_at(host), host))

        async def ask(host: str, url: str) -> None:
            if await self._ask(host, url):
                waiting.setdefault(host, deque()).appendleft(url)
            busy[host] -= 1
            if not busy[host]:
                del busy[host]
            enqueue(host)

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            changed.set()

        async with asyncio.TaskGroup() as group:
            while turns or tasks:
                while turns and turns[0][0] <= clock() and len(tasks) < rules.concurrency:
                    _, host = heapq.heappop(turns)
                    queued.discard(host)
                    if pace.ready_at(host) <= clock():  # else it has asked to wait since it was put there
                        url = waiting[host].popleft()
                        if not waiting[host]:
                            del waiting[host]
                        busy[host] += 1
                        task = group.create_task(ask(host, url))
                        tasks.add(task)
                        task.add_done_callback(ended)
                    enqueue(host)
                changed.clear()
                idle = turns and len(tasks) < rules.concurrency
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, turns[0][0] - clock()) if idle else None):
                        await changed.wait()

    async def _ask(self, host: str, url: str) -> bool:
        """Ask for one address once; whether it is to be asked for again."""
        downloader, kept = self._downloader, self._kept_whole(url)
        self._tries[url] += 1
        part = self._folder / UNFINISHED / name_of(url)
        try:
            found = await downloader.download(url, kept.validators if kept else None, part)
        except RefusedError as error:
            failed = error.host  # perhaps another one, behind a redirect
            if error.again and error.wait is not None and error.wait > downloader.rules.max_wait:
                detail = f"{failed} asks to wait {error.wait:.0f} seconds, more than crawl.fetch.max_wait"
                error = downloader.given_up[failed] = RefusedError("asks_to_wait", detail, error.status)
            last = self._tries[url] >= downloader.rules.tries
            if error.again and (error.wait is not None or not last):
                downloader.pause(failed, error.wait, self._tries[url])
            if error.again and not last:
                return True
            self._failures[failed] = self._failures[failed] + 1 if error.again else 0
            if self._failures[failed] == _GIVE_UP:
                detail = f"not asked: {_GIVE_UP} addresses of this host failed in a row"
                downloader.given_up[failed] = RefusedError("host_failed", detail)
            if error.reason in _SILENCE:
                self._silent.add(failed)
            self._tell(self._refused(url, error, kept))
        else:
            self._failures[host] = 0
            if found:
                self._failures[host_of(URL(found.final_url, encoded=True))] = 0
            self._tell(self._found(url, found, part, kept))
        finally:
            part.unlink(missing_ok=True)
        del self._tries[url]
        self._check_network()
        return False

    def _tell(self, outcome: FetchOutcome) -> None:
        """Pass an outcome on, once a host was reached: before, it may be this machine that fails."""
        self._unsure.append(outcome)
        if self._downloader.connected:
            self._pass_on()

    def _pass_on(self) -> None:
        for outcome in self._unsure:
            self._done(outcome)
        self._unsure.clear()

    def _found(
        self, url: str, found: Downloaded | None, part: Path, kept: FetchOutcome | None
    ) -> FetchOutcome:
        """The picture, now under its name; of one that has not changed the date stays."""
        if found is None and kept is not None:
            return replace(kept, detail="")
        if found is None:
            raise ValueError(f"{url} is said to be unchanged, but none is kept")
        file = f"{IMAGES}/{name_of(url)}{found.suffix}"
        part.replace(self._folder / file)
        date = kept.date if kept is not None and kept.sha256 == found.sha256 else self._now()
        return FetchOutcome(
            url,
            date,
            200,
            file=file,
            final_url=found.final_url,
            sha256=found.sha256,
            etag=found.validators.etag,
            last_modified=found.validators.last_modified,
        )

    def _kept_whole(self, url: str) -> FetchOutcome | None:
        """The picture of an earlier pass, where its file is as it was."""
        kept = self._kept.get(url)
        if kept is None or kept.reason:
            return None
        try:
            content = (self._folder / kept.file).read_bytes()
        except OSError:
            return None
        return kept if hashlib.sha256(content).hexdigest() == kept.sha256 else None

    def _refused(self, url: str, error: RefusedError, kept: FetchOutcome | None) -> FetchOutcome:
        """The reason, or, but for an opt-out, the picture of before: what was once given stays."""
        now = self._now()
        if kept is None or error.reason in _TAKES_AWAY:
            return FetchOutcome(url, now, error.status, error.reason, error.detail)
        return replace(kept, detail=f"{error.reason} on {now}: {error.detail}")

    def _check_network(self) -> None:
        if not self._downloader.connected and len(self._silent) >= min(_MANY_HOSTS, self._hosts):
            raise PipelineError(
                f"none of {len(self._silent)} sites can be reached, as {min(self._silent)}; is this machine on a "
                f"network? Nothing was written down as failed: run it again when it is. Without one "
                "`python -m pipeline serve-crawl` shows the stage on the drawn world"
            )


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first in a group of tasks."""
    first: BaseException = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def name_of(url: str) -> str:
    """The name of an address's picture, without its suffix: 32 hex digits, nothing of the site's."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def check_folder(folder: Path) -> None:
    """PipelineError where something lies in a crawl's folder that no crawl made; nothing is touched then."""
    below = [(Path(place).relative_to(folder), names, files) for place, names, files in os.walk(folder)]
    found = {(place / name).as_posix() for place, names, _ in below for name in names} - {IMAGES, UNFINISHED}
    files = {(place / name).as_posix() for place, _, names in below for name in names}
    strange = sorted(found | {file for file in files if not _MADE.fullmatch(file)})
    if strange:
        raise PipelineError(
            f"expected only what stage crawl fetched in {folder}, found {len(strange)} files and folders of somebody "
            f"(as {folder / strange[0]}). Nothing was touched: move them to a folder of your own, or delete them"
        )


def drop(folder: Path, urls: Iterable[str]) -> None:
    """Remove the pictures of these addresses."""
    names = {name_of(url) for url in urls}
    for path in (folder / IMAGES).iterdir():
        if path.stem in names:
            path.unlink()


def sweep(folder: Path, files: Collection[str]) -> None:
    """Remove what lies in a crawl's folder beside `files`: of addresses that are no longer in the list, of a kill."""
    for path in [*(folder / IMAGES).iterdir(), *(folder / UNFINISHED).iterdir()]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    (folder / UNFINISHED).rmdir()
