"""The backend of the clicks: Label Studio sends it each click with the mask on the screen, and shows what it answers.

It runs inside of `make review`, at a free port of loopback, and hears only who knows its password, which is another one
at each start. It keeps nothing on disk, and does not read what the server tells it of keys.
"""

import asyncio
import base64
import logging
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from annotations.clicks.repair import Click, clicked
from annotations.masks.brush import BrushError, fingerprint, regions_to_mask
from annotations.server.import_files import picture_name
from annotations.tasks.task import CLICK, IMAGE, build_region
from sinet.images.decode import Array, ImageError, read_image

log = logging.getLogger("annotations")

# By task and fingerprint of what a click made, what it was before. Not by task alone: two curators may have one open,
# and an undo leads back to a mask that an earlier click made.
Earlier = OrderedDict[tuple[str, str], Array]

USER = "review"
_KEPT = 100  # masks that a click changed, so that a second click takes the first one back
_MOST = 100_000_000  # bytes of a request


class NoClickError(ValueError):
    """A click that changes nothing; what it says stands on the curator's screen."""


@dataclass(frozen=True)
class Backend:
    """Where clicks are answered, and the password."""

    url: str
    password: str = field(repr=False)

    def access(self) -> dict[str, str]:
        """What Label Studio is told of it."""
        return {
            "url": self.url,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": USER,
            "basic_auth_pass": self.password,
        }


@contextmanager
def answering_clicks(pictures: Path) -> Iterator[Backend]:
    """A backend for the tasks whose pictures are in that folder, for as long as the context lasts."""
    password = secrets.token_urlsafe(24)
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(application(pictures, password), access_log=None)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    try:
        port = asyncio.run_coroutine_threadsafe(begin(), loop).result()
        yield Backend(f"http://127.0.0.1:{port}", password)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def application(pictures: Path, password: str) -> web.Application:
    """What answers Label Studio; anybody without the password is told nothing."""
    expected = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
    earlier: Earlier = OrderedDict()

    @web.middleware
    async def known(request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not secrets.compare_digest(given, expected.encode()):
            raise web.HTTPUnauthorized
        answer: web.StreamResponse = await handler(request)
        return answer

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "UP"})

    async def setup(_: web.Request) -> web.Response:
        return web.json_response({"model_version": "clicks"})

    async def predict(request: web.Request) -> web.Response:
        asked = await request.json()
        answer = await asyncio.to_thread(answered, asked, pictures, earlier)
        return web.json_response({"results": [answer]})

    app = web.Application(middlewares=[known], client_max_size=_MOST)
    app.router.add_get("/health", healthy)
    app.router.add_post("/setup", setup)
    app.router.add_post("/predict", predict)
    return app


def answered(asked: Mapping[str, Any], pictures: Path, earlier: Earlier) -> dict[str, Any]:
    """The answer to what Label Studio posts: the mask's region anew, or why it stays. Notes its masks in `earlier`."""
    try:
        return {"result": [_region_after(asked, pictures, earlier)]}
    except NoClickError as error:
        return {"result": [], "refused": str(error)}
    except (LookupError, TypeError, ValueError, OSError) as error:
        log.warning("a click was not answered: %s", type(error).__name__)
        return {"result": [], "refused": "the click could not be read."}


def _region_after(asked: Mapping[str, Any], pictures: Path, earlier: Earlier) -> dict[str, Any]:
    (task,), context = asked["tasks"], asked["params"]["context"]
    data = task["data"]
    shape = int(data["height"]), int(data["width"])
    if not re.fullmatch("[0-9a-f]{16}", data["version"]):
        raise NoClickError("this task is none that `make review` sent.")
    rgb = _picture(pictures / picture_name(data["version"], IMAGE))
    if rgb.shape[:2] != shape:
        raise NoClickError("the picture is not the one that the task was made of.")
    shown = _shown(context, shape)
    mask = shown
    for click in _clicks(context["result"], shape):
        before = earlier.get((str(task["id"]), fingerprint(mask)))
        after = clicked(rgb, [mask] if before is None else [before, mask], click)[-1]
        if after is not before:
            _note(earlier, str(task["id"]), after, mask)
        mask = after
    identity = context["mask"][0]["id"] if context["mask"] else None
    return build_region(data["key"], mask, identity)


def _note(earlier: Earlier, task: str, made: Array, before: Array) -> None:
    change = task, fingerprint(made)
    earlier[change] = before
    earlier.move_to_end(change)  # it is the newest again
    while len(earlier) > _KEPT:
        earlier.popitem(last=False)


def _picture(path: Path) -> Array:
    try:
        return read_image(path)
    except (OSError, ImageError) as error:
        raise NoClickError("its picture is not here any more.") from error


def _shown(context: Mapping[str, Any], shape: tuple[int, int]) -> Array:
    """The mask on the screen."""
    if "mask" not in context:
        raise NoClickError("this page does not tell which mask it shows: reload it.")
    if len(context["mask"]) > 1:
        raise NoClickError(f"the mask is in {len(context['mask'])} regions; clicks repair one.")
    try:
        return regions_to_mask(context["mask"], *shape)
    except BrushError as error:
        raise NoClickError(f"the mask on the screen cannot be read ({error}).") from error


def _clicks(result: Any, shape: tuple[int, int]) -> list[Click]:
    """The clicks that wait for an answer, oldest first: the page shows none but that of the last.

    Two at the same pixel are a double click, which is one.
    """
    points = [one for one in result if one["from_name"] == CLICK]
    if not points:
        raise NoClickError("no click came.")
    return list(dict.fromkeys(_click(one, shape) for one in points))


def _click(point: Mapping[str, Any], shape: tuple[int, int]) -> Click:
    if point.get("image_rotation", 0) != 0:
        raise NoClickError("the picture is turned; turn it upright again.")
    places = [float(point["value"][name]) for name in ("y", "x")]
    if not all(0 <= place <= 100 for place in places):
        raise NoClickError("the click lies outside of the picture.")
    row, column = (min(int(place / 100 * size), size - 1) for place, size in zip(places, shape, strict=True))
    return Click(row, column)
