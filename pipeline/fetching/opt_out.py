"""`X-Robots-Tag`: whether the owner of a picture says in its headers that it must not be used so."""

from collections.abc import Iterable

OPT_OUTS = frozenset(
    {"noai", "noimageai", "noindex", "noimageindex", "noml", "none"}
)  # none: noindex and nofollow
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def opt_out(values: Iterable[str], user_agent: str) -> str | None:
    """The first opt-out in the header's values that is meant for everybody or for `user_agent`; None where none is.

    A value is `noai, noimageai`, or `somebot: noindex, nofollow`, in which all that follows the name is for that one.
    """
    for value in values:
        meant = True
        for part in value.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and name.strip() not in _WITH_VALUES:
                meant = name.strip() in ("", "*", user_agent.lower())
                part = rest
            if meant and part.strip() in OPT_OUTS:
                return part.strip()
    return None
