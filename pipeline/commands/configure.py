"""Write params.yaml from a profile and one's own folders; shows what changed.

A profile is a file in pipeline/commands/profiles/: `sample` is complete, the others hold only what differs from it.
"""

import difflib
import io
import itertools
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pipeline.core.errors import PipelineError
from pipeline.core.params import ABSENT, ROLES, parse_params
from pipeline.core.paths import CRAWL, DATA, PARAMS, PROFILES
from pipeline.sources.layouts import LABELLED
from pipeline.sources.layouts.listing import printable
from sinet.core import atomic

BASE = "sample"
_DRAWN = (BASE, "loopback")  # profiles that draw their own people
FETCHED = "web"  # the source of a list of addresses
_NOTHING = {"layout": ABSENT, "path": "pipeline/commands/profiles/absent"}
# What each option takes: sources of this role, in the layout that the option and the source are called like.
FOLDER_OPTIONS = {
    "eg1800": "labelled",
    "pairs": "labelled",
    "baidu": "bodies",
    "crawl": "crawl",
    "img2dataset": "crawl",
}


def profiles() -> list[str]:
    """The names of the profiles, `sample` first."""
    names = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    return [BASE, *(name for name in names if name != BASE)]


@dataclass(frozen=True)
class UrlList:
    """A CSV of addresses to fetch pictures from, and the contact that every site is told."""

    list: Path
    contact: str


def render(profile: str, folders: Mapping[str, Path | None], urls: UrlList | None = None) -> str:
    """params.yaml as text: the profile, with `folders` (by the names in FOLDER_OPTIONS) and `urls` as its sources.

    A role without a folder has an absent source. Profiles that draw their own sources take no folder.
    Raises PipelineError for an unknown profile, a folder that does not exist, or no folder where one is needed.
    """
    if profile not in profiles():
        raise PipelineError(f"expected a profile of {', '.join(profiles())}; found {profile!r}")
    given = {name: folder for name, folder in folders.items() if folder is not None}
    if profile in _DRAWN and (given or urls):
        names = " ".join(f"{name.upper()}=..." for name in [*given, *(["urls"] if urls else [])])
        raise PipelineError(
            f"the profile {profile} draws its own people and takes no {names}; use PROFILE=real"
        )
    if profile == BASE:
        return (PROFILES / f"{BASE}.yaml").read_text()
    if profile not in _DRAWN and not set(given) & set(LABELLED):
        raise PipelineError(
            f"the profile {profile} needs pictures with masks to learn from: give EG1800=DIR, PAIRS=DIR or "
            f"BAIDU=DIR, and CRAWL=DIR beside them (`python -m pipeline check DIR...` tells which is which)"
        )
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # a long path stays on its line
    content = yaml.load((PROFILES / f"{BASE}.yaml").read_text())
    _overlay(content, yaml.load((PROFILES / f"{profile}.yaml").read_text()) or {})
    if profile not in _DRAWN:
        _put_sources(content["sources"], given, urls)
    if urls is not None:
        content["crawl"]["lists"][FETCHED] = _list_path(urls.list)
        content["crawl"]["fetch"]["contact"] = urls.contact
    buffer = io.StringIO()
    yaml.dump(content, buffer)
    text = buffer.getvalue().replace(
        f"What stands here is the profile `{BASE}`",
        f"What stands here is the profile `{profile}`",
    )
    parse_params(YAML(typ="safe").load(text), f"the profile {profile}")
    return text


def configure(
    profile: str, folders: Mapping[str, Path | None], params: Path = PARAMS, urls: UrlList | None = None
) -> str:
    """Write `params` and return the difference to what stood there, as a unified diff ("" for none).

    Where that was edited by hand, it is kept beside it, and the last line says under which name.
    """
    if not params.with_name("dvc.yaml").is_file():
        raise PipelineError(
            f"expected dvc.yaml beside {params}, found none; run from the folder of the recipe"
        )
    after = render(profile, folders, urls)
    before = params.read_text() if params.exists() else ""
    kept = None
    if after != before:
        if before and _edited(before):
            kept = _free_name(params)
            atomic.write_atomic(kept, before.encode())
        atomic.write_atomic(params, after.encode())
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{params} (before)", f"{params} (now)", n=0, lineterm=""
    )
    return "\n".join([*lines, *([f"What was edited in {params} is kept in {kept}"] if kept else [])])


