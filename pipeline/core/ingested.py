"""The records of all sources of one role, as the stages after ingest read them: one table of data/ingest/ROLE.

FOLDER/sources.csv (stage list_sources) names the sources, FOLDER/NAME holds what stage ingest made of each. Where two
sources have a picture with equal pixels, one record of it stays; but for the role `labelled`, whose stages settle that
themselves and say how far the masks agree (`pipeline.dataset.same_pixels.one_of_each`).
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import Role, Sources
from pipeline.core.records import Rejected, check_records, read_records

SOURCE_LIST = "sources.csv"
_COLUMNS = ["name", "layout"]
_SETTLED_LATER: Role = "labelled"


@dataclass(frozen=True)
class JoinedSources:
    """The records of a role's sources, and those left out since another source has the same pixels."""

    records: pd.DataFrame
    repeated: list[Rejected]

    @property
    def items(self) -> int:
        """How many records the sources have together."""
        return len(self.records) + len(self.repeated)


def read_ingested(folder: Path) -> pd.DataFrame:
    """The records of every source that FOLDER/sources.csv lists, by id; what is left out stands among crop's rejects.

    PipelineError says what to run where the list or the records of a source are missing or damaged.
    """
    return join_sources(folder).records


def join_sources(folder: Path) -> JoinedSources:
    """The records of the sources of FOLDER by id, and (but for role `labelled`) each picture once.

    Of equal pixels the first stays: those of a published test side, then those that state a licence, then by the
    source's name and by source_key.
    The `twins` of a crawl's record name the others' files too, so that a review of one of them finds it.
    """
    tables = [_records(folder, name) for name in read_source_names(folder)]
    together = pd.concat(tables, ignore_index=True)
    rank = ~together["published_side"].isin(["test"]).astype(bool)
    order = together.assign(rank=rank, unlicensed=together["licence"].isna()).sort_values(
        ["id", "rank", "unlicensed", "source", "source_key"], kind="stable", ignore_index=True
    )
    records = order.drop(columns=["rank", "unlicensed"])
    repeats = records["id"].duplicated()
    if folder.name == _SETTLED_LATER or not repeats.any():
        return JoinedSources(records, [])
    kept = {str(row.id): f"{row.source!s} {row.source_key!s}" for row in records[~repeats].itertuples()}
    rejected = [
        Rejected(
            str(row.source),
            str(row.source_key),
            "duplicate_pixels",
            f"the same pixels as {kept[str(row.id)]} ({row.id!s})",
        )
        for row in records[repeats].itertuples()
    ]
    alike = records[records["id"].isin(records.loc[repeats, "id"]) & records["label"].eq("none")]
    twins = {str(id_): _twins(group) for id_, group in alike.groupby("id")}
    once = records[~repeats].reset_index(drop=True)
    found = [twins.get(id_, old) for id_, old in zip(once["id"], once["twins"], strict=True)]
    return JoinedSources(check_records(once.assign(twins=pd.Series(found, dtype="str"))), rejected)


def source_list(sources: Sources, role: Role) -> str:
    """The text of sources.csv: name and layout of the role's sources by name, and no path, which decides nothing."""
    rows = [{"name": name, "layout": one.layout} for name, one in sources.of_role(role).items()]
    return pd.DataFrame(rows, columns=_COLUMNS).to_csv(index=False, lineterminator="\n")


def read_source_names(folder: Path) -> list[str]:
    """The names in FOLDER/sources.csv; PipelineError where it is missing, damaged or names none."""
    path = folder / SOURCE_LIST
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file; run `dvc repro list_sources` to make it")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if list(table.columns) != _COLUMNS or table.empty:
        raise _damaged(path, f"{len(table)} rows of {', '.join(map(str, table.columns))}")
    return [str(name) for name in table["name"]]


def _damaged(path: Path, found: str) -> PipelineError:
    return PipelineError(
        f"expected a table of {' and '.join(_COLUMNS)} in {path}, found {found}; run `dvc repro --force list_sources`"
    )


def _records(folder: Path, name: str) -> pd.DataFrame:
    path = folder / name / "records.parquet"
    if not path.is_file():
        raise PipelineError(f"expected {path}, found no such file; run `dvc repro ingest@{name}` to make it")
    return read_records(folder / name)


def _twins(alike: pd.DataFrame) -> str:
    """The sha256 of all files of equal pixels but for the kept one, the first of `alike`."""
    first = str(alike["sha256"].iloc[0])
    files = {file for row in alike.itertuples() for file in (str(row.sha256), *str(row.twins).split())}
    return " ".join(sorted(files - {first}))
