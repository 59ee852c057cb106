"""Put on PYTHONPATH by a test: every Python process then writes the files it opens to $AUDIT_LOG, one a line."""

import os
import sys

_log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _remember(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        writes = bool(int(flags) & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "w" in str(mode)
        os.write(_log, f"{'w' if writes else 'r'} {os.path.abspath(arguments[0])}\n".encode())  # noqa: PTH100


sys.addaudithook(_remember)
