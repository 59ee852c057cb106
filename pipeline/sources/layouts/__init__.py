"""The published layouts that ingest reads: one module each, one way to tell which one a folder has."""

from collections.abc import Callable
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.sources.layouts import baidu, crawl, eg1800, img2dataset, pairs
from pipeline.sources.layouts.listing import Listing, printable, unreadable

READERS: dict[str, Callable[[Path], Listing]] = {
    "eg1800": eg1800.read,
    "pairs": pairs.read,
    "baidu": baidu.read,
    "img2dataset": img2dataset.read,
    "crawl": crawl.read,
}
EXPECTED = {
    "eg1800": eg1800.EXPECTED,
    "pairs": pairs.EXPECTED,
    "baidu": baidu.EXPECTED,
    "img2dataset": img2dataset.EXPECTED,
    "crawl": crawl.EXPECTED,
}
LABELLED = ("eg1800", "pairs", "baidu")  # their masks were drawn by people


def recognise(folder: Path) -> str | None:
    """A key of READERS; None where the folder holds no pictures in any layout we know.

    PipelineError where it could have two layouts with masks.
    """
    labelled = recognise_labelled(folder)
    if labelled is None and img2dataset.matches(folder):
        return "img2dataset"
    return labelled or ("crawl" if crawl.matches(folder) else None)


def recognise_labelled(folder: Path) -> str | None:
    """A layout with masks, where the folder's own subfolders say so; nothing deeper is looked at.

    Images/ with Labels/ is PortraitNet's copy of EG1800. PipelineError where beside one layout's folders lie folders
    that only another one reads.
    """
    published = "eg1800" if eg1800.matches(folder) else "baidu" if baidu.matches(folder) else None
    if not pairs.matches(folder):
        return published
    read = eg1800.places_read(folder) if published == "eg1800" else set()
    if read.issuperset(pairs.named_folders(folder)):
        return published
    images, masks = pairs.pair_folders(folder)
    if published is None:
        return "pairs"
    if read >= {images, masks}:
        return published
    raise PipelineError(
        f"{folder} looks like {published}, but {printable(images.name)} and {printable(masks.name)} in it look like "
        "pairs of pictures and masks; keep the folders of one layout there"
    )


def read_layout(layout: str, folder: Path) -> Listing:
    """List what `folder` holds in `layout` (a key of READERS, or `absent` for nothing).

    Raises PipelineError where the folder is missing, cannot be read, has another layout, or holds no picture at all.
    """
    if layout == "absent":
        return Listing()
    try:
        return _read(layout, folder)
    except OSError as error:
        raise unreadable(Path(error.filename or folder), error) from error


def _read(layout: str, folder: Path) -> Listing:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise PipelineError(f"expected a folder in the layout {layout} at {folder}, found {found}")
    looks = recognise(folder)
    if looks not in (None, layout):
        instead = f"Give it as {str(looks).upper()}=... (layout: {looks}) instead"
        if looks == "crawl":  # any folder with pictures in it looks like one
            instead = "Name the folder in which these lie; `python -m pipeline check DIR` looks for it"
        if layout == "crawl" and looks == "pairs":
            instead += ", or, where both hold photographs, rename one of the two"
        raise PipelineError(
            f"{folder} was given as {layout}, but it looks like {looks}; expected {EXPECTED[layout]}. {instead}"
        )
    listing = READERS[layout](folder) if looks else Listing()
    if not listing.items and not listing.unusable:
        raise PipelineError(
            f"no picture at all in {folder}; expected {EXPECTED[layout]}. "
            f"`python -m pipeline check {folder}` says more"
        )
    return listing
