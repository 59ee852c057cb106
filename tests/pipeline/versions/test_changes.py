"""What `python -m pipeline diff` says of two versions: by hand, with and without what DVC keeps."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from ruamel.yaml import YAML

from pipeline.commands import compare, diff
from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET
from pipeline.core.records import read_records
from pipeline.versions.changes import CHANGE_KINDS, changed_pictures, with_overlap
from pipeline.versions.revision import WORKSPACE, open_versions
from pipeline.versions.tables import dataset_of, path_from_project, reviews_of
from tests.pipeline.versions.conftest import Made
from tests.project import commit, run, set_params


def changes(old: str, new: str) -> pd.DataFrame:
    versions = open_versions(old, new)
    tables = [dataset_of(version) for version in versions]
    return with_overlap(changed_pictures(*tables), *versions)


def printed(capsys: pytest.CaptureFixture[str], *names: str, masks: bool = True) -> str:
    diff.main((names[0], names[1]), None, None, masks)
    return capsys.readouterr().out


def test_each_kind_of_change_is_found_and_nothing_else(versions: Made) -> None:
    found = changes("v1", "v2")
    assert {kind: sorted(found.loc[found[kind], "id"]) for kind in CHANGE_KINDS} == versions.ids
    masks = found[found["mask"]]
    assert ((masks["iou"] > 0.4) & (masks["iou"] < 0.95)).all()
    backwards = changes("v2", "v1")
    assert sorted(backwards.loc[backwards["added"], "id"]) == versions.ids["removed"]
    assert changes("v2", "v2").empty


def test_the_working_tree_is_what_lies_here(versions: Made) -> None:
    assert changes("v2", WORKSPACE).empty
    mask = versions.folder / read_records(Path("data/dataset"))["mask"][0]
    content = mask.read_bytes()
    mask.unlink()
    with pytest.raises(
        PipelineError, match=f"expected data/dataset/masks/{mask.name} in the working tree, found no such"
    ):
        changes("v2", WORKSPACE)
    mask.write_bytes(content + b"\0")
    assert changes("v2", WORKSPACE).empty, "other bytes, the same pixels"


def test_the_report_groups_by_source_licence_and_reviewer(
    versions: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "v1", "v2")
    assert text.startswith("# From v1 (")
    for line in (
        "| pictures | 76 | 77 | +1 |",
        "| on the side test | 64 | 64 | +0 |",
        "| SINet, foreground IoU on test | 90.00 % | 92.00 % | +2.00 |",
        "| SINet, two-class mIoU on test | not here | not here | |",
        "| added | 3 | |",
        "| moved between sides | 1 | |",
        "| kind of mask changed | 1 | |",
        "## By licence",
        "| curator-1 | 2 | 2 | | | | 1 | |",
        "| curator-0 | 2 | 1 | | | | | 1 |",
    ):
        assert line in text, line
    assert "| mask changed | 3 | IoU of old and new: median 0." in text
    [moved] = versions.ids["moved"]
    assert f"| `{moved}` | eg1800 | train | dev |" in text
    assert all(f"| `{one}` |" in text for one in versions.ids["mask"])


def test_nothing_changed_is_said(versions: Made, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "v2", WORKSPACE)
    assert text.endswith("\n\nBoth hold the same pictures with the same masks on the same sides.\n")


def test_pixels_are_fetched_only_of_what_changed(versions: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """In a fresh clone the cache holds, after a diff, the tables, the lists of files and the masks that changed."""
    clone = versions.folder.with_name("clone")
    run(versions.folder, "git", "clone", "--quiet", ".", str(clone))
    run(clone, "python", "-m", "pipeline", "diff", "v1", "v2", "--no-masks")
    tables = sum(path.is_file() for path in (clone / ".dvc/cache/files").rglob("*"))
    assert tables == 2 * 2, "a list of files and a table of each version"
    run(clone, "python", "-m", "pipeline", "diff", "v1", "v2")
    assert sum(path.is_file() for path in (clone / ".dvc/cache/files").rglob("*")) == tables + 2 * 3


def test_without_the_remote_git_and_dvc_lock_say_what_they_know(
    versions: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(".dvc/cache")
    run(versions.folder, "dvc", "remote", "modify", "store", "url", str(versions.folder / "nowhere"))
    text = printed(capsys, "v1", "v2")
    assert "Which pictures changed is not known: data/dataset/records.parquet of v1 (" in text
    assert "is not in DVC's cache, nor in the remote; `dvc fetch" in text
    assert "| `data/dataset` | 153 files, " in text
    assert "| SINet, foreground IoU on test | 90.00 % | 92.00 % | +2.00 |" in text, "the headline is in git"
    assert "| on the side test | 64 | 64 | +0 |" in text
    assert "| added | 3 |" in text and "| moved | 1 |" in text, "the sides are in git"
    assert "| curator-0 | 2 | 1 | | 1 | |" in text, "the reviews are in git"
    run(versions.folder, "dvc", "remote", "remove", "store")
    assert "and DVC has no default remote" in printed(capsys, "v1", "v2")
    with pytest.raises(PipelineError, match="without it there is no page"):
        diff.main(("v1", "v2"), None, Path("data/page.html"), True)


def test_a_page_that_git_would_take_is_refused(versions: Made) -> None:
    with pytest.raises(
        PipelineError, match=r"or one that git ignores, found page.html: pictures do not belong into"
    ):
        diff.main(("v1", "v2"), None, Path("page.html"), True)
    assert not Path("page.html").exists()


def test_a_lost_mask_is_counted_and_the_rest_compared(
    versions: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    [version] = open_versions("v1")
    first = versions.ids["mask"][0]
    [md5] = version.hashes([f"data/dataset/masks/{first}.png"]).values()
    for cache in (
        version.objects.path(md5),
        versions.folder.with_name("store") / "files/md5" / md5[:2] / md5[2:],
    ):
        cache.unlink(missing_ok=True)
    run(versions.folder, "dvc", "remote", "modify", "store", "url", str(versions.folder / "nowhere"))
    assert "; the pixels of 1 were not looked at |" in printed(capsys, "v1", "v2")


def test_figures_of_an_earlier_run_are_not_told_as_those_of_a_version(
    versions: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where evaluate ran again, and nobody ran headline before the commit."""
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"]["headline"] = {"cmd": "", "deps": [{"path": "data/dataset", "md5": "0" * 32 + ".dir"}]}
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    commit(versions.folder, "measured again")
    text = printed(capsys, "v1", "HEAD")
    assert "| SINet, foreground IoU on test | 90.00 % | not here | |" in text
    assert (
        "Figures of HEAD (" in text
        and "headline.json is of another data/dataset; `dvc repro headline`" in text
    )


