"""What tables say of pictures by their ids: facts that pictures alone do not tell, and the source of each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinet.evaluation.protocol import EvaluateError
from sinet.evaluation.slices import FACTS_OF_SLICES, Known

ID, SOURCE = "id", "source"
NOT_KNOWN = "not known"  # the source of a picture that the table lacks


def read_known(paths: Iterable[Path], ids: Sequence[str]) -> tuple[Known, list[str] | None]:
    """The facts of the pictures with these ids, NaN where no row tells, and their sources, None where no table tells.

    A table is a Parquet file with `id` and some of `source` and FACTS_OF_SLICES, such as data/facts/facts.parquet and
    data/dataset/records.parquet; other columns are not read. EvaluateError where it is none, or has none of these ids.
    """
    known: dict[str, Any] = {}
    sources = None
    for path in paths:
        table = _table(path)
        row_of = {str(one): row for row, one in enumerate(table.pop(ID))}
        if not row_of.keys() & set(ids):
            raise EvaluateError(
                f"expected ids in {path} that are stems of pictures, found {next(iter(row_of), 'none')} there and "
                f"{ids[0]} here"
            )
        for name, values in table.items():
            of_ids = [values[row_of[one]] if one in row_of else None for one in ids]
            if name == SOURCE:
                sources = [NOT_KNOWN if one is None else str(one) for one in of_ids]
            else:
                known[name] = _numbers(of_ids, f"the column {name} of {path}")
    return known, sources


def _numbers(values: Sequence[Any], where: str) -> NDArray[np.float64]:
    """As numbers, of which None is NaN."""
    word = next((one for one in values if not isinstance(one, int | float | None)), None)
    if word is not None:
        raise EvaluateError(f"expected numbers in {where}, found {word!r}")
    return np.array(values, np.float64)


def _table(path: Path) -> dict[str, list[Any]]:
    """The columns of a table that this file knows, by their names."""
    import pyarrow
    from pyarrow import parquet

    wanted = (SOURCE, *FACTS_OF_SLICES)
    try:
        file = parquet.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if name in (ID, *wanted)]
        table = file.read(names)
    except (OSError, pyarrow.ArrowException) as error:
        raise EvaluateError(f"expected a Parquet table of facts, {path} cannot be read: {error}") from error
    if ID not in names or len(names) < 2:
        raise EvaluateError(
            f"expected the column {ID} and one of {', '.join(wanted)} in {path}, found {', '.join(names) or 'none'}"
        )
    return dict(table.to_pydict())
