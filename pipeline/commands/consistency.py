"""Hold dvc.yaml against the code: a stage must name the code, paths and params that its module uses, and no others.

What one stage needs below data/, models/, metrics/ or plots/ another one must make, and no two make the same.
Read from the code's text, nothing is run: imports for the code a stage depends on, the constants of pipeline.core.paths
and what lies beside a code file for its data, `load_params().SECTION` for its params. `make check` and a test call it.
"""

import ast
import functools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from pipeline.core import paths
from pipeline.core.code import OUR_PACKAGES, closure, file_of, has_code
from pipeline.core.params import Params

# Modules that run as stages do, but from outside the recipe.
NO_STAGES = frozenset({"drawn_reviews"})
# What a stage may say; with another key (frozen, wdir) `dvc repro` does what the code does not show.
KEYS = ("desc", "cmd", "deps", "params", "outs", "metrics", "plots")
_OF_STAGES = {"METRICS": paths.METRICS, "PLOTS": paths.PLOTS, "REJECTED": paths.REJECTED}  # a file a stage
_BY_STAGE = {  # functions whose first argument names a stage, and so its file
    "write_metrics": (paths.METRICS, ".json"),
    "write_rejected": (paths.REJECTED, ".csv"),
    "read_rejected": (paths.REJECTED, ".csv"),
}
MADE = (paths.DATA, paths.MODELS, paths.METRICS, paths.PLOTS)  # what lies there, a stage has written


@dataclass(frozen=True)
class Stage:
    """A stage as dvc.yaml has it; of a foreach, `template` is its `do`, and `${key}` and `${item...}` are kept."""

    name: str
    entry: dict[str, Any]

    @property
    def template(self) -> dict[str, Any]:
        template: dict[str, Any] = self.entry.get("do", self.entry)
        return template

    @property
    def code(self) -> set[str]:
        """Its dependencies that are code: files, and rooms, which are folders whose every file is meant."""
        return {path for path in self._paths("deps") if path.endswith(".py") or _is_room(path)}

    @property
    def data(self) -> set[str]:
        """Its dependencies but for the code."""
        return self._paths("deps") - self.code

    @property
    def outs(self) -> set[str]:
        return self._paths("outs", "metrics", "plots")

    @property
    def params(self) -> set[str]:
        """What it names of params.yaml: as params, in its foreach, or in a dependency as `${SECTION.KEY}`."""
        written = " ".join([*self._paths("deps"), str(self.entry.get("foreach"))])
        sections = set(re.findall(r"\$\{(\w+)", written)) & set(Params.model_fields)
        return sections | {str(param) for param in self.template.get("params", [])}

    def _paths(self, *keys: str) -> set[str]:
        entries = [entry for key in keys for entry in self.template.get(key, [])]
        return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@dataclass(frozen=True)
class Usage:
    """What a stage uses: code files, data paths, and of params.yaml sections as a whole or SECTION.KEY."""

    code: frozenset[str]
    data: frozenset[str]
    params: frozenset[str]


def main() -> None:
    """Print each difference; exit code 1 if there is one."""
    problems = differences(Path("dvc.yaml"))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print("dvc.yaml names what each stage uses.")


def differences(dvc_yaml: Path, root: Path = Path()) -> list[str]:
    """Sentences of what dvc.yaml leaves out or names in vain, one each; [] where it is right."""
    entries = yaml.safe_load(dvc_yaml.read_text())["stages"]
    stages = [Stage(name, entry) for name, entry in entries.items()]
    modules = _stage_modules(root)
    return [
        *(
            f"{stage.name}: {problem}"
            for stage in stages
            for problem in _stage_differences(stage, modules, root)
        ),
        *_left_out_stages(stages, modules),
        *_made_twice(stages),
        *_made_by_none(stages),
    ]


@functools.cache
def usage(module: str, root: Path = Path()) -> Usage:
    """What `module` (dotted name) uses, with all that it imports from our packages."""
    code = {file_of(name, root).as_posix() for name in closure(module, root)}
    tree = ast.parse((root / file_of(module, root)).read_text())
    beside = {path for name in closure(module, root) for path in _files_beside(file_of(name, root), root)}
    return Usage(
        frozenset(code),
        frozenset(path.as_posix() for path in beside | set(_used_paths(tree))),
        frozenset(_used_params(tree)),
    )


def _stage_differences(stage: Stage, modules: set[str], root: Path) -> Iterator[str]:
    yield from _form_differences(stage)
    if "do" in stage.entry:
        yield from _foreach_differences(stage)
    if stage.name not in modules:
        yield f'has no module: expected pipeline/{stage.name}.py with `run("{stage.name}", main)`'
        return
    used = usage(f"pipeline.{stage.name}", root)
    yield from _code_differences(stage, used, root)
    yield from _data_differences(stage, used)
    yield from _params_differences(stage, used)


