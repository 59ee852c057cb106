"""Hold dvc.yaml against the code: a stage must name the code, paths and params that its module uses, and no others.

Read from the code's text, nothing is run: imports for the code a stage depends on, the constants of pipeline.paths and
what lies beside a code file for its data, `load_params().SECTION` for its params. `make check` and a test call it.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline import paths
from pipeline.params import Params

PACKAGES = ("pipeline", "sinet", "annotations")
# What carries numbers and files around but cannot change a stage's result: naming it as a dependency would train
# a teacher again for a new line in a docstring of params.py.
PLUMBING = frozenset(
    f"pipeline.{name}" for name in ("params", "paths", "records", "store", "execute", "stage", "errors")
) | {"pipeline", "sinet", "annotations", "sinet.recipe"}


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
    problems = []
    for name, stage in yaml.safe_load(dvc_yaml.read_text())["stages"].items():
        template = stage.get("do", stage)
        problems += [f"{name}: {problem}" for problem in _stage_differences(name, template, stage, root)]
    return problems


def usage(module: str, root: Path = Path()) -> Usage:
    """What `module` (dotted name) uses, with all that it imports from our packages."""
    code = {_file(name, root).as_posix() for name in _closure(module, root)}
    tree = ast.parse((root / _file(module, root)).read_text())
    beside = {path for name in _closure(module, root) for path in _files_beside(_file(name, root), root)}
    return Usage(
        frozenset(code),
        frozenset(path.as_posix() for path in beside | set(_used_paths(tree))),
        frozenset(_used_params(tree)),
    )


def _stage_differences(
    name: str, template: dict[str, Any], stage: dict[str, Any], root: Path
) -> Iterator[str]:
    if "desc" not in template:
        yield "has no desc"
    used = usage(f"pipeline.{name}", root)
    deps = {_plain(path) for path in template.get("deps", [])}
    outs = {_plain(path) for kind in ("outs", "metrics") for path in template.get(kind, [])}
    outs |= {_plain(path) for path in template.get("plots", [])}
    named_code = {path for path in deps if path.endswith(".py")}
    for path in sorted(used.code - named_code):
        yield f"uses the code {path}, which its deps do not name"
    for path in sorted(named_code - used.code):
        yield f"names {path} as a dependency, but does not import it"
    data = {_fixed_part(path) for path in (deps - named_code) | outs} - {""}
    for path in sorted(used.data):
        if not any(_overlap(path, one) for one in data):
            yield f"uses {path}, which neither deps nor outs name"
    for path in sorted(data):
        if not any(_overlap(path, one) for one in used.data):
            yield f"names {path}, which its module does not use"
    named = {str(param) for param in template.get("params", [])}
    named |= {"sources"} if "foreach" in stage else set()
    named |= {section for section in Params.model_fields if any(f"${{{section}." in path for path in deps)}
    for param in sorted(used.params):
        if not any(_within(param, one) for one in named):
            yield f"uses the params {param}, which it does not name"
    for param in sorted(named):
        if not any(_within(param, one) or _within(one, param) for one in used.params):
            yield f"names the params {param}, which its module does not use"
    command = str(template.get("cmd", ""))
    if not re.match(rf"python -m pipeline\.{name}( |$)", command):
        yield f"runs {command!r}, expected `python -m pipeline.{name}`"
    if "foreach" in stage and not any("${item" in path for path in deps):
        yield "is run for each of several items, but names nothing of an item as a dependency"


def _within(param: str, other: str) -> bool:
    """Whether `other` is the same parameter or a section that holds it."""
    return param == other or param.startswith(f"{other}.")


def _plain(entry: str | dict[str, Any]) -> str:
    """The path of a dep or an out, `${item...}` and `${key}` kept."""
    return entry if isinstance(entry, str) else next(iter(entry))


def _fixed_part(path: str) -> str:
    """`path` up to the first folder that `${...}` names."""
    return path if "${" not in path else path.partition("${")[0].rpartition("/")[0]


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _closure(module: str, root: Path) -> set[str]:
    """`module` and every module of ours that it imports, at its top or inside a function, without the plumbing."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one in seen or one in PLUMBING:
            continue
        seen.add(one)
        waiting += _imports(one, root)
    return seen


def _imports(module: str, root: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((root / _file(module, root)).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES and _is_module(name, root))


def _is_module(name: str, root: Path) -> bool:
    path = root / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _file(module: str, root: Path) -> Path:
    path = Path(module.replace(".", "/"))
    return path.with_suffix(".py") if (root / path.with_suffix(".py")).is_file() else path / "__init__.py"


def _used_paths(tree: ast.AST) -> Iterator[Path]:
    """Constants of pipeline.paths that lie in the project's data, with what is appended to them literally."""
    places = {name: value for name, value in vars(paths).items() if isinstance(value, Path)}
    for plumbing in ("CACHE", "PARAMS", "PROFILES", "METRICS", "PLOTS"):
        places.pop(plumbing)
    inner: set[int] = set()
    for node in ast.walk(tree):  # breadth first: the longest `A / "b" / "c"` comes before its parts
        path = _literal_path(node, {**places, "METRICS": paths.METRICS, "PLOTS": paths.PLOTS})
        if path is not None and id(node) not in inner:
            inner |= {id(one) for one in ast.walk(node)}
            if path not in (paths.METRICS, paths.PLOTS):
                yield path
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "write_metrics":
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield paths.METRICS / f"{first.value}.json"
            elif isinstance(first, ast.JoinedStr):
                yield paths.METRICS


def _files_beside(code: Path, root: Path) -> Iterator[Path]:
    """What a code file names as lying beside it: `Path(__file__).with_name("x")`, `Path(__file__).parent / "x"`."""
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
