"""A version of the project, a git revision or the files that lie here: read from git, dvc.lock and DVC's cache.

What the cache lacks is fetched from the remote, in one go and only what is asked for; it stays in the cache.
"""

import hashlib
import io
import json
import logging
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.versions.dvc_lock import LOCK, parse_dvc_lock
from pipeline.versions.git_commands import found_by_git

WORKSPACE = "workspace"  # the name of the files that lie here


class NotHereError(PipelineError):
    """A file of a version that is neither in git nor in DVC's cache, and that no remote gives."""


@dataclass(frozen=True)
class Output:
    """What dvc.lock says of a file or folder that a stage wrote."""

    md5: str  # ends with .dir for a folder
    size: int  # bytes
    files: int | None  # of a folder


@dataclass
class Objects:
    """DVC's cache, and the remote behind it."""

    why_not: str = "nor in the remote"  # why the last fetch brought less than it should
    _folders: dict[str, dict[str, str]] = field(default_factory=dict)

    @cached_property
    def _repo(self) -> Any:
        from dvc.exceptions import NotDvcRepoError  # here, since DVC takes half a second
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.CRITICAL)  # it tells in many lines what is told here in one
        try:
            return Repo()
        except NotDvcRepoError as error:
            raise PipelineError(
                f"expected the folder of a project, where dvc.yaml lies, found {Path.cwd()}; change to it"
            ) from error

    def revision(self, name: str) -> str:
        """The commit of a revision, tag, branch or DVC experiment; PipelineError where there is none."""
        from dvc.scm import resolve_rev

        scm = self._repo.scm
        try:
            return str(resolve_rev(scm, name))
        except Exception as error:  # of git, or of a project without it
            raise PipelineError(
                f"expected a git revision, a tag, an experiment or `{WORKSPACE}`, found {name!r}, which git does not "
                "know; `git fetch --tags` brings those of others"
            ) from error

    def path(self, md5: str) -> Path:
        """Where the cache has this content, or would have it."""
        return Path(self._repo.cache.local.oid_to_path(md5))

    def bring(self, hashes: Iterable[str]) -> None:
        """Fetch those that the cache lacks; what nobody has stays away, and `why_not` says why."""
        missing = sorted({one for one in hashes if not self.path(one).is_file()})
        if not missing:
            return
        from dvc_data.hashfile.hash_info import HashInfo

        self.why_not = "nor in the remote"
        try:
            self._repo.cloud.pull([HashInfo("md5", one) for one in missing])
        except Exception as error:  # each kind of remote has errors of its own, which may name its address
            none = type(error).__name__ == "NoRemoteError"
            self.why_not = (
                "and DVC has no default remote"
                if none
                else f"and the remote does not answer ({type(error).__name__}; `dvc fetch` says more)"
            )

    def files_in(self, md5: str) -> dict[str, str]:
        """The md5 of each file of a folder, by its name in there; of a folder whose list nobody has, nothing."""
        if md5 not in self._folders:
            self.bring([md5])
            path = self.path(md5)
            listed = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
            self._folders[md5] = {str(one["relpath"]): str(one["md5"]) for one in listed}
        return self._folders[md5]


