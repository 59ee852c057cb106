"""What a layout's reader hands over: items to open, and what is unusable before anything is opened."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.core.errors import PipelineError
from sinet.images.decode import MAX_PIXELS, ImageError, ReadError, read_bytes

# Files by these names are opened; what is not a picture inside is then rejected with a reason.
_READ = ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif")
_NOT_READ = ("avif", "heic", "heif", "jp2", "jxl", "svg", "psd")  # but pictures to their owners
_ABOUT_ALL = ("readme", "licence", "license", "copying", "notice", "changelog")
_HARMLESS = frozenset(
    f".{suffix}"
    for suffix in [
        "mp4",
        "m4v",
        "mov",
        "avi",
        "mkv",
        "webm",
        "mp3",
        "wav",
        "py",
        "sh",
        "md5",
        "sha1",
        "sha256",
    ]
)
_PICTURES = frozenset(f".{suffix}" for suffix in (*_READ, *_NOT_READ))
MATLAB = ".mat"

PublishedSide = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class ListedPicture:
    """A picture to ingest, and what its source says of it."""

    source_key: str  # unique inside the source: its path there, always printable
    image: str
    mask: str | None = None
    published_side: PublishedSide | None = None
    url: str | None = None
    author: str | None = None
    licence: str | None = None
    retrieved_at: str | None = None
    part: tuple[int, int] | None = (
        None  # of `image`, a tar: the picture's first byte in it, and how many it has
    )

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes:
        """The picture's bytes; ImageError and ReadError as `read_bytes` raises them."""
        if self.part is None:
            return read_bytes(Path(self.image), max_pixels)
        return _read_part(Path(self.image), *self.part, max_pixels)


def _read_part(path: Path, start: int, size: int, max_pixels: int) -> bytes:
    if size == 0:
        raise ImageError("empty_file", "the file has zero bytes")
    if size > max_pixels * 8 + 2**24:  # what `read_bytes` refuses as a file of its own
        raise ImageError("too_large", f"{size:,} bytes is too much for {max_pixels:,} pixels")
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise ReadError(error.errno, os.strerror(error.errno or 0), str(path)) from error


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file or a line of a list that cannot become an item. `reason` is a code, `detail` a sentence."""

    source_key: str
    reason: str
    detail: str


@dataclass
class Listing:
    """All that a source folder holds."""

    items: list[ListedPicture] = field(default_factory=list)  # sorted by source_key
    unusable: list[Unusable] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)  # files that nobody takes for pictures, by suffix
    notes: Counter[str] = field(default_factory=Counter)  # oddities that cost no picture

    def reject(self, path: Path, root: Path, reason: str, detail: str) -> None:
        """Note a file below `root` as unusable."""
        self.unusable.append(Unusable(key_below(path, root), reason, detail))


def printable(name: str) -> str:
    """A file name as text fit for CSV, Parquet and a terminal: odd bytes and control characters escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def key_below(path: Path, root: Path) -> str:
    """The path of a file inside its source, printable."""
    return printable(path.relative_to(root).as_posix())


def unreadable(path: Path, error: OSError) -> PipelineError:
    """What to say of a file or folder that the system does not let us read."""
    return PipelineError(f"{path} cannot be read: {error.strerror}; make it readable or take it away")


def leads_nowhere(path: Path) -> bool:
    """Whether a path is a link to nothing, or to itself."""
    return path.is_symlink() and not path.exists()


def subfolder(folder: Path, *names: str) -> Path | None:
    """The subfolder of the first of these names that there is, whatever its case.

    PipelineError where a link of such a name leads nowhere: it stands for a folder that is missing.
    """
    for name in names:
        found = subfolders(folder, [name])
        if found:
            return the_only(found)
    return None


def subfolders(folder: Path, names: Collection[str]) -> list[Path]:
    """The subfolders, sorted, that have one of these names in any case; links of such a name that lead nowhere too."""
    wanted = {name.lower() for name in names}
    try:
        below = sorted(path for path in folder.iterdir() if path.name.lower() in wanted)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
    return [path for path in below if path.is_dir() or leads_nowhere(path)]


