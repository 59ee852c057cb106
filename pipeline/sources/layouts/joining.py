"""Pictures and masks joined by the number or stem in their names, with the sides that lists beside them publish."""

import io
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.sources.layouts.listing import (
    MATLAB,
    ListedPicture,
    Listing,
    PublishedSide,
    Unusable,
    flat_pictures,
    key_below,
    note_tables,
    printable,
    subfolder,
)
from sinet.core import atomic
from sinet.images.listed import ListError, checked, decoded, nfc, numbered, read_list, stem_of, whole

_LISTS: dict[str, PublishedSide] = {
    "train.txt": "train",
    "trainlist.txt": "train",
    "trainlist.mat": "train",
    "eg1800_train.txt": "train",
    "val.txt": "test",
    "test.txt": "test",
    "testlist.txt": "test",
    "vallist.txt": "test",
    "testlist.mat": "test",
    "eg1800_test.txt": "test",
}


def join_pictures(
    folder: Path,
    root: Path,
    images_folder: Path | None,
    mask_folders: Sequence[Path],
    tables: Collection[str] = (),
) -> Listing:
    """List the pictures of one folder with their masks and published sides; names are relative to `folder`.

    A mask comes from the first of `mask_folders` that has it. Lists lie in `root`, or in select_data/ or lists/ there:
    a picture in none of them is rejected, and one in both counts as test. PipelineError for a list that is not
    understood. Other tables than `tables`, which the caller reads or knows, are noted.
    """
    listing = Listing()
    images = _by_number(flat_pictures(images_folder, folder, listing)) if images_folder else {}
    masks = _masks(mask_folders, folder, listing)
    sides = _sides(root, {*images, *masks}, listing)
    note_tables(folder, listing, tables)
    for number in sorted({*images, *masks, *sides}):
        files = images.get(number, [])
        if len(files) == 1 and len(masks.get(number, [])) == 1 and (not sides or number in sides):
            item = ListedPicture(
                key_below(files[0], folder), str(files[0]), str(masks[number][0]), sides.get(number)
            )
            listing.items.append(item)
        else:
            _reject(number, files, masks.get(number, []), sides, folder, listing)
    listing.items.sort(key=lambda item: item.source_key)
    return listing


def _by_number(paths: list[Path]) -> dict[str, list[Path]]:
    found = defaultdict(list)
    for path in paths:
        found[number_of(nfc(path.stem))].append(path)
    return dict(found)


def number_of(stem: str) -> str:
    """`00017_mask` and `17` are the same picture: 00017. Other stems stand for themselves."""
    stem = stem[: -len("_mask")] if stem.lower().endswith("_mask") else stem
    return printable(numbered(stem))


def _listed(word: str) -> str:
    """The picture that a word of a list names: `Images/00017.png`, `17` or `00017_mask.mat` is 00017."""
    return number_of(stem_of(word))


def _masks(places: Sequence[Path], folder: Path, listing: Listing) -> dict[str, list[Path]]:
    """Masks by number, each from the first folder that has it."""
    masks: dict[str, list[Path]] = {}
    for place in places:
        for number, files in _by_number(flat_pictures(place, folder, listing, also=[MATLAB])).items():
            if number in masks:
                name = printable(place.name)
                listing.notes[f"masks in {name} not used: another folder has them"] += len(files)
            else:
                masks[number] = files
    return masks


def _reject(
    number: str,
    images: list[Path],
    masks: list[Path],
    sides: dict[str, PublishedSide],
    folder: Path,
    listing: Listing,
) -> None:
    """Say of each file of a picture, or of the list entry where there is no file, why it is no item."""
    if not images and not masks:
        key = f"{sides[number]} list: {number}"
        detail = "the list names it, but there is neither a picture nor a mask"
        listing.unusable.append(Unusable(key, "listed_without_file", detail))
    elif not images:
        for mask in masks:
            listing.reject(mask, folder, "mask_without_image", f"there is no picture {number} for this mask")
    elif len(images) > 1:
        for image in images:
            listing.reject(image, folder, "two_images", f"{len(images)} files are picture {number}")
    elif not masks:
        listing.reject(images[0], folder, "no_mask", f"there is no mask for picture {number}")
    elif len(masks) > 1:
        names = " and ".join(key_below(mask, folder) for mask in masks)
        listing.reject(images[0], folder, "two_masks", f"{names} are both masks of picture {number}")
    else:
        listing.reject(
            images[0], folder, "not_listed", f"no list names picture {number}, so its side is unknown"
        )


def _sides(root: Path, known: set[str], listing: Listing) -> dict[str, PublishedSide]:
    """Published side by number; a number in lists of both sides is test, and counted."""
    sides: dict[str, PublishedSide] = {}
    places = [root, *(place for name in ("select_data", "lists") if (place := subfolder(root, name)))]
    for path in sorted(path for place in places for path in place.iterdir()):
        side = _LISTS.get(path.name.lower())
        if side is None:
            continue
        for number in _entries(path, known):
            if sides.setdefault(number, side) != side:
                listing.notes["in the lists of both sides, taken as test"] += 1
                sides[number] = "test"
    return sides


def _entries(path: Path, known: set[str]) -> list[str]:
    """The pictures a list names, each once. A list that is not understood would move test pictures into train."""
    try:
        atomic.check_no_pipe(path)
        data = path.read_bytes()
        if path.suffix.lower() == MATLAB:
            words = checked(_matlab_words(data))
        else:
            words = read_list(decoded(data).splitlines(), _listed, known)
    except Exception as error:  # scipy raises whatever a damaged .mat brings about
        kind = "" if isinstance(error, ListError) else f"{type(error).__name__}: "
        raise PipelineError(
            f"{path} is a list of pictures, but cannot be read ({kind}{error}); mend it or take it away"
        ) from error
    return list(dict.fromkeys(map(_listed, words)))


def _matlab_words(data: bytes) -> list[str]:
    import scipy.io

    if any(kind == "logical" for _, _, kind in scipy.io.whosmat(io.BytesIO(data))):
        raise ListError("it holds flags, true or false of each picture; save the numbers of the pictures")
    content = scipy.io.loadmat(io.BytesIO(data))
    arrays = [value for name, value in content.items() if not name.startswith("__")]
    if len(arrays) != 1:
        raise ListError(f"expected one variable, found {len(arrays)}")
    return [_matlab_word(value.item() if value.size == 1 else value) for value in arrays[0].ravel()]


def _matlab_word(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    number = whole(repr(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if number is None:
        raise ListError(f"{value!r} is no whole number and no name")
    return number