def test_odd_names_and_a_million_pictures_stand_in_the_tables(
    versions: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    run(versions.folder, "git", "tag", "a|b", "v1")
    Path("headline.json").write_text('{"leaks": 1234567}')
    text = printed(capsys, "a|b", WORKSPACE)
    assert "| | a\\|b (" in text
    assert "| pictures left out to keep the sides apart | 0 | 1,234,567 | +1,234,567 |" in text
    compare.main(("a|b", "v2"), 0.005, None)
    assert "| foreground IoU | pictures | a\\|b (" in capsys.readouterr().out


def test_reviews_outside_are_those_of_the_working_tree_alone(versions: Made, tmp_path: Path) -> None:
    shutil.copytree("annotations/reviews", tmp_path / "outside")
    set_params(versions.folder, {"reviews": {"path": str(tmp_path / "outside/drawn")}})
    commit(versions.folder, "reviews elsewhere")
    assert len(reviews_of(open_versions(WORKSPACE)[0])) == 3
    Path("params.yaml").write_text("<<<<<<< HEAD\nreviews: {}\n")
    with pytest.raises(PipelineError, match=r"expected `reviews.path` in params.yaml of the working tree"):
        reviews_of(open_versions(WORKSPACE)[0])


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\n{}", "[]"])
def test_a_headline_that_git_could_not_merge_is_named(versions: Made, content: str) -> None:
    Path("headline.json").write_text(content)
    with pytest.raises(PipelineError, match=r"headline.json of the working tree.*run `dvc repro headline`"):
        diff.main(("v1", WORKSPACE), None, None, True)


def test_a_folder_without_a_project_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PipelineError, match=r"expected the folder of a project, where dvc.yaml lies, found /"
    ):
        open_versions("v1")


@pytest.mark.parametrize("name", ["v9", "workspaces", "--all"])
def test_an_unknown_revision_is_named(versions: Made, name: str) -> None:
    with pytest.raises(PipelineError, match=f"found '{name}', which git does not know"):
        open_versions("v1", name)


def test_a_version_without_dvc_lock_or_of_another_recipe_is_refused(versions: Made) -> None:
    run(versions.folder, "git", "rm", "--quiet", "dvc.lock")
    commit(versions.folder, "no lock")
    with pytest.raises(PipelineError, match=r"expected dvc.lock in HEAD .*, found none"):
        dataset_of(open_versions("HEAD")[0])
    pd.DataFrame({"id": ["a"]}).to_parquet("data/dataset/records.parquet")
    with pytest.raises(PipelineError, match=r"found none called source, label, .* of an earlier recipe"):
        dataset_of(open_versions(WORKSPACE)[0])


@pytest.mark.parametrize("path", ["masks/a.png", "data/dataset/masks/a.png"])
def test_paths_from_the_table_and_from_the_project_are_one(path: str) -> None:
    assert path_from_project(DATASET, path) == "data/dataset/masks/a.png"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/elsewhere/reviews", r"expected `reviews.path` inside the repository in HEAD .*, found /elsewhere"),
        ("../reviews", r"expected `reviews.path` inside the repository in HEAD .*, found \.\./reviews"),
        (None, r"expected `reviews.path` in params.yaml of HEAD .*, found none"),
    ],
)
def test_reviews_that_git_does_not_keep_are_refused_by_name(
    versions: Made, path: str | None, message: str
) -> None:
    """What lies in that folder today are no reviews of an earlier version."""
    params = Path("params.yaml")
    content = YAML().load(params.read_text())
    if path is None:
        del content["reviews"]
    else:
        content["reviews"]["path"] = path
    YAML().dump(content, params)
    commit(versions.folder, "reviews elsewhere")
    with pytest.raises(PipelineError, match=message):
        dataset_of(open_versions("HEAD")[0])
