"""A picture that one output has from another is a link where DVC's cache lends links, else a copy."""

from pathlib import Path

import pytest

from pipeline.core.link import link_or_copy
from tests.project import commit, run

DVC_YAML = """
stages:
  first:
    cmd: mkdir first && echo pixels > first/one.png
    outs: [first]
  second:
    cmd: >-
      mkdir second && python -c "from pathlib import Path; from pipeline.core.link import link_or_copy;
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


def test_a_link_to_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "link.png", tmp_path / "two.png")
    assert not (tmp_path / "two.png").exists()
