"""Each published layout is recognised and listed; names that do not fit together are said, never dropped."""

import io
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.commands.check import check
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from pipeline.sources.layouts import LABELLED, READERS, joining, pairs, read_layout, recognise
from pipeline.sources.layouts.listing import printable
from sinet.images.listed import numbered, read_list, stem_of

ROOT = Path(__file__).parents[3]


def touch(folder: Path, *names, content=b"x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def keys(listing):
    return [item.source_key for item in listing.items]


def reasons(listing):
    return sorted((one.source_key, one.reason) for one in listing.unusable)


def sides(listing):
    return {item.source_key.split("/")[-1]: item.published_side for item in listing.items}


def matlab(**arrays):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays)
    return buffer.getvalue()


def eg1800(folder, images=("00001.jpg", "00002.jpg"), masks=("00001_mask.png", "00002_mask.png")):
    touch(folder, *(f"images_data_crop/{name}" for name in images))
    return touch(folder, *(f"GT_png/{name}" for name in masks))


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["images_data_crop/00001.jpg", "GT_png/00001_mask.png"], "eg1800"),
        (["images_data_crop/00001.jpg", "images_mask/00001_mask.mat"], "eg1800"),
        (["Images/00001.png", "Labels/00001.png"], "eg1800"),
        (["EG1800/Images/00001.png", "EG1800/Labels/00001.png"], "eg1800"),
        (["clean_images/images/a.jpg", "clean_images/profiles/a-profile.jpg"], "baidu"),
        (["clean_images/images/a.jpg"], "baidu"),
        (["images/a.jpg", "profiles/a.jpg"], "baidu"),
        (["images/a.jpg", "masks/a.png"], "pairs"),
        (["Photos/a.jpg", "GT/a_mask.png"], "pairs"),
        (["JPEGImages/a.jpg", "SegmentationClass/a.png", "Annotations/a.xml"], "pairs"),
        (["images/readme.md", "masks/readme.md"], "pairs"),
        (["images/a.jpg", "labels/a.png"], "eg1800"),  # PortraitNet's copy, whatever the case of its names
        (["Images/1.png", "Labels/1.png", "masks/1.png"], "eg1800"),
        (["images_data_crop/1.jpg", "masks/1_mask.png"], "eg1800"),
        (["images/a.jpg", "sources.csv"], "crawl"),
        (["images/a.jpg", "photos/b.jpg"], "crawl"),
        (["masks/a.png"], "crawl"),
        (["images/masks/a.png", "images/b.jpg"], "crawl"),
        (["one.jpg"], "crawl"),
        (["deep/down/one.JPEG"], "crawl"),
        (["notes.txt"], None),
        ([".hidden/one.jpg"], None),
    ],
)
def test_recognise(tmp_path, names, layout):
    assert recognise(touch(tmp_path, *names)) == layout


def test_recognise_an_empty_or_a_missing_folder(tmp_path):
    assert recognise(tmp_path) is None
    assert recognise(tmp_path / "absent") is None


def test_eg1800_pairs_by_number_and_takes_sides_from_its_lists(tmp_path):
    eg1800(tmp_path, ["00001.JPG", "2.jpeg", "00003.jpg"], ["00001_mask.PNG", "00002_mask.png", "00003.png"])
    touch(tmp_path, "train.txt", content="1\n\n 00002 \n")
    touch(tmp_path, "val.txt", content="00003.jpg\n")
    listing = read_layout("eg1800", tmp_path)
    assert sides(listing) == {"00001.JPG": "train", "2.jpeg": "train", "00003.jpg": "test"}
    assert not listing.unusable
    assert listing.items[0].mask.endswith("00001_mask.PNG")


@pytest.mark.parametrize(
    ("name", "content", "side"),
    [
        ("trainlist.mat", matlab(trainlist=np.array([[1.0, 2.0]])), "train"),
        ("testlist.mat", matlab(testlist=np.array([[1], [2]], np.uint16)), "test"),
        ("testlist.mat", matlab(testlist=np.array(["00001.jpg", "00002.jpg"], object)), "test"),
        ("testlist.txt", b"\xef\xbb\xbf1\r\n2\r\n", "test"),
        ("TEST.TXT", b"1\n2\n", "test"),
        ("eg1800_train.txt", b"00001.png\n00002.png\n", "train"),
        ("select_data/eg1800_test.txt", b"Images/00001.png Labels/00001.png\nImages/00002.png\n", "test"),
    ],
)
def test_eg1800_lists_of_every_kind(tmp_path, name, content, side):
    listing = read_layout("eg1800", touch(eg1800(tmp_path), name, content=content))
    assert set(sides(listing).values()) == {side}
    assert not listing.unusable


def test_eg1800_without_lists_has_no_sides(tmp_path):
    assert set(sides(read_layout("eg1800", eg1800(tmp_path))).values()) == {None}


def test_eg1800_portraitnet_and_matlab_masks(tmp_path):
    touch(tmp_path / "one", "EG1800/Images/00001.png", "EG1800/Labels/00001.png")
    assert keys(read_layout("eg1800", tmp_path / "one")) == ["EG1800/Images/00001.png"]
    touch(tmp_path / "two", "images_data_crop/00001.jpg", "images_mask/00001_mask.MAT")
    assert read_layout("eg1800", tmp_path / "two").items[0].mask.endswith("00001_mask.MAT")


def test_eg1800_takes_the_png_where_there_is_a_mat_too(tmp_path):
    touch(eg1800(tmp_path), "images_mask/00001_mask.mat", "images_mask/00002_mask.mat")
    listing = read_layout("eg1800", tmp_path)
    assert all("GT_png" in item.mask for item in listing.items)
    assert listing.notes == {"masks in images_mask not used: another folder has them": 2}


