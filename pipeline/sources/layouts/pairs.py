"""Pairs: a folder of pictures and beside it one of masks, whose files have the same stems; what most people have.

`images/NAME.jpg` with `masks/NAME.png` or `masks/NAME_mask.png`. The two folders may have other common names, and
`train.txt`, `val.txt` or `test.txt` may stand beside them, as in EG1800, and `sources.csv` with the
terms of each picture.
"""

import os
from dataclasses import replace
from pathlib import Path

from pipeline.sources.layouts.joining import join_pictures
from pipeline.sources.layouts.listing import (
    MATLAB,
    Listing,
    Unusable,
    leads_nowhere,
    pictures,
    printable,
    subfolders,
    the_only,
)
from pipeline.sources.layouts.table import read_table
from sinet.images.listed import nfc

EXPECTED = (
    "images/NAME.jpg with masks/NAME.png (or NAME_mask.png), and train.txt and test.txt where there are lists"
)
TABLE_OF_TERMS = "sources.csv"
_IMAGES = ("images", "imgs", "img", "pictures", "photos", "jpegimages")
_MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass", "gt")


def matches(folder: Path) -> bool:
    """Whether a folder of pictures and one of masks lie in it, whatever they hold."""
    return bool(subfolders(folder, _IMAGES) and subfolders(folder, _MASKS))


def named_folders(folder: Path) -> list[Path]:
    """All folders in it that have a name of pictures or of masks."""
    return [*subfolders(folder, _IMAGES), *subfolders(folder, _MASKS)]


def read(folder: Path) -> Listing:
    """List pictures with their masks, published sides and terms.

    PipelineError where two folders could be meant, or sources.csv is not understood.
    """
    images, masks = pair_folders(folder)
    listing = join_pictures(folder, folder, images, [masks], tables=(TABLE_OF_TERMS, "ATTRIBUTION.md"))
    if os.path.lexists(folder / TABLE_OF_TERMS):
        _add_terms(folder / TABLE_OF_TERMS, listing)
    return listing


def _add_terms(path: Path, listing: Listing) -> None:
    """Give each picture what its line says; a picture without one keeps the terms of its source."""
    places = {nfc(item.source_key): at for at, item in enumerate(listing.items)}
    unusable = {one.source_key for one in listing.unusable}
    seen: set[str] = set()
    for row in read_table(path, listing.notes):
        file = nfc(row.values.get("file", ""))
        place = f"{path.name}:{row.line} {printable(file)}"
        if file in seen:
            listing.unusable.append(Unusable(place, "listed_twice", f"{printable(file)} has a line already"))
        elif file in places:
            listing.items[places[file]] = replace(
                listing.items[places[file]],
                url=row.values.get("url") or row.values.get("source"),
                author=row.values.get("author"),
                licence=row.values.get("licence"),
                retrieved_at=row.values.get("retrieved_at"),
            )
        elif file not in unusable:
            detail = "the CSV names it, but there is no such picture with a mask"
            listing.unusable.append(Unusable(place, "listed_without_file", detail))
        seen.add(file)
    without = len(set(places) - seen)
    if without:
        listing.notes[f"pictures that {path.name} has no line of"] += without


def pair_folders(folder: Path) -> tuple[Path, Path]:
    """The folder of pictures and that of masks, of a folder that `matches`.

    PipelineError where two folders could be meant: of several with such names that with pictures in it is, as the
    `Annotations` of PASCAL VOC hold boxes as text.
    """
    return _meant(subfolders(folder, _IMAGES)), _meant(subfolders(folder, _MASKS))


def _meant(found: list[Path]) -> Path:
    filled = [one for one in found if leads_nowhere(one) or pictures(one, Listing(), one, also=[MATLAB])]
    return the_only(filled or found)
