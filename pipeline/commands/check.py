"""Look at folders before a run, in seconds and without training.

Tells what they hold, what would be rejected, what looks like a mistake, and the line to type.

`python -m pipeline check DIR...`
"""

import hashlib
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from yarl import URL

from pipeline.core.errors import PipelineError
from pipeline.core.execute import not_read
from pipeline.core.params import Params, load_params
from pipeline.core.paths import PARAMS, PROFILES
from pipeline.faces.face import Face
from pipeline.faces.masked_person import on_mask
from pipeline.faces.portrait import is_confident
from pipeline.fetching.addresses import read_addresses
from pipeline.fetching.download import host_of
from pipeline.sources.inspection import FEW_LEVELS, InspectedPicture, inspect
from pipeline.sources.layouts import EXPECTED, LABELLED, READERS, recognise, recognise_labelled
from pipeline.sources.layouts.listing import MATLAB, ListedPicture, Listing, folders_below, printable
from pipeline.sources.layouts.table import TABLES
from sinet.images.decode import Array, ImageError, ReadError, decode_image, probe, read_bytes
from sinet.images.mask_file import NO_MASK, decode_mask

# Up to this many pictures, every one is decoded; of more, so many, and of the rest the header is read.
ALL_OF, SAMPLE = 400, 200
FACES = 20
FACES_ON_MASKS = 0.7  # of the pictures with a face: below it, masks and pictures seem to be mixed up
WORDS = {
    "eg1800": "portraits with masks and lists",
    "pairs": "pictures and masks of the same names",
    "baidu": "full-body photographs with masks",
    "img2dataset": "photographs without masks, as img2dataset keeps them",
    "crawl": "photographs without masks",
    "urls": "addresses of photographs",
}

_ADDRESSES = "urls"  # what a list of addresses is called where a folder has its layout

FindFaces = Callable[[Array], Sequence[Face]]


@dataclass
class FolderReport:
    """What was found in one folder."""

    folder: Path
    layout: str | None = None
    problem: str = ""  # why the folder cannot be used at all; "" where it can
    pictures: int = 0  # items of the layout, unusable ones included
    sides: Counter[str] = field(default_factory=Counter)
    listed_rejected: int = 0  # by names and lists, without opening anything
    decoded: int = 0
    decoded_rejected: int = 0
    rejected: dict[str, list[str]] = field(default_factory=dict)  # reason -> "file: sentence" of each
    levels: Counter[str] = field(default_factory=Counter)  # of the masks that were decoded, in words
    twins: int = 0  # files with the bytes of another one
    faces: tuple[int, int] = (0, 0)  # pictures with a face, pictures looked at
    ignored: int = 0  # files that are no pictures
    mistakes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hopeless: bool = False  # every picture that was opened or listed is rejected: a run would stop at once


@dataclass(frozen=True)
class Report:
    """What was found in all folders."""

    folders: list[FolderReport]

    @property
    def usable(self) -> bool:
        """Whether every folder can be used, at least in part."""
        return bool(self.folders) and not any(one.problem or one.hopeless for one in self.folders)

    def command(self) -> str:
        """The line to type, quoted for the shell and for make; "" where no folder with masks can be used."""
        chosen: dict[str, Path] = {}
        for one in self.folders:
            if one.layout and not one.problem and not one.hopeless:
                chosen.setdefault(one.layout, one.folder)
        settings = [
            f"{name.upper()}={shlex.quote(str(chosen[name].resolve()).replace('$', '$$'))}"
            for name in READERS
            if name in chosen
        ]
        if _ADDRESSES in chosen:
            listed = shlex.quote(str(chosen[_ADDRESSES].resolve()).replace("$", "$$"))
            settings += [f"URLS={listed}", "CONTACT=YOUR_E_MAIL"]
        return " ".join(["make repro PROFILE=real", *settings]) if set(chosen) & set(LABELLED) else ""


def main(folders: Sequence[Path]) -> int:
    """Check the folders and print what was found; 1 where one of them cannot be used."""
    params = load_params(PARAMS if PARAMS.is_file() else PROFILES / "sample.yaml")
    report = check(folders, params, _face_finder(params))
    print_report(report, Console(highlight=False, soft_wrap=True))
    return 0 if report.usable else 1


