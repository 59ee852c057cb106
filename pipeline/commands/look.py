"""Look before a run: stop where it would clear away what a person has put into a stage's folder, or edited there.

Stages empty their folders, and so does DVC. It knows what lies there now and what dvc.lock says of it; of a stage that
was stopped in the middle something is missing, and what lies there is its own.

`python -m pipeline look`
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.ingested import SOURCE_LIST
from pipeline.core.params import ROLES
from pipeline.core.paths import CRAWL, DATA, INGEST, MODELS
from pipeline.versions.dvc_lock import LOCK, parse_dvc_lock, run_dvc


def main() -> None:
    """PipelineError where dvc.lock is damaged or a run would lose somebody's files; says nothing else."""
    if not LOCK.exists():
        return
    lock = parse_dvc_lock(LOCK.read_text(encoding="utf-8"))
    status = json.loads(run_dvc("data", "status", "--granular", "--json")).get("uncommitted", {})
    changed = [*status.get("added", []), *status.get("modified", [])]
    found = [Path(path) for path in strangers(lock, changed, status.get("deleted", []))]
    found += [one for role in ROLES for one in _files_in(INGEST / role) if one.name != SOURCE_LIST]
    lost = found and [path for path in found if not _in_cache(path, Path(run_dvc("cache", "dir").strip()))]
    if lost:
        named = ", ".join(map(str, lost[:3])) + (", ..." if len(lost) > 3 else "")
        raise PipelineError(
            f"expected only files that stages made in {DATA}/ and {MODELS}/, which they clear and write anew, found "
            f"{len(lost)} that somebody added or changed ({named}). Nothing was touched: move them to a folder of your "
            "own (pictures: `make repro PROFILE=real` with it as EG1800=, PAIRS=, BAIDU= or CRAWL=), or delete them"
        )


def strangers(lock: dict[str, Any], changed: Collection[str], deleted: Collection[str]) -> Iterator[str]:
    """The changed or added files in the outputs of each stage of which nothing is missing."""
    for stage in lock["stages"].values():
        outs = [out["path"] for out in stage.get("outs", [])]
        if any(_inside(path.rstrip("/"), outs) for path in deleted):
            continue  # stopped in the middle, or not run yet
        made = [out for out in outs if Path(out).parts[0] in (DATA.name, MODELS.name)]
        made = [
            out for out in made if not Path(out).is_relative_to(CRAWL)
        ]  # which goes on there, and looks itself
        yield from (path for path in changed if not path.endswith("/") and _inside(path, made))


def _inside(path: str, folders: Collection[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _files_in(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_file()) if folder.is_dir() else []


def _in_cache(path: Path, cache: Path) -> bool:
    """Whether DVC keeps the same bytes, of another version perhaps, so that nothing is lost."""
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return (cache / "files/md5" / md5[:2] / md5[2:]).is_file()
