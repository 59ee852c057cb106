"""`X-Robots-Tag`: whether the owner of a picture says in its headers that it must not be used so."""

import re
from collections.abc import Iterable

OPT_OUTS = frozenset(
    {"noai", "noimageai", "noindex", "noimageindex", "noml", "none"}
)  # none: noindex and nofollow
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_NAME = re.compile(r"[a-z][a-z_-]*")  # of a bot; the rest of a date, which has commas and colons, is none


OF_AN_ERROR = frozenset({"noai", "noimageai", "noml"})  # noindex on an error page speaks of the page


def opt_out(values: Iterable[str], user_agent: str, words: frozenset[str] = OPT_OUTS) -> str | None:
    """The first of `words` in the header's values that is meant for everybody or for `user_agent`; None where none is.

    A value is `noai, noimageai`, or `somebot: noindex, nofollow`, in which all that follows the name is for that one.
    """
    for value in values:
        meant = True
        for part in value.lower().split(","):
            name, colon, rest = (piece.strip() for piece in part.partition(":"))
            everybody_or_us = name in ("", "*", user_agent.lower())
            if colon and name not in _WITH_VALUES and (everybody_or_us or _NAME.fullmatch(name)):
                meant = everybody_or_us
                part = rest
            if meant and part.strip() in words:
                return part.strip()
    return None
