"""Which code a module runs, read from its text: for dvc.yaml's dependencies, and for the keys of stored results."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the checkout
OUR_PACKAGES = ("pipeline", "sinet", "annotations")
# What carries numbers and files around but cannot change a stage's result: naming it as a dependency would train
# a teacher again for a new line in a docstring of params.py.
PLUMBING = frozenset(
    f"pipeline.core.{name}" for name in ("params", "paths", "execute", "stage", "errors", "code")
) | {"pipeline", "sinet", "annotations", "sinet.core.recipe", "sinet.core.atomic", "sinet.core.progress"}


# What carries rows and files of results, and decides nothing of one picture's: a new column labels no crawl anew.
_CARRIERS = frozenset(
    f"pipeline.core.{name}" for name in ("records", "ingested", "store", "folder", "licences", "provenance")
)


@functools.cache
def code_of(module: str, root: Path = ROOT) -> str:
    """Hash of a module (dotted name) and of every module of ours that it imports, 16 hex digits.

    A stored result is of the code that made it, so that no version number must be raised by hand. Comments, docstrings
    and what only carries results do not count.
    """
    digest = hashlib.sha256()
    for name in sorted(closure(module, root) - _CARRIERS):
        tree = ast.parse((root / file_of(name, root)).read_text())
        digest.update(f"{name}\n{ast.unparse(_without_docstrings(tree))}\n".encode())
    return digest.hexdigest()[:16]


def closure(module: str, root: Path = ROOT) -> set[str]:
    """`module` and every module of ours that it imports, at its top or inside a function, without the plumbing."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one in seen or one in PLUMBING:
            continue
        seen.add(one)
        waiting += imports_of(one, root)
    return seen


def imports_of(module: str, root: Path = ROOT) -> Iterator[str]:
    """The modules of ours that a module imports, at its top or inside a function, but not for types alone."""
    tree = ast.parse((root / file_of(module, root)).read_text())
    typing = {id(inner) for node in ast.walk(tree) if _for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in typing:  # nothing of it runs
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OUR_PACKAGES and _is_module(name, root))


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_module(name: str, root: Path) -> bool:
    path = root / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or has_code(path / "__init__.py")


def has_code(path: Path) -> bool:
    """Whether a module says more than what its room is for."""
    return path.is_file() and len(ast.parse(path.read_text()).body) > 1


def file_of(module: str, root: Path) -> Path:
    """The file of a module, relative to `root`."""
    path = Path(module.replace(".", "/"))
    return path.with_suffix(".py") if (root / path.with_suffix(".py")).is_file() else path / "__init__.py"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree
