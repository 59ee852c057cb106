"""The Baidu full-body set: `clean_images/images/NAME.jpg`, `clean_images/profiles/NAME-profile.jpg`.

Some copies name the mask `NAME.jpg`. The masks are grey JPEG files, so their edges are soft
and ring; ingest thresholds them half-way.
"""

from collections import defaultdict
from pathlib import Path

from pipeline.sources.layouts.listing import (
    ListedPicture,
    Listing,
    flat_pictures,
    key_below,
    note_tables,
    subfolder,
)
from sinet.images.listed import nfc

EXPECTED = "clean_images/images/NAME.jpg with clean_images/profiles/NAME-profile.jpg (or NAME.jpg)"
_ENDINGS = ("-profile", "_profile")


def matches(folder: Path) -> bool:
    """Whether a folder is the set, or its clean_images/."""
    root = _root(folder)
    return bool(root != folder and subfolder(root, "images")) or bool(subfolder(root, "profiles"))


def read(folder: Path) -> Listing:
    """List pictures with their masks; the set publishes no split."""
    root, listing = _root(folder), Listing()
    images_folder, masks_folder = subfolder(root, "images"), subfolder(root, "profiles")
    images, masks = defaultdict(list), defaultdict(list)
    for path in flat_pictures(images_folder, folder, listing) if images_folder else []:
        images[nfc(path.stem)].append(path)
    for path in flat_pictures(masks_folder, folder, listing) if masks_folder else []:
        masks[_name(nfc(path.stem), images)].append(path)
    note_tables(folder, listing)
    for name in sorted({*images, *masks}):
        _pair(images.get(name, []), masks.get(name, []), folder, listing)
    listing.items.sort(key=lambda item: item.source_key)
    return listing


def _root(folder: Path) -> Path:
    return subfolder(folder, "clean_images") or folder


def _name(stem: str, images: dict[str, list[Path]]) -> str:
    """The picture that a mask's name points at: NAME-profile is NAME, unless a picture has that very name."""
    ending = next((ending for ending in _ENDINGS if stem.lower().endswith(ending)), "")
    return stem if not ending or stem in images else stem[: -len(ending)]


def _pair(images: list[Path], masks: list[Path], folder: Path, listing: Listing) -> None:
    if not images:
        for mask in masks:
            listing.reject(mask, folder, "mask_without_image", "there is no picture for this mask")
    elif len(images) > 1:
        for image in images:
            listing.reject(image, folder, "two_images", f"{len(images)} files have the name {image.stem}")
    elif not masks:
        listing.reject(images[0], folder, "no_mask", "there is no mask for this picture in profiles/")
    elif len(masks) > 1:
        names = " and ".join(key_below(mask, folder) for mask in masks)
        listing.reject(images[0], folder, "two_masks", f"{names} are both masks of this picture")
    else:
        key = key_below(images[0], folder)
        listing.items.append(ListedPicture(key, str(images[0]), str(masks[0])))
