"""From what a user names to the files that are read, and to the names of the files that are written.

A picture's mask is STEM.png, a video's STEM.mp4; with a new background there is STEM.background.png or .mp4 as
well. Where two files of one run would write the same, all with that stem keep their suffix: hopper.jpg.png.
"""

import enum
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TEMPORARY = ".sinet-"  # how folders begin in which files are written before they get their names
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
VIDEOS = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".mpg",
        ".mpeg",
        ".wmv",
        ".flv",
        ".3gp",
        ".mts",
        ".m2ts",
    }
)


class InputError(ValueError):
    """What a user named cannot be worked on; the message says what to do."""


class Existing(enum.StrEnum):
    """What becomes of a file that is there already under a name that is to be written."""

    REFUSE = "refuse"  # nothing is done at all: it may be somebody's picture
    SKIP = "skip"  # a source counts as done where all files of its names are there, whoever made them
    REPLACE = "replace"


@dataclass(frozen=True)
class Job:
    """One file to read, and what is written for it."""

    source: Path
    mask: Path
    composed: Path | None  # None: no background was asked for

    @property
    def is_video(self) -> bool:
        """By its suffix; everything else counts as a picture."""
        return is_video(self.source)

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that are written."""
        return (self.mask,) if self.composed is None else (self.mask, self.composed)


def is_video(path: Path) -> bool:
    """By its suffix."""
    return path.suffix.lower() in VIDEOS


def find(named: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files behind files and folders, each once, and the files in folders that are of another kind.

    A folder stands for the pictures and videos directly in it, by suffix and sorted by name, hidden ones left
    out; a link that leads nowhere is one of them, and fails when it is read. A file that is named itself is
    taken whatever its suffix. InputError where a folder holds none.
    """
    files: dict[tuple[str, str], Path] = {}
    others: list[Path] = []
    for path in named:
        inside, left_out = _in_folder(path) if path.is_dir() else ([path], [])
        files |= {(real(one.parent), one.name): one for one in inside}
        others += left_out
    return list(files.values()), others


def real(path: Path) -> str:
    """The file behind all links; of a link that leads nowhere or to itself, a name that no other file has."""
    return os.path.realpath(path)


def check_out(named: Sequence[Path], out: Path) -> None:
    """InputError where `out` is a folder that stands for its pictures: the next run would take masks for pictures."""
    if any(path.is_dir() and real(path) == real(out) for path in named):
        raise InputError(
            f"{out} is a folder that pictures come from, whose masks would be taken for some next time; "
            "choose another --out"
        )


def plan(
    sources: Sequence[Path],
    out: Path,
    composed: bool,
    existing: Existing = Existing.REFUSE,
    background: Path | None = None,
) -> list[Job]:
    """Names for the results of `sources` in the folder `out`, of all that is left to do; no name is given twice.

    InputError where one of them is there already and `existing` refuses that, or it is a source or the `background`
    itself, which are never replaced.
    """
    stems = Counter((source.stem, is_video(source)) for source in sources)
    taken: set[Path] = set()
    jobs = []
    for source in sources:
        alone = stems[source.stem, is_video(source)] == 1
        names = ([source.stem] if alone else []), _numbered(source.name)
        job = next(
            job
            for group in names
            for job in (_job(source, out, name, composed) for name in group)
            if taken.isdisjoint(job.outputs)
        )
        taken.update(job.outputs)
        jobs.append(job)
    present = sorted(path for path in taken if os.path.lexists(path))
    read = {real(path) for path in (*sources, *([background] if background else []))}
    for path in present:
        if real(path) in read:
            raise InputError(
                f"{path} would be replaced, and it is one of the pictures to read; choose another --out"
            )
    if present and existing is Existing.REFUSE:
        more = f" (and {len(present) - 1:,} more)" if len(present) > 1 else ""
        raise InputError(
            f"{present[0]} is there already{more}; choose another --out, or add --existing skip to do only what is "
            "missing, or --existing replace"
        )
    if existing is Existing.SKIP:
        return [job for job in jobs if not set(job.outputs) <= set(present)]
    return jobs


def camera_outputs(camera: int, out: Path, composed: bool) -> tuple[Path, Path | None]:
    """Names for a recording: camera0, camera0-2, ...; a recording cannot be had again, so none is replaced."""
    for name in _numbered(f"camera{camera}"):
        mask, both = out / f"{name}.mp4", out / f"{name}.background.mp4"
        if not mask.exists() and not both.exists():
            return mask, both if composed else None
    raise AssertionError("numbers do not end")


def make_folder(out: Path) -> None:
    """The folder that is written to; InputError where it cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"expected a folder to write to, {out} cannot be one: {error.strerror}") from error


def _in_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    try:
        names = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    files = [path for path in names if not _is_folder(path)]
    wanted = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES | VIDEOS]
    if not wanted:
        raise InputError(
            f"expected pictures or videos in the folder {folder}, found none (looked for "
            f"{' '.join(sorted(PICTURE_SUFFIXES))} and {' '.join(sorted(VIDEOS))}, not in folders inside it)"
        )
    return wanted, [path for path in files if path.suffix.lower() not in PICTURE_SUFFIXES | VIDEOS]


def _is_folder(path: Path) -> bool:
    """Whether there is a folder; a link that leads nowhere, a pipe, or what is locked away is to be read and told."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _numbered(name: str) -> Iterator[str]:
    """a.jpg, a.jpg-2, a.jpg-3, ...: for files of the same name from several folders."""
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _job(source: Path, out: Path, name: str, composed: bool) -> Job:
    suffix = ".mp4" if is_video(source) else ".png"
    return Job(source, out / f"{name}{suffix}", out / f"{name}.background{suffix}" if composed else None)
