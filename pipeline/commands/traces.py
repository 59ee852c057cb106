"""Where earlier versions still hold a picture that was taken out: commits, DVC's cache, remotes; and how to remove it.

Outputs name their pictures by id, and those of tasks by the review's key, so that the lists of files in DVC's cache
tell which versions hold one; what a crawl fetched is found by its table's hashes and addresses. A page
with thumbnails is counted where its version holds the picture.
"""

import csv
import io
import json
import re
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from annotations.ledger.takedowns import Takedowns, url_hash
from pipeline.core.errors import PipelineError
from pipeline.core.paths import CRAWL, DATA, PAGE
from pipeline.fetching.journal import PICTURES
from pipeline.versions.dvc_lock import LOCK, parse_dvc_lock, run_dvc

_NAME = re.compile("[0-9a-f]{16}")


@dataclass
class Traces:
    """What is left of a picture."""

    in_workspace: bool = False  # dvc.lock, as it lies here, names it
    commits: list[str] = field(default_factory=list)  # that changed dvc.lock, and hold it
    refs: list[str] = field(default_factory=list)  # branches and tags that do
    unknown: list[str] = field(default_factory=list)  # commits whose lists of files are not in this cache
    objects: list[Path] = field(default_factory=list)  # of DVC's cache here
    reviews: list[str] = field(default_factory=list)  # commits with its masks in the lock
    remotes: list[str] = field(default_factory=list)  # of DVC


def find_traces(takedowns: Takedowns, lock: Path) -> Traces:
    """Look for the requests' pictures in the history of dvc.lock, and for their reviews in that of `lock`.

    PipelineError where DVC fails: where its cache lies is then unknown.
    """
    traces = Traces()
    cache = Path(".dvc/cache")
    if Path(".dvc").is_dir():
        cache = Path(run_dvc("cache", "dir").strip())
        traces.remotes = [line.split()[0] for line in run_dvc("remote", "list").splitlines()]
    here: set[str] = set()
    used: set[str] = set()
    if LOCK.is_file():
        listed = _Listed(parse_dvc_lock(LOCK.read_text(encoding="utf-8")), cache)
        here, used = listed.holding(takedowns), listed.all
        traces.in_workspace = bool(here)
    found = set(here)
    locks: dict[str, _Listed | None] = {}
    holding: set[str] = set()  # blobs
    for commit, blob in _locks(_run("git", "rev-list", "--all", "--full-history", "--", str(LOCK)).split()):
        if blob not in locks:
            locks[blob] = _read_lock(blob, cache)
        earlier = locks[blob]
        if earlier is None:
            continue
        held = earlier.holding(takedowns)
        found |= held
        if held:
            holding.add(blob)
            traces.commits.append(commit[:10])
        elif earlier.incomplete:
            traces.unknown.append(commit[:10])
    refs = _run(
        "git", "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags", "refs/remotes"
    ).split()
    traces.refs = [ref.split("/", 2)[2] for ref, blob in _locks(refs) if blob in holding]
    traces.objects = [
        path for one in sorted(found - (used - here)) if (path := _object(cache, one)).is_file()
    ]
    if takedowns.reviews:
        pattern = "|".join(sorted(takedowns.reviews))
        traces.reviews = _run(
            "git",
            "log",
            "--all",
            "--full-history",
            "--format=%h",
            "--extended-regexp",
            f"-G{pattern}",
            "--",
            str(lock),
        ).split()
    return traces


def what_is_left(traces: Traces, exports: Collection[Path]) -> list[str]:
    """What is left, and the commands that remove it there, a line each."""
    lines = []
    if traces.in_workspace:
        lines.append("the outputs here hold it until the next `dvc repro`; then commit dvc.lock and the list")
    if traces.commits:
        refs = f" (branches and tags: {', '.join(traces.refs)})" if traces.refs else ""
        lines.append(
            f"{len(traces.commits)} commits' versions of the data hold it, {_few(traces.commits)}{refs}"
        )
    if traces.unknown:
        lines.append(
            f"{len(traces.unknown)} commits' versions may hold it: DVC's cache here does not know their files "
            f"({_few(traces.unknown)}); `dvc fetch --all-commits`, then ask again"
        )
    if traces.objects:
        lines.append(
            f"DVC's cache here has {len(traces.objects)} files of it: `python -m pipeline takedown --purge` removes "
            "them, so that those versions lack them; `dvc gc --workspace` removes all earlier versions"
        )
    if traces.remotes:
        lines.append(
            "remotes may hold it: "
            + ", ".join(f"`dvc gc --workspace --cloud --remote {name}`" for name in traces.remotes)
            + " removes all there but what this workspace uses"
        )
    if exports:
        lines.append(
            f"{len(exports)} exports of the server hold its masks ({exports_folder(exports)}): "
            "`python -m pipeline takedown --purge` takes its tasks out of them"
        )
    if traces.reviews:
        lines.append(
            f"{len(traces.reviews)} commits hold its masks in the lock ({_few(traces.reviews)}): only a rewritten "
            "history (`git filter-repo`) and new clones lack them"
        )
    lines.append(
        "a server that is not this machine's keeps copies of its exports: delete `export/project-*-at-*.json` in the "
        "folder of its data"
    )
    lines.append(
        "not known here: other clones and their caches, temporary experiments (.dvc/tmp), backups of the review "
        "(`make review-backup`), models trained with it"
    )
    return lines


