"""From what a user names to the files that are read, and to the names of the files that are written.

A picture's mask is STEM.png, a video's STEM.mp4; with a new background there is STEM.background.png or .mp4 as
well. Where two files of one run would write the same, all with that stem keep their suffix: hopper.jpg.png.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sinet.evaluate import SUFFIXES as PICTURES

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
    out. A file that is named itself is taken whatever its suffix. InputError where a folder holds none.
    """
    files: dict[tuple[Path, str], Path] = {}
    others: list[Path] = []
    for path in named:
        inside, left_out = _in_folder(path) if path.is_dir() else ([path], [])
        files |= {(one.parent.resolve(), one.name): one for one in inside}
        others += left_out
    return list(files.values()), others


def plan(sources: Sequence[Path], out: Path, composed: bool) -> list[Job]:
    """Names for the results of `sources` in the folder `out`; no name is given twice.

    InputError where a name is taken by a file that is already there and `out` is also a folder that sources come
    from: it may be somebody's picture. In any other folder a file of an earlier run is replaced.
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
    if out.resolve() in {source.parent.resolve() for source in sources}:
        present = sorted(path.name for path in taken if path.exists())
        if present:
            raise InputError(
                f"{present[0]} is in {out} already, and nothing is replaced in a folder that pictures come from; "
                "choose another --out"
            )
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
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    wanted = [path for path in files if path.suffix.lower() in PICTURES | VIDEOS]
    if not wanted:
        raise InputError(
            f"expected pictures or videos in the folder {folder}, found none (looked for "
            f"{' '.join(sorted(PICTURES))} and {' '.join(sorted(VIDEOS))}, not in folders inside it)"
        )
    return wanted, [path for path in files if path.suffix.lower() not in PICTURES | VIDEOS]


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