def test_eg1800_an_entry_in_both_lists_is_test_and_counted(tmp_path):
    touch(eg1800(tmp_path), "train.txt", content="1\n2\n")
    touch(tmp_path, "val.txt", content="2\n")
    listing = read_layout("eg1800", tmp_path)
    assert sides(listing) == {"00001.jpg": "train", "00002.jpg": "test"}
    assert listing.notes == {"in the lists of both sides, taken as test": 1}


def test_eg1800_says_what_does_not_fit(tmp_path):
    eg1800(
        tmp_path,
        ["00001.jpg", "00002.jpg", "00003.jpg", "3.png", "00005.jpg", "00006.jpg"],
        [
            "00001_mask.png",
            "00003_mask.png",
            "00004_mask.png",
            "00005_mask.png",
            "00005.png",
            "00006_mask.png",
        ],
    )
    touch(tmp_path, "train.txt", content="1\n2\n3\n4\n5\n7\nabc\n")
    listing = read_layout("eg1800", tmp_path)
    assert keys(listing) == ["images_data_crop/00001.jpg"]
    assert reasons(listing) == [
        ("GT_png/00004_mask.png", "mask_without_image"),
        ("images_data_crop/00002.jpg", "no_mask"),
        ("images_data_crop/00003.jpg", "two_images"),
        ("images_data_crop/00005.jpg", "two_masks"),
        ("images_data_crop/00006.jpg", "not_listed"),
        ("images_data_crop/3.png", "two_images"),
        ("train list: 00007", "listed_without_file"),
        ("train list: abc", "listed_without_file"),
    ]


@pytest.mark.parametrize(("name", "content"), [("testlist.mat", b"MATLAB 5.0"), ("val.txt", b"\xff\xfe\x00")])
def test_eg1800_a_damaged_list_stops_rather_than_moving_test_into_train(tmp_path, name, content):
    with pytest.raises(PipelineError, match=r"is a list of pictures, but cannot be read .* mend it"):
        read_layout("eg1800", touch(eg1800(tmp_path), name, content=content))


def test_other_files_are_counted_and_hidden_ones_are_not(tmp_path):
    touch(eg1800(tmp_path), "images_data_crop/readme.txt", "images_data_crop/.DS_Store", "GT_png/Thumbs.db")
    assert read_layout("eg1800", tmp_path).ignored == {".txt": 1}


@pytest.mark.parametrize("root", ["", "clean_images"])
def test_baidu_takes_both_names_of_a_mask(tmp_path, root):
    touch(tmp_path / root, "images/a.jpg", "images/b.JPG", "images/c.jpg", "images/d-profile.jpg")
    touch(tmp_path / root, "profiles/a-profile.jpg", "profiles/b.jpg", "profiles/c-Profile.JPG")
    touch(tmp_path / root, "profiles/d-profile.jpg")
    listing = read_layout("baidu", tmp_path)
    assert [Path(item.mask).name for item in listing.items] == [
        "a-profile.jpg",
        "b.jpg",
        "c-Profile.JPG",
        "d-profile.jpg",
    ]
    assert not listing.unusable and set(sides(listing).values()) == {None}


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("eg1800", ["images_data_crop/part2/00003.jpg", "GT_png/part2/00003_mask.png"]),
        ("baidu", ["clean_images/images/more/x.jpg", "clean_images/profiles/more/deep/x-profile.jpg"]),
    ],
)
def test_files_in_folders_where_the_layout_has_none_are_rejected(tmp_path, layout, names):
    if layout == "eg1800":
        eg1800(tmp_path)
    else:
        touch(tmp_path, "clean_images/images/a.jpg", "clean_images/profiles/a.jpg")
    touch(tmp_path, *names)
    listing = read_layout(layout, tmp_path)
    assert reasons(listing) == sorted((name, "in_a_subfolder") for name in names)
    assert listing.items and all("itself, not in folders there" in one.detail for one in listing.unusable)


def test_two_folders_of_one_name_could_both_be_meant(tmp_path):
    touch(tmp_path, "Images/1.png", "Labels/1.png", "images/2.png", "labels/2.png")
    with pytest.raises(PipelineError, match="has Images and images, and either could be meant; keep one"):
        read_layout("eg1800", tmp_path)


def test_baidu_says_what_does_not_fit(tmp_path):
    touch(tmp_path, *(f"images/{name}" for name in ("a.jpg", "b.jpg", "c.jpg", "c.png", "d.jpg")))
    touch(
        tmp_path,
        *(f"profiles/{name}" for name in ("b.jpg", "b-profile.jpg", "c.jpg", "d.jpg", "e-profile.jpg")),
    )
    listing = read_layout("baidu", tmp_path)
    assert keys(listing) == ["images/d.jpg"]
    assert reasons(listing) == [
        ("images/a.jpg", "no_mask"),
        ("images/b.jpg", "two_masks"),
        ("images/c.jpg", "two_images"),
        ("images/c.png", "two_images"),
        ("profiles/e-profile.jpg", "mask_without_image"),
    ]


PICTURES = ("images", "imgs", "img", "pictures", "photos", "JPEGImages")
MASKS = ("masks", "mask", "labels", "annotations", "SegmentationClass", "gt")


