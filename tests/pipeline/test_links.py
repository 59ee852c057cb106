"""A picture that one output has from another is a link where DVC's cache lends links, else a copy."""

import hashlib
from pathlib import Path

import pytest

from pipeline.core.folder import link_or_copy
from tests.project import commit, run

DVC_YAML = """
stages:
  first:
    cmd: mkdir first && echo pixels > first/one.png
    outs: [first]
  second:
    cmd: >-
      mkdir second && python -c "from pathlib import Path; from pipeline.core.folder import link_or_copy;
      link_or_copy(Path('first/one.png'), Path('second/two.png'))"
    deps: [first]
    outs: [second]
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_an_output_holds_links_where_dvc_makes_links(tmp_path: Path, root: Path, kind: str) -> None:
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")
    run(tmp_path, "dvc", "config", "cache.type", kind)
    run(tmp_path, "dvc", "repro", PYTHONPATH=str(root))
    commit(tmp_path, "linked")
    first, second = tmp_path / "first/one.png", tmp_path / "second/two.png"
    kept = next(path for path in (tmp_path / ".dvc/cache/files/md5").glob("*/*") if path.suffix != ".dir")
    same = first.stat().st_ino == second.stat().st_ino == kept.stat().st_ino
    assert same == (kind != "copy")
    assert second.read_text() == "pixels\n"
    assert "up to date" in run(tmp_path, "dvc", "status").stdout
    if kind == "copy":  # nothing that is done to one of them touches another
        second.write_text("other")
        assert first.read_text() == kept.read_text() == "pixels\n"
    else:
        assert not kept.stat().st_mode & 0o222


TWO_STAGES = """
stages:
  first:
    cmd: python first.py
    deps: [names.txt, first.py]
    outs: [{first: {persist: true}}]
  second:
    cmd: python second.py
    deps: [first]
    outs: [{second: {persist: true}}]
"""
FIRST = """
from pathlib import Path
from pipeline.core.folder import PictureFolder
out = PictureFolder(Path("first"))
names = Path("names.txt").read_text().split()
out.keep([out.put(f"images/{name}.png", name, (name * 50).encode) for name in names])
"""
SECOND = """
from pathlib import Path
from pipeline.core.folder import PictureFolder
out = PictureFolder(Path("second"))
out.keep([out.link(f"images/{path.name}", path) for path in sorted(Path("first/images").iterdir())])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink"])
def test_one_picture_more_leaves_the_others_where_they_are_whatever_dvc_makes_of_them(
    tmp_path: Path, root: Path, kind: str
) -> None:
    """A picture more, one less, a checkout of the version before, and what stands in DVC's cache is never touched."""
    for name, text in (("dvc.yaml", TWO_STAGES), ("first.py", FIRST), ("second.py", SECOND)):
        (tmp_path / name).write_text(text)
    (tmp_path / ".gitignore").write_text(".cache\n")
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")
    run(tmp_path, "dvc", "config", "cache.type", kind)
    inodes: list[dict[str, int]] = []
    for names in ("a b c", "a b c d", "a c d"):
        (tmp_path / "names.txt").write_text(names)
        run(tmp_path, "dvc", "repro", PYTHONPATH=str(root))
        commit(tmp_path, names)
        for folder in ("first", "second"):
            found = {path.stem: path.read_text() for path in (tmp_path / folder / "images").iterdir()}
            assert found == {name: name * 50 for name in names.split()}
        assert "up to date" in run(tmp_path, "dvc", "status").stdout
        inodes.append({path.stem: path.stat().st_ino for path in (tmp_path / "first/images").iterdir()})
    for name in "ac":
        assert len({found[name] for found in inodes}) == 1
    run(tmp_path, "git", "checkout", "--quiet", "HEAD~2")
    run(tmp_path, "dvc", "checkout")
    run(tmp_path, "dvc", "repro", "--force", PYTHONPATH=str(root))
    assert {path.stem for path in (tmp_path / "second/images").iterdir()} == {"a", "b", "c"}
    assert "up to date" in run(tmp_path, "dvc", "status").stdout
    for path in (tmp_path / ".dvc/cache/files/md5").glob("*/*"):
        assert hashlib.md5(path.read_bytes()).hexdigest() == path.parent.name + path.name.removesuffix(".dir")


def test_a_link_to_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "link.png", tmp_path / "two.png")
    assert not (tmp_path / "two.png").exists()
