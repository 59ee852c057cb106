"""What people asked to have taken out, as a crawl meets it: an address, a redirect's target, a file."""

from annotations.ledger.takedowns import Takedowns


def named_request(takedowns: Takedowns, *urls: str, sha256: str = "") -> str:
    """Where the request stands that names one of these addresses or the file; "" where none does."""
    keys = (takedowns.files.get(sha256), *map(takedowns.of_url, urls))
    return next((_place(key) for key in keys if key), "")


def places(takedowns: Takedowns) -> frozenset[str]:
    """All that `named_request` may give."""
    return frozenset(_place(request.key) for request in takedowns.requests)


def _place(key: str) -> str:
    return f"annotations/takedowns, request {key}"
