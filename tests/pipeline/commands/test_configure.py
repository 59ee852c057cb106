"""Profiles and one's own folders become params.yaml."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.commands.configure import UrlList, configure, profiles, render
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params

NOTHING = {"eg1800": None, "pairs": None, "baidu": None, "crawl": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my pictures"
    made.mkdir()
    (tmp_path / "dvc.yaml").touch()
    return made


def test_the_profiles() -> None:
    assert profiles() == ["sample", "light", "loopback", "official", "paper", "real", "tune"]


@pytest.mark.parametrize("profile", ["real", "light", "tune", "paper", "official"])
def test_a_profile_gives_checked_params_with_the_folder_in_it(
    profile: str, folder: Path, tmp_path: Path
) -> None:
    params_file = tmp_path / "params.yaml"
    difference = configure(profile, {**NOTHING, "eg1800": folder}, params_file)
    params = load_params(params_file)
    assert params.sources.names() == ["baidu", "crawl", "eg1800"]
    assert params.sources["eg1800"].path == str(folder)
    assert params.sources["baidu"].layout == params.sources["crawl"].layout == "absent"
    small = profile in ("light", "tune")
    assert params.teacher.encoder == ("tu-tf_efficientnet_lite0" if small else "se_resnext50_32x4d")
    assert f"+  eg1800: {{role: labelled, layout: eg1800, path: {folder}}}" in difference
    assert configure(profile, {**NOTHING, "eg1800": folder}, params_file) == ""


@pytest.mark.parametrize("profile", ["paper", "official"])
def test_the_published_recipes_are_full_length(profile: str, folder: Path) -> None:
    content = yaml.safe_load(render(profile, {**NOTHING, "eg1800": folder}))
    phases = content["train"]["phases"]
    assert (phases["encoder"]["epochs"], phases["full"]["epochs"]) == (300, 300)
    assert (phases["encoder"]["batch"], phases["full"]["batch"]) == (36, 24)
    assert content["teacher"]["weights"] == "imagenet"


def test_sample_goes_back_to_the_committed_state(folder: Path, tmp_path: Path, root: Path) -> None:
    params_file = tmp_path / "params.yaml"
    configure("real", {**NOTHING, "baidu": folder}, params_file)
    configure("sample", NOTHING, params_file)
    assert params_file.read_bytes() == (root / "params.yaml").read_bytes()


def lines_of(text: str) -> list[str]:
    """The lines of the section `sources`."""
    return text.partition("\nsources:")[2].partition("\nsample:")[0].strip().splitlines()[1:]


def absent(name: str, role: str) -> str:
    return f"  {name}: {{role: {role}, layout: absent, path: pipeline/commands/profiles/absent}}"


def test_pairs_take_the_place_of_the_labelled_source_or_stand_beside_it(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    mine = f"  pairs: {{role: labelled, layout: pairs, path: {folder}}}"
    alone = [mine, absent("baidu", "bodies"), absent("crawl", "crawl")]
    assert lines_of(render("real", {**NOTHING, "pairs": folder})) == alone
    both = render("real", {**NOTHING, "eg1800": other, "pairs": folder})
    assert lines_of(both) == [f"  eg1800: {{role: labelled, layout: eg1800, path: {other}}}", *alone]
    crawled = lines_of(render("light", {**NOTHING, "pairs": folder, "crawl": other}))
    assert crawled == [*alone[:2], f"  crawl: {{role: crawl, layout: crawl, path: {other}}}"]
    full_bodies = lines_of(render("light", {**NOTHING, "baidu": folder}))
    assert [line.split(":")[0].strip() for line in full_bodies] == ["eg1800", "baidu", "crawl"]
    params_file = tmp_path / "params.yaml"
    configure("real", {**NOTHING, "pairs": folder, "crawl": other}, params_file)
    assert "kept" not in configure("light", {**NOTHING, "eg1800": other, "pairs": folder}, params_file)
    assert "kept" not in configure("sample", NOTHING, params_file)


def test_a_list_of_addresses_is_fetched_to_a_source_of_its_own(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("url\nhttps://example.org/a.jpg\n")
    params_file, urls = tmp_path / "params.yaml", UrlList(listed, "me@example.org")
    configure("real", {**NOTHING, "pairs": folder}, params_file, urls)
    params = load_params(params_file)
    assert params.crawl.lists == {"web": str(listed)} and params.crawl.fetch.contact == "me@example.org"
    assert params.sources.of_role("crawl")["web"].path == "data/crawl/web"
    assert params.sources.names() == ["baidu", "pairs", "web"]
    assert "kept" not in configure(
        "light", {**NOTHING, "pairs": folder, "crawl": tmp_path}, params_file, urls
    )
    assert "kept" not in configure("loopback", NOTHING, params_file)
    params = load_params(params_file)
    assert params.crawl.lists == {"crawl": "drawn_urls.csv"} and params.crawl.fetch.allow_private
    assert params.sources["crawl"].path == "data/crawl/crawl" and params.sources["baidu"].layout == "baidu"
    with pytest.raises(PipelineError, match=r"URLS=.*: expected a CSV of addresses, found a folder"):
        configure("real", {**NOTHING, "pairs": folder}, params_file, UrlList(folder, "me@example.org"))
    with pytest.raises(PipelineError, match="the profile loopback draws its own people and takes no URLS"):
        configure("loopback", NOTHING, params_file, urls)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  crawl: {", "  mine: {role: labelled, layout: pairs, path: /photos}\n  crawl: {"),
        ("  crawl: {", "  web: {"),
        ("role: labelled, layout: pairs", "role: bodies, layout: pairs"),
        ("  crawl: {", "  web_1: {role: crawl, layout: crawl, path: /web}\n  crawl: {"),
        ("  crawl: {", "  eg1800: {role: labelled, layout: absent, path: x}\n  crawl: {"),
        ("  pairs: {", "  pairs:  {"),
    ],
)
def test_sources_that_were_edited_by_hand_are_kept(folder: Path, tmp_path: Path, old: str, new: str) -> None:
    params_file = tmp_path / "params.yaml"
    configure("real", {**NOTHING, "pairs": folder}, params_file)
    text = params_file.read_text()
    assert text.count(old) == 1
    params_file.write_text(edited := text.replace(old, new))
    assert "is kept in" in configure("sample", NOTHING, params_file)
    assert (tmp_path / "params.edited-1.yaml").read_text() == edited


def test_what_was_edited_by_hand_is_kept(folder: Path, tmp_path: Path) -> None:
    params_file = tmp_path / "params.yaml"
    configure("real", {**NOTHING, "eg1800": folder}, params_file)
    assert "kept" not in configure("light", {**NOTHING, "baidu": folder}, params_file)
    for number in (1, 2):
        edited = params_file.read_text().replace("flip: 0.5", f"flip: 0.{number}")
        params_file.write_text(edited)
        kept = tmp_path / f"params.edited-{number}.yaml"
        difference = configure("tune", {**NOTHING, "eg1800": folder}, params_file)
        assert difference.splitlines()[-1] == f"What was edited in {params_file} is kept in {kept}"
        assert kept.read_text() == edited
    params_file.write_text("no: [yaml")
    configure("sample", NOTHING, params_file)
    assert (tmp_path / "params.edited-3.yaml").read_text() == "no: [yaml"
    assert "kept" not in configure("real", {**NOTHING, "eg1800": folder}, params_file)


@pytest.mark.parametrize(
    ("profile", "folders", "words"),
    [
        (
            "fast",
            NOTHING,
            ["expected a profile of sample, light, loopback, official, paper, real, tune", "'fast'"],
        ),
        ("real", NOTHING, ["needs pictures with masks", "EG1800=DIR", "python -m pipeline check"]),
        (
            "real",
            {**NOTHING, "crawl": Path("no/such")},
            ["needs pictures with masks", "EG1800=DIR, PAIRS=DIR or BAIDU"],
        ),
        (
            "real",
            {**NOTHING, "eg1800": Path("data/sample/eg1800")},
            ["EG1800=data/sample/eg1800: expected one of your own, found one in data/", "move it elsewhere"],
        ),
        ("real", {**NOTHING, "eg1800": Path("odd\udcff")}, ["EG1800=odd\\xff", "rename it"]),
        ("sample", {**NOTHING, "baidu": Path("x")}, ["takes no BAIDU", "PROFILE=real"]),
        ("real", {**NOTHING, "baidu": Path("no/such")}, ["BAIDU=no/such", "found nothing"]),
        ("real", {**NOTHING, "pairs": Path("no/such")}, ["PAIRS=no/such", "found nothing"]),
        ("sample", {**NOTHING, "pairs": Path("x")}, ["takes no PAIRS", "PROFILE=real"]),
        (
            "real",
            {**NOTHING, "pairs": Path("mine"), "crawl": Path("./mine")},
            ["the profile real cannot be used", "sources: pairs and crawl are the same folder, mine"],
        ),
    ],
)
def test_mistakes(
    profile: str,
    folders: dict[str, Path | None],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    for place in ("data/sample/eg1800", "odd\udcff", "mine"):
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(PipelineError) as caught:
        configure(profile, folders, tmp_path / "params.yaml")
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "params.yaml").exists()


def test_a_folder_without_the_recipe_gets_no_params(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"expected dvc\.yaml beside .*run from the folder of the recipe"):
        configure("sample", NOTHING, tmp_path / "params.yaml")
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "configure", "real", "--eg1800", str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"path: {folder.name}" in done.stdout  # inside the project, so relative to it
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout == "params.yaml already holds the profile real.\n"
    wrong = subprocess.run([*command[:4], "reel"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: expected a profile")
    assert "Traceback" not in wrong.stderr