@pytest.mark.parametrize("pictures", PICTURES)
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("spelt", [str.lower, str.upper, str.title])
def test_pairs_under_every_name_of_their_folders(tmp_path, pictures, masks, spelt):
    touch(tmp_path, f"{spelt(pictures)}/a b.jpg", f"{spelt(masks)}/a b_mask.PNG", f"{spelt(pictures)}/7.jpg")
    touch(tmp_path, f"{spelt(masks)}/007.mat")
    layout = recognise(tmp_path)
    assert layout == ("eg1800" if (pictures, masks) == ("images", "labels") else "pairs")
    listing = read_layout(layout, tmp_path)
    assert [(Path(one.image).name, Path(one.mask).name) for one in listing.items] == [
        ("7.jpg", "007.mat"),
        ("a b.jpg", "a b_mask.PNG"),
    ]
    assert not listing.unusable and set(sides(listing).values()) == {None}


def test_pairs_say_what_does_not_fit(tmp_path):
    touch(tmp_path, *(f"images/{name}" for name in ("a.jpg", "b.jpg", "c.jpg", "c.png", "d.jpg", "in/e.jpg")))
    touch(
        tmp_path, *(f"masks/{name}" for name in ("b.png", "b_mask.png", "c.png", "d.png", "f.png", "g/h.png"))
    )
    (tmp_path / "masks/notes").symlink_to("nowhere")
    listing = read_layout("pairs", touch(tmp_path, "images/notes.txt"))
    assert keys(listing) == ["images/d.jpg"] and listing.ignored == {".txt": 1}
    assert reasons(listing) == [
        ("images/a.jpg", "no_mask"),
        ("images/b.jpg", "two_masks"),
        ("images/c.jpg", "two_images"),
        ("images/c.png", "two_images"),
        ("images/in/e.jpg", "in_a_subfolder"),
        ("masks/f.png", "mask_without_image"),
        ("masks/g/h.png", "in_a_subfolder"),
        ("masks/notes", "mask_without_image"),
    ]


@pytest.mark.parametrize(("place", "test"), [("", "val.txt"), ("", "test.txt"), ("lists", "TEST.TXT")])
def test_pairs_take_sides_from_lists(tmp_path, place, test):
    touch(tmp_path, *(f"photos/{name}.jpg" for name in "abcd"), *(f"gt/{name}.png" for name in "abcd"))
    touch(tmp_path / place, "train.txt", content="a\nphotos/b.jpg gt/b.png\ngone\n")
    touch(tmp_path / place, test, content="c_mask.png\nb.jpg\n")
    listing = read_layout("pairs", tmp_path)
    assert sides(listing) == {"a.jpg": "train", "b.jpg": "test", "c.jpg": "test"}
    assert reasons(listing) == [("photos/d.jpg", "not_listed"), ("train list: gone", "listed_without_file")]
    assert listing.notes == {"in the lists of both sides, taken as test": 1}


def test_pairs_refuse_a_list_that_is_not_understood(tmp_path):
    touch(touch(tmp_path, "images/a.jpg", "masks/a.png"), "test.txt", content="1-100\n")
    with pytest.raises(PipelineError, match=r"test.txt is a list of pictures, but cannot be read"):
        read_layout("pairs", tmp_path)


