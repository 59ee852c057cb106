"""From a mask file, as whoever drew it published it, to (H, W) {0, 1}; what is no mask is refused with its levels.

A mask has two levels (0 and 255, 0 and 1, 0 and 65535, black and one colour) or two modes, dark and light, with soft
edges between them. Labels of classes, trimaps and soft mattes have more, and nobody but their user knows which of
these are person: `MaskClasses` says it, of every level. Nothing is concluded from the largest level alone.
"""

import io
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sinet.core.recipe import MaskClasses
from sinet.images.decode import MAX_PIXELS, Array, ImageError, has_alpha, is_deep, loaded, to_255, upright

_Values = NDArray[np.generic]  # (H, W), as they stand in the file
Shares = dict[float, float]  # level -> share of the pixels, 0..1, by level

# Grey levels outside these bounds are decided. Soft and ringing edges of a JPEG mask lie between them, and so does
# most of a photograph that stands where a mask should.
DARK, LIGHT = 64, 192
_FEW = 16  # levels: where there are more, they are not a few classes
NUMBERS = 20  # levels below it may be numbers of classes; LIP has 20
NAMED = 8  # levels in a sentence
PLATEAU = 0.001  # share of the pixels: a third level whose areas cover more is no edge
TINT = 24  # grey levels that a lossy format changes: between channels of one grey, and around an edge
NO_MASK = "not_a_mask"
_ADVICE = "a mask has 0 for background and 255 for person: save it so, or say which levels are which"
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class MaskRules:
    """How a mask file is cut in two."""

    threshold: int = 127  # grey above it is person: the half-way point of a soft edge
    max_undecided: float = 0.15  # share of the pixels that is neither dark nor light
    classes: MaskClasses | None = None  # None: two levels, or soft edges between two


@dataclass(frozen=True)
class ReadMask:
    """A mask that was understood."""

    person: Array  # (H, W) uint8 in {0, 1}
    levels: str  # those of the file, in words: "0 and 255", "0 and 1", "soft edges", ...


def decode_mask(
    data: bytes, rules: MaskRules | None = None, max_pixels: int = MAX_PIXELS, *, matlab: bool = False
) -> ReadMask:
    """The mask that a file holds (`matlab`: a .mat file), upright; ImageError for any other file.

    Its reason is `not_a_mask` where the file is whole, but its levels are not those of a mask; the sentence tells them.
    A third level between dark and light, such as 128, that covers thin bands alone counts as a soft edge.
    """
    rules = rules or MaskRules()
    if matlab:
        return of_levels(_matlab_levels(data, max_pixels), rules)
    with loaded(data, max_pixels) as (image, orientation):
        _check_one_page(image)
        lossy = _is_lossy(image)
        mask = _of_classes(image, rules.classes, lossy) if rules.classes else _of_two(image, rules, lossy)
        return ReadMask(upright(mask.person, orientation), mask.levels)


