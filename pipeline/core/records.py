"""The manifest: one row a picture, a checked schema, Parquet on disk, sorted by id.

A table names files by their path from its own folder, so that the folder can be taken elsewhere.

Rejected items stand in data/rejected/STAGE.csv, so that nothing vanishes: items in = records + rejected.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from pipeline.core.errors import PipelineError
from pipeline.core.paths import REJECTED
from sinet.core import atomic

log = logging.getLogger("pipeline")

LABELS = ("none", "human", "crop", "pseudo", "reviewed")
SIDES = ("train", "dev", "test")

SCHEMA_VERSION = 1  # grows where columns come or go, or mean something else
_VERSION_KEY = "schema_version"  # of a table's `attrs`, which Parquet keeps
_PATHS = ("image", "mask", "probability")  # in a table from its folder, in memory from the folder of dvc.yaml


def _text(description: str) -> pa.Column:
    return pa.Column("str", nullable=True, description=description)


SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column(
            "str",
            pa.Check.str_matches(r"^[0-9a-f]{16}$"),
            unique=True,
            description="hash of the upright RGB pixels, 16 hex digits",
        ),
        "source": pa.Column("str", description="name of the source"),
        "source_key": pa.Column("str", description="the file's name inside the source"),
        "parent_id": _text("of a crop: id of the picture that it was cut from"),
        "parent_sha256": _text("of a crop: sha256 of the parent's original file"),
        "crop_box": _text("x0,y0,x1,y1 in the upright parent's pixels; may reach outside it"),
        "face": _text("x0,y0,x1,y1 in this picture's pixels"),
        "face_probability": pa.Column("float64", nullable=True, description="of the face detector, 0 to 1"),
        "label": pa.Column(
            "str",
            pa.Check.isin(LABELS),
            description="whose the mask is: human, crop (human, cut out of a full body), reviewed (a teacher's, that a "
            "person accepted or fixed), pseudo (a teacher's, unseen) or none",
        ),
        "image": pa.Column("str", description="path from the folder of this table"),
        "mask": _text(
            "path from the folder of this table: PNG of the image's size, 0 background, 255 person"
        ),
        "probability": _text("path from the folder of this table: 8-bit PNG, 255 is certainly person"),
        "width": pa.Column("int64", description="of image and mask, in pixels"),
        "height": pa.Column("int64", description="of image and mask, in pixels"),
        "sha256": pa.Column("str", description="of the original file as found in the source"),
        "twins": pa.Column(
            "str", description="sha256 of a crawl's other files of the same pixels, space-separated"
        ),
        "url": _text("where it was fetched"),
        "author": _text("whom the source names"),
        "licence": _text("what the source states; empty where it states none"),
        "retrieved_at": _text("when it was fetched"),
        "published_side": pa.Column(
            "str", pa.Check.isin(SIDES), nullable=True, description="the source's own split"
        ),
        "teacher": _text("hash of the weights file of the teacher that made the mask"),
        "uncertainty": pa.Column(
            "float64", nullable=True, description="of the teacher's mask: 0 certain, 1 doubtful"
        ),
        "flags": pa.Column("str", description="space-separated quality flags of the teacher's mask"),
        "review": _text("what people said: accept, fix, reject or unsure"),
        "cluster": _text("id of the cluster of pictures that show the same photograph"),
        "side": pa.Column(
            "str", pa.Check.isin(SIDES), nullable=True, description="train, dev (to choose by) or test"
        ),
    },
    strict=True,
    ordered=True,
)
COLUMNS = tuple(SCHEMA.columns)


@dataclass(frozen=True)
class Rejected:
    """An item that did not become a record. `reason` is a code, `detail` a sentence."""

    source: str
    source_key: str
    reason: str
    detail: str


def make_records(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Build checked records from rows; a column a row leaves out is empty ("" for flags and twins)."""
    frame = pd.DataFrame(
        [{"flags": "", "twins": "", "label": "none", **row} for row in rows], columns=list(COLUMNS)
    )
    for name, column in SCHEMA.columns.items():
        dtype = str(column.dtype)
        frame[name] = frame[name].astype("float64" if dtype == "float64" else dtype)
    return check_records(frame.sort_values("id", ignore_index=True))