def _form_differences(stage: Stage) -> Iterator[str]:
    if "desc" not in stage.template:
        yield "has no desc"
    strange = set(stage.template) - set(KEYS)
    strange |= set(stage.entry) - {"foreach", "do"} if "do" in stage.entry else set()
    for key in sorted(strange):
        yield f"has the key {key}, expected only {', '.join(KEYS)} (or foreach and do)"
    command = str(stage.template.get("cmd", ""))
    expected = f"python -m pipeline.{stage.name}" + (" ${key}" if "do" in stage.entry else "")
    if command != expected:
        yield f"runs {command!r}, expected `{expected}`"


def _foreach_differences(stage: Stage) -> Iterator[str]:
    items = stage.entry.get("foreach")
    if not re.fullmatch(r"\$\{[\w.]+\}", str(items)):
        yield f"is run for each of {items}, expected a reference to params.yaml as `${{SECTION}}`"
    for path in sorted(stage.outs):
        if "${key}" not in path:
            yield f"is run for each of several items, but its out {path} does not name `${{key}}`"
    if not any("${item" in path for path in stage.data):
        yield "is run for each of several items, but names nothing of an item as a dependency"


def _code_differences(stage: Stage, used: Usage, root: Path) -> Iterator[str]:
    rooms = {path: _code_in(path, root) for path in stage.code if _is_room(path)}
    named = (stage.code - set(rooms)).union(*rooms.values())
    for path in sorted(used.code - named):
        yield f"uses the code {path}, which its deps do not name"
    for path in sorted(named - used.code):
        yield f"names {path} as a dependency, but does not import it"
    for room in sorted(
        {Path(path).parent.as_posix() for path in stage.code - set(rooms)} - set(OUR_PACKAGES)
    ):
        if room not in rooms and _code_in(room, root) <= used.code:
            yield f"names each file of {room}, all of which it uses: name the folder"


def _is_room(path: str) -> bool:
    return path.split("/")[0] in OUR_PACKAGES and "/" in path and not Path(path).suffix


def _code_in(room: str, root: Path) -> set[str]:
    """The modules in a folder and below; an `__init__.py` that only says what the room is for is none."""
    return {path.relative_to(root).as_posix() for path in (root / room).rglob("*.py") if has_code(path)}


def _data_differences(stage: Stage, used: Usage) -> Iterator[str]:
    deps = {_fixed_part(path) for path in stage.data} - {""}
    rooms = {path for path in stage.code if _is_room(path)}
    outs = {_fixed_part(path) for path in stage.outs}
    for path in sorted(used.data):
        if not any(_below(path, one) for one in deps | outs | rooms):
            yield f"uses {path}, which neither deps nor outs name"
    for path in sorted(deps):
        if not any(_overlap(path, one) for one in used.data):
            yield f"names {path}, which its module does not use"
    for path in sorted(outs - used.data):
        yield f"names {path} as an out, which is no path that its module uses"


def _params_differences(stage: Stage, used: Usage) -> Iterator[str]:
    for param in sorted(used.params):
        if not any(_within(param, one) for one in stage.params):
            yield f"uses the params {param}, which it does not name"
    for param in sorted(stage.params):
        if not any(_within(param, one) or _within(one, param) for one in used.params):
            yield f"names the params {param}, which its module does not use"


def _stage_modules(root: Path) -> set[str]:
    """Names of the modules that run as a stage under their own name."""
    files = (root / "pipeline").glob("*.py")
    return {file.stem for file in files if f'run("{file.stem}", main)' in file.read_text()} - NO_STAGES


def _left_out_stages(stages: Sequence[Stage], modules: set[str]) -> Iterator[str]:
    for name in sorted(modules - {stage.name for stage in stages}):
        yield f"pipeline/{name}.py runs as a stage, but dvc.yaml has no stage {name}"


def _made_twice(stages: Sequence[Stage]) -> Iterator[str]:
    outs = [(stage.name, path) for stage in stages for path in sorted(stage.outs)]
    for (name, path), (other_name, other) in combinations(outs, 2):
        if _overlap(path, other):
            yield f"the out {path} of {name} overlaps the out {other} of {other_name}"


def _made_by_none(stages: Sequence[Stage]) -> Iterator[str]:
    outs = {path for stage in stages for path in stage.outs}
    needed = {
        path for stage in stages for path in stage.data if any(_below(path, str(place)) for place in MADE)
    }
    for path in sorted(needed):
        if not any(_overlap(path, out) for out in outs):
            names = ", ".join(stage.name for stage in stages if path in stage.data)
            yield f"{path} is no stage's out, but a dependency of {names}"