def decode_probability(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
    """How much each pixel is person, (H, W) float32 in 0..1, of a grey file that another tool wrote.

    255 (or 65535, or 1.0) is certainly person, and levels of 0 and 1 alone are black and white. Levels that look like
    numbers of classes are refused.
    """
    with loaded(data, max_pixels) as (image, orientation):
        _check_one_page(image)
        lossy = _is_lossy(image)
        values = _grey_of(image, lossy)
        if not lossy and _are_numbers(values):
            raise _refused(shares(values), "these look like numbers of classes, not like shares of 255")
        return np.asarray(upright(to_255(values), orientation) / 255, np.float32)


def of_levels(values: _Values, rules: MaskRules, *, lossy: bool = False) -> ReadMask:
    """The mask that levels of any numeric type are; `lossy`: they come from a format that changes them a little."""
    if rules.classes:
        return _classed(values, rules.classes)
    grey, found = to_255(values), shares(values)
    if len(found) == 1:
        return _one_level(grey, found, rules)
    if len(found) == 2 and grey.min() < DARK and grey.max() >= LIGHT:
        return ReadMask(_person(grey, rules), " and ".join(map(_name, found)))
    if len(found) <= _FEW and (len(found) == 2 or _third_of_few(values, grey, found, lossy)):
        raise _refused(found)
    return _soft(grey, found, rules, lossy)


def shares(values: _Values) -> Shares:
    """The share of the pixels that each level has, by level."""
    levels, counts = np.unique(values, return_counts=True)
    return dict(zip(levels.tolist(), (counts / max(values.size, 1)).tolist(), strict=True))


def _person(grey: Array, rules: MaskRules) -> Array:
    return (grey > rules.threshold).astype(np.uint8)


def _one_level(grey: Array, found: Shares, rules: MaskRules) -> ReadMask:
    """Nobody, or person all over, where the level is one of a mask's two."""
    if grey.min() not in (0, 255):
        raise _refused(found)
    return ReadMask(_person(grey, rules), f"{_name(next(iter(found)))} alone")


def _soft(grey: Array, found: Shares, rules: MaskRules, lossy: bool) -> ReadMask:
    """Two modes and what lies between; of a lossy format also one mode alone, which noise spreads over some levels."""
    between = np.bincount(grey.ravel(), minlength=256)[DARK:LIGHT] / grey.size
    undecided = float(between.sum())
    if undecided > rules.max_undecided:
        if (
            len(found) <= _FEW or np.convolve(between, np.ones(9)).max() > undecided / 3
        ):  # one level, or near it
            raise _refused(found, f"{undecided:.0%} of it is neither dark nor light")
        raise ImageError(
            NO_MASK, f"{undecided:.0%} of the mask is neither dark nor light, as in a photograph"
        )
    if len(found) > _FEW and _third_of_many(grey, lossy):
        raise _refused(found, "more than two of them fill areas")
    one_mode = lossy and (grey.max() < TINT or grey.min() > 255 - TINT)
    if one_mode and _are_areas(grey):
        raise _refused(found, "of one that is dark or light all over, more than one of them fills areas")
    if not one_mode and (grey.min() >= DARK or grey.max() < LIGHT):
        raise _refused(found, "none of them is light" if grey.max() < LIGHT else "none of them is dark")
    return ReadMask(_person(grey, rules), "soft edges")


def _are_areas(grey: Array) -> bool:
    """Whether a level fills areas beside the most frequent one, as in a JPEG of levels 0 and 1."""
    levels, counts = np.unique(grey, return_counts=True)
    return any(_area(grey == level) > PLATEAU for level in levels[levels != levels[counts.argmax()]])


def _third_of_few(values: _Values, grey: Array, found: Shares, lossy: bool) -> bool:
    """Whether a level fills areas beside the most frequent dark and the most frequent light one."""
    grey_of = {level: int(grey[values == level][0]) for level in found}
    dark = [level for level in found if grey_of[level] < DARK]
    light = [level for level in found if grey_of[level] >= LIGHT]
    modes = [max(half, key=lambda level: found[level]) for half in (dark, light) if half]
    near = TINT if lossy else -1
    others = [one for one in found if one not in modes]
    others = [one for one in others if all(abs(grey_of[one] - grey_of[mode]) > near for mode in modes)]
    return any(_area(values == level) > PLATEAU for level in others)


def _third_of_many(grey: Array, lossy: bool) -> bool:
    """The same of many levels, where an area may be a little uneven, and a little off the level of its mode."""
    even = cv2.dilate(grey, _SQUARE) - cv2.erode(grey, _SQUARE) <= (TINT // 4 if lossy else 0)
    areas = np.bincount(grey[even], minlength=256) / grey.size
    for half in (slice(0, DARK), slice(LIGHT, 256)):
        mode = half.start + int(np.argmax(areas[half]))
        areas[max(0, mode - TINT) : mode + TINT + 1] = 0
    return bool(np.convolve(areas, np.ones(9), "same").max() > PLATEAU)


def _area(chosen: NDArray[np.bool_]) -> float:
    """The share of the pixels that lie inside what is chosen, their eight neighbours included."""
    return float(cv2.erode(chosen.astype(np.uint8), _SQUARE).mean())


def _are_numbers(values: _Values) -> bool:
    """Whether levels are numbers of classes: small and whole, in areas, with nothing but 0 and 255 beside them."""
    found = shares(values)
    small = [level for level in found if 0 < level < NUMBERS]
    if max(found) <= 1 or not small or not set(found) <= {0, 255, *range(NUMBERS)}:
        return False
    return any(_area(values == level) > PLATEAU for level in small)


def _of_two(image: Image.Image, rules: MaskRules, lossy: bool) -> ReadMask:
    if is_deep(image):  # before transparency, which such a file may have of a single level
        return of_levels(np.asarray(image), rules)
    if has_alpha(image):
        return _of_transparent(image, rules, lossy)
    tone = _tone(image, lossy)
    if image.mode == "P":
        return _of_palette(np.asarray(image), tone, rules)
    if tone is None:
        raise _coloured(image)
    return of_levels(tone, rules, lossy=lossy)


def _of_palette(indices: Array, tone: Array | None, rules: MaskRules) -> ReadMask:
    """By the colours where they are those of a mask, else by the indices 0 and 1; others are classes."""
    if tone is not None:
        with suppress(ImageError):
            return of_levels(tone, rules)
    if indices.max() <= 1:
        return of_levels(indices, rules)
    raise _refused(shares(indices), what="palette indices")


def _of_transparent(image: Image.Image, rules: MaskRules, lossy: bool) -> ReadMask:
    """By the transparency or by the colours, whichever is a mask; where both are, they must say the same."""
    alpha, colours = _alpha_and_colours(image)
    if alpha.min() == alpha.max():
        return _of_two(colours, rules, lossy)
    found: list[ReadMask] = []
    refused: list[ImageError] = []
    for layer in (Image.fromarray(alpha), colours):
        try:
            found.append(_of_two(layer, rules, lossy))
        except ImageError as error:
            refused.append(error)
    masks = [mask for mask in found if mask.person.min() < mask.person.max()] or found
    if not masks:
        raise refused[0]
    if any(not np.array_equal(mask.person, masks[0].person) for mask in masks):
        raise ImageError(NO_MASK, f"its colours and its transparency are masks of different areas; {_ADVICE}")
    return masks[0]


def _alpha_and_colours(image: Image.Image) -> tuple[Array, Image.Image]:
    rgba = image.convert("RGBA")
    return np.asarray(rgba.getchannel("A")), rgba.convert("RGB")


def _tone(image: Image.Image, lossy: bool) -> Array | None:
    """The levels of a picture that is grey, or black and one full colour, without its transparency; else None."""
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    rgb = np.asarray(image.convert("RGB"))
    top: Array = rgb.max(axis=2)
    if lossy:
        return top if (top - rgb.min(axis=2)).max() <= TINT else None
    channels = [rgb[:, :, at] for at in range(3)]
    return top if all(not one.any() or np.array_equal(one, top) for one in channels) else None


def _grey_of(image: Image.Image, lossy: bool) -> _Values:
    """The levels of a picture that somebody calls grey; ImageError where it has colours."""
    if is_deep(image):
        return np.asarray(image)
    if has_alpha(image):
        alpha, colours = _alpha_and_colours(image)
        tone = _tone(colours, lossy)
        if alpha.min() == alpha.max():
            return _grey_of(colours, lossy)
        if tone is None or tone.min() == tone.max() or np.array_equal(tone, alpha):
            return alpha
        raise ImageError(NO_MASK, "its colours and its transparency say different things; save it grey")
    tone = _tone(image, lossy)
    if image.mode == "P" and np.asarray(image).max() <= 1:
        return _of_palette(np.asarray(image), tone, MaskRules()).person
    if tone is None:
        raise _coloured(image)
    return tone


def _check_one_page(image: Image.Image) -> None:
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise ImageError(
            NO_MASK, f"it has {pages} pages, and any of them may be the mask; save the one alone"
        )


def _is_lossy(image: Image.Image) -> bool:
    return image.format in ("JPEG", "MPO", "WEBP")


def _of_classes(image: Image.Image, classes: MaskClasses, lossy: bool) -> ReadMask:
    """By the levels that `classes` names: indices where there is a palette, else grey, or colours."""
    if lossy:
        raise ImageError(NO_MASK, f"{image.format} does not keep the levels of classes; save it as PNG")
    if is_deep(image):
        return _classed(np.asarray(image), classes)
    if has_alpha(image) and image.mode != "P":
        alpha, image = _alpha_and_colours(image)
        if alpha.min() < alpha.max():
            raise ImageError(NO_MASK, "it has transparency beside the levels of classes; save it without")
    if classes.are_colours:
        rgb = np.asarray(image.convert("RGB")).astype(np.int64)
        return _classed(rgb @ np.array([65536, 256, 1]), classes, colours=True)
    if image.mode in ("P", "L", "1"):
        return _classed(np.asarray(image), classes)
    rgb = np.asarray(image.convert("RGB"))
    if not (rgb == rgb[:, :, :1]).all():
        raise _coloured(image)
    return _classed(rgb[:, :, 0], classes)


def _classed(values: _Values, classes: MaskClasses, *, colours: bool = False) -> ReadMask:
    """Person where the level is one of `classes.person`; each level must be in one of the two lists."""
    if classes.are_colours and not colours:
        raise ImageError(NO_MASK, f"it has no colours, but {_listed(shares(values))}; name these levels")
    person, background = classes.numbers(classes.person), classes.numbers(classes.background)
    unknown = {level: share for level, share in shares(values).items() if level not in {*person, *background}}
    if unknown:
        listed = _listed(unknown, colours=colours)
        raise ImageError(NO_MASK, f"{listed} of it: named as neither person nor background")
    return ReadMask(np.isin(values, person).astype(np.uint8), "classes")


def _refused(found: Shares, why: str = "", what: str = "levels") -> ImageError:
    return ImageError(NO_MASK, f"its {what} are {_listed(found)}{why and f', and {why}'}; {_ADVICE}")


def _coloured(image: Image.Image) -> ImageError:
    rgb = np.asarray(image.convert("RGB")).astype(np.int64)
    found = shares(rgb @ np.array([65536, 256, 1]))
    if len(found) > 16 * _FEW:
        return ImageError(NO_MASK, "it has many colours, as in a photograph; a mask has black and white")
    return ImageError(NO_MASK, f"its colours are {_listed(found, colours=True)}; {_ADVICE}")


def _listed(found: Shares, *, colours: bool = False) -> str:
    """The most frequent levels with their shares: 0 (67.1%), 1 (30.2%), 255 (2.7%)."""
    most = sorted(sorted(found, key=lambda level: -found[level])[:NAMED])
    words = ", ".join(f"{_name(level, colours=colours)} ({found[level]:.1%})" for level in most)
    return words + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")


def _name(level: float, *, colours: bool = False) -> str:
    return f"#{int(level):06x}" if colours else f"{level:g}" if isinstance(level, float) else str(int(level))


def _matlab_levels(data: bytes, max_pixels: int) -> _Values:
    """The variable `mask` (or the only one) of a .mat file up to version 7."""
    import scipy.io

    try:
        found = [(name, shape) for name, shape, _ in scipy.io.whosmat(io.BytesIO(data))]
        shapes = dict(found)
        if len(shapes) < len(found):  # loadmat would take another one of these than was looked at
            raise ImageError("not_an_image", "two variables of one name")
        for name, shape in found:  # known from the headers, before anything is unpacked
            if math.prod(shape) > max_pixels:
                raise ImageError("too_large", f"{name} of {shape} is more than {max_pixels:,} pixels")
        name = "mask" if "mask" in shapes else next(iter(shapes)) if len(shapes) == 1 else ""
        if len(shapes.get(name, ())) != 2:
            raise ImageError("not_an_image", f"no variable `mask` of two dimensions among {sorted(shapes)}")
        content: dict[str, Any] = scipy.io.loadmat(io.BytesIO(data), variable_names=[name])
        levels = np.ascontiguousarray(content[name])
        to_255(levels)  # refuses what is no number
        return levels
    except (ImageError, MemoryError):
        raise
    except NotImplementedError as error:
        raise ImageError("unsupported", "MATLAB 7.3 files are not read; save it with -v7") from error
    except Exception as error:  # scipy raises whatever a damaged file brings about
        raise ImageError("not_an_image", f"the .mat file is damaged: {error}") from error