def check_records(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records, or raise with each broken rule and an example that breaks it."""
    try:
        return SCHEMA.validate(records, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases.drop_duplicates(["column", "check"])
        broken = "; ".join(
            f"{case.column or 'columns'} ({case.check}): {case.failure_case!r}" for case in cases.itertuples()
        )
        raise PipelineError(f"records break their schema: {broken}") from None


def write_records(folder: Path, records: pd.DataFrame) -> None:
    """Write FOLDER/records.parquet, sorted by id, with the paths from FOLDER."""
    stored = as_stored(folder, records)
    with atomic.replacing(folder / "records.parquet") as temporary:
        stored.to_parquet(temporary, index=False)


def as_stored(folder: Path, records: pd.DataFrame) -> pd.DataFrame:
    """The checked records as a table in FOLDER has them: sorted by id, the paths from FOLDER, the schema's version."""
    records = check_records(records.sort_values("id", ignore_index=True))
    stored = _with_paths(records, lambda path: os.path.relpath(path, folder))
    stored.attrs = {_VERSION_KEY: SCHEMA_VERSION}
    return stored


def _with_paths(records: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    return records.assign(
        **{name: records[name].map(change, na_action="ignore").astype(records[name].dtype) for name in _PATHS}
    )


def write_rejected(stage: str, rejected: Sequence[Rejected], folder: Path = REJECTED) -> None:
    """Write FOLDER/STAGE.csv, sorted and always with a header; call it before a gate that may stop the stage."""
    rows = sorted(rejected, key=lambda r: (r.source, r.source_key, r.reason))
    table = pd.DataFrame([asdict(row) for row in rows], columns=["source", "source_key", "reason", "detail"])
    with atomic.replacing(folder / f"{stage}.csv") as temporary:
        table.to_csv(temporary, index=False)


def read_records(folder: Path) -> pd.DataFrame:
    """Read FOLDER/records.parquet and check it; its paths are then from where the process runs."""
    path = folder / "records.parquet"
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file; run `dvc repro` to make it")
    stored = pd.read_parquet(path)
    version = stored.attrs.pop(_VERSION_KEY, "none")
    if version != SCHEMA_VERSION:
        raise PipelineError(
            f"expected {path} of schema version {SCHEMA_VERSION}, found {version}: other code wrote it; run `dvc repro`"
        )
    return _with_paths(check_records(stored), lambda name: os.path.normpath(folder / name))


def check_pictures(records: pd.DataFrame, *folders: Path) -> None:
    """Raise where a picture or a mask is missing, or lies in none of the folders, which a stage has from another."""
    for path in map(Path, [*records["image"], *records["mask"].dropna()]):
        if not any(path.is_relative_to(folder) for folder in folders):
            raise PipelineError(f"expected {path} in {' or '.join(map(str, folders))}; run `dvc repro`")
        if not path.is_file():
            raise PipelineError(f"expected {path}, found no such file; `dvc checkout` brings it back")


def read_rejected(stage: str, folder: Path = REJECTED) -> pd.DataFrame:
    """Read FOLDER/STAGE.csv: source, source_key, reason, detail.

    Only a line feed ends a row, since a file's name may hold any other kind of line end.
    """
    return pd.read_csv(folder / f"{stage}.csv", dtype=str, keep_default_na=False, lineterminator="\n")


def reject_rows(
    records: pd.DataFrame, fault: Callable[[pd.Series], tuple[str, str] | None]
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Take out the rows for which `fault` gives a reason code and a sentence."""
    stays: list[bool] = []
    rejected: list[Rejected] = []
    for _, row in records.iterrows():
        found = fault(row)
        stays.append(found is None)
        if found is not None:
            rejected.append(Rejected(row["source"], row["source_key"], *found))
    return records[pd.Series(stays, index=records.index, dtype=bool)].reset_index(drop=True), rejected


def dataset_hash(records: pd.DataFrame) -> str:
    """A dataset's version, 64 hex digits: sha256 over id, mask file, label and side of each record by id."""
    digest = hashlib.sha256()
    for row in records.sort_values("id").itertuples():
        mask = hashlib.sha256(Path(row.mask).read_bytes()).hexdigest() if isinstance(row.mask, str) else ""
        side = row.side if isinstance(row.side, str) else ""
        digest.update(f"{row.id} {mask} {row.label} {side}\n".encode())
    return digest.hexdigest()


def teacher_name(weights: Path) -> str:
    """How records name a teacher: the first 16 hex digits of its weights' sha256."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def account(
    stage: str,
    items: int,
    records: int,
    rejected: Sequence[Rejected],
    max_reject_rate: float,
    limit: str | None = None,
) -> dict[str, Any]:
    """Check that nothing vanished and that not too much was rejected; return the counts for the metrics.

    Raises PipelineError if `items` is not records + rejected, or if more than `max_reject_rate` (0..1) was
    rejected. `limit` is the parameter that sets that rate, STAGE.max_reject_rate where it is not given.
    """
    if items != records + len(rejected):
        raise PipelineError(
            f"{stage}: {items} items went in, but {records} records and {len(rejected)} rejected came out"
        )
    reasons: dict[str, int] = {}
    for row in rejected:
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    log.info(
        "%s: %d in, %d out, %d rejected%s",
        stage,
        items,
        records,
        len(rejected),
        f" ({listed})" if listed else "",
    )
    faulty = len(rejected) - reasons.get("taken_down", 0)  # what people asked for is no fault of the source
    if items and faulty / items > max_reject_rate:
        raise PipelineError(
            f"{stage}: {len(rejected)} of {items} items were rejected ({listed}); at most "
            f"{max_reject_rate:.0%} may be. Look at {REJECTED}, mend the source, or raise "
            f"{limit or stage.split('@')[0] + '.max_reject_rate'}"
        )
    return {"in": items, "out": records, "rejected": len(rejected), "reasons": dict(sorted(reasons.items()))}
