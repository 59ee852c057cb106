"""The manifest: one row a picture, a checked schema, Parquet on disk, sorted by id.

Rejected items stand in data/rejected/STAGE.csv, so that nothing vanishes: items in = records + rejected.
"""

import hashlib
import logging
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

_text: dict[str, Any] = {"dtype": "str", "nullable": True}
SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column("str", pa.Check.str_matches(r"^[0-9a-f]{16}$"), unique=True),
        "source": pa.Column("str"),
        "source_key": pa.Column("str"),  # the file's name inside the source
        "parent_id": pa.Column(**_text),  # of a crop: the id of the picture it was cut from
        "parent_sha256": pa.Column(**_text),  # of a crop: sha256 of the parent's original file
        "crop_box": pa.Column(**_text),  # "x0,y0,x1,y1" in the upright parent's pixels; may reach outside it
        "face": pa.Column(**_text),  # "x0,y0,x1,y1" in this picture's pixels
        "face_probability": pa.Column("float64", nullable=True),
        "label": pa.Column("str", pa.Check.isin(LABELS)),
        "image": pa.Column("str"),  # path from the folder that holds dvc.yaml
        "mask": pa.Column(**_text),  # 0/255 PNG of the image's size
        "probability": pa.Column(**_text),  # 8-bit PNG, 255 = certainly person
        "width": pa.Column("int64"),
        "height": pa.Column("int64"),
        "sha256": pa.Column("str"),  # of the original file as found in the source
        "twins": pa.Column("str"),  # sha256 of a crawl's other files of the same pixels, space-separated
        "url": pa.Column(**_text),
        "author": pa.Column(**_text),
        "licence": pa.Column(**_text),
        "retrieved_at": pa.Column(**_text),
        "published_side": pa.Column("str", pa.Check.isin(SIDES), nullable=True),  # the source's own split
        "teacher": pa.Column(**_text),  # hash of the teacher's weights file
        "uncertainty": pa.Column("float64", nullable=True),  # 0 = certain, 1 = doubtful
        "flags": pa.Column("str"),  # space-separated quality flags, "" for none
        "review": pa.Column(**_text),  # accept, fix, reject, unsure
        "cluster": pa.Column(**_text),  # id of the near-duplicate cluster
        "side": pa.Column("str", pa.Check.isin(SIDES), nullable=True),
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
    """Write FOLDER/records.parquet, sorted by id."""
    records = check_records(records.sort_values("id", ignore_index=True))
    with atomic.replacing(folder / "records.parquet") as temporary:
        records.to_parquet(temporary, index=False)


def write_rejected(stage: str, rejected: Sequence[Rejected], folder: Path = REJECTED) -> None:
    """Write FOLDER/STAGE.csv, sorted and always with a header; call it before a gate that may stop the stage."""
    rows = sorted(rejected, key=lambda r: (r.source, r.source_key, r.reason))
    table = pd.DataFrame([asdict(row) for row in rows], columns=["source", "source_key", "reason", "detail"])
    with atomic.replacing(folder / f"{stage}.csv") as temporary:
        table.to_csv(temporary, index=False)


def read_records(folder: Path) -> pd.DataFrame:
    """Read FOLDER/records.parquet and check it."""
    path = folder / "records.parquet"
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file; run `dvc repro` to make it")
    return check_records(pd.read_parquet(path))


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
