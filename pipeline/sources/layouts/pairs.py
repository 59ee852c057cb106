"""Pairs: a folder of pictures and beside it one of masks, whose files have the same stems; what most people have.

`images/NAME.jpg` with `masks/NAME.png` or `masks/NAME_mask.png`. The two folders may have other common names, and
`train.txt`, `val.txt` or `test.txt` may stand beside them, as in EG1800.
"""

from pathlib import Path

from pipeline.sources.layouts.joining import join_pictures
from pipeline.sources.layouts.listing import MATLAB, Listing, leads_nowhere, pictures, subfolders, the_only

EXPECTED = (
    "images/NAME.jpg with masks/NAME.png (or NAME_mask.png), and train.txt and test.txt where there are lists"
)
_IMAGES = ("images", "imgs", "img", "pictures", "photos", "jpegimages")
_MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass", "gt")


def matches(folder: Path) -> bool:
    """Whether a folder of pictures and one of masks lie in it, whatever they hold."""
    return bool(subfolders(folder, _IMAGES) and subfolders(folder, _MASKS))


def named_folders(folder: Path) -> list[Path]:
    """All folders in it that have a name of pictures or of masks."""
    return [*subfolders(folder, _IMAGES), *subfolders(folder, _MASKS)]


def read(folder: Path) -> Listing:
    """List pictures with their masks and published sides; PipelineError where two folders could be meant."""
    images, masks = pair_folders(folder)
    return join_pictures(folder, folder, images, [masks])


def pair_folders(folder: Path) -> tuple[Path, Path]:
    """The folder of pictures and that of masks, of a folder that `matches`.

    PipelineError where two folders could be meant: of several with such names that with pictures in it is, as the
    `Annotations` of PASCAL VOC hold boxes as text.
    """
    return _meant(subfolders(folder, _IMAGES)), _meant(subfolders(folder, _MASKS))


def _meant(found: list[Path]) -> Path:
    filled = [one for one in found if leads_nowhere(one) or pictures(one, Listing(), one, also=[MATLAB])]
    return the_only(filled or found)
