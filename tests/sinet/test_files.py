"""What a user names becomes files, each once, and names for the results that never meet."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinet.files import InputError, camera_outputs, find, make_folder, plan

OUT = Path("out")


def written(*sources: str, composed: bool = False) -> list[list[str]]:
    return [
        [path.name for path in job.outputs] for job in plan([Path(one) for one in sources], OUT, composed)
    ]


@pytest.mark.parametrize(
    ("sources", "masks"),
    [
        (["hopper.jpg"], ["hopper.png"]),
        (["hopper.jpg", "hopper.png", "ada.webp"], ["hopper.jpg.png", "hopper.png.png", "ada.png"]),
        (["a/one.jpg", "b/one.jpg", "c/one.jpg"], ["one.jpg.png", "one.jpg-2.png", "one.jpg-3.png"]),
        (["a.jpg", "a.MP4", "a.mov"], ["a.png", "a.MP4.mp4", "a.mov.mp4"]),
        (["a.jpg", "a.png", "a.jpg.webp"], ["a.jpg.png", "a.png.png", "a.jpg.webp.png"]),
        (["no_suffix", "dots.in.name.jpeg"], ["no_suffix.png", "dots.in.name.png"]),
    ],
)
def test_names(sources: list[str], masks: list[str]) -> None:
    assert [names[0] for names in written(*sources)] == masks


def test_names_with_a_background() -> None:
    assert written("a.jpg", "b.mp4", composed=True) == [
        ["a.png", "a.background.png"],
        ["b.mp4", "b.background.mp4"],
    ]
    # The mask of the second would be the composition of the first.
    assert written("a.jpg", "a.background.jpg", composed=True) == [
        ["a.png", "a.background.png"],
        ["a.background.jpg.png", "a.background.jpg.background.png"],
    ]


NAMES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "x/", "y/"]),
    st.sampled_from(["a", "b", "a.background", "a.jpg", "a.jpg-2"]),
    st.sampled_from(["", ".jpg", ".png", ".mp4", ".mov"]),
    st.sampled_from(["", ".jpg", ".png", ".mp4"]),
)


@given(st.lists(NAMES, unique=True, max_size=12), st.booleans())
def test_no_name_is_given_twice(sources: list[str], composed: bool) -> None:
    jobs = plan([Path(one) for one in sources], OUT, composed)
    assert [job.source for job in jobs] == [Path(one) for one in sources]
    for one, other in combinations(jobs, 2):
        assert not set(one.outputs) & set(other.outputs)
    for job in jobs:
        assert job.mask.name.startswith(job.source.stem)
        assert job.mask.parent == OUT


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def test_folders_and_files(tmp_path: Path) -> None:
    folder = touch(tmp_path / "f", "b.JPG", "a.png", "c.mov", "notes.txt", "photo.heic", ".hidden.png")
    touch(folder / "deeper", "d.png")
    files, others = find([folder / "b.JPG", folder, folder / ".." / "f" / "a.png", tmp_path / "missing.bin"])
    assert [path.name for path in files] == ["b.JPG", "a.png", "c.mov", "missing.bin"]
    assert [path.name for path in others] == ["notes.txt", "photo.heic"]


def test_a_link_under_another_name_is_a_picture_of_its_own(tmp_path: Path) -> None:
    folder = touch(tmp_path / "f", "a.png")
    (folder / "b.png").symlink_to("a.png")
    assert [path.name for path in find([folder])[0]] == ["a.png", "b.png"]


@pytest.mark.parametrize("names", [[], ["notes.txt", ".hidden.png"]])
def test_an_empty_folder_is_an_error(tmp_path: Path, names: list[str]) -> None:
    folder = touch(tmp_path / "f", *names)
    with pytest.raises(InputError, match=r"expected pictures or videos in the folder .*f, found none"):
        find([folder])


def test_files_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    touch(tmp_path / "out", "a.png")
    assert [job.mask.name for job in plan([tmp_path / "a.jpg"], tmp_path / "out", False)] == ["a.png"]


@pytest.mark.parametrize("source", ["a.png", "a.jpg"])
def test_nothing_is_replaced_where_pictures_come_from(tmp_path: Path, source: str) -> None:
    folder = touch(tmp_path / "f", "a.png")
    assert plan([folder / "b.jpg"], folder, False)[0].mask == folder / "b.png"
    with pytest.raises(InputError, match=r"a\.png is in .* already, and nothing is replaced"):
        plan([folder / source], folder / ".." / "f", False)


def test_a_recording_gets_the_next_free_number(tmp_path: Path) -> None:
    names = []
    for composed in (False, True, False):
        mask, both = camera_outputs(1, tmp_path, composed)
        names.append([path.name for path in (mask, both) if path])
        mask.touch()
    assert names == [["camera1.mp4"], ["camera1-2.mp4", "camera1-2.background.mp4"], ["camera1-3.mp4"]]
    (tmp_path / "camera2.background.mp4").touch()
    assert camera_outputs(2, tmp_path, False)[0].name == "camera2-2.mp4"


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="expected a folder to write to"):
        make_folder(tmp_path / "out")
    with pytest.raises(InputError, match="expected a folder to write to"):
        make_folder(tmp_path / "out" / "deeper")
