"""How often a progress bar shows its state."""

import sys


def bar_interval(on_screen: float = 0.5) -> float:
    """Seconds between two states: in a log each is a line of its own, so that it gets few."""
    return on_screen if sys.stderr.isatty() else 15