def _within(param: str, other: str) -> bool:
    """Whether `other` is the same parameter or a section that holds it."""
    return param == other or param.startswith(f"{other}.")


def _fixed_part(path: str) -> str:
    """`path` up to the first folder that `${...}` names."""
    return path if "${" not in path else path.partition("${")[0].rpartition("/")[0]


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _overlap(one: str, other: str) -> bool:
    """Whether the paths are the same or one lies in the other; `${...}` may stand for any word, as a source's name."""
    pairs = zip(_WRITTEN.sub("$", one).split("/"), _WRITTEN.sub("$", other).split("/"), strict=False)
    return all(_may_be(a, b) or _may_be(b, a) for a, b in pairs)


_WRITTEN = re.compile(r"\$\{[^}]*\}")


def _may_be(pattern: str, name: str) -> bool:
    """Whether a name may be what a pattern stands for; `$` is any word, of no dots, in either."""
    parts = (re.escape(part) for part in pattern.split("$"))
    return bool(re.fullmatch(r"[\w$]+".join(parts), name))


def _used_paths(tree: ast.AST) -> Iterator[Path]:
    """Constants of pipeline.core.paths that lie in the project's data, with what is appended to them literally."""
    places = {name: value for name, value in vars(paths).items() if isinstance(value, Path)}
    for plumbing in ("CACHE", "PARAMS", "PROFILES", *_OF_STAGES):
        places.pop(plumbing)
    inner: set[int] = set()
    for node in ast.walk(tree):  # breadth first: the longest `A / "b" / "c"` comes before its parts
        path = _literal_path(node, {**places, **_OF_STAGES})
        if path is not None and id(node) not in inner:
            inner |= {id(one) for one in ast.walk(node)}
            if path == paths.SAMPLE:
                yield from (path / source for source in paths.SAMPLE_SOURCES)  # each an out of its own
            elif path not in _OF_STAGES.values():
                yield path
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_STAGE:
            folder, suffix = _BY_STAGE[node.func.id]
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield folder / f"{first.value}{suffix}"
            elif isinstance(first, ast.JoinedStr):  # a file each of several, in the folder that comes before
                start = first.values[0]
                fixed = str(start.value) if isinstance(start, ast.Constant) else ""
                yield folder / fixed.rpartition("/")[0]


def _files_beside(code: Path, root: Path) -> Iterator[Path]:
    """What a code file names as lying beside it: `Path(__file__).with_name("x")`, `Path(__file__).parent / "x"`.

    Of a package also the folder `c`, whose files its extension module is built of.
    """
    if code.name == "__init__.py" and (root / code.parent / "c").is_dir():
        yield code.parent / "c"
    for node in ast.walk(ast.parse((root / code).read_text())):
        if isinstance(node, ast.Call | ast.BinOp):
            found = re.fullmatch(
                r"Path\(__file__\)(?:\.parent / |\.with_name\()'([^']+)'\)?", ast.unparse(node)
            )
            if found:
                yield code.parent / found[1]


def _literal_path(node: ast.AST, places: dict[str, Path]) -> Path | None:
    if isinstance(node, ast.Name):
        return places.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left = _literal_path(node.left, places)
        if left is not None and isinstance(node.right, ast.Constant) and isinstance(node.right.value, str):
            return left / node.right.value
    return None


def _used_params(tree: ast.AST) -> Iterator[str]:
    """SECTION of each `load_params().SECTION`, or of `name.SECTION` where `name = load_params()`.

    Where a key of the section follows, SECTION.KEY; a section that is handed on is used as a whole.
    """
    loaded = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_load(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    keyed: set[int] = set()
    for node in ast.walk(tree):  # breadth first: SECTION.KEY comes before its part SECTION
        if not isinstance(node, ast.Attribute):
            continue
        inner = node.value
        if isinstance(inner, ast.Attribute) and _is_section(inner, loaded):
            keyed.add(id(inner))
            section = Params.model_fields[inner.attr].annotation
            plain = node.attr in getattr(section, "model_fields", {})
            yield f"{inner.attr}.{node.attr}" if plain else inner.attr
        elif _is_section(node, loaded) and id(node) not in keyed:
            yield node.attr


def _is_section(node: ast.Attribute, loaded: set[str]) -> bool:
    value = node.value
    return node.attr in Params.model_fields and (
        _is_load(value) or (isinstance(value, ast.Name) and value.id in loaded)
    )


def _is_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_params"


if __name__ == "__main__":
    main()
