"""Croissant metadata of a dataset's folder, made and checked by mlcroissant."""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.licences import licence_address
from pipeline.core.records import SCHEMA

_TABLE = "records.csv"


def croissant(
    folder: Path, version: str, description: str, licences: Sequence[str], today: date
) -> dict[str, Any]:
    """The JSON-LD of the dataset in `folder`: its files, and the columns of records.csv. Paths in it are from there.

    PipelineError where mlcroissant is not installed, or finds a fault.
    """
    try:
        import mlcroissant as library
    except ImportError:
        raise PipelineError(
            "expected mlcroissant, which checks the metadata of a release, found that it is not installed; "
            "`make install` brings it, or `pip install mlcroissant`"
        ) from None
    try:
        made: dict[str, Any] = _metadata(library, folder, version, description, licences, today).to_json()
    except library.ValidationError as error:
        raise PipelineError(f"mlcroissant finds the metadata faulty: {error}") from error
    return made


def _metadata(
    library: Any, folder: Path, version: str, description: str, licences: Sequence[str], today: date
) -> Any:
    return library.Metadata(
        name="portraits",
        description=description,
        version=version,
        date_published=datetime(today.year, today.month, today.day),
        license=[licence_address(one) or one for one in licences],
        distribution=[
            library.FileObject(
                id=_TABLE,
                name=_TABLE,
                content_url=_TABLE,
                encoding_formats=["text/csv"],
                sha256=hashlib.sha256((folder / _TABLE).read_bytes()).hexdigest(),
            ),
            library.FileSet(
                id="images",
                name="images",
                encoding_formats=["image/jpeg", "image/png"],
                includes=["images/*"],
            ),
            library.FileSet(
                id="masks", name="masks", encoding_formats=["image/png"], includes=["masks/*.png"]
            ),
        ],
        record_sets=[
            library.RecordSet(
                id="portraits", name="portraits", fields=[_field(library, name) for name in SCHEMA.columns]
            )
        ],
    )


def _field(library: Any, name: str) -> Any:
    column = SCHEMA.columns[name]
    types = {"int64": library.DataType.INTEGER, "float64": library.DataType.FLOAT}
    return library.Field(
        id=f"portraits/{name}",
        name=name,
        description=column.description,
        data_types=[types.get(str(column.dtype), library.DataType.TEXT)],
        source=library.Source(file_object=_TABLE, extract=library.Extract(column=name)),
    )
