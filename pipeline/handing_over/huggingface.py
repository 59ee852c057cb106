"""Parquet shards with the bytes of pictures and masks, as `datasets.load_dataset(FOLDER)` reads them."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.handing_over.dataset_pictures import (
    SHARD_BYTES,
    DatasetPicture,
    PictureFacts,
    by_side,
    shards_of,
)

_ROWS = 100  # pictures a row group, so that one of them is read without the others
_FACTS = [field.name for field in fields(PictureFacts)]
_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_huggingface(
    folder: Path, pictures: Sequence[DatasetPicture], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write data/SIDE-00000-of-00001.parquet of each side: image, mask and the facts; the files' own bytes."""
    (folder / "data").mkdir()
    for side, members in by_side(pictures).items():
        shards = list(shards_of(members, shard_bytes))
        for number, shard in enumerate(shards):
            _write_shard(folder / "data" / f"{side}-{number:05d}-of-{len(shards):05d}.parquet", shard)


def split_files(pictures: Sequence[DatasetPicture]) -> list[dict[str, str]]:
    """The entry `data_files` of the card's head, which names the files of each side."""
    return [{"split": side, "path": f"data/{side}-*.parquet"} for side in by_side(pictures)]


def _write_shard(path: Path, shard: Sequence[DatasetPicture]) -> None:
    schema = _schema()
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(shard), _ROWS):
            rows = [_row(one) for one in shard[start : start + _ROWS]]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _row(one: DatasetPicture) -> dict[str, Any]:
    files = {
        name: {"bytes": path.read_bytes(), "path": path.name}
        for name, path in (("image", one.image), ("mask", one.mask))
    }
    return {**files, **one.stated()}


def _schema() -> pa.Schema:
    """The columns, with what `datasets` has to know of them to open pictures."""
    features = {
        **{name: {"_type": "Image"} for name in ("image", "mask")},
        **{name: {"dtype": "string", "_type": "Value"} for name in _FACTS},
    }
    columns = [("image", _FILE), ("mask", _FILE), *((name, pa.string()) for name in _FACTS)]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})
