"""Label Studio's settings, and one middleware more: our scripts stand in each of its pages.

`make review` names this file in DJANGO_SETTINGS_MODULE, and the scripts beside it in REVIEW_SCRIPTS. Only the server's
own interpreter imports it.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NAMED = "DJANGO_SETTINGS_MODULE"
_THEIRS = "label_studio.core.settings.label_studio"

# Their settings ask for settings while they are being read, and must then find themselves.
os.environ[_NAMED] = _THEIRS
theirs = importlib.import_module(_THEIRS)
os.environ[_NAMED] = __name__

globals().update({name: value for name, value in vars(theirs).items() if name.isupper()})

MIDDLEWARE = [*theirs.MIDDLEWARE, f"{__name__}.with_scripts"]
_SCRIPTS = "".join(
    f"<script>{Path(__file__).with_name(name).read_text()}</script>"
    for name in os.environ["REVIEW_SCRIPTS"].split()
).encode()


def with_scripts(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The middleware: every HTML page begins with the scripts."""

    def answered(request: Any) -> Any:
        response = answer(request)
        if not response.streaming and response.get("Content-Type", "").startswith("text/html"):
            response.content = response.content.replace(b"<head>", b"<head>" + _SCRIPTS, 1)
        return response

    return answered
