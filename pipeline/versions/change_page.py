"""One page of the pictures that changed: old, new and the difference, with filters and keys, without a network.

Only what changed is shown, and only that is fetched. Up to INLINE pictures lie in the page itself, more in a folder
beside it, so that no page grows to hundreds of megabytes.
"""

import base64
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.core.errors import PipelineError
from pipeline.core.stage import write_text
from pipeline.dataset.takedown_list import asked_out
from pipeline.reporting.thumbnails import differing, jpeg_file, outlined
from pipeline.versions.change_report import Compared
from pipeline.versions.changes import CHANGE_KINDS, by_size
from sinet.core import atomic
from sinet.core.progress import bar_interval
from sinet.images.decode import Array, ImageError, ReadError, read_image, read_mask

INLINE = 600  # pictures of 10 to 20 KB
THUMBNAIL_HEIGHT = 168  # pixels
_TEMPLATE = Path(__file__).parent / "templates" / "changes.html"
_FIELDS = ("source", "licence", "reviewer", "side_old", "side_new", "label_old", "label_new")


@dataclass(frozen=True)
class _Panel:
    """The files of one shown picture; of an added one there is no old mask, of a removed one no new one."""

    id: str
    image: Path | None
    old_mask: Path | None
    new_mask: Path | None


def write_change_page(path: Path, compared: Compared) -> None:
    """Write the page, and PATH without its ending and with `_files` where there are many pictures.

    What a person asked to have taken out is named and not shown; so is what neither cache nor remote has.
    """
    changes = by_size(compared.changes)
    folder = path.with_name(f"{path.stem}_files")
    beside = folder if len(changes) > INLINE else None
    strange = _remove_earlier(folder)
    if beside is not None:
        if strange:
            raise PipelineError(f"{folder} holds {strange}, of no page; name the page otherwise")
        beside.mkdir(parents=True)
    sources = dict(_thumbnails(_panels(compared, changes), beside))
    write_text(path, page_text(compared, changes, sources))


def page_text(compared: Compared, changes: pd.DataFrame, sources: Mapping[str, tuple[str, int]]) -> str:
    """The page of these changes; `sources` are address and width (pixels) of the thumbnails that there are, by id."""
    content = {
        "old": compared.old.title,
        "new": compared.new.title,
        "height": THUMBNAIL_HEIGHT,
        "kinds": list(CHANGE_KINDS.values()),
        "pictures": [_entry(row, sources.get(str(row["id"]))) for row in changes.to_dict("records")],
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return _TEMPLATE.read_text(encoding="utf-8").replace("%DATA%", text, 1)


def _entry(row: Mapping[Any, Any], source: tuple[str, int] | None) -> dict[str, Any]:
    """What the page knows of a picture; a key without a value is left out."""
    entry: dict[str, Any] = {
        "id": row["id"],
        "kinds": [at for at, kind in enumerate(CHANGE_KINDS) if row[kind]],
    }
    entry |= {name: row[name] for name in _FIELDS if isinstance(row[name], str) and row[name]}
    if not pd.isna(row["iou"]):
        entry["iou"] = round(row["iou"], 4)
    if source is not None:
        entry["src"], entry["width"] = source
    return entry


def _panels(compared: Compared, changes: pd.DataFrame) -> list[_Panel]:
    """The files of what may be shown; of a picture in both versions the new one's image, which has the same pixels."""
    rows = changes[~asked_out(changes)]
    removed = rows["removed"]
    masks = rows["mask"]
    old = compared.old.bring([*rows.loc[removed, "image_old"], *rows.loc[removed | masks, "mask_old"]])
    new = compared.new.bring([*rows.loc[~removed, "image_new"], *rows.loc[~removed, "mask_new"]])
    return [
        _Panel(
            str(row.id),
            old.get(str(row.image_old)) if row.removed else new.get(str(row.image_new)),
            old.get(str(row.mask_old)) if row.removed or row.mask else None,
            new.get(str(row.mask_new)),
        )
        for row in rows.itertuples()
    ]


def _thumbnails(panels: list[_Panel], beside: Path | None) -> Iterator[tuple[str, tuple[str, int]]]:
    """Id, address and width (pixels) of the thumbnail of each picture whose files are here.

    It is written into `beside`, or lies in its address. Who draws one also writes it: thumbnails that waited for that
    would be held in memory by the thousand.
    """
    whole = [one for one in panels if one.image is not None and (one.old_mask or one.new_mask)]

    def place(panel: _Panel) -> tuple[str, int]:
        thumbnail = _thumbnail(panel)
        content, width = jpeg_file(thumbnail), thumbnail.shape[1]
        if beside is None:
            return "data:image/jpeg;base64," + base64.b64encode(content).decode(), width
        atomic.write_atomic(beside / f"{panel.id}.jpg", content)
        return f"{quote(beside.name)}/{panel.id}.jpg", width

    with ThreadPoolExecutor() as pool:
        made = pool.map(place, whole)
        bar = tqdm(
            made, "thumbnails", len(whole), unit="img", mininterval=bar_interval(), disable=len(whole) < 500
        )
        yield from zip((one.id for one in whole), bar, strict=True)


def _thumbnail(panel: _Panel) -> Array:
    """(THUMBNAIL_HEIGHT, W, 3): old and new and their difference beside each other, or the one that there is."""
    try:
        image = read_image(panel.image) if panel.image else np.zeros((1, 1, 3), np.uint8)
        masks = [read_mask(path) for path in (panel.old_mask, panel.new_mask) if path is not None]
    except (ImageError, ReadError) as error:
        raise PipelineError(f"the picture {panel.id} cannot be shown: {error}") from error
    shown = [outlined(image, mask, THUMBNAIL_HEIGHT) for mask in masks]
    if len(masks) == 2:
        shown.append(differing(image, masks[0], masks[1], THUMBNAIL_HEIGHT))
    gap = np.full((THUMBNAIL_HEIGHT, 4, 3), 255, np.uint8)
    return np.hstack([part for one in shown for part in (gap, one)][1:])


def _remove_earlier(folder: Path) -> str:
    """Remove the pictures of an earlier page; a file that no page left is named, and all stay."""
    if not folder.is_dir():
        return ""
    strange = [one.name for one in folder.iterdir() if one.suffix != ".jpg" or len(one.stem) != 16]
    if not strange:
        shutil.rmtree(folder)
    return min(strange, default="")
