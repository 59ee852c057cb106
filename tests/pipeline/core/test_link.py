"""A second name for a file: a link of what is read-only, a copy of what may be edited, whatever kind of link it was."""

import os
from pathlib import Path

import pytest

from pipeline.core.link import link_or_copy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "cached").write_bytes(b"pixels")
    return tmp_path / "cached"


def test_a_read_only_file_lies_on_the_disk_once(tmp_path: Path, source: Path) -> None:
    """As DVC leaves it with cache.type hardlink, and with symlink."""
    source.chmod(0o444)
    (tmp_path / "symbolic").symlink_to(source)
    for name in ("cached", "symbolic"):
        link_or_copy(tmp_path / name, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").samefile(source) and not (tmp_path / f"{name}.png").is_symlink()


def test_what_may_be_edited_in_place_is_copied(tmp_path: Path, source: Path) -> None:
    link_or_copy(source, tmp_path / "a.png")
    source.write_bytes(b"mended by hand")
    assert (tmp_path / "a.png").read_bytes() == b"pixels"


def test_where_no_link_can_be_made_a_copy_is(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    source.chmod(0o444)
    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"pixels" and not (tmp_path / "a.png").samefile(source)
