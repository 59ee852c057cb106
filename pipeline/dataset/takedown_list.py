"""The list of what people asked to have taken out, as stages read it."""

from annotations.ledger.shards import LockError
from annotations.ledger.takedowns import Takedowns, read_takedowns
from pipeline.core.errors import PipelineError


def read_requests() -> Takedowns:
    """The requests in annotations/takedowns; PipelineError where a line is damaged."""
    try:
        return read_takedowns()
    except LockError as error:
        raise PipelineError(f"the list of take-downs cannot be read: {error}") from error