def _edited(text: str) -> bool:
    """Whether a params.yaml is none that a profile gives with the folders that it names."""
    try:
        profile = re.search(r"is the profile `(\w+)`", text)
        content = YAML(typ="safe").load(text)
        sources, crawl = content["sources"].items(), content["crawl"]
        folders = {
            name: Path(source["path"])
            for name, source in sources
            if source["layout"] == name in FOLDER_OPTIONS
        }
        if profile is None or profile[1] in _DRAWN:
            return profile is None or render(profile[1], {}) != text
        fetched = crawl["lists"].get(FETCHED)
        urls = UrlList(Path(fetched), crawl["fetch"]["contact"]) if fetched else None
        return render(profile[1], folders, urls) != text
    except (PipelineError, YAMLError, AttributeError, KeyError, TypeError):  # whatever people make of it
        return True


def _free_name(params: Path) -> Path:
    names = (
        params.with_name(f"{params.stem}.edited-{number}{params.suffix}") for number in itertools.count(1)
    )
    return next(name for name in names if not name.exists())


def _overlay(base: MutableMapping[str, Any], changes: Mapping[str, Any], where: str = "") -> None:
    """Put `changes` into `base` in place; a key that base lacks is a mistake in the profile.

    A mapping of another `kind` takes the place of the old one: its keys are others.
    """
    for key, value in changes.items():
        if key not in base:
            raise PipelineError(f"a profile sets {where}{key}, which {BASE}.yaml does not have")
        merges = isinstance(value, Mapping) and isinstance(base[key], MutableMapping) and base[key]
        if merges and value.get("kind", base[key].get("kind")) == base[key].get("kind"):
            _overlay(base[key], value, f"{where}{key}.")
        else:
            base[key] = value


def _put_sources(lines: CommentedMap, given: Mapping[str, Path], urls: UrlList | None) -> None:
    """Change the sources of the profile `sample` in place to those that are given, in the order of FOLDER_OPTIONS.

    A line that nobody gave a folder for stays, as an absent source, where its role has no other.
    """
    for name, role in FOLDER_OPTIONS.items():
        if name in given:
            line = lines.get(name) or CommentedMap()
            line.fa.set_flow_style()
            line.update({"role": role, **_source(name, given[name])})
            if name not in lines:
                lines.insert(list(FOLDER_OPTIONS).index(name), name, line)
        elif name in lines:
            lines[name].update(_NOTHING)
    if urls is not None:
        line = CommentedMap(role="crawl", layout="crawl", path=str(CRAWL / FETCHED))
        line.fa.set_flow_style()
        lines[FETCHED] = line
    for name in list(_needless(lines)):
        del lines[name]


def _needless(lines: CommentedMap) -> Iterator[str]:
    """Absent sources of the roles that have another one."""
    for role in ROLES:
        names = [name for name, line in lines.items() if line["role"] == role]
        if any(lines[name]["layout"] != ABSENT for name in names):
            yield from (name for name in names if lines[name]["layout"] == ABSENT)


def _source(name: str, folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise PipelineError(f"{name.upper()}={folder}: expected a folder with pictures, found {found}")
    return {"layout": name, "path": _own_path(f"{name.upper()}={printable(str(folder))}", folder)}


def _list_path(path: Path) -> str:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise PipelineError(f"URLS={path}: expected a CSV of addresses, found {found}")
    return _own_path(f"URLS={printable(str(path))}", path)


def _own_path(option: str, path: Path) -> str:
    """The path as params.yaml holds it; PipelineError where it cannot, or where stages empty what lies there."""
    resolved = path.resolve()
    if printable(str(resolved)) != str(resolved):
        raise PipelineError(
            f"{option}: expected a name in printable UTF-8, which params.yaml can hold; rename it"
        )
    if resolved.is_relative_to((Path.cwd() / DATA).resolve()):
        raise PipelineError(
            f"{option}: expected one of your own, found one in {DATA}/, which the stages empty and write anew; move it "
            "elsewhere"
        )
    inside = resolved.is_relative_to(Path.cwd())
    return str(resolved.relative_to(Path.cwd()) if inside else resolved)
