"""What keeps a version from being released: each gate gives the sentences of what it found, and what to do."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.commands.absent import absent
from pipeline.core.errors import PipelineError
from pipeline.core.licences import UNKNOWN, licence_name
from pipeline.core.params import load_params
from pipeline.core.paths import HEADLINE
from pipeline.releasing.data_tests import some_of
from pipeline.versions.dvc_lock import run_dvc
from pipeline.versions.figures import read_figures
from pipeline.versions.git_commands import found_by_git, git

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def version_faults(version: str) -> Iterator[str]:
    """The version is three numbers, and no tag has it, but for what a release that broke off here has tagged."""
    if not _VERSION.fullmatch(version):
        yield f"expected a version of three numbers, as 1.2.0, found {version!r}"
    elif git("tag", "--list", f"v{version}"):
        yield _taken(f"v{version}")
    else:
        here = found_by_git("rev-parse", "HEAD")
        yield from (
            _taken(tag)
            for tag in artifact_tags(version)
            if found_by_git("rev-parse", "--verify", "--quiet", f"{tag}^{{commit}}") not in (None, here)
        )


def artifact_tags(version: str) -> list[str]:
    """The tags by which `dvc artifacts get` finds this version of each artifact of dvc.yaml."""
    declared = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
    return [f"{name}@v{version}" for name in declared.get("artifacts", {})]


def _taken(tag: str) -> str:
    return f"the tag {tag} is there already, and others may rely on it: take a higher version"


def tree_faults(written: Path) -> Iterator[str]:
    """Git has everything that lies here, so that the tag has it too; but for what a release has `written` itself."""
    changed = git(
        "status", "--porcelain", "--untracked-files=normal", "--", ".", f":(exclude){written}"
    ).splitlines()
    if changed:
        files = some_of([line[3:] for line in changed])
        yield f"git does not have what lies here ({files}): commit it, or `git stash`"


def pipeline_faults() -> Iterator[str]:
    """Every stage is up to date, so that dvc.lock tells how each byte came about.

    Raw folders that are elsewhere are passed over, as `make repro` does.
    """
    elsewhere = {str(path) for _, path in absent(load_params())}
    declared = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    frozen = [name for name, stage in declared.items() if stage.get("frozen")]
    if frozen:  # DVC does not look at what they read
        yield f"frozen in dvc.yaml, and perhaps not up to date: {some_of(frozen)}; `dvc unfreeze` each"
    stages = json.loads(run_dvc("status", "--json") or "{}")
    stale = sorted(name for name, changes in stages.items() if _is_stale(changes, elsewhere))
    if stale:
        yield f"{some_of(stale)} {'is' if len(stale) == 1 else 'are'} not up to date: `make repro`, then commit"


def headline_faults() -> Iterator[str]:
    """No picture has gone from one side to another since it was first given one."""
    try:
        figures = read_figures(HEADLINE)
    except PipelineError as error:
        yield str(error)
        return
    moved = figures.get("moved")
    if moved is None:
        yield f"{HEADLINE} does not say how many pictures moved: `dvc repro headline` writes it"
    elif moved:
        yield (
            f"{moved} pictures moved to another side since they were first given one, so that figures before and after "
            "are not of the same test: take their sources' new test list back, or delete annotations/sides/, run "
            "`make repro` and say in the version's first number that nothing before can be compared"
        )


def licence_faults(records: pd.DataFrame, unlicensed: Collection[str]) -> Iterator[str]:
    """Each licence is known, or at least stated; or the source of those without one is named in `unlicensed`."""
    unknown = records["licence"].map(licence_name) == UNKNOWN
    for source, group in records[unknown].groupby("source"):
        if source not in unlicensed:
            yield (
                f"of {source} {len(group):,} of {(records['source'] == source).sum():,} pictures state no licence: "
                f"write `licence: ...` into its line of params.yaml, or name it (--unlicensed {source}, or with make "
                f"UNLICENSED={source}), and the card says so"
            )
    for name in sorted(set(unlicensed) - set(records.loc[unknown, "source"])):
        yield f"--unlicensed {name}: no picture without a licence is of a source {name}; leave it out"


def _is_stale(changes: list[Any], elsewhere: Collection[str]) -> bool:
    """Whether more of a stage changed than that a raw folder is not here."""
    for change in changes:
        if not isinstance(change, dict):
            return True  # `always changed`, a changed command
        for kind, files in change.items():
            gone = [path for path, how in files.items() if how == "deleted" and path in elsewhere]
            if kind != "changed deps" or len(gone) < len(files):
                return True
    return False
