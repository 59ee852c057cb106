"""What a command says on the terminal."""

import errno
import sys
from io import TextIOWrapper


def always_printable() -> None:
    """Let stdout write what its encoding lacks, such as a file's name in other letters, as \\u and its number.

    Otherwise the work is done and the sentence that says so ends in a traceback. stderr is like this by itself.
    """
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def reason(error: OSError) -> str:
    """Why the machine did not do it, in a few words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return error.strerror or str(error)
