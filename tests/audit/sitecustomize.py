"""Put on PYTHONPATH by a test: Python processes write the files they open, one a line.

With $AUDIT_LOG every process does, to that file. With $AUDIT_LOGS only stages that DVC starts do, with their workers:
each to a file in that folder, whose name is the stage's command.
"""

import os
import sys

_logs = os.environ.get("AUDIT_LOGS")
if _logs is not None and sys.orig_argv[:2] == ["python", "-m"]:
    os.environ.setdefault("AUDIT_LOG", f"{_logs}/{' '.join(sys.orig_argv)}")


def _remember(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        writes = bool(int(flags) & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "w" in str(mode)
        os.write(_log, f"{'w' if writes else 'r'} {os.path.abspath(arguments[0])}\n".encode())  # noqa: PTH100


if "AUDIT_LOG" in os.environ:
    _log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    sys.addaudithook(_remember)
