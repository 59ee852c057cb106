"""What a run of a stage gave and stored, to be compared with what another run gave and stored."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.core.store import stores

_PICTURES = ("image", "mask", "probability")


@dataclass(frozen=True)
class Outcome:
    """The tables as text, and the bytes of each picture by its name below the stage's folder."""

    tables: str
    pictures: dict[str, bytes]

    @classmethod
    def of(cls, folder: Path, records: pd.DataFrame, *more: str) -> "Outcome":
        """What lies in `folder`, with these records; the folder's own name makes no difference."""
        table = records.copy()
        for name in _PICTURES:
            table[name] = table[name].str.removeprefix(f"{folder.as_posix()}/")
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
        return cls(
            "\n".join([table.to_csv(), *more]),
            {path.relative_to(folder).as_posix(): path.read_bytes() for path in files},
        )


def entries(cache: Path) -> dict[str, list[str]]:
    """The keys of the results (no notes on files) in the cache by store, as they were put: a second time is last."""
    return {
        store.stage: [key for _, _, key in store.uses()] for store in stores(cache) if store.stage != "files"
    }
