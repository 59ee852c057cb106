"""When each host may be asked again: so many requests a second, longer where it asks for it."""

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MOST_HOSTS = 10_000  # of which a past turn is remembered


class Pace:
    """Turns of hosts, in seconds of the event loop's clock."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._delays: dict[str, float] = {}
        self._next: dict[str, float] = {}

    def ready_at(self, host: str) -> float:
        """From when on the host may be asked."""
        return self._next.get(host, 0.0)

    async def turn(self, host: str) -> None:
        """Wait for the next free turn of a host, which nobody else has then; a pause that comes meanwhile counts."""
        clock = asyncio.get_running_loop().time
        while (wait := self.ready_at(host) - clock()) > 0:
            await asyncio.sleep(wait)
        self._next[host] = clock() + max(self._interval, self._delays.get(host, 0.0))
        if len(self._next) > _MOST_HOSTS:
            self._next = {name: at for name, at in self._next.items() if at > clock()}

    def pause(self, host: str, seconds: float) -> None:
        """Leave a host alone for so long."""
        self._next[host] = max(self.ready_at(host), asyncio.get_running_loop().time() + seconds)

    def slow_down(self, host: str, delay: float) -> None:
        """Leave so many seconds between two requests to a host from now on."""
        if delay > self._interval:
            self._delays[host] = delay


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, at least 0; None where there is none that can be read."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(int(text[:12]))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
