"""A release: each gate by breaking it and reading what it says; what is written, tagged and never pushed."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.__main__ import app
from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET
from pipeline.core.records import dataset_hash, read_records, write_records
from pipeline.releasing import release as releasing
from pipeline.releasing.croissant import croissant
from pipeline.releasing.data_tests import data_faults
from pipeline.releasing.gates import headline_faults, licence_faults, pipeline_faults
from tests.pipeline.finished_dataset import write_finished, write_project
from tests.project import commit, run, set_params

ROOT = Path(__file__).resolve().parents[3]
NAMED = ("--unlicensed", "web", "--unlicensed", "eg1800")
CARDS = ["ATTRIBUTION.md", "croissant.json", "dataset.md", "model.md"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released") / "project"
    folder.mkdir()
    write_project(folder, ROOT)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to change; the current folder."""
    copy = tmp_path / "project"
    shutil.copytree(made, copy, symlinks=True)
    monkeypatch.chdir(copy)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    return copy


def release(*words: str) -> None:
    app(["release", *words], standalone_mode=False)


def refused(*words: str) -> str:
    """What a release is refused with, after which nothing is written or tagged."""
    with pytest.raises(PipelineError, match="is not released, and nothing was written or tagged") as told:
        release(*words)
    assert not Path("docs").exists()
    assert run(Path(), "git", "tag").stdout.split() == ["v1"]
    return str(told.value)


def test_a_release_is_written_committed_and_tagged_and_nothing_is_pushed(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "git", "init", "--quiet", "--bare", "remote.git")
    run(project, "git", "remote", "add", "origin", str(tmp_path / "remote.git"))
    release("1.2.0", *NAMED)
    assert sorted(path.name for path in Path("docs/release").iterdir()) == CARDS
    assert run(project, "git", "status", "--porcelain").stdout == ""
    digest = dataset_hash(read_records(DATASET))
    tagged = run(project, "git", "cat-file", "-p", "v1.2.0").stdout
    assert f"dataset {digest}" in tagged
    assert run(project, "git", "diff", "--name-only", "v1", "v1.2.0").stdout.split() == [
        f"docs/release/{name}" for name in CARDS
    ]
    assert run(tmp_path / "remote.git", "git", "for-each-ref").stdout == ""
    tags = ["dataset@v1.2.0", "sinet@v1.2.0", "v1", "v1.2.0"]
    assert run(project, "git", "tag").stdout.split() == tags
    assert "dvc push\n  git push origin HEAD v1.2.0 sinet@v1.2.0 dataset@v1.2.0\n" in capsys.readouterr().out
    assert list(pipeline_faults()) == []  # the cards make no stage run

    card = Path("docs/release/dataset.md").read_text()
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["version"], head["license"]) == ("1.2.0", ["cc-by-4.0", "cc0-1.0", "other", "unknown"])
    assert f"`{digest}`" in card
    assert "| train | 5 | 1 | 6 |" in card
    assert "| grey | 25.0 | no colour |" in card
    # The review's own row and the label whose mask it mended are no picture that is missing.
    left_out = card.split("| why | pictures or masks |\n|---|---:|\n")[1].split("\n\n")[0].splitlines()
    assert left_out == [
        "| a pseudo label that nobody has judged yet | 1 |",
        "| a pseudo label that a review rejects | 1 |",
    ]
    for section in (
        "Motivation",
        "Composition",
        "Collection",
        "Labelling",
        "Uses",
        "Distribution",
        "Maintenance",
    ):
        assert f"\n## {section}\n" in card
    assert "Of eg1800, web some or all pictures state no licence" in card
    model = Path("docs/release/model.md").read_text()
    assert digest in model
    assert "86,910 parameters, width 1.0." in model
    assert "| 90.00 | 91.00 | 80.00 | 90.00 |" in model
    assert "| worst tenth | 2 | 90.00 | 80.00 |\n" in model
    assert "| dark | 0 | — | — |\n" in model
    assert "| small face | not known | — | — |\n" in model
    assert Path("docs/release/ATTRIBUTION.md").read_text() == (DATASET / "ATTRIBUTION.md").read_text()
    library = pytest.importorskip("huggingface_hub")
    assert library.DatasetCard(card).data.size_categories == ["n<1K"]