def check(folders: Iterable[Path], params: Params, find_faces: FindFaces | None = None) -> Report:
    """Look at each folder; one that holds several sources side by side stands for these.

    `find_faces` gives the sure faces of a picture; without it nobody looks for faces.
    """
    reports = []
    for folder in folders:
        if folder.is_file() and folder.suffix.lower() in TABLES:
            reports.append(_check_list(folder))
            continue
        for source in _sources_in(folder):
            reports.append(_check_one(source, params, find_faces))
            if source != folder and not reports[-1].problem:
                reports[-1].notes.append(f"{folder} itself has no layout; this folder inside it has one.")
    first: dict[str, Path] = {}
    for one in reports:
        if one.layout and first.setdefault(one.layout, one.folder) is not one.folder:
            one.notes.append(
                f"The line below takes one folder a layout, {first[one.layout]}; in params.yaml each can have a line."
            )
    return Report(reports)


def print_report(report: Report, console: Console) -> None:
    """Print a report."""
    for one in report.folders:
        _show_one(one, console)
    command = report.command()
    if command:
        console.print(
            "To run the recipe on this (PROFILE=light: a smaller teacher, half the time without a GPU; PROFILE=tune: "
            "as light, from the packaged weights of SINet, for few pictures):\n",
            style="bold",
        )
        console.print(f"    {command}\n", markup=False)
    elif report.usable:
        console.print(
            "A crawl alone runs no recipe: the teacher learns from masks that people drew. Check it together with a "
            "folder in the layout eg1800, pairs or baidu.\n",
            style="bold",
        )


def _sources_in(folder: Path) -> list[Path]:
    try:
        below = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        layouts = {path: layout for path in below if (layout := recognise(path))}
        own = recognise(folder)
    except (PipelineError, OSError):
        return [folder]  # whose own report says it
    if len(set(layouts.values())) > 1:
        return list(layouts)
    labelled = [path for path, layout in layouts.items() if layout in LABELLED]
    if len(labelled) == 1 and own not in LABELLED:  # else its masks would be taken for photographs
        return labelled
    return [folder]


def _check_one(folder: Path, params: Params, find_faces: FindFaces | None) -> FolderReport:
    report = FolderReport(folder)
    if printable(str(folder)) != str(folder):
        report.problem = f"{printable(str(folder))}: expected a name in printable UTF-8; rename the folder"
        return report
    try:
        if not folder.is_dir():
            report.problem = "this is a file, not a folder" if folder.exists() else "there is no such folder"
            return report
        report.layout = recognise(folder)
        inside = _labelled_below(folder) if report.layout == "crawl" else {}
        if inside:
            named = ", ".join(f"{path} ({layout})" for path, layout in list(inside.items())[:4])
            report.problem = (
                f"it holds folders with masks, which a crawl has none of; check these instead: {named}"
            )
            return report
        listing = READERS[report.layout](folder) if report.layout else Listing()
    except (PipelineError, OSError) as error:
        report.problem = str(error)
        return report
    report.pictures = len(listing.items) + len(listing.unusable)
    if report.layout is None or not report.pictures:
        expected = "\n".join(f"  {name}: {text}" for name, text in EXPECTED.items())
        report.problem = f"no picture in any layout that is known; expected one of\n{expected}"
        return report
    report.sides.update(item.published_side for item in listing.items if item.published_side)
    report.ignored = listing.ignored.total()
    report.notes += [f"{count} {what}." for what, count in sorted(listing.notes.items())]
    try:
        _look_inside(listing, params, report, find_faces)
    except ReadError as error:  # what was read a moment ago
        report.problem = not_read([error])
    return report


def _check_list(path: Path) -> FolderReport:
    """What a list of addresses holds; nothing is fetched."""
    report = FolderReport(path, _ADDRESSES)
    try:
        listed = read_addresses(_ADDRESSES, path)
    except PipelineError as error:
        report.problem = str(error)
        return report
    report.pictures = len(listed.addresses) + len(listed.unusable)
    for one in listed.unusable:
        report.rejected.setdefault(one.reason, []).append(f"{one.source_key}: {one.detail}")
    hosts = Counter(host_of(URL(one.url, encoded=True)) for one in listed.addresses)
    if hosts:
        most, count = hosts.most_common(1)[0]
        report.notes.append(
            f"{len(listed.addresses)} addresses on {len(hosts)} hosts, {count} of them on {most}."
        )
    report.hopeless = not listed.addresses
    unlicensed = sum(not one.licence for one in listed.addresses)
    if unlicensed:
        report.notes.append(f"{unlicensed} addresses state no licence.")
    report.notes += [f"{count} {what}." for what, count in sorted(listed.notes.items())]
    return report


