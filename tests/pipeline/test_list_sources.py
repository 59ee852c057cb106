"""Stage list_sources: a list for each role; of sources that are gone nothing is left but what somebody put there."""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import list_sources as stage
from pipeline.core.errors import PipelineError
from pipeline.core.ingested import read_source_names
from pipeline.core.params import ROLES, Sources, load_params
from sinet.images.decode import encode_mask
from tests.pipeline.test_ingest import jpeg, person
from tests.pipeline.test_ingest import put as put_bytes
from tests.project import run

ID = "0123456789abcdef"


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, as the checkout has it, and what ingest made of its three sources."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    for name, source in load_params().sources.root.items():
        ingested(source.role, name)
    return tmp_path


def put(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)


def ingested(role: str, name: str) -> None:
    """What stage ingest leaves of a source, as far as names go."""
    folder = f"data/ingest/{role}/{name}"
    put(f"{folder}/images/{ID}.jpg", f"{folder}/masks/{ID}.png", f"{folder}/records.parquet")
    put(f"data/rejected/ingest/{name}.csv", f"metrics/ingest/{name}.json")


def files() -> set[str]:
    return {
        path.as_posix() for place in ("data", "metrics") for path in Path(place).rglob("*") if path.is_file()
    }


def change(**sources: Any) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    for name, line in sources.items():
        content["sources"].pop(name) if line is None else content["sources"].update({name: line})
    Path("params.yaml").write_text(yaml.safe_dump(content))


def test_every_role_has_its_list_and_nothing_else_changes(project: Path) -> None:
    before = files()
    stage.main()
    lists = {f"data/ingest/{role}/sources.csv" for role in ROLES}
    assert files() == before | lists
    assert [read_source_names(Path(f"data/ingest/{role}")) for role in ROLES] == [
        ["eg1800"],
        ["baidu"],
        ["crawl"],
    ]
    assert set(stage.LISTS) == set(ROLES)
    written = {path: Path(path).read_bytes() for path in files()}
    stage.main()
    assert {path: Path(path).read_bytes() for path in files()} == written


def test_another_path_changes_no_list(project: Path) -> None:
    stage.main()
    before = {path: path.read_bytes() for path in stage.LISTS.values()}
    change(crawl={"role": "crawl", "layout": "crawl", "path": "/on/another/machine"})
    stage.main()
    assert {path: path.read_bytes() for path in stage.LISTS.values()} == before


