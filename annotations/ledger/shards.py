"""Sorted JSON lines in a folder, one file for each first two digits of a key: same items, same bytes.

A new item changes exactly one file, and at 10,000 items of the usual size no file reaches 1 MB.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from sinet.core.atomic import write_atomic

_SHARD = re.compile(r"^[0-9a-f]{2}\.jsonl$")
_MEND = "restore the file from git, or remove the line and pull that review again"


class LockError(ValueError):
    """The lock cannot be used: names file and line, says what was found and what to do."""


class Keyed(Protocol):
    """What can be sharded: a model with a key of 16 hex digits."""

    @property
    def key(self) -> str: ...

    def model_dump(self, *, mode: str) -> dict[str, object]: ...


_Keyed = TypeVar("_Keyed", bound=Keyed)
Model = TypeVar("Model", bound=BaseModel)


def read_shards(
    folder: Path, parse: Callable[[bytes, str], _Keyed], name: Callable[[_Keyed], str]
) -> list[_Keyed]:
    """All items sorted by `name`, which tells them apart and begins with "key KEY" or the like.

    `parse` makes an item from a line and the place that its error names (see `parse_line`). Raises LockError that
    names file and line for the first damaged item.
    """
    seen: dict[str, str] = {}
    items: list[_Keyed] = []
    for path in sorted(folder.glob("*.jsonl")):
        if not _SHARD.match(path.name):
            raise LockError(f"{path}: a lock has files 00.jsonl to ff.jsonl only; remove this one")
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            where = f"{path}, line {number}"
            item = parse(line, where)
            if item.key[:2] != path.stem:
                raise LockError(f"{where}: key {item.key} belongs into {item.key[:2]}.jsonl; move it there")
            if name(item) in seen:
                raise LockError(f"{where}: {name(item)} is also in {seen[name(item)]}; keep one of them")
            seen[name(item)] = where
            items.append(item)
    return sorted(items, key=name)


def write_shards(folder: Path, items: Iterable[_Keyed], name: Callable[[_Keyed], str]) -> None:
    """Make the folder hold exactly these items; equal files stay untouched. LockError where two share a name."""
    shards: dict[str, list[_Keyed]] = {}
    names: set[str] = set()
    for item in sorted(items, key=name):
        if name(item) in names:
            raise LockError(f"two reviews with {name(item)}; decide which one holds, then write the lock")
        names.add(name(item))
        shards.setdefault(item.key[:2], []).append(item)
    folder.mkdir(parents=True, exist_ok=True)
    for shard, members in shards.items():
        _replace(folder / f"{shard}.jsonl", "".join(_line(item) for item in members).encode())
    for path in folder.glob("*.jsonl"):
        if _SHARD.match(path.name) and path.stem not in shards:
            path.unlink()


def parse_line(model: type[Model], line: bytes, where: str) -> Model:
    """One line as `model`; LockError names the place, the field and what to do."""
    try:
        return model.model_validate(json.loads(line, object_pairs_hook=_no_repeats))
    except ValidationError as error:
        raise LockError(f"{where}: {faults(error)}; {_MEND}") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a key twice
        raise LockError(f"{where}: not one JSON object a line ({error}); {_MEND}") from error


def faults(error: ValueError) -> str:
    """Where a model does not fit, and why, in one line and without the values; of any other error its first line."""
    if not isinstance(error, ValidationError):
        return str(error).partition("\n")[0]
    return "; ".join(_fault(tuple(one["loc"]), one["msg"]) for one in error.errors(include_input=False))


def _fault(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{'.'.join(map(str, location))}: {message}" if location else message


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError("a name stands twice in it")
    return dict(pairs)


def _line(item: Keyed) -> str:
    return json.dumps(item.model_dump(mode="json"), sort_keys=True, separators=(",", ":")) + "\n"


def _replace(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    write_atomic(path, content)
