"""What a user names becomes files, each once, and names for the results that never meet."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinet.inference.files import Existing, InputError, camera_outputs, check_out, find, make_folder, plan

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


def test_links_that_lead_nowhere_are_files_that_fail_and_not_passed_over(tmp_path: Path) -> None:
    folder = touch(tmp_path / "f", "a.png")
    for name in ("b.jpg", "c.mp4", "self.png", "notes"):
        (folder / name).symlink_to(name if name == "self.png" else "nowhere")
    (folder / "folder.png").mkdir()
    files, others = find([folder])
    assert [path.name for path in files] == ["a.png", "b.jpg", "c.mp4", "self.png"]
    assert [path.name for path in others] == ["notes"]


@pytest.mark.parametrize("names", [[], ["notes.txt", ".hidden.png"]])
def test_an_empty_folder_is_an_error(tmp_path: Path, names: list[str]) -> None:
    folder = touch(tmp_path / "f", *names)
    with pytest.raises(InputError, match=r"expected pictures or videos in the folder .*f, found none"):
        find([folder])


def test_a_file_that_is_there_is_refused_skipped_or_replaced(tmp_path: Path) -> None:
    out = touch(tmp_path / "out", "a.png", "b.png", "b.background.png")
    sources = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]

    def planned(existing: Existing) -> list[str]:
        return [job.source.name for job in plan(sources, out, True, existing)]

    with pytest.raises(InputError, match=r"a\.png is there already \(and 2 more\).*--existing skip"):
        planned(Existing.REFUSE)
    assert planned(Existing.SKIP) == ["a.jpg", "c.jpg"], "of a.jpg one file is missing"
    assert planned(Existing.REPLACE) == ["a.jpg", "b.jpg", "c.jpg"]
    with pytest.raises(InputError, match=r"b\.background\.png is there already"):
        plan([tmp_path / "b.background.jpg"], out, False)
    assert len(plan([tmp_path / "d.jpg"], out, True)) == 1


@pytest.mark.parametrize("existing", Existing)
@pytest.mark.parametrize("reads", ["source", "link", "background"])
def test_what_is_read_is_never_replaced(tmp_path: Path, existing: Existing, reads: str) -> None:
    folder = touch(tmp_path / "f", "a.png")
    other = touch(tmp_path / "g", "a.jpg")
    (other / "a.png").symlink_to(folder / "a.png")
    source = {"source": folder / "a.png", "link": other / "a.png", "background": other / "a.jpg"}[reads]
    behind = folder / "a.png" if reads == "background" else None
    with pytest.raises(InputError, match=r"a\.png would be replaced, and it is one of the pictures to read"):
        plan([source], folder / ".." / "f", False, existing, behind)
    (folder / "deeper").symlink_to(folder)
    with pytest.raises(InputError, match="one of the pictures to read"):
        plan([source], folder / "deeper", False, existing, behind)


@pytest.mark.parametrize("target", ["nowhere", "a.png"])
def test_a_broken_link_counts_as_a_file(tmp_path: Path, target: str) -> None:
    out = touch(tmp_path / "out")
    (out / "a.png").symlink_to(target)
    with pytest.raises(InputError, match="is there already"):
        plan([tmp_path / "a.jpg"], out, False)


def test_no_folder_is_written_to_that_stands_for_its_pictures(tmp_path: Path) -> None:
    folder = touch(tmp_path / "f", "a.jpg")
    (tmp_path / "link").symlink_to(folder)
    check_out([folder / "a.jpg", tmp_path], folder)
    for out in (folder, folder / ".." / "f", tmp_path / "link"):
        with pytest.raises(InputError, match="a folder that pictures come from"):
            check_out([tmp_path / "other.jpg", folder], out)


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