@dataclass(frozen=True)
class Version:
    """One version; paths are from the folder that holds dvc.yaml."""

    name: str
    commit: str | None  # None is the files that lie here
    objects: Objects = field(repr=False, compare=False)

    @property
    def title(self) -> str:
        """The name for people."""
        if self.commit is None:
            return "the working tree"
        return self.name if self.commit.startswith(self.name) else f"{self.name} ({self.commit[:8]})"

    @cached_property
    def lock(self) -> dict[str, Any]:
        """The content of dvc.lock; PipelineError where the version has none."""
        content = self._in_git(str(LOCK)) if self.commit else LOCK.read_bytes() if LOCK.is_file() else None
        if content is None:
            raise PipelineError(
                f"expected {LOCK} in {self.title}, found none: no version of the data is kept there"
            )
        return parse_dvc_lock(content.decode("utf-8", "replace"))

    @cached_property
    def outputs(self) -> dict[str, Output]:
        """What dvc.lock says of each output, by path; those that git holds have no hash of DVC's cache to go by."""
        listed = [out for stage in self.lock["stages"].values() for out in stage.get("outs", [])]
        return {
            str(out["path"]): Output(str(out["md5"]), int(out.get("size", 0)), out.get("nfiles"))
            for out in listed
            if "md5" in out
        }

    def outdated_inputs(self, stage: str) -> list[str]:
        """Which outputs of others a stage read in another state than dvc.lock has them: it has not run since."""
        read = {dep["path"]: dep.get("md5") for dep in self.lock["stages"].get(stage, {}).get("deps", [])}
        return [path for path, md5 in read.items() if path in self.outputs and self.outputs[path].md5 != md5]

    def read(self, path: str) -> bytes:
        """The content of a file of git or of an output; NotHereError where it cannot be had."""
        in_git = self._in_git(path)
        if in_git is not None:
            return in_git
        found = self.bring([path])
        if path in found:
            return found[path].read_bytes()
        if self.commit is None:
            raise NotHereError(
                f"expected {path} here, found no such file; `dvc checkout` or `dvc pull` brings it"
            )
        if self._output_of(path) is None:
            raise NotHereError(f"{self.title} has no {path}")
        raise NotHereError(
            f"{path} of {self.title} is not in DVC's cache, {self.objects.why_not}; "
            "`dvc fetch --all-tags` or `--all-commits` brings what the remote has"
        )

    def bring(self, paths: Collection[str]) -> dict[str, Path]:
        """Where the files of outputs lie, by path, fetched where needed; those that cannot be had are left out."""
        if self.commit is None:
            return {path: Path(path) for path in paths if Path(path).is_file()}
        known = self._listed(paths)
        self.objects.bring(known.values())
        places = {path: self.objects.path(md5) for path, md5 in known.items()}
        return {path: place for path, place in places.items() if place.is_file()}

    def hashes(self, paths: Collection[str]) -> dict[str, str]:
        """The md5 of files of outputs, by path; of those that the version does not have there is none."""
        if self.commit is not None:
            return self._listed(paths)
        return {path: _md5(Path(path)) for path in paths if Path(path).is_file()}

    @contextmanager
    def folder_in_git(self, path: str) -> Iterator[Path]:
        """A folder as git has it, for as long as it is looked at; an empty one where git has none."""
        if self.commit is None:
            yield Path(path)
            return
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / path).mkdir(parents=True, exist_ok=True)
            packed = found_by_git("archive", "--format=tar", self.commit, "--", path)
            if packed is not None:
                with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                    archive.extractall(scratch, filter="data")
            yield Path(scratch) / path

    def _in_git(self, path: str) -> bytes | None:
        return None if self.commit is None else found_by_git("show", f"{self.commit}:./{path}")

    def _output_of(self, path: str) -> str | None:
        """The output that this file is, or lies in."""
        while path not in self.outputs:
            path = path.rpartition("/")[0]
            if not path:
                return None
        return path

    def _listed(self, paths: Collection[str]) -> dict[str, str]:
        """The md5 of each of these files by path, of those that dvc.lock or the list of its folder names."""
        found = {}
        for path in paths:
            output = self._output_of(path)
            if output is None:
                continue
            md5 = self.outputs[output].md5
            inside = self.objects.files_in(md5).get(path[len(output) + 1 :]) if output != path else md5
            if inside is not None:
                found[path] = inside
        return found


def open_versions(*names: str) -> list[Version]:
    """The versions of these names; PipelineError where git knows none of a name."""
    objects = Objects()
    return [Version(name, None if name == WORKSPACE else objects.revision(name), objects) for name in names]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
