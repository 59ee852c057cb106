"""A stored result is of the code that made it: of a module and of all that it imports."""

from pathlib import Path

import pytest

from pipeline.core.code import PLUMBING, closure, code_of


def made(root: Path, **texts: str) -> str:
    """The hash of pipeline.a, of modules with these texts."""
    (root / "pipeline").mkdir(exist_ok=True)
    for name, text in texts.items():
        (root / f"pipeline/{name}.py").write_text(text)
    code_of.cache_clear()
    return code_of("pipeline.a", root)


A = "def f():\n    from pipeline import b\n    return b.x\n"


def test_another_line_of_the_module_or_of_what_it_imports_is_other_code(tmp_path: Path) -> None:
    first = made(tmp_path, a=A, b="from pipeline.c import x\n", c="x = 1\n", d="x = 1\n")
    assert len(first) == 16
    assert made(tmp_path, c="x = 2\n") != first
    assert made(tmp_path, c="x = 1\n") == first
    assert made(tmp_path, d="x = 2\n") == first, "nobody imports it"
    assert made(tmp_path, a=A.replace("return", "return not")) != first


def test_a_comment_or_a_docstring_is_not(tmp_path: Path) -> None:
    first = made(tmp_path, a=A, b="x = 1\n")
    told = A.replace("f():\n", 'f():\n    """What it does."""\n')
    assert made(tmp_path, a=f'"""What it is."""\n{told}', b="# why\nx = 1  # one\n") == first
    assert made(tmp_path, a=A, b='x = """one"""\n') != first


def test_a_module_that_is_not_there_is_an_error_and_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made(tmp_path, b="x = 1\n")


def test_what_finds_look_alikes_is_of_the_code_that_decodes_pictures() -> None:
    found = closure("pipeline.look_alikes.perceptual_hash")
    assert "sinet.images.decode" in found and not found & PLUMBING


def test_what_only_carries_results_is_no_code_of_theirs(tmp_path: Path) -> None:
    (tmp_path / "pipeline/core").mkdir(parents=True)
    records = tmp_path / "pipeline/core/records.py"
    hashes = set()
    for text in ("x = 1\n", "x = 2\n"):
        records.write_text(text)
        hashes.add(made(tmp_path, a="from pipeline.core import records\n"))
    assert len(hashes) == 1


def test_a_module_taken_from_its_package_counts(tmp_path: Path) -> None:
    first = made(tmp_path, a="from pipeline import b\n", b="x = 1\n")
    assert made(tmp_path, b="x = 2\n") != first
