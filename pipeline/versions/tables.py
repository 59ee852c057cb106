"""The tables of a version: its pictures with their reviewers, the scores of its test pictures, its headline figures."""

import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from annotations.ledger.lock import review_key
from pipeline.core.errors import PipelineError
from pipeline.core.licences import licence_name
from pipeline.core.paths import DATASET, HEADLINE, KEPT_SIDES, PARAMS, PICTURE_FACTS, PLOTS
from pipeline.core.records import SIDES
from pipeline.dataset.kept_sides import read_sides
from pipeline.versions.figures import parse_figures
from pipeline.versions.revision import NotHereError, Version

RECORDS = DATASET / "records.parquet"
_FACTS = PICTURE_FACTS / "facts.parquet"
SCORES = PLOTS / "evaluate.csv"
_ORIGIN = ("parent_sha256", "crop_box")
# Of the records; versions may have others beside them.
_NEEDED = ("id", "source", "label", "side", "licence", "image", "mask", "sha256", *_ORIGIN, "cluster")
_FIGURES = {  # of the headline: what it is called, and whether it is a share
    "iou": ("SINet, foreground IoU on test", True),
    "mean_iou": ("SINet, two-class mIoU on test", True),
    "f1": ("SINet, boundary F1 on test", True),
    "native": ("SINet, foreground IoU at own size", True),
    "teacher": ("teacher, foreground IoU on dev", True),
    "accepted": ("pseudo labels that reviewers accept", True),
    "leaks": ("pictures left out to keep the sides apart", False),
    "moved": ("pictures published as test since", False),
    **{side: (f"on the side {side}", False) for side in SIDES},
}


def path_from_project(folder: Path, path: str) -> str:
    """Where a file that a table in `folder` names lies: from there, or in older versions from the project's folder."""
    return path if Path(path).parts[0] == folder.parts[0] else os.path.normpath(folder / path)


def dataset_of(version: Version) -> pd.DataFrame:
    """A row a picture: the columns of its record that are needed here, its reviewer, and the md5 of its mask.

    Paths are from the project's folder, a licence is its SPDX id where it is understood. NotHereError where the table
    cannot be had, PipelineError where it is another kind of table or misses a mask.
    """
    table = table_of(version, RECORDS, _NEEDED)[list(_NEEDED)]
    for column in ("image", "mask"):
        table[column] = [path_from_project(DATASET, path) for path in table[column]]
    table["licence"] = table["licence"].map({text: licence_name(text) for text in table["licence"].unique()})
    hashes = version.hashes(table["mask"].tolist())
    missing = [path for path in table["mask"] if path not in hashes]
    if missing:
        raise PipelineError(
            f"expected {missing[0]} in {version.title}, found no such file; `dvc checkout` brings it"
        )
    table["mask_md5"] = table["mask"].map(hashes)
    reviews = reviews_of(version)
    keys = [
        review_key(parent, box) if label == "reviewed" else ""
        for label, parent, box in zip(table["label"], table["parent_sha256"], table["crop_box"], strict=True)
    ]
    table["reviewer"] = [str(reviews.get(key, {}).get("reviewer", "")) for key in keys]
    return table


def reviews_of(version: Version) -> dict[str, dict[str, Any]]:
    """The lines of the lock by key; without any check, which stage merge makes."""
    with version.folder_in_git(_path_of_reviews(version)) as folder:
        lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    try:
        return {line["key"]: line for line in map(json.loads, lines)}
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"the reviews of {version.title} cannot be read: {error}") from error


def _path_of_reviews(version: Version) -> str:
    """From the project's folder; of a commit one that git can have, since what lies elsewhere is of today."""
    try:
        path = str(yaml.safe_load(version.read(str(PARAMS)))["reviews"]["path"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise PipelineError(f"expected `reviews.path` in {PARAMS} of {version.title}, found none") from error
    if version.commit is not None and (Path(path).is_absolute() or ".." in Path(path).parts):
        raise PipelineError(
            f"expected `reviews.path` inside the repository in {version.title}, found {path}: git does not keep what "
            "lies there, so that nobody can tell what that version had; move the folder into the repository"
        )
    return path


def kept_sides_of(version: Version) -> dict[str, str]:
    """The side that each photograph was given first, by id, from git alone."""
    with version.folder_in_git(str(KEPT_SIDES)) as folder:
        return read_sides(folder)


def scores_of(version: Version) -> pd.DataFrame:
    """A row a test picture: id, source, label, foreground_iou, boundary_f1. NotHereError where it cannot be had."""
    table = pd.read_csv(io.BytesIO(version.read(str(SCORES))), dtype={"id": str})
    return _with_columns(version, SCORES, table, ("id", "source", "label", "foreground_iou", "boundary_f1"))


def known_facts_of(version: Version) -> pd.DataFrame | None:
    """What is known of each picture, by id; None of a version that was made before it was written down."""
    try:
        return table_of(version, _FACTS, ("id",))
    except NotHereError:
        return None


def figures_of(version: Version) -> dict[str, tuple[float, bool] | None]:
    """The headline figures by name, each with whether it is a share; None where the version does not have it.

    None too where stage headline has not run since what it reads was made: they are those of an earlier version.
    """
    figures: dict[str, Any] = {}
    if not version.outdated_inputs("headline"):
        with suppress(NotHereError):
            figures = parse_figures(version.read(str(HEADLINE)), f"{HEADLINE} of {version.title}")
    return {
        name: None if figures.get(key) is None else (float(figures[key]), share)
        for key, (name, share) in _FIGURES.items()
    }


def table_of(version: Version, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table of Parquet that has these columns, perhaps others too.

    Read without the schema, since the version may be of an earlier one. NotHereError where it cannot be had,
    PipelineError where a column is missing.
    """
    return _with_columns(version, path, pd.read_parquet(io.BytesIO(version.read(str(path)))), columns)


def _with_columns(version: Version, path: Path, table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    missing = [name for name in columns if name not in table]
    if missing:
        raise PipelineError(
            f"expected the columns {', '.join(columns)} in {path} of {version.title}, found none called "
            f"{', '.join(missing)}: that version is of an earlier recipe"
        )
    return table
