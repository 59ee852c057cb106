"""The list of what people asked to have taken out, as stages and pages read it."""

import pandas as pd

from annotations.ledger.shards import LockError
from annotations.ledger.takedowns import Takedowns, read_takedowns
from pipeline.core.errors import PipelineError


def read_requests() -> Takedowns:
    """The requests in annotations/takedowns; PipelineError where a line is damaged."""
    try:
        return read_takedowns()
    except LockError as error:
        raise PipelineError(f"the list of take-downs cannot be read: {error}") from error


def asked_out(pictures: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows a request names: by `id`, by `sha256`, or by the `parent_sha256` of what they were cut out of."""
    requests = read_requests()
    return (
        pictures["id"].isin(list(requests.pixels))
        | pictures["sha256"].isin(list(requests.files))
        | pictures["parent_sha256"].isin(list(requests.files))
    )
