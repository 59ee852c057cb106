"""Read a list of pictures, one number or name a line, as EG1800, PortraitNet, numpy or a spreadsheet write it.

What a line means is never guessed: one that is neither a whole number nor a name is refused.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from pathlib import PurePosixPath

_PICTURES = "jpg jpeg jpe jfif png webp bmp dib tif tiff gif avif heic heif jp2 jxl svg psd"
_SUFFIXES = frozenset(f".{one}" for one in (*_PICTURES.split(), "mat"))  # of pictures and masks
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_RANGE = re.compile(r"\d+\s*(-|–|:|\.\.+)\s*\d+", re.ASCII)


class ListError(ValueError):
    """A list or table that is not understood; the message says where, and what to do."""


def nfc(name: str) -> str:
    """A name in the Unicode form in which names are compared: macOS writes é as two characters."""
    return unicodedata.normalize("NFC", name)


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8 or, where its first bytes say so, in UTF-16; ListError for any other."""
    encoding = next((name for bom, name in _BOMS.items() if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ListError(
            f"line {line} is no {encoding.removesuffix('-sig').upper()}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ListError(
            "it holds NUL characters, as UTF-16 without a mark at its start does; save it as UTF-8"
        )
    return text


def stem_of(name: str) -> str:
    """The stem of a picture's name with or without folders and suffix: `Images\\\\17.5.jpg` and `17.5` are 17.5."""
    path = PurePosixPath(nfc(name).replace("\\", "/"))
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def numbered(stem: str) -> str:
    """`17` and `017` are the same picture, 00017; other stems stand for themselves."""
    return f"{int(stem):05d}" if stem.isascii() and stem.isdigit() and len(stem) < 20 else stem


def read_list(lines: Iterable[str], key: Callable[[str], str], known: Collection[str]) -> list[str]:
    """The words that name pictures, one a line; empty lines and those that begin with # are left out.

    `key` tells which picture a word is, and `known` holds the keys of the pictures there are: a word that is one of
    these stands for itself, whatever it looks like. ListError for a line of any other kind.
    """
    words = []
    for number, text in enumerate(lines, 1):
        line = text.strip(" ,\t\r\n\ufeff")
        if line and (key(line) in known or not line.startswith("#")):
            words.append(_word(line, key, known, f"line {number}, {text.strip()!r},"))
    return checked(words)


def checked(words: list[str]) -> list[str]:
    """The words, unless they are none, or flags, which say 0 or 1 of every picture: ListError."""
    if not words:
        raise ListError("it names no picture; name one a line, or take the list away")
    if len(words) > 2 and set(words) <= {"0", "1"}:
        raise ListError("it holds 0 and 1 only, as flags do; name one picture a line")
    return words


def whole(text: str) -> str | None:
    """A number as digits, however it is written: 2.5e+01 is 25. None for a fraction, one below 0, and no number."""
    if not _NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    return str(int(value)) if value == value.to_integral_value() and 0 <= value < 10**19 else None


def _word(line: str, key: Callable[[str], str], known: Collection[str], where: str) -> str:
    if key(line) in known:
        return line
    words = line.partition(" #")[0].replace(",", " ").split()
    word = words[0] if len({key(one) for one in words}) == 1 else ""  # PortraitNet names picture and mask
    if not word or _RANGE.fullmatch(line):
        raise ListError(f"{where} is not one number or name; write one a line")
    if key(word) in known or not _NUMBER.fullmatch(word) or word.isdigit():
        return word
    number = whole(word)
    if number is None:
        raise ListError(f"{where} is no whole number, and no picture has that name")
    return number
