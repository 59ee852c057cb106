"""EG1800 (Shen et al. 2016): portraits by number, masks as PNG or `.mat`, a train and a test list.

Read as it is distributed (`images_data_crop/00001.jpg`, `GT_png/00001_mask.png` or
`images_mask/00001_mask.mat`, `trainlist.mat`, `testlist.mat`), with text lists (one number or name a line),
and in PortraitNet's copy (`Images/00001.png`, `Labels/00001.png`, `eg1800_train.txt`, `eg1800_test.txt`).
"""

from pathlib import Path

from pipeline.sources.layouts.joining import join_pictures
from pipeline.sources.layouts.listing import Listing, subfolder

EXPECTED = (
    "images_data_crop/00001.jpg with GT_png/00001_mask.png (or images_mask/00001_mask.mat) and lists, "
    "or PortraitNet's Images/00001.png with Labels/00001.png"
)
_IMAGES = ("images_data_crop", "Images")
_MASKS = ("GT_png", "Labels", "images_mask", "masks")  # the first that has a picture's mask gives it


def matches(folder: Path) -> bool:
    """Whether a folder, or an EG1800/ inside it, has the layout's own folder names."""
    root = _root(folder)
    if subfolder(root, "images_data_crop") or subfolder(root, "GT_png"):
        return True
    return bool(subfolder(root, "Images") and subfolder(root, "Labels"))


def read(folder: Path) -> Listing:
    """List pictures with their masks and published sides.

    Where there are lists, a picture in none of them is rejected, and one in both counts as test.
    """
    return join_pictures(folder, _root(folder), *_places(folder))


def places_read(folder: Path) -> set[Path]:
    """The folders of pictures and of masks that `read` opens."""
    images, masks = _places(folder)
    return {*([images] if images else []), *masks}


def _root(folder: Path) -> Path:
    return subfolder(folder, "EG1800") or folder


def _places(folder: Path) -> tuple[Path | None, list[Path]]:
    root = _root(folder)
    return subfolder(root, *_IMAGES), [place for name in _MASKS if (place := subfolder(root, name))]
