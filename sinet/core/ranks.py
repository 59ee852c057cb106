"""This process's place among those that torchrun started, as its environment says; alone where it started none."""

import os


def own_rank() -> int:
    """Returns 0, 1, ...; rank 0 writes and reports."""
    return _number("RANK", 0)


def size() -> int:
    """Returns how many processes there are."""
    return _number("WORLD_SIZE", 1)


def local_rank() -> int:
    """Returns the place among the processes of this machine, 0, 1, ...: the number of its GPU."""
    return _number("LOCAL_RANK", 0)


def local_size() -> int:
    """Returns how many processes share this machine."""
    return _number("LOCAL_WORLD_SIZE", 1)


def _number(name: str, alone: int) -> int:
    # Schedulers of clusters set RANK as well; only torchrun's processes find each other.
    return int(os.environ[name]) if "TORCHELASTIC_RUN_ID" in os.environ else alone
