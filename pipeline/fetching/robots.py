"""robots.txt (RFC 9309) of each site, read once and remembered for some thousand sites; the parser is Protego."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego
from yarl import URL

MOST_BYTES = (
    500 * 1024
)  # of a robots.txt are read; the RFC asks for at least so many, and the rest is left unread
_MOST_SITES = 2000


@dataclass(frozen=True)
class RobotsAnswer:
    """What a site gave for its robots.txt: its bytes, b"" where it has none, or why nobody knows them."""

    body: bytes = b""
    unknown: str = ""  # where the site does not answer, or with an error of its own, nothing may be fetched
    reason: str = "robots_unreachable"  # the code of `unknown`


class SiteRules:
    """What one site's robots.txt says to us."""

    def __init__(self, answer: RobotsAnswer, user_agent: str) -> None:
        self.unknown, self.reason = answer.unknown, answer.reason
        self._rules = Protego.parse(answer.body.decode("utf-8-sig", "replace"))
        self._agent = user_agent

    def allows(self, url: str) -> bool:
        """Whether we may fetch an address of the site."""
        return not self.unknown and self._rules.can_fetch(url, self._agent)

    @property
    def delay(self) -> float:
        """Seconds that the site wants between two requests, 0 where it says nothing."""
        rate = self._rules.request_rate(self._agent)
        return max(self._rules.crawl_delay(self._agent) or 0.0, rate.seconds / rate.requests if rate else 0.0)


class Robots:
    """The rules of sites, each asked for once at a time; a site that gave none is asked again, `tries` times in all."""

    def __init__(self, ask: Callable[[URL], Awaitable[RobotsAnswer]], user_agent: str, tries: int) -> None:
        self._ask, self._agent, self._tries = ask, user_agent, tries
        self._known: OrderedDict[URL, asyncio.Task[SiteRules]] = OrderedDict()
        self._failed: dict[URL, int] = {}

    async def rules_of(self, url: URL) -> SiteRules:
        """The rules of the site of an address."""
        origin = url.origin()
        task = self._known.get(origin)
        if task is None:
            task = self._known[origin] = asyncio.create_task(self._read(origin))
            while len(self._known) > _MOST_SITES:
                self._known.popitem(last=False)
        self._known.move_to_end(origin)
        rules = await asyncio.shield(task)  # others wait for it too, whoever gives up
        if rules.unknown and self.may_ask_again(url) and self._known.get(origin) is task:
            del self._known[origin]
        return rules

    def may_ask_again(self, url: URL) -> bool:
        """Whether a site that gave no rules may give some yet in this run."""
        return self._failed.get(url.origin(), 0) < self._tries

    async def _read(self, origin: URL) -> SiteRules:
        rules = SiteRules(await self._ask(origin / "robots.txt"), self._agent)
        if rules.unknown:
            self._failed[origin] = self._failed.get(origin, 0) + 1
        return rules