def _look_inside(
    listing: Listing, params: Params, report: FolderReport, find_faces: FindFaces | None
) -> None:
    """What the files hold, as far as the machine reads them all; a run would stop where it does not."""
    usable, unread = _open(listing, params, report)
    if unread:
        report.problem = not_read(unread)
        return
    report.hopeless = not usable
    report.twins = _twins(listing.items)
    _names(report, listing)
    _masks(report, usable, params)
    if find_faces is not None:
        _faces(report, usable, find_faces, params)
    _rate(report, params)


def _labelled_below(folder: Path) -> dict[Path, str]:
    """The folders below this one that have a layout with masks, and which; as a crawl, their masks were photographs."""
    found: dict[Path, str] = {}
    for one in folders_below(folder, Listing(), folder):
        layout = recognise_labelled(one)
        if layout and not any(outer in one.parents for outer in found):
            found[one] = layout
    return found


def _open(
    listing: Listing, params: Params, report: FolderReport
) -> tuple[list[ListedPicture], list[ReadError]]:
    """Decode all pictures or a sample, read the headers of the rest; return the usable and the unread ones."""
    rejected = defaultdict(list)
    report.listed_rejected = len(listing.unusable)
    for one in listing.unusable:
        rejected[one.reason].append(f"{one.source_key}: {one.detail}")
    by_hash = sorted(listing.items, key=lambda item: hashlib.sha256(item.source_key.encode()).hexdigest())
    decode = {item.source_key for item in (by_hash if len(by_hash) <= ALL_OF else by_hash[:SAMPLE])}
    report.decoded = len(decode)
    usable, unread = [], []
    for item in by_hash:
        try:
            if item.source_key in decode:
                report.levels[_inspect(item, params, report.layout).levels] += 1
                usable.append(item)
            else:
                _probe(item, params.ingest.max_pixels)
        except ImageError as error:
            rejected[error.reason].append(f"{item.source_key}: {error.detail}")
            report.decoded_rejected += item.source_key in decode
        except ReadError as error:
            unread.append(error)
    del report.levels[""]
    report.rejected = {reason: sorted(rejected[reason]) for reason in sorted(rejected)}
    return usable, unread


def _inspect(item: ListedPicture, params: Params, layout: str | None) -> InspectedPicture:
    image = item.read(params.ingest.max_pixels)
    mask = None if item.mask is None else read_bytes(Path(item.mask), params.ingest.max_pixels)
    matlab = item.mask is not None and item.mask.lower().endswith(MATLAB)
    classes = params.ingest.mask_levels.classes(str(layout))
    return inspect(image, mask, params.ingest, classes, matlab=matlab)


def _mask(item: ListedPicture, params: Params, layout: str | None) -> Array:
    """The mask of a picture that ingest can use, (H, W) uint8 {0, 1}."""
    return decode_mask(_inspect(item, params, layout).mask or b"").person


def _probe(item: ListedPicture, max_pixels: int) -> None:
    if item.part is not None:  # in a tar, of which no header can be read alone
        decode_image(item.read(max_pixels), max_pixels)
        return
    size = probe(Path(item.image), max_pixels)
    if item.mask is not None and not item.mask.lower().endswith(MATLAB):
        mask = probe(Path(item.mask), max_pixels)
        if sorted(mask) != sorted(size):  # an orientation may turn either
            detail = f"the mask is {mask[0]}x{mask[1]}, the picture {size[0]}x{size[1]}"
            raise ImageError("mask_size", detail)


def _twins(items: Sequence[ListedPicture]) -> int:
    """Files that have the bytes of another one; only files of one size are read."""
    sizes: dict[int, list[ListedPicture]] = defaultdict(list)
    for item in items:
        path = Path(item.image)
        with suppress(OSError):  # it was read a moment ago; the next look will tell
            if path.is_file():
                sizes[item.part[1] if item.part else path.stat().st_size].append(item)
    contents: Counter[bytes] = Counter()
    for item in (item for alike in sizes.values() if len(alike) > 1 for item in alike):
        with suppress(OSError, ImageError):
            contents[hashlib.sha256(item.read()).digest()] += 1
    return contents.total() - len(contents)


