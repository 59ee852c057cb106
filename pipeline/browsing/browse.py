"""`python -m pipeline browse`: write the page of a version, whole or not at all, into a folder of its own."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipeline.browsing.table import as_scripts, browsed_table
from pipeline.browsing.thumbnails import BrowsedFiles, write_thumbnails
from pipeline.core.errors import PipelineError
from pipeline.core.execute import map_images
from pipeline.core.paths import DATASET
from pipeline.core.stage import write_text
from pipeline.dataset.takedown_list import asked_out
from pipeline.handing_over.new_folder import new_folder
from pipeline.reporting.rendering import TEMPLATES
from pipeline.versions.revision import open_versions

_PAGE = Path(__file__).parent / "page"


def main(out: Path, revision: str) -> None:
    """Write OUT/index.html with its thumbnails, and say how many pictures it shows and which it cannot."""
    (version,) = open_versions(revision)
    table = browsed_table(version)
    with new_folder(out) as filling:
        places = version.bring([*table["image"], *table["mask"]])
        shown, faults = _with_thumbnails(table, places, filling)
        if shown.empty:
            raise PipelineError(
                f"expected pictures of {version.title}, found none of {len(table):,} here or in the cache, "
                f"{version.objects.why_not}; `dvc pull` brings what the remote has"
            )
        # The page finds the originals only from where it will lie.
        for name in ("image", "mask"):
            shown[name] = [os.path.relpath(places[path], out) for path in shown[name]]
        left_out = int((shown["left_out"] != "").sum())
        about = f"{len(shown) - left_out:,} pictures of {DATASET}" + (
            f", and {left_out:,} pseudo labels that stay outside it" if left_out else ""
        )
        for name, text in as_scripts(shown, f"Dataset of {version.title}", about).items():
            write_text(filling / name, text)
        for page in sorted(_PAGE.iterdir()):
            shutil.copyfile(page, filling / page.name)
        shutil.copyfile(TEMPLATES / "palette.css", filling / "palette.css")
    for fault in faults[:5]:
        print(f"not shown: {fault}", file=sys.stderr)
    if len(faults) > 5:
        print(f"not shown: {len(faults) - 5} more", file=sys.stderr)
    print(f"{about}: open {out / 'index.html'}")


def _with_thumbnails(
    table: pd.DataFrame, places: Mapping[str, Path], folder: Path
) -> tuple[pd.DataFrame, list[str]]:
    """The rows whose thumbnails could be written, and a sentence for each other one; `places` are files by path."""
    unwanted = asked_out(table)
    faults = [f"{one}: a person asked to have it taken out" for one in table.loc[unwanted, "id"]]
    table = table[~unwanted]
    there = table["image"].isin(list(places)) & table["mask"].isin(list(places))
    faults += [f"{one}: neither here nor in the cache or the remote" for one in table.loc[~there, "id"]]
    table = table[there].reset_index(drop=True)
    items = [
        BrowsedFiles(places[image], places[mask], folder / "thumbnails" / one[:2] / one)
        for one, image, mask in zip(table["id"], table["image"], table["mask"], strict=True)
    ]
    told = list(map_images(write_thumbnails, items, desc="thumbnails"))
    good = pd.Series([not one for one in told], dtype=bool)
    return table[good].reset_index(drop=True), [*faults, *filter(None, told)]
