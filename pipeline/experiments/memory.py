"""How much memory a command takes that a benchmark runs."""

import psutil


def resident(process: psutil.Popen) -> int:
    """Bytes in memory of a process and of all that it has started."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total
