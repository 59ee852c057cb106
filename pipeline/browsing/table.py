"""The pictures of a version on the page: those of the dataset, and the pseudo labels that stay outside it."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.core.licences import licence_name
from pipeline.core.paths import DATASET, PSEUDO, REJECTED
from pipeline.versions.revision import NotHereError, Version
from pipeline.versions.tables import path_from_project, table_of

_SHOWN = ("side", "source", "label", "review", "left_out", "flags", "licence")
_ORIGINS = ("source_key", "author", "url", "retrieved_at", "parent_id", "crop_box", "teacher", "cluster")
_TEXTS = (*_SHOWN, *_ORIGINS)
_NEEDED = (
    *("id", "image", "mask", "width", "height", "uncertainty", "sha256", "parent_sha256"),
    *(name for name in _TEXTS if name != "left_out"),
)
_VERDICTS = {"review_rejected": "reject", "review_unsure": "unsure", "review_undecided": "undecided"}


def browsed_table(version: Version) -> pd.DataFrame:
    """A row a picture, by id: the texts above (`left_out` is a reason), uncertainty, width, height, image and mask.

    Paths are from the folder of dvc.yaml. A reviewed picture has the uncertainty and the flags of its pseudo label.
    NotHereError where the dataset's table cannot be had.
    """
    dataset = _records(version, DATASET)
    try:
        pseudo = _records(version, PSEUDO)
    except NotHereError:  # a dataset needs none
        pseudo = dataset.head(0)
    beside = pseudo[~pseudo["id"].isin(dataset["id"])]
    beside = beside.assign(left_out=_reasons(version, beside), side=None)
    beside["review"] = beside["left_out"].map(_VERDICTS.get)
    doubts = pseudo.set_index("id")
    for name in ("uncertainty", "flags"):
        own = dataset[name].astype(object)
        dataset[name] = own.where(own.notna() & (own != ""), dataset["id"].map(doubts[name]))
    table = pd.concat([dataset.assign(left_out=None), beside], ignore_index=True)
    table["licence"] = table["licence"].map(licence_name)
    for name in _TEXTS:
        table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    return table.sort_values("id", ignore_index=True)


def as_scripts(table: pd.DataFrame, title: str, about: str) -> dict[str, str]:
    """The texts of pictures.js, by which the page is drawn and filtered, and of origins.js, which follows."""
    doubts = [None if pd.isna(one) else round(float(one), 4) for one in table["uncertainty"]]
    first = {"id": table["id"].tolist(), "uncertainty": doubts, **_texts(table, _SHOWN)}
    plain = {name: table[name].tolist() for name in ("width", "height", "image", "mask")}
    return {
        "pictures.js": _assigned("PICTURES", {"title": title, "about": about, "columns": first}),
        "origins.js": _assigned("ORIGINS", {**plain, **_texts(table, _ORIGINS)}),
    }


def _assigned(name: str, content: object) -> str:
    """A script that gives a name to some content; a browser reads a JSON text more quickly than a script so long."""
    text = json.dumps(content, separators=(",", ":")).replace("\\", "\\\\").replace("'", "\\'")
    return f"window.{name} = JSON.parse('{text}');\n"


def _texts(table: pd.DataFrame, names: Sequence[str]) -> dict[str, object]:
    return {name: _few_words(table[name]) for name in names}


def _few_words(column: "pd.Series[str]") -> object:
    """The texts as they are, or where most of them are repeated the different ones and which it is of each picture."""
    words = sorted(set(column))
    if len(words) > len(column) // 2:
        return column.tolist()
    numbers = {word: at for at, word in enumerate(words)}
    return {"words": words, "of": [numbers[word] for word in column]}


def _records(version: Version, folder: Path) -> pd.DataFrame:
    """The rows of a folder's table, with paths from the folder of dvc.yaml."""
    table = table_of(version, folder / "records.parquet", _NEEDED)
    for name in ("image", "mask"):
        table[name] = [path_from_project(folder, one) for one in table[name]]
    return table


def _reasons(version: Version, beside: pd.DataFrame) -> list[str]:
    """Why stage merge left out each pseudo label; "left out" where that cannot be had."""
    try:
        file = io.BytesIO(version.read(str(REJECTED / "merge.csv")))
    except NotHereError:
        return ["left out"] * len(beside)
    rows = pd.read_csv(file, dtype=str, keep_default_na=False, lineterminator="\n")
    found = {(one.source, one.source_key): str(one.reason) for one in rows.itertuples()}
    return [found.get((one.source, one.source_key), "left out") for one in beside.itertuples()]
