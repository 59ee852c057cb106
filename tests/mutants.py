"""Make small wrong changes to a module, one at a time, and see whether its tests notice.

`python tests/mutants.py MODULE.py COUNT SEED TEST...`, from a clean checkout. A row for each change that no test
noticed: it is equivalent, or a test is missing. In the end the module is as it was.
"""

import ast
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

Change = Callable[[], None]
_OTHER: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def changes_of(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """What can be done wrong at one place of the code: its kind, and a call that does it."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _OTHER:
        yield "comparison", lambda: node.ops.__setitem__(0, _OTHER[type(node.ops[0])]())
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in _OTHER:
        yield "operator", lambda: setattr(node, "op", _OTHER[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", lambda: setattr(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "flag", lambda: setattr(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "number", lambda: setattr(node, "value", node.value + 1)
    elif isinstance(node, ast.If):
        yield "always", lambda: setattr(node, "test", ast.Constant(True))
        yield "never", lambda: setattr(node, "test", ast.Constant(False))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "returns nothing", lambda: setattr(node, "value", ast.Constant(None))
    elif isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
        yield "left out", lambda: setattr(node, "value", ast.Constant(None))


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind and text of each change; the words of an error are left alone."""
    for place, first in enumerate(ast.walk(ast.parse(source))):
        for at, (kind, _) in enumerate(changes_of(first)):
            tree = ast.parse(source)
            spoken = {
                id(inner)
                for one in ast.walk(tree)
                if isinstance(one, ast.Raise | ast.JoinedStr)
                for inner in ast.walk(one)
            }
            node = list(ast.walk(tree))[place]
            if id(node) in spoken:
                continue
            list(changes_of(node))[at][1]()
            yield getattr(node, "lineno", 0), kind, ast.unparse(ast.fix_missing_locations(tree))


def main() -> None:
    path, count, seed, *tests = sys.argv[1:]
    module = Path(path)
    source = module.read_text()
    found = list(mutants(source))
    random.Random(int(seed)).shuffle(found)
    noticed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        for line, kind, text in found[: int(count)]:
            module.write_text(text)
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                noticed += 1
            else:
                print(f"{path}:{line}: {kind}: {source.splitlines()[line - 1].strip()}")
    finally:
        module.write_text(source)
    print(f"{path}: {noticed} of {min(int(count), len(found))} noticed")


if __name__ == "__main__":
    main()