def test_croissant_reads_the_dataset_by_its_metadata(project: Path) -> None:
    library = pytest.importorskip("mlcroissant")
    release("1.2.0", *NAMED)
    shutil.copyfile("docs/release/croissant.json", DATASET / "croissant.json")
    dataset = library.Dataset(jsonld=str(DATASET / "croissant.json"))
    assert list(dataset.metadata.ctx.issues.errors) == []
    found = {row["portraits/id"].decode(): row for row in dataset.records("portraits")}
    records = read_records(DATASET)
    assert set(found) == set(records["id"])
    for row in records.itertuples():
        assert str(DATASET / found[row.id]["portraits/mask"].decode()) == row.mask
        assert (found[row.id]["portraits/side"].decode(), found[row.id]["portraits/width"]) == (
            row.side,
            row.width,
        )


def test_metadata_that_mlcroissant_finds_faulty_and_its_absence_are_told(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("mlcroissant")
    with (
        monkeypatch.context() as patched,
        pytest.raises(
            PipelineError,
            match=r"mlcroissant finds the metadata faulty: (.|\n)* reference to node with UUID \"gone\"",
        ),
    ):
        source = library.Source
        patched.setattr(library, "Source", lambda **words: source(**{**words, "file_object": "gone"}))
        croissant(DATASET, "1.2.0", "x", ["MIT"], date(2025, 1, 31))
    monkeypatch.setitem(sys.modules, "mlcroissant", None)
    with pytest.raises(PipelineError, match=r"expected mlcroissant, .* `make install` brings it"):
        croissant(DATASET, "1.2.0", "x", ["MIT"], date(2025, 1, 31))


def test_a_release_that_broke_off_before_its_commit_is_taken_up(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = releasing.git

    def broken(*words: str) -> str:
        if words[0] == "commit":
            raise InterruptedError
        return real(*words)

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(releasing, "git", broken)
        release("1.2.0", *NAMED)
    assert "v1.2.0" not in run(project, "git", "tag").stdout
    release("1.2.0", *NAMED)
    assert "v1.2.0" in run(project, "git", "tag").stdout
    assert run(project, "git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("version", ["1.2", "v1.2.0", "1.02.0", "1.2.0-rc1"])
def test_a_version_is_three_numbers(project: Path, version: str) -> None:
    assert f"expected a version of three numbers, as 1.2.0, found {version!r}" in refused(version)


def test_a_release_that_broke_off_between_its_tags_is_taken_up(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = releasing.git

    def broken(*words: str) -> str:
        if words[:3] == ("tag", "--annotate", "v1.2.0"):
            raise InterruptedError
        return real(*words)

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(releasing, "git", broken)
        release("1.2.0", *NAMED)
    assert "dataset@v1.2.0" in run(project, "git", "tag").stdout
    release("1.2.0", *NAMED)
    heads = {
        run(project, "git", "rev-parse", f"{tag}^{{commit}}").stdout
        for tag in ("HEAD", "v1.2.0", "dataset@v1.2.0", "sinet@v1.2.0")
    }
    assert len(heads) == 1


def test_an_artifact_that_was_registered_elsewhere_is_never_moved(project: Path) -> None:
    run(project, "git", "commit", "--quiet", "--allow-empty", "-m", "later")
    run(project, "git", "tag", "--annotate", "dataset@v1.2.0", "-m", "by hand", "HEAD~1")
    with pytest.raises(PipelineError, match=r"the tag dataset@v1\.2\.0 is there already, .* take a higher"):
        release("1.2.0", *NAMED)
    assert "\nv1.2.0" not in run(project, "git", "tag").stdout


def test_a_tag_is_never_moved(project: Path) -> None:
    release("1.2.0", *NAMED)
    with pytest.raises(PipelineError, match=r"the tag v1\.2\.0 is there already, .* take a higher version"):
        release("1.2.0", *NAMED)


def test_all_that_is_wrong_is_told_at_once(project: Path) -> None:
    """A tree that git does not have, a stage that is not up to date, sides that moved."""
    set_params(project, {"merge": {"max_uncertainty": 0.3}})
    Path("headline.json").write_text(json.dumps({"leaks": 0, "moved": 2}))
    told = refused("1.2.0", *NAMED)
    assert "git does not have what lies here (headline.json, params.yaml): commit it" in told
    assert "merge is not up to date: `make repro`, then commit" in told
    assert "2 pictures moved to another side since they were first given one" in told


def test_a_new_file_is_told_also_where_git_is_told_to_show_none(project: Path) -> None:
    run(project, "git", "config", "status.showUntrackedFiles", "no")
    Path("new_code.py").write_text("x = 1\n")
    assert "git does not have what lies here (new_code.py): commit it" in refused("1.2.0", *NAMED)


def test_files_that_dvc_does_not_have_are_not_up_to_date(project: Path) -> None:
    path = Path("models/sinet.safetensors")
    path.unlink()
    path.write_bytes(b"other weights")
    assert "train is not up to date" in refused("1.2.0", *NAMED)


def test_a_raw_folder_that_is_elsewhere_is_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a colleague's machine: what was read from it is here, and nothing else of the stage has changed."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.txt").write_text("a")
    stages = yaml.safe_load(Path("dvc.yaml").read_text())
    out = "data/ingest/labelled/eg1800"
    stages["stages"]["ingest"] = {"cmd": "echo", "deps": [str(raw)], "outs": [{out: {"persist": True}}]}
    Path("dvc.yaml").write_text(yaml.safe_dump(stages))
    set_params(project, {"sources": {"eg1800": {"path": str(raw)}}})
    Path(out).mkdir(parents=True)
    (Path(out) / "b.txt").write_text("b")
    run(project, "dvc", "commit", "--force", "--quiet")
    assert list(pipeline_faults()) == []
    shutil.rmtree(raw)
    assert list(pipeline_faults()) == []
    (Path(out) / "b.txt").unlink()
    (Path(out) / "b.txt").write_text("other")
    assert next(pipeline_faults()).startswith("ingest is not up to date")


def test_a_frozen_stage_is_not_up_to_date(project: Path) -> None:
    """DVC says nothing of what a frozen stage reads."""
    run(project, "dvc", "freeze", "merge")
    set_params(project, {"merge": {"max_uncertainty": 0.3}})
    commit(project, "frozen")
    assert "frozen in dvc.yaml, and perhaps not up to date: merge; `dvc unfreeze` each" in refused(
        "1.2.0", *NAMED
    )


def test_figures_that_nobody_wrote_or_nobody_can_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content, told in (
        ("{", "headline.json is not JSON"),
        ('{"leaks": 0}', "headline.json does not say how many"),
    ):
        Path("headline.json").write_text(content)
        assert next(headline_faults()).startswith(told)
    Path("headline.json").unlink()
    assert list(headline_faults()) == ["expected headline.json, found no such file: `dvc repro` makes it"]


def test_a_licence_is_known_or_its_source_is_named(project: Path) -> None:
    told = refused("1.2.0", "--unlicensed", "eg1800")
    assert (
        "of web 1 of 6 pictures state no licence: write `licence: ...` into its line of params.yaml" in told
    )
    assert "eg1800" not in told
    records = read_records(DATASET)
    assert list(licence_faults(records, ["web", "eg1800"])) == []
    assert next(licence_faults(records.dropna(subset="licence"), ["web"])).startswith(
        "--unlicensed web: no picture without a licence is of a source web"
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[pd.DataFrame]:
    yield write_finished(tmp_path / "dataset", tmp_path / "scratch")


def rewrite_mask(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    path.unlink()  # it may be a link to another file
    cv2.imwrite(str(path), change(mask))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: np.where(mask == 255, 254, mask), "masks with other levels than 0 and 255"),
        (lambda mask: mask[:-1], "masks of another size than their picture"),
        (lambda mask: mask * 0, "masks that hold nobody"),
        (lambda mask: np.dstack([mask] * 3), "masks that cannot be read, or are no grey pictures"),
    ],
)
def test_a_mask_that_is_not_as_promised_is_named(
    dataset: pd.DataFrame, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    assert list(data_faults(dataset)) == []
    rewrite_mask(Path(dataset["mask"][4]), change)
    (told,) = data_faults(dataset)
    assert told.startswith(message)
    assert dataset["id"][4] in told
    assert "`dvc checkout data/dataset` brings back what was damaged" in told


@pytest.mark.parametrize("column", ["image", "mask"])
def test_a_file_that_cannot_be_read_is_named(dataset: pd.DataFrame, column: str) -> None:
    path = Path(dataset[column][2])
    data = path.read_bytes()
    path.unlink()
    assert dataset["id"][2] in next(data_faults(dataset))
    path.write_bytes(data[: len(data) // 2])
    assert dataset["id"][2] in next(data_faults(dataset))


def test_another_picture_under_an_id_is_named(dataset: pd.DataFrame) -> None:
    small = dataset.assign(width=1)
    assert next(data_faults(small)).startswith(
        "masks of another size than their picture, or than the table says"
    )
    image = Path(dataset["image"][3])
    pixels = cv2.imread(str(image))
    image.unlink()
    cv2.imwrite(str(image), 255 - pixels)
    (told,) = data_faults(dataset)
    assert told.startswith(f"pictures whose pixels are not those of their id: {dataset['id'][3]}")


def test_look_alikes_on_two_sides_and_unseen_masks_that_measure_are_named(dataset: pd.DataFrame) -> None:
    sides = dataset["side"].drop_duplicates().index[:2]
    joined = dataset.assign(cluster=dataset["cluster"].where(~dataset.index.isin(sides), "c"))
    assert next(data_faults(joined)).startswith("look-alikes stand on two sides: clusters c;")
    unseen = dataset.assign(label=dataset["label"].where(dataset["side"] != "test", "pseudo"))
    assert next(data_faults(unseen)).startswith("masks that nobody looked at are measured or chosen by: ")
    assert list(data_faults(dataset.assign(cluster=None)))[-1].startswith(
        "pictures without a cluster or a side"
    )


def test_damaged_data_stop_a_release(project: Path) -> None:
    """Also where DVC was told to take them as they are."""
    records = read_records(DATASET)
    rewrite_mask(Path(records["mask"][0]), lambda mask: np.where(mask == 255, 200, mask))
    write_records(DATASET, records)
    run(project, "dvc", "commit", "--force", "--quiet")
    commit(project, "damaged")
    assert "masks with other levels than 0 and 255" in refused("1.2.0", *NAMED)


def test_make_hands_version_and_sources_on(tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s " "$@"\n')
    python.chmod(0o755)
    words = ["make", "-s", "-o", ".venv/.installed", "release"]
    told = run(tmp_path, *words, "VERSION=1.2.0", "UNLICENSED=web eg1800").stdout
    assert told.split() == ["-m", "pipeline", "release", "1.2.0", *NAMED]
    environment = {name: "" for name in ("VERSION", "UNLICENSED") if name in os.environ}
    done = run(tmp_path, *words, check=False, **environment)
    assert done.returncode != 0
    assert done.stdout == "say which: make release VERSION=1.2.0\n"
