"""The one error a user is meant to read: printed as a sentence, without a traceback."""


class PipelineError(RuntimeError):
    """Says what was expected, what was found and what to do."""
