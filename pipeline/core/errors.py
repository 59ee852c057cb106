"""The one error a user is meant to read: printed as a sentence, without a traceback."""

import errno

_TO_DO = {
    "make room there (`df -h`)": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "make it readable and writable for this user": (errno.EACCES, errno.EPERM, errno.EROFS),
    "move away what stands there": (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    "allow more open files (`ulimit -n`)": (errno.EMFILE, errno.ENFILE),
}


class PipelineError(RuntimeError):
    """Says what was expected, what was found and what to do."""


def sentence_of(error: OSError) -> str:
    """What the system refused, where it says so of which file, and what to do."""
    what = f"expected to read and write {error.filename or 'files here'}"
    found = error.strerror or (str(error).strip().splitlines() or [type(error).__name__])[-1]
    to_do = next((text for text, numbers in _TO_DO.items() if error.errno in numbers), "mend that")
    return f"{what}, found: {found}; {to_do}, and run it again: what was finished is kept"