def _names(report: FolderReport, listing: Listing) -> None:
    """Mistakes that show in the names: pictures, masks and lists that do not fit together."""
    count = {reason: len(lines) for reason, lines in report.rejected.items()}
    lonely, orphans = count.get("no_mask", 0), count.get("mask_without_image", 0)
    if lonely and not orphans and not listing.items:
        report.mistakes.append("There is no mask at all: is the folder of masks empty or missing?")
    elif orphans and not lonely and not listing.items:
        report.mistakes.append("There are masks, but no picture at all: is the folder of pictures empty?")
    elif min(lonely, orphans) > 0.1 * report.pictures:
        image, mask = (
            report.rejected[reason][0].split(": ")[0] for reason in ("no_mask", "mask_without_image")
        )
        report.mistakes.append(
            f"The names do not match: {lonely} pictures have no mask and {orphans} masks no picture; "
            f"for example {image} and {mask}."
        )
    elif lonely > 0.1 * report.pictures:
        report.mistakes.append(f"{lonely} pictures have no mask.")
    absent, unlisted = count.get("listed_without_file", 0), count.get("not_listed", 0)
    if absent > 0.2 * report.pictures or unlisted > 0.2 * report.pictures:
        report.mistakes.append(
            f"The lists seem to be of other pictures: {absent} entries have no file, "
            f"{unlisted} files no entry."
        )
    if report.layout in ("eg1800", "pairs") and not report.sides["test"]:
        report.notes.append(
            "No list of a test side (val.txt or testlist.mat); split cuts one where no source has one."
        )
    if report.layout == "crawl" and not any(
        item.url or item.author or item.licence for item in listing.items
    ):
        report.notes.append("No CSV that tells origin, author or licence of the photographs.")


def _masks(report: FolderReport, usable: Sequence[ListedPicture], params: Params) -> None:
    """Mistakes that show in the masks' pixels: swapped folders, 0/1 levels, levels of classes, inverted masks."""
    if report.layout not in LABELLED:
        _masks_in_a_crawl(report, usable[:FACES])
        return
    photographs = sum("as in a photograph" in line for line in report.rejected.get("not_a_mask", []))
    if photographs > 0.5 * report.decoded:
        report.mistakes.append(
            f"{photographs} of {report.decoded} masks look like photographs: are pictures and masks swapped?"
        )
    classes = [line for line in report.rejected.get(NO_MASK, []) if "as in a photograph" not in line]
    if classes:
        report.mistakes.append(
            f"{len(classes)} masks have levels of which only you know what they mean; ingest.mask_levels in "
            f"params.yaml can say it. For example {classes[0]}"
        )
    dark = report.levels["0 and 1"]
    if dark:
        report.notes.append(
            f"{dark} of {report.levels.total()} masks hold 0 and 1 and so look black; they are read as 0 and 255."
        )
    looks = [_mask(item, params, report.layout) for item in usable[:FACES]]
    inverted = sum(map(_looks_inverted, looks))
    if inverted > 0.5 * len(looks):
        report.mistakes.append(
            f"{inverted} of {len(looks)} masks cover the border and leave the middle: are they inverted?"
        )


def _masks_in_a_crawl(report: FolderReport, looked: Sequence[ListedPicture]) -> None:
    few = sum(len(np.unique(decode_image(item.read()))) <= FEW_LEVELS for item in looked)
    if few:
        report.mistakes.append(
            f"{few} of {len(looked)} pictures have a few levels only, as masks do, but a crawl has no masks: bring "
            f"pictures and masks into a layout with both, such as {EXPECTED['pairs']}."
        )