def exports_folder(exports: Collection[Path]) -> Path:
    """Where the exports lie."""
    return min(exports).parent


def purge(traces: Traces) -> int:
    """Remove it from DVC's cache here, and return how many files went.

    PipelineError while the workspace's own version holds it.
    """
    if traces.in_workspace:
        raise PipelineError(
            "expected outputs that do not hold the picture any more, found a dvc.lock that does; run `dvc repro`, "
            "commit, then purge. Nothing was removed from DVC's cache"
        )
    for path in traces.objects:
        path.unlink()
    return len(traces.objects)


class _Listed:
    """The files of a version: those of each output folder, as far as the cache has the lists."""

    def __init__(self, lock: dict[str, Any], cache: Path) -> None:
        self.folders: dict[str, dict[str, str]] = {}  # md5 by path, by output
        self.incomplete = False
        for stage in lock["stages"].values():
            for out in stage.get("outs", []):
                hashed = str(out.get("md5", ""))
                if hashed.endswith(".dir") and Path(out["path"]).parts[0] == DATA.name:
                    path = _object(cache, hashed)
                    self.incomplete |= not path.is_file()
                    listed = json.loads(path.read_bytes()) if path.is_file() else []
                    self.folders[out["path"]] = {one["relpath"]: one["md5"] for one in listed}
        self.crawls = {  # the table of each crawl's pictures, by output
            out: _object(cache, files[PICTURES])
            for out, files in self.folders.items()
            if Path(out).parent == CRAWL and PICTURES in files
        }
        self.incomplete |= not all(table.is_file() for table in self.crawls.values())

    @property
    def all(self) -> set[str]:
        return {md5 for files in self.folders.values() for md5 in files.values()}

    def holding(self, takedowns: Takedowns) -> set[str]:
        """md5 of the requests' pictures and masks, and of the pages of a version that has some."""
        wanted = {*takedowns.pixels, *takedowns.reviews}
        found = {
            md5
            for files in self.folders.values()
            for path, md5 in files.items()
            if not wanted.isdisjoint(_NAME.findall(path))
        }
        for out, table in self.crawls.items():
            fetched = _fetched(table) if table.is_file() else []
            found |= {
                self.folders[out][file]
                for file, sha256, urls in fetched
                if file in self.folders[out]
                and (sha256 in takedowns.files or not takedowns.urls.keys().isdisjoint(urls))
            }
        return found | set(self.folders.get(str(PAGE), {}).values()) if found else found


@cache  # as many versions have the same table
def _fetched(table: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """Of each picture of a crawl its file, the file's sha256 and the hashes of its addresses."""
    rows = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"), newline=""))
    return [
        (row["file"], row["sha256"], tuple(url_hash(row[name]) for name in ("url", "final_url") if row[name]))
        for row in rows
    ]


def _read_lock(blob: str, cache: Path) -> _Listed | None:
    """The version of a dvc.lock in git; None where it was committed damaged."""
    try:
        return _Listed(parse_dvc_lock(_run("git", "cat-file", "blob", blob)), cache)
    except PipelineError:
        return None


def _locks(revisions: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each revision whose tree has a dvc.lock, and the blob of it."""
    asked = "".join(f"{revision}:./{LOCK}\n" for revision in revisions)
    told = _run("git", "cat-file", "--batch-check", stdin=asked).splitlines()
    for revision, line in zip(revisions, told, strict=False):  # nothing is told outside a git checkout
        if " blob " in line:
            yield revision, line.split()[0]


def _object(cache: Path, md5: str) -> Path:
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _few(names: Collection[str], shown: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:shown]) + (", ..." if len(listed) > shown else "")


def _run(*command: str, stdin: str | None = None) -> str:
    """What a command prints; "" where it fails, as outside a git checkout."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""