def the_only(found: Sequence[Path]) -> Path:
    """The folder, where it is one; PipelineError where several could be meant, or a link leads nowhere."""
    if len(found) > 1:
        both = " and ".join(printable(path.name) for path in found)
        raise PipelineError(
            f"{found[0].parent} has {both}, and either could be meant; keep one of them there"
        )
    if leads_nowhere(found[0]):
        raise PipelineError(
            f"{found[0]} is a link to a folder that is not there now: bring that back, or take the link away"
        )
    return found[0]


def is_picture(path: Path) -> bool:
    """Whether the name promises a picture; a name without a suffix may be one, as in a crawl."""
    return path.suffix.lower() in _PICTURES or path.suffix == ""


def is_harmless(path: Path) -> bool:
    """Whether a file beside pictures surely tells nothing of each one: a text on all of them, a video, code, sums."""
    about = path.stem.lower().startswith(_ABOUT_ALL) and path.suffix.lower() in (
        ".txt",
        ".md",
        ".rst",
        ".pdf",
    )
    return about or path.suffix.lower() in _HARMLESS


def note_tables(folder: Path, listing: Listing, known: Collection[str] = ()) -> None:
    """Note the tables of a source that its layout does not know: nobody reads the licences in them."""
    read = (MATLAB, ".txt")  # lists
    tables = [
        path
        for path in files(folder)
        if not is_picture(path) and not is_harmless(path)
        if path.suffix.lower() not in read and path.name not in known
    ]
    if tables:
        listing.notes["tables not read: this layout has none, so no licence is known"] += len(tables)


def files(folder: Path) -> Iterator[Path]:
    """The files of one folder, sorted by name; hidden ones, Thumbs.db and desktop.ini left out.

    Whatever is no folder counts as a file here, a broken link or a pipe too: opening it says what is wrong.
    """
    for name in _names(folder):
        path = folder / name
        hidden = name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini")
        if not hidden and not path.is_dir():
            yield path


def pictures(folder: Path, listing: Listing, root: Path, also: Iterable[str] = ()) -> list[Path]:
    """Picture files of one folder, sorted; other files are counted in `listing.ignored`.

    A link that leads nowhere is rejected whatever its name: it may be that of a folder of pictures.
    """
    found = []
    for path in files(folder):
        if is_picture(path) or path.suffix.lower() in also:
            found.append(path)
        elif leads_nowhere(path):
            listing.reject(path, root, "unreadable", "the link leads nowhere")
        else:
            listing.ignored[printable(path.suffix.lower())] += 1
    return found


def flat_pictures(folder: Path, root: Path, listing: Listing, also: Iterable[str] = ()) -> list[Path]:
    """`pictures` of a folder that its layout has flat; those of folders inside it are rejected.

    Which mask belongs to a picture in there, the layout does not say.
    """
    for below in folders_below(folder, listing, root):
        for path in pictures(below, listing, root, also=[MATLAB]) if below != folder else []:
            detail = f"the layout has its files in {key_below(folder, root)}/ itself, not in folders there"
            listing.reject(path, root, "in_a_subfolder", detail)
    return pictures(folder, listing, root, also)


def folders_below(folder: Path, listing: Listing, root: Path) -> Iterator[Path]:
    """`folder` and all folders below it, sorted; a link to a folder that was read already is rejected."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        one = waiting.pop()
        status = one.stat()
        if (status.st_dev, status.st_ino) in seen:
            listing.reject(one, root, "link_loop", "the link leads to a folder that is read already")
            continue
        seen.add((status.st_dev, status.st_ino))
        yield one
        names = [name for name in _names(one) if name[:1] != "."]
        waiting += [path for path in (one / name for name in reversed(names)) if path.is_dir()]


def _names(folder: Path) -> list[str]:
    """The names in a folder, sorted; PipelineError where it cannot be read, as pictures would go missing."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name for entry in entries), key=os.fsencode)
    except OSError as error:
        raise unreadable(folder, error) from error