def _looks_inverted(person: Array) -> bool:
    """More of the border than of the middle is person, and most of the border is."""
    height, width = person.shape
    middle = person[height // 3 : height - height // 3, width // 3 : width - width // 3]
    border = np.concatenate([person[0], person[:, 0], person[:, -1]])  # a portrait touches the lower border
    return bool(border.mean() > 0.6 and border.mean() > middle.mean())


def _faces(
    report: FolderReport, usable: Sequence[ListedPicture], find_faces: FindFaces, params: Params
) -> None:
    looked = usable[:FACES]
    faces = [find_faces(decode_image(item.read())) for item in looked]
    found = sum(map(bool, faces))
    report.faces = found, len(looked)
    if report.layout in LABELLED and found:
        layout = str(report.layout)
        right = sum(_on_mask(item, shown, params, layout) for item, shown in zip(looked, faces, strict=True))
        if right < FACES_ON_MASKS * found:
            report.mistakes.append(
                f"The face lies on the mask in only {right} of {found} pictures: is each mask that of its picture?"
            )
    if looked and found < 0.5 * len(looked):
        report.mistakes.append(
            f"A face was found in only {found} of {len(looked)} pictures: are these photographs of people?"
        )


def _on_mask(item: ListedPicture, faces: Sequence[Face], params: Params, layout: str) -> bool:
    """Whether one of the faces is on the mask of a picture that ingest can use."""
    mask = _mask(item, params, layout)
    return any(on_mask(face, mask, params.crop) for face in faces)


def _rate(report: FolderReport, params: Params) -> None:
    """Whether ingest would stop, as far as the sample tells."""
    total = sum(len(lines) for lines in report.rejected.values())
    if report.decoded:  # the headers' rejects are known of all pictures, the pixels' only of the sample
        unseen = report.pictures - report.listed_rejected - report.decoded
        total = max(
            total, round(report.listed_rejected + report.decoded_rejected * (1 + unseen / report.decoded))
        )
    if report.hopeless:
        report.mistakes.append("Every picture would be rejected, so there is nothing to run the recipe on.")
        return
    limit = params.ingest.max_reject_rate
    if total > limit * report.pictures:
        share = total / report.pictures
        report.mistakes.append(
            f"About {share:.0%} would be rejected; ingest stops above {limit:.0%} (ingest.max_reject_rate)."
        )


def _face_finder(params: Params) -> FindFaces:
    """Finds faces with the recipe's detector, which is loaded for the first picture."""
    finders: list[FindFaces] = []

    def find(image: Array) -> Sequence[Face]:
        if not finders:
            from pipeline.faces.detector import FaceFinder

            finder = FaceFinder(params.crop)
            finders.append(
                lambda shown: [face for face in finder.find(shown) if is_confident(face, params.crop)]
            )
        return finders[0](image)

    return find


def _show_one(one: FolderReport, console: Console) -> None:
    def line(name: str, text: str, style: str = "") -> None:
        console.print(f"  {name:<9} {text}", style=style, markup=False)

    console.print(str(one.folder), style="bold", markup=False)
    if one.problem:
        line("cannot be used:", one.problem + "\n", "red")
        return
    line("layout", f"{one.layout}, {WORDS[str(one.layout)]}")
    if one.layout == _ADDRESSES:
        line("addresses", f"{one.pictures}; nothing was fetched")
    else:
        _show_files(one, line)
    _show_rejects(one, line)
    if one.levels:
        kinds = ", ".join(f"{count} with {levels}" for levels, count in one.levels.most_common())
        line("masks", f"of those decoded, {kinds}")
    if one.layout != _ADDRESSES:
        line(
            "twins",
            f"{one.twins} files have the bytes of another one" if one.twins else "none by their bytes",
        )
    if one.faces[1]:
        line("faces", f"in {one.faces[0]} of {one.faces[1]} pictures of a sample")
    for note in one.notes:
        line("note", note)
    for mistake in one.mistakes:
        line("mistake?", mistake, "yellow")
    console.print()


def _show_files(one: FolderReport, line: Callable[[str, str], None]) -> None:
    sides = ", ".join(f"{count} {side}" for side, count in sorted(one.sides.items(), reverse=True))
    others = f"; {one.ignored} other files left aside" if one.ignored else ""
    line("pictures", f"{one.pictures}{f' ({sides})' if sides else ''}{others}")
    opened = "each one was decoded"
    if one.decoded + one.listed_rejected < one.pictures:
        opened = (
            f"{one.decoded} were decoded, chosen by a hash of their names; of the rest the header was read"
        )
    line("opened", opened)


def _show_rejects(one: FolderReport, line: Callable[[str, str], None]) -> None:
    total = sum(map(len, one.rejected.values()))
    line("rejected", f"{total}" if total else "none")
    for reason, lines in one.rejected.items():
        line("", f"{len(lines):>5} {reason}, as {lines[0]}")