AMBIGUOUS = {
    "two folders of pictures": (
        ["images/a.jpg", "photos/b.jpg", "masks/a.png"],
        "has images and photos, and either",
    ),
    "two folders of masks": (["images/a.jpg", "masks/a.png", "gt/a.png"], "has gt and masks, and either"),
    "two spellings": (["images/a.jpg", "masks/a.png", "Masks/a.png"], "has Masks and masks, and either"),
    "two empty folders of masks": (
        ["images/a.jpg", "masks/x.xml", "gt/x.xml"],
        "has gt and masks, and either",
    ),
    "Baidu's set and masks": (
        ["images/a.jpg", "profiles/a.jpg", "masks/a.png"],
        "looks like baidu, but images and",
    ),
    "Baidu's set and pairs beside": (
        ["clean_images/images/a.jpg", "photos/a.jpg", "gt/a.png"],
        "looks like baidu, but photos and gt in it look like pairs of pictures and masks; keep the folders of one",
    ),
    "EG1800 and pairs beside": (
        ["images_data_crop/1.jpg", "GT_png/1.png", "images/a.jpg", "masks/a.png"],
        "looks like eg1800, but images and masks in it",
    ),
    "PortraitNet's copy and other masks": (
        ["Images/1.png", "Labels/1.png", "gt/1.png"],
        "has Labels and gt, and",
    ),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
@pytest.mark.parametrize("layout", ["pairs", "eg1800", "baidu", "crawl"])
def test_a_folder_of_two_layouts_is_refused_whatever_it_is_given_as(tmp_path, kind, layout):
    names, words = AMBIGUOUS[kind]
    touch(tmp_path, *names)
    with pytest.raises(PipelineError) as refused:
        read_layout(layout, tmp_path)
    assert words in str(refused.value)
    (report,) = check([tmp_path], load_params(ROOT / "params.yaml")).folders
    assert report.problem == str(refused.value)


@pytest.mark.parametrize("gone", ["images", "masks"])
def test_a_folder_of_pairs_that_is_away_is_told_and_makes_no_crawl_of_the_other(tmp_path, gone):
    touch(tmp_path, "images/a.jpg" if gone == "masks" else "masks/a.png")
    (tmp_path / gone).symlink_to("share that is gone")
    for layout in ("pairs", "crawl"):
        with pytest.raises(PipelineError, match=f"{gone} is a link to a folder that is not there now"):
            read_layout(layout, tmp_path)


FOLDERS = st.sampled_from(
    [
        *PICTURES,
        *MASKS,
        "Images",
        "Labels",
        "images_data_crop",
        "GT_png",
        "profiles",
        "clean_images",
        "EG1800",
        "x",
    ]
)
STEMS = st.text(st.sampled_from("ab1_0.\u00e9 "), min_size=1, max_size=4).filter(lambda name: name[0] != ".")
ENDINGS = st.sampled_from(["", "_mask", "_MASK"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FOLDERS, FOLDERS), max_size=5))
def test_whatever_folders_there_are_one_layout_is_found_or_a_sentence_says_why_not(places):
    """And what is found is read: as that layout, and as no other one with masks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for outer, inner in places:
            touch(folder, f"{outer}/a.png", f"{outer}/{inner}/b.png")
        try:
            layout = recognise(folder)
        except PipelineError as error:
            assert "keep one of them there" in str(error) or "keep the folders of one layout" in str(error)
            return
        assert layout in ((*READERS,) if places else (None,))
        for other in (*LABELLED, layout or "crawl"):
            if other == layout:
                assert keys(read_layout(other, folder)) == sorted(keys(read_layout(other, folder)))
            else:
                with pytest.raises(PipelineError, match=r"but it looks like|no picture at all"):
                    read_layout(other, folder)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(STEMS, st.sampled_from([".jpg", ".png"])), max_size=6),
    st.lists(st.tuples(STEMS, ENDINGS, st.sampled_from([".png", ".jpg", ".mat"])), max_size=6),
)
def test_pairs_of_any_names_are_joined_or_rejected_and_none_is_lost(images, masks):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        touch(folder, *(f"images/{stem}{suffix}" for stem, suffix in images))
        touch(folder, *(f"masks/{stem}{ending}{suffix}" for stem, ending, suffix in masks))
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        listing = pairs.read(folder)
    used = {
        Path(path).relative_to(folder).as_posix() for one in listing.items for path in (one.image, one.mask)
    }
    rejected = {one.source_key for one in listing.unusable}
    assert len(keys(listing)) == len(set(keys(listing))) and not rejected & used
    for one in listing.items:
        number, other = (joining.number_of(Path(path).stem) for path in (one.image, one.mask))
        assert number == other
    # A mask is rejected by its picture where there is one: with several masks, or for another picture of its number.
    lost = {key for key in there - used - rejected if key.startswith("images/")}
    assert not lost
    pictures = {joining.number_of(Path(key).stem) for key in rejected if key.startswith("images/")}
    orphans = {key for key in there - used - rejected if joining.number_of(Path(key).stem) not in pictures}
    assert not orphans


CSV = "file,url,source,licence,author,retrieved_at\nimages/a.jpg,https://x.org/a.jpg,x,CC0,Ann,2024-01-02\n"


@pytest.mark.parametrize(
    "text",
    [
        CSV,
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        "\ufeff" + CSV.replace("\n", "\r\n"),
        CSV.upper().split("\n")[0] + "\n" + CSV.split("\n")[1],
        CSV.replace("licence", "License").replace("author", "photographer").replace("file,", "path,"),
        CSV.replace("images/a.jpg", "./images/a.jpg"),
        CSV.replace("images/a.jpg", "images\\a.jpg"),
        CSV.replace("images/a.jpg,", "a.jpg,"),
        CSV.replace("images/a.jpg,", ","),
        CSV + "\n,,,,,\n",
    ],
)
def test_crawl_reads_what_the_csv_says(tmp_path, text):
    touch(tmp_path, "images/a.jpg")
    listing = read_layout("crawl", touch(tmp_path, "sources.csv", content=text))
    (item,) = listing.items
    assert (item.source_key, item.url, item.licence, item.author, item.retrieved_at) == (
        "images/a.jpg",
        "https://x.org/a.jpg",
        "CC0",
        "Ann",
        "2024-01-02",
    )
    assert not listing.unusable and not listing.ignored


def test_crawl_lives_with_missing_columns(tmp_path):
    touch(tmp_path, "a.jpg")
    (item,) = read_layout("crawl", touch(tmp_path, "s.csv", content="file,source\na.jpg,flickr\n")).items
    assert (item.url, item.licence, item.author) == ("flickr", None, None)


def test_crawl_says_what_does_not_fit(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "x/same.jpg", "y/same.jpg")
    rows = [
        "a.jpg,",
        "a.jpg,",
        "gone.jpg,",
        "../etc/passwd,",
        "/etc/passwd,",
        ",http://h/gone2.jpg",
        ",http://h/same.jpg",
    ]
    listing = read_layout(
        "crawl", touch(tmp_path, "s.csv", content="file,url,note\n" + "\n".join(rows) + "\n,,hm\n")
    )
    assert keys(listing) == ["a.jpg"]
    assert reasons(listing) == sorted(
        [
            ("s.csv:3", "listed_twice"),
            ("s.csv:4 gone.jpg", "listed_without_file"),
            ("s.csv:5 ../etc/passwd", "outside_folder"),
            ("s.csv:6 /etc/passwd", "outside_folder"),
            ("s.csv:7 http://h/gone2.jpg", "listed_without_file"),
            ("s.csv:8 http://h/same.jpg", "listed_without_file"),
            ("s.csv:9", "listed_without_file"),
            ("b.jpg", "not_listed"),
            ("x/same.jpg", "not_listed"),
            ("y/same.jpg", "not_listed"),
        ]
    )


FULL = "file,licence,author\na.jpg,CC BY-NC,Ann\n"
UNDERSTOOD = {
    "sep= first": "sep=;\n" + FULL.replace(",", ";"),
    "sep= in quotes": '"sep=|"\r\n' + FULL.replace(",", "|"),
    "sep= of a tab": "sep=\t\n" + FULL.replace(",", "\t"),
    "UTF-16": FULL.encode("utf-16"),
    "UTF-16 of the other order": b"\xfe\xff" + FULL.encode("utf-16-be"),
    "bars": FULL.replace(",", "|"),
    "empty lines first": "\n\n,,\n" + FULL,
    "a comment first": "# crawled in May, by Ann; all of it\n" + FULL,
    "a comment is the header": "#" + FULL,
    "a comment like the header": "# file,url\n" + FULL,
    "other spellings": "File Name,License-Name,Photographer\na.jpg,CC BY-NC,Ann\n",
    "capitals": "FILE_NAME, LICENCE ,Credit\na.jpg, CC BY-NC,Ann\n",
    "spaces before quotes": 'file, licence, author\na.jpg, "CC BY-NC", "Ann"\n',
    "cells without a column, empty": "file,licence,author\na.jpg,CC BY-NC,Ann,,\n",
    "a separator in the title of another column": "file,licence,author,note; all\na.jpg,CC BY-NC,Ann,x\n",
    "old line ends": FULL.replace("\n", "\r"),
}


@pytest.mark.parametrize("kind", UNDERSTOOD)
@pytest.mark.parametrize("name", ["sources.csv", "SOURCES.TSV"])
def test_a_table_is_read_where_there_is_no_doubt(tmp_path, kind, name):
    listing = read_layout("crawl", touch(touch(tmp_path, "a.jpg"), name, content=UNDERSTOOD[kind]))
    (item,) = listing.items
    assert (item.licence, item.author, item.source_key) == ("CC BY-NC", "Ann", "a.jpg")
    assert not listing.unusable and not listing.ignored


REFUSED = {
    "something else": (
        "month,sum\n1,2\n",
        "its header is 'month,sum', expected one of file, path, filename, image, url",
    ),
    "nothing": ("", "its header is ''"),
    "no header": ("a.jpg,CC0\n", "its header is 'a.jpg,CC0'"),
    "UTF-16 without its mark": (FULL.encode("utf-16-le"), "NUL characters, as UTF-16 without a mark"),
    "half a UTF-16": (FULL.encode("utf-16")[:-1], "is no UTF-16; save it as UTF-8"),
    "latin-1": (FULL.replace("Ann", "Zo\u00eb").encode("latin-1"), "line 2 is no UTF-8; save it as UTF-8"),
    "NULs": (FULL.replace("Ann", "A\0nn"), "NUL characters"),
    "a quote that never ends": ('file,author\na.jpg,"Ann\nb.jpg,Bob\n', "line 2 is not CSV"),
    "words after a quote": ('file,author\na.jpg,"Ann" Smith\n', "line 2 is not CSV"),
    "a comma without quotes": (
        "file,author,licence\na.jpg,Smith, Ann,CC BY\n",
        "line 2 has 4 cells, but the header 3",
    ),
    "a licence under a strange name": (
        "file,licensing\na.jpg,NC\n",
        "the column 'licensing' seems to tell licences",
    ),
    "two files": ("file,image\na.jpg,b.jpg\n", "line 2 names several files, a.jpg and b.jpg"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_table_that_is_not_understood_stops_ingest_and_check(tmp_path, kind):
    content, words = REFUSED[kind]
    touch(touch(tmp_path, "a.jpg", "b.jpg"), "sources.csv", content=content)
    with pytest.raises(PipelineError) as stopped:
        read_layout("crawl", tmp_path)
    assert words in str(stopped.value) and str(stopped.value).startswith(f"{tmp_path / 'sources.csv'}")
    (report,) = check([tmp_path], load_params(ROOT / "params.yaml")).folders
    assert report.problem == str(stopped.value)


UNREAD = (
    ".json .ndjson .jsonl .xlsm .ods .tab .psv .csv.gz .numbers .xml .yaml .sqlite .feather .pkl .txt .xmp"
)


@pytest.mark.parametrize("suffix", UNREAD.split())
@pytest.mark.parametrize("stem", ["sources", "deep/a.jpg"])
def test_whatever_may_hold_licences_and_is_not_read_stops(tmp_path, suffix, stem):
    touch(tmp_path, "a.jpg", "deep/b.jpg", f"{stem}{suffix}")
    with pytest.raises(PipelineError, match=r"may tell the photographs' licences, but .* is not read"):
        read_layout("crawl", tmp_path)


def test_what_tells_nothing_of_a_picture_is_left_aside(tmp_path):
    names = ("README.txt", "licence.md", "LICENSE-CC0.pdf", "film.mp4", "get.py", ".DS_Store", "Thumbs.db")
    listing = read_layout("crawl", touch(tmp_path, "a.jpg", *names))
    assert keys(listing) == ["a.jpg"] and not listing.unusable and listing.ignored.total() == 5


@pytest.mark.parametrize(
    "column", ["Lizenz", "lic", "CC", "permission", "Usage", "attribution", "photographer_name", "owner"]
)
def test_a_column_that_looks_like_terms_or_authors_is_refused(tmp_path, column):
    touch(touch(tmp_path, "a.jpg"), "s.csv", content=f"file,{column}\na.jpg,x\n")
    with pytest.raises(PipelineError, match=f"the column '{column}' seems to tell licences or authors"):
        read_layout("crawl", tmp_path)


def test_what_is_not_read_of_a_table_is_noted(tmp_path):
    rows = "a.jpg,http://x/a.jpg,http://y/a,CC0,3,x\nb.jpg,http://x/b.jpg,,CC0,4,\nc.jpg,http://x/c.jpg\n"
    text = "file,url,source_url,licence,width,\n" + rows
    listing = read_layout("crawl", touch(touch(tmp_path, "a.jpg", "b.jpg", "c.jpg"), "s.csv", content=text))
    assert [item.url for item in listing.items] == ["http://x/a.jpg", "http://x/b.jpg", "http://x/c.jpg"]
    assert listing.notes == {
        "cells in the column 'width' of s.csv, which is not read": 2,
        "cells in the nameless column 6 of s.csv, which is not read": 1,
        "lines of s.csv with fewer cells than its header; the missing ones count as empty": 1,
        "lines of s.csv that tell several of url, of which the first is kept": 1,
    }
    (report,) = check([tmp_path], load_params(ROOT / "params.yaml")).folders
    assert "2 cells in the column 'width' of s.csv, which is not read." in report.notes


def test_a_list_that_is_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(eg1800(tmp_path) / "val.txt")
    with pytest.raises(PipelineError, match=r"is a list of pictures, but cannot be read .*pipe or device"):
        read_layout("eg1800", tmp_path)


@pytest.mark.parametrize("name", ["sources.xlsx", "deep/sources.csv", "deep/list.jsonl", "sources.csv/"])
def test_a_table_where_or_as_it_is_not_read_stops_too(tmp_path, name):
    touch(tmp_path, "a.jpg", "deep/b.jpg")
    if name.endswith("/"):
        (tmp_path / name[:-1]).symlink_to("nowhere")
    else:
        touch(tmp_path, name, content=FULL)
    with pytest.raises(
        PipelineError, match=r"is not read; save it as CSV|lies in a folder inside|is no file, or a link"
    ):
        read_layout("crawl", tmp_path)


def test_all_columns_that_tell_a_licence_count(tmp_path):
    url = "https://creativecommons.org/licenses/by-nc/4.0/"
    text = f"file,licence,license_url,rights,creator,credit\na.jpg,CC,{url},CC,Ann,Museum\nb.jpg,,{url},,,\n"
    one, other = read_layout("crawl", touch(touch(tmp_path, "a.jpg", "b.jpg"), "s.csv", content=text)).items
    assert (one.licence, one.author, other.licence) == (f"CC; {url}", "Ann; Museum", url)


def test_rows_of_several_tables_are_joined_and_those_that_disagree_believed_nobody(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    touch(
        tmp_path,
        "one.csv",
        content="file,url,licence\na.jpg,http://x,CC0\nb.jpg,http://y,\nc.jpg,,CC0\nc.jpg,,CC0\n",
    )
    touch(tmp_path, "two.csv", content="file,licence\na.jpg,CC BY-NC\nb.jpg,CC0\n")
    listing = read_layout("crawl", tmp_path)
    assert [(one.source_key, one.url, one.licence) for one in listing.items] == [
        ("b.jpg", "http://y", "CC0"),
        ("c.jpg", None, "CC0"),
    ]
    assert reasons(listing) == [
        ("a.jpg", "rows_disagree"),
        ("one.csv:5", "listed_twice"),
        ("two.csv:2", "listed_twice"),
    ]
    assert "its licence is 'CC BY-NC' and 'CC0', say one.csv:2 and two.csv:2" in {
        one.detail for one in listing.unusable
    }
    assert listing.notes == {"lines of a second CSV about the same file, joined with the first": 1}


def test_a_table_in_a_layout_without_tables_is_noted(tmp_path):
    listing = read_layout("eg1800", touch(eg1800(tmp_path), "sources.csv", "terms.json", content=FULL))
    assert listing.notes == {"tables not read: this layout has none, so no licence is known": 2}


COMPOSED, APART = "Zo\u00e9", "Zoe\u0301"  # the same name, as Linux and as macOS write it


@pytest.mark.parametrize(("one", "other"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_names_meet_whatever_their_unicode_form(tmp_path, one, other):
    touch(tmp_path / "eg", f"images_data_crop/{one}.jpg", f"GT_png/{other}_mask.png")
    touch(tmp_path / "eg", "val.txt", content=f"{other}\n")
    assert sides(read_layout("eg1800", tmp_path / "eg")) == {f"{one}.jpg": "test"}
    touch(tmp_path / "baidu", f"images/{one}.jpg", f"profiles/{other}-profile.jpg")
    assert keys(read_layout("baidu", tmp_path / "baidu")) == [f"images/{one}.jpg"]
    for name, row in (("file", f"{other}/{other}.jpg"), ("url", f"http://x/{quote(other)}.jpg")):
        touch(tmp_path / name, f"{one}/{one}.jpg")
        touch(tmp_path / name, "s.csv", content=f"{name},licence\n{row},CC0\n")
        listing = read_layout("crawl", tmp_path / name)
        assert [(item.source_key, item.licence) for item in listing.items] == [(f"{one}/{one}.jpg", "CC0")]
        assert not listing.unusable


def test_two_files_whose_names_differ_in_their_unicode_form_only_are_not_mixed_up(tmp_path):
    touch(
        tmp_path / "eg",
        *(f"images_data_crop/{name}.jpg" for name in (COMPOSED, APART)),
        f"GT_png/{APART}.png",
    )
    touch(tmp_path / "baidu", *(f"images/{name}.jpg" for name in (COMPOSED, APART)), f"profiles/{APART}.jpg")
    touch(tmp_path / "pairs", *(f"images/{name}.jpg" for name in (COMPOSED, APART)), f"masks/{APART}.jpg")
    for layout in ("eg", "baidu", "pairs"):
        listing = read_layout("eg1800" if layout == "eg" else layout, tmp_path / layout)
        assert not listing.items and [one.reason for one in listing.unusable] == ["two_images", "two_images"]
    touch(tmp_path / "crawl", f"{COMPOSED}.jpg", f"{APART}.jpg")
    touch(tmp_path / "crawl", "s.csv", content=f"file,licence\n{APART}.jpg,CC0\n")
    listing = read_layout("crawl", tmp_path / "crawl")
    assert not listing.items
    assert sorted(one.reason for one in listing.unusable) == [
        "listed_without_file",
        "two_images",
        "two_images",
    ]


NUMBERS = {
    "savetxt": b"1.000000000000000000e+00\n2.500000000000000000e+01\n",
    "floats": b"1.0\n25.\n",
    "UTF-16 of PowerShell": "1\r\n25\r\n".encode("utf-16"),
    "comments": b"# the test side\n1\n25 # blurry\n",
    "pictures and masks": b"Images/00001.png Labels/00001_mask.png\n00025.JPG,00025.png\n",
    "doubled": b"1\n25\n00025.jpg\n",
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_a_list_however_they_are_written(tmp_path, kind):
    eg1800(tmp_path, ["00001.jpg", "00002.jpg", "00025.jpg"], ["1.png", "2.png", "25.png"])
    touch(touch(tmp_path, "val.txt", content=NUMBERS[kind]), "train.txt", content="2\n")
    listing = read_layout("eg1800", tmp_path)
    assert sides(listing) == {"00001.jpg": "test", "00002.jpg": "train", "00025.jpg": "test"}


def test_a_name_that_is_there_stands_for_itself_whatever_it_looks_like(tmp_path):
    names = ["2.5e+01", "1-3", "#1", "my photo", "1e3", "v1.5"]
    eg1800(tmp_path, [f"{name}.jpg" for name in names], [f"{name}_mask.png" for name in names])
    listing = read_layout("eg1800", touch(tmp_path, "val.txt", content="\n".join(names)))
    assert len(listing.items) == len(names) and not listing.unusable


LISTS = {
    "a fraction": ("val.txt", b"1\n2.55e+01\n", "line 2, '2.55e.01', is no whole number"),
    "below 0": ("val.txt", b"-1\n", "is no whole number"),
    "thousands": ("val.txt", b"1,138\n", "is not one number or name"),
    "a range": ("val.txt", b"1-100\n", "is not one number or name"),
    "a row of numbers": ("val.txt", b"1 2 3\n", "is not one number or name"),
    "an index beside": ("val.txt", b"0,1\n1,2\n", "is not one number or name"),
    "flags": ("val.txt", b"0\n1\n1\n", "0 and 1 only, as flags do"),
    "nothing": ("val.txt", b"\n# nothing\n", "names no picture"),
    "a .mat of fractions": ("testlist.mat", matlab(a=np.array([[1.0, 2.5]])), "2.5 is no whole number"),
    "a .mat of flags": ("testlist.mat", matlab(a=np.array([[1, 0, 1, 1]], np.uint8)), "0 and 1 only"),
    "a logical .mat": (
        "testlist.mat",
        matlab(a=np.array([[True, False]])),
        "it holds flags",
    ),
    "a .mat of NaN": ("testlist.mat", matlab(a=np.array([[1.0, np.nan]])), "nan is no whole number"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_is_not_understood_is_refused_by_its_line(tmp_path, kind):
    name, content, words = LISTS[kind]
    with pytest.raises(
        PipelineError, match=rf"{name} is a list of pictures, but cannot be read .*{words}.*mend it"
    ):
        read_layout("eg1800", touch(eg1800(tmp_path), name, content=content))


@given(st.integers(0, 10**9), st.sampled_from(["%d", "%05d", "%.1f", "%.18e", "%.10E", "%d.jpg"]))
def test_a_whole_number_is_the_same_in_every_notation(number, notation):
    assert read_list([notation % number], stem_of, ()) in ([str(number)], [notation % number])
    assert numbered(stem_of(read_list([notation % number], stem_of, ())[0])) == f"{number:05d}"


def test_links_that_lead_nowhere_are_named_wherever_they_are(tmp_path):
    touch(tmp_path / "crawl", "a.jpg")
    for name in ("batch.2", "b.jpg", "c"):
        (tmp_path / "crawl" / name).symlink_to("nowhere")
    listing = read_layout("crawl", tmp_path / "crawl")
    assert keys(listing) == ["a.jpg", "b.jpg", "c"]  # whose bytes ingest cannot have, and says so
    assert reasons(listing) == [("batch.2", "unreadable")]
    eg1800(tmp_path / "eg")
    (tmp_path / "eg/images_data_crop/part.1").symlink_to("part.1")
    assert reasons(read_layout("eg1800", tmp_path / "eg")) == [("images_data_crop/part.1", "unreadable")]
    (tmp_path / "eg/lists").symlink_to("nowhere")
    with pytest.raises(PipelineError, match="lists is a link to a folder that is not there now"):
        read_layout("eg1800", tmp_path / "eg")


def test_crawl_walks_folders_but_not_in_circles(tmp_path):
    touch(tmp_path, "a.jpg", "deep/b.jpg", "deep/er/c.jpg")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    listing = read_layout("crawl", tmp_path)
    assert keys(listing) == ["a.jpg", "deep/b.jpg", "deep/er/c.jpg", "self.jpg"]
    assert reasons(listing) == [("deep/loop", "link_loop")]


def test_a_csv_file_that_is_a_loop_of_links_is_an_item_that_ingest_rejects(tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert keys(read_layout("crawl", touch(tmp_path, "s.csv", content="file\nloop.jpg\n"))) == ["loop.jpg"]


@pytest.mark.parametrize("layout", READERS)
def test_the_order_of_the_files_makes_no_difference(tmp_path, layout, monkeypatch):
    touch(eg1800(tmp_path / "eg1800"), "train.txt", "val.txt", content="1\n2\n")
    touch(
        tmp_path / "baidu",
        *(f"images/{name}.jpg" for name in "abc"),
        *(f"profiles/{name}.jpg" for name in "abcd"),
    )
    touch(tmp_path / "crawl", "b.jpg", "a.jpg", "z/c.jpg", "y/c.jpg")
    touch(
        tmp_path / "pairs",
        *(f"images/{name}.jpg" for name in "cab"),
        *(f"masks/{name}.png" for name in "bcd"),
    )
    touch(
        tmp_path / "img2dataset", *(f"{shard}/{name}.jpg" for shard in ("00000", "00001") for name in "cab")
    )
    touch(tmp_path / "img2dataset", *(f"00001/{name}.json" for name in "dbc"), content="{}")
    before = read_layout(layout, tmp_path / layout)
    forwards = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(list(forwards(self))))
    after = read_layout(layout, tmp_path / layout)
    assert (after.items, after.unusable) == (before.items, before.unusable)
    assert keys(after) == sorted(keys(after))


@pytest.mark.parametrize(
    ("layout", "names", "message"),
    [
        ("eg1800", None, r"expected a folder in the layout eg1800 at .*, found nothing"),
        ("eg1800", [], r"no picture at all in .*; expected images_data_crop/00001.jpg"),
        ("crawl", ["readme.txt"], r"no picture at all in"),
        (
            "eg1800",
            ["images/a.jpg", "profiles/a.jpg"],
            r"given as eg1800, but it looks like baidu.*BAIDU=...",
        ),
        ("crawl", ["images_data_crop/1.jpg", "GT_png/1.png"], r"given as crawl, but it looks like eg1800"),
        (
            "crawl",
            ["images/1.jpg", "masks/1.png"],
            r"like pairs.*Give it as PAIRS=... \(layout: pairs\) instead, or, where both hold photographs, rename",
        ),
        ("pairs", ["Images/1.jpg", "Labels/1.png"], r"given as pairs, but it looks like eg1800.*EG1800=..."),
        (
            "pairs",
            ["images/1.jpg"],
            r"given as pairs, but it looks like crawl; expected images/NAME.jpg with masks/",
        ),
        (
            "pairs",
            ["images/a.xml", "masks/a.xml"],
            r"no picture at all in .*; expected images/NAME.jpg with masks",
        ),
        ("baidu", ["a.jpg"], r"given as baidu, but it looks like crawl"),
        ("baidu", ["images/readme.md", "profiles/readme.md"], r"no picture at all"),
    ],
)
def test_a_folder_that_cannot_be_meant(tmp_path, layout, names, message):
    folder = tmp_path / "data"
    if names is not None:
        folder.mkdir()
        touch(folder, *names)
    with pytest.raises(PipelineError, match=message):
        read_layout(layout, folder)


def test_a_file_where_a_folder_is_expected(tmp_path):
    touch(tmp_path, "data")
    with pytest.raises(PipelineError, match="found a file"):
        read_layout("crawl", tmp_path / "data")


def test_an_absent_source_holds_nothing(tmp_path):
    assert read_layout("absent", tmp_path / "anything").items == []


@pytest.mark.parametrize("name", ["weiß ü.jpg", "a b'\"$;.jpg", "new\nline.jpg", "-rf.jpg", "日本.jpg"])
def test_odd_names_are_listed_and_printable(tmp_path, name):
    (item,) = read_layout("crawl", touch(tmp_path, name)).items
    assert item.source_key.isprintable() and Path(item.image).read_bytes() == b"x"


def test_a_name_that_is_no_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    (item,) = read_layout("crawl", tmp_path).items
    assert item.source_key == "\\xff\\xfe.jpg" and Path(item.image).read_bytes() == b"x"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_printable_can_be_written_anywhere(name):
    shown = printable(name)
    assert shown.isprintable() and shown.encode()
    assert shown == name or not name.isprintable()


@pytest.mark.real_data
def test_the_real_folders_are_recognised(real_data):
    for layout, count in {"eg1800": 1338, "baidu": 1003, "crawl": 811, "faces": 483}.items():
        kind = "pairs" if layout == "faces" else layout
        assert recognise(real_data / layout) == kind
        listing = read_layout(kind, real_data / layout)
        assert (len(listing.items), listing.unusable) == (count, [])


def test_the_table_of_terms_beside_pairs_tells_each_picture_s(tmp_path):
    names = [f"images/{one}.jpg" for one in "abc"] + [f"masks/{one}.png" for one in "abc"]
    lines = [
        "file,licence,author,url",
        "images/a.jpg,CC0,Ann,http://x",
        "images/c.jpg,,,",
        "images/d.jpg,CC0,,",
    ]
    touch(touch(tmp_path, *names), "sources.csv", content="\n".join([*lines, "images/a.jpg,MIT,,", ""]))
    listing = read_layout("pairs", tmp_path)
    assert [(one.source_key, one.licence, one.author, one.url) for one in listing.items] == [
        ("images/a.jpg", "CC0", "Ann", "http://x"),
        ("images/b.jpg", None, None, None),
        ("images/c.jpg", None, None, None),
    ]
    assert reasons(listing) == [
        ("sources.csv:4 images/d.jpg", "listed_without_file"),
        ("sources.csv:5 images/a.jpg", "listed_twice"),
    ]
    assert listing.notes == {"pictures that sources.csv has no line of": 1}


def test_a_table_of_terms_beside_pairs_that_is_not_understood_stops(tmp_path):
    touch(touch(tmp_path, "images/a.jpg", "masks/a.png"), "sources.csv", content="a;b\n1;2\n")
    with pytest.raises(PipelineError, match=r"sources\.csv has no column that is known to name a picture"):
        read_layout("pairs", tmp_path)
