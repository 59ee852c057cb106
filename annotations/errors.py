"""The one error a curator is meant to read: printed as a sentence, without a traceback."""


class ReviewError(RuntimeError):
    """Says what was expected, what was found and what to do; never holds a key, a cookie or a password."""
