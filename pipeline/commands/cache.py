"""What .cache holds of single pictures' results, and how it is made smaller: what was not used for the longest goes.

`python -m pipeline cache [--prune --keep 10GB]`. Whatever goes costs only the time to make it again.
"""

import re
from collections.abc import Sequence

from pipeline.core.errors import PipelineError
from pipeline.core.paths import CACHE
from pipeline.core.store import Store, stores

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def main(prune: bool, keep: str) -> None:
    """Print a row for each store; first remove the oldest results beyond `keep` where asked to."""
    bound = size_of(keep)
    found = stores(CACHE)
    if prune:
        removed, freed = prune_stores(found, bound)
        print(f"{removed:,} results removed, {_in_words(freed)}; at most {_in_words(bound)} stay")
    print(_table_of(found))


def size_of(text: str) -> int:
    """Bytes of a size as 500MB or 10GB; PipelineError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]B)", text.strip().upper())
    if match is None:
        raise PipelineError(f"expected a size as 500MB or 10GB, found {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def prune_stores(found: Sequence[Store], bound: int) -> tuple[int, int]:
    """Remove the results that were not used for the longest until `bound` bytes stay: how many went, and their bytes.

    Files of no result go too: of older code, or of a run that was killed; so do not prune while a stage runs.
    """
    uses = [
        (use, place, store.stage) for store in found for place, use in enumerate(store.uses())
    ]  # of one day in the order in which they were made
    total = sum(use.bytes for use, _, _ in uses)
    gone, keys = 0, {store.stage: list[str]() for store in found}
    for use, _, stage in sorted(uses, key=lambda one: (one[0].day, one[2], one[1])):
        if total - gone <= bound:
            break
        keys[stage].append(use.key)
        gone += use.bytes
    for store in found:
        store.drop(keys[store.stage])
    return sum(map(len, keys.values())), gone


def _table_of(found: Sequence[Store]) -> str:
    """A row for each store: results, bytes, and the last day on which a stage asked for one."""
    rows = [f"{'stage':<18}{'results':>12}{'size':>12}   last used"]
    sizes = [store.size() for store in found]
    for store, size in zip(found, sizes, strict=True):
        rows.append(f"{store.stage:<18}{size.entries:>12,}{_in_words(size.bytes):>12}   {size.used or '-'}")
    count, total = sum(size.entries for size in sizes), sum(size.bytes for size in sizes)
    return "\n".join([*rows, f"{'together':<18}{count:>12,}{_in_words(total):>12}"])


def _in_words(size: int) -> str:
    """Bytes as people read them."""
    unit = next((name for name in reversed(_UNITS) if size >= _UNITS[name]), "KB")
    return f"{size / _UNITS[unit]:.1f} {unit}"