def test_a_source_that_is_gone_or_renamed_leaves_nothing(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ingested("labelled", "old_portraits")
    put("data/ingest/labelled/old_portraits/staging/12.mask.png", "data/ingest/labelled/.sources.csv.0a.tmp")
    before = files()
    change(eg1800=None, portraits={"role": "labelled", "layout": "eg1800", "path": "data/sample/eg1800"})
    with caplog.at_level(logging.INFO):
        stage.main()
    gone = {path for path in before if "eg1800" in path or "old_portraits" in path or path.endswith(".tmp")}
    assert files() == before - gone | {f"data/ingest/{role}/sources.csv" for role in ROLES}
    for path in (
        "data/ingest/labelled/eg1800",
        "metrics/ingest/old_portraits.json",
        "data/rejected/ingest/eg1800.csv",
    ):
        assert f"list_sources: removed {path}, which belongs to no source of params.yaml" in caplog.text
    assert not Path("data/ingest/labelled/eg1800").exists()
    assert read_source_names(Path("data/ingest/labelled")) == ["portraits"]


def test_a_source_of_another_role_moves(project: Path) -> None:
    change(mine={"role": "bodies", "layout": "pairs", "path": "mine"})
    ingested("labelled", "mine")  # as it was before
    stage.main()
    assert not Path("data/ingest/labelled/mine").exists()
    assert Path("metrics/ingest/mine.json").exists()  # ingest writes it anew


def test_what_a_version_without_roles_left_of_the_crawl_goes(project: Path) -> None:
    put(f"data/ingest/crawl/images/{ID}.jpg", "data/ingest/crawl/records.parquet")
    Path("data/ingest/crawl/masks").mkdir()
    stage.main()
    assert {path.name for path in Path("data/ingest/crawl").iterdir()} == {"crawl", "sources.csv"}


@pytest.mark.parametrize(
    "name",
    [
        "mine/IMG_1.jpg",
        "old/images/IMG_1.jpg",
        f"old/images/deep/{ID}.jpg",
        f"old/{ID}.jpg",
        "notes.txt",
        "old/records.parquet.bak",
        "Old/records.parquet",
    ],
)
def test_somebodys_file_is_never_deleted_and_named(project: Path, name: str) -> None:
    ingested("labelled", "old")
    put(f"data/ingest/labelled/{name}")
    before = files()
    with pytest.raises(
        PipelineError, match=f"found 1 files of somebody .data/ingest/labelled/{name}.*Nothing was removed"
    ):
        stage.main()
    assert files() == before


def test_what_a_link_leads_to_stays(project: Path) -> None:
    put("photos/a.jpg")
    Path("data/ingest/labelled/mine").symlink_to(project / "photos")
    ingested("labelled", "old")
    Path(f"data/ingest/labelled/old/images/{ID[::-1]}.jpg").symlink_to(project / "photos/a.jpg")
    stage.main()
    assert {path.name for path in Path("data/ingest/labelled").iterdir()} == {"eg1800", "sources.csv"}
    assert Path("photos/a.jpg").read_text() == "photos/a.jpg"


def test_other_files_beside_metrics_and_rejects_stay(project: Path) -> None:
    put(
        "metrics/ingest/notes.txt",
        "data/rejected/ingest/README.md",
        "data/rejected/crop.csv",
        "metrics/crop.json",
    )
    before = files()
    assert stage.clear_away(load_params().sources) == []
    assert files() == before


def test_nothing_was_ingested_yet(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: Sources = load_params(root / "params.yaml").sources
    monkeypatch.chdir(tmp_path)
    assert stage.clear_away(sources) == []


LATER = """
from pathlib import Path
from pipeline.core.ingested import read_ingested
records = read_ingested(Path("data/ingest/labelled"))
Path("later.csv").write_text(records[["source", "source_key"]].to_csv(index=False))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dvc_reruns_what_a_line_of_sources_changes_and_nothing_else(tmp_path: Path, root: Path) -> None:
    """The stages of dvc.yaml themselves, without their code as dependencies, and one later stage of the folder."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    stages = {name: stages[name] for name in ("list_sources", "ingest")}
    del stages["list_sources"]["deps"]
    stages["ingest"]["do"]["deps"] = ["${item.path}"]
    stages["later"] = {"cmd": "python later.py", "deps": ["data/ingest/labelled"], "outs": ["later.csv"]}
    stages["rejects"] = {
        "cmd": "cat data/rejected/ingest/* > rejects.txt",
        "deps": ["data/rejected/ingest"],
        "outs": ["rejects.txt"],
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "later.py").write_text(LATER)
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["ingest"]["min_side"] = 32
    lines = {
        "one": {"role": "labelled", "layout": "pairs", "path": "one"},
        "two": {"role": "labelled", "layout": "pairs", "path": "two"},
        "no_bodies": {"role": "bodies", "layout": "absent", "path": "nothing"},
        "no_crawl": {"role": "crawl", "layout": "absent", "path": "nothing"},
    }
    for number, name in enumerate(("one", "two")):
        put_bytes(tmp_path / f"{name}/images/{name}.jpg", jpeg(number))
        put_bytes(tmp_path / f"{name}/masks/{name}.png", encode_mask(person()))
    (tmp_path / "nothing").mkdir()
    (tmp_path / ".gitignore").write_text("/data/\n/metrics/\n")
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")

    def repro(**changes: Any) -> tuple[set[str], list[str]]:
        """The stages that ran after lines were changed, and the pictures that the later stage sees."""
        lines.update(changes)
        content["sources"] = {name: line for name, line in lines.items() if line}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
        done = run(tmp_path, "dvc", "repro", PYTHONPATH=str(root), PIPELINE_WORKERS="1").stdout
        return (
            set(re.findall(r"Running stage '([^']*)'", done)),
            (tmp_path / "later.csv").read_text().splitlines()[1:],
        )

    ran, seen = repro()
    assert ran == {"list_sources", "later", "rejects", *(f"ingest@{name}" for name in lines)}
    assert sorted(seen) == ["one,images/one.jpg", "two,images/two.jpg"]
    assert repro()[0] == set()
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere")
    ran, _ = repro(one={**lines["one"], "path": "elsewhere"})
    assert ran == {"list_sources", "ingest@one"}
    ran, seen = repro(two=None, zwei=lines["two"])
    assert ran == {"list_sources", "ingest@zwei", "later", "rejects"}
    assert sorted(seen) == ["one,images/one.jpg", "zwei,images/two.jpg"]
    ran, seen = repro(zwei={**lines["zwei"], "layout": "absent"})
    assert ran == {"list_sources", "ingest@zwei", "later"} and seen == ["one,images/one.jpg"]
    ran, seen = repro(zwei=None)
    assert ran == {"list_sources", "later", "rejects"} and seen == ["one,images/one.jpg"]
    assert not (tmp_path / "data/ingest/labelled/zwei").exists()
    ran, seen = repro(two=lines["no_bodies"] | {"role": "labelled"})  # a line without pictures
    # The rejects are those of the first run, whose result DVC remembers.
    assert ran == {"list_sources", "ingest@two", "later"} and seen == ["one,images/one.jpg"]
    # Back to lines of which DVC remembers every result: what came between them is cleared away all the same.
    two = {**lines["one"], "path": "two"}
    repro(two=None, zwei=two)
    ran, seen = repro(two=two, zwei=None)
    assert "list_sources" in ran and not (tmp_path / "data/ingest/labelled/zwei").exists()
    assert sorted(seen) == ["one,images/one.jpg", "two,images/two.jpg"]
    assert {path.stem for path in (tmp_path / "metrics/ingest").iterdir()} == {*lines} - {"zwei"}
