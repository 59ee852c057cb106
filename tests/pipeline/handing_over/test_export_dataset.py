"""Each export, opened by its own library, gives the pixels, masks, sides, ids and terms of the dataset."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from annotations.ledger.takedowns import TakenDown, write_takedowns
from pipeline.__main__ import app
from pipeline.core.errors import PipelineError
from pipeline.core.folder import PictureFolder
from pipeline.core.licences import licence_name
from pipeline.core.params import Source, load_params
from pipeline.core.records import make_records, read_records
from pipeline.handing_over import Format, dataset_pictures, export_dataset, huggingface, webdataset
from pipeline.ingest import ingest
from pipeline.merge import write_dataset
from sinet.images.decode import picture_pixels, read_image, read_mask
from tests.pipeline.finished_dataset import finished_row, write_finished
from tests.project import digest

ROOT = Path(__file__).resolve().parents[3]
FORMATS: tuple[Format, ...] = ("huggingface", "coco", "webdataset", "pairs")
Opened = dict[str, tuple[np.ndarray, np.ndarray, str, dict[str, str]]]  # pixels, mask 0/1, side, facts by id


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_finished(folder / "dataset", folder / "scratch")
    return folder / "dataset"


def export(format: Format, out: Path, dataset: Path, *words: str) -> None:
    """Run the command as a user types it, up to the sentence of an error."""
    app(
        ["export-dataset", "--format", format, str(out), "--dataset", str(dataset), *words],
        standalone_mode=False,
    )


def opened_huggingface(out: Path) -> Opened:
    library = pytest.importorskip("datasets")
    found: Opened = {}
    sides = library.load_dataset(str(out), cache_dir=str(out.parent / "cache"))
    for side, rows in sides.items():
        for row in rows:
            image, mask = row.pop("image"), row.pop("mask")
            found[row["id"]] = picture_pixels(image), np.asarray(mask) // 255, side, row
    return found


def opened_coco(out: Path) -> Opened:
    library = pytest.importorskip("pycocotools.coco")
    found: Opened = {}
    for path in sorted((out / "annotations").iterdir()):
        side = path.stem.removeprefix("instances_")
        coco = library.COCO(str(path))
        licences = {one["id"]: one["name"] for one in coco.dataset["licenses"]}
        for one in coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(catNms=["person"]))):
            about = coco.imgs[one["image_id"]]
            pixels = picture_pixels(Image.open(out / "images" / side / about["file_name"]))
            mask = coco.annToMask(one)
            assert one["area"] == mask.sum()
            x, y, width, height = map(int, one["bbox"])
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert licences[about["license"]] == about["licence"]
            found[about["portrait_id"]] = pixels, mask, side, {**about, "id": about["portrait_id"]}
    return found


def opened_webdataset(out: Path) -> Opened:
    library = pytest.importorskip("webdataset")
    found: Opened = {}
    for tar in sorted(out.glob("*.tar")):
        shard = library.WebDataset(str(tar), shardshuffle=False).decode("rgb8")
        for key, image, mask, facts in shard.to_tuple("__key__", "jpg;png", "mask.png", "json"):
            assert key == facts["id"]
            found[key] = image, mask[..., 0] // 255, tar.name.split("-")[0], facts
    return found


def opened_pairs(out: Path) -> Opened:
    """By this project's own ingest, whose records say `train` of dev; `sources.csv` says dev."""
    source = Source(role="labelled", layout="pairs", path=str(out))
    params = load_params(ROOT / "params.yaml").ingest.model_copy(update={"min_side": 10})
    result = ingest("again", source, params, out.parent / "ingested", workers=1)
    assert result.rejected == []
    table = pd.read_csv(out / "sources.csv", dtype=str, keep_default_na=False).set_index("id")
    found: Opened = {}
    for row in result.records.itertuples():
        line = table.loc[row.id]
        assert row.published_side == {"dev": "train"}.get(line["side"], line["side"])
        facts = {name: getattr(row, name) for name in ("author", "url", "retrieved_at")}
        facts = {name: value if isinstance(value, str) else "" for name, value in facts.items()}
        facts |= {"licence": licence_name(row.licence), "id": row.id, "label": line["label"]}
        facts |= {"source": line["source_name"], "source_key": line["source_key"]}
        found[row.id] = read_image(Path(row.image)), read_mask(Path(row.mask)), line["side"], facts
    return found


OPEN: dict[Format, Callable[[Path], Opened]] = {
    "huggingface": opened_huggingface,
    "coco": opened_coco,
    "webdataset": opened_webdataset,
    "pairs": opened_pairs,
}


@pytest.mark.parametrize("format", FORMATS)
def test_its_own_library_gives_the_same_pixels_masks_sides_ids_and_terms(
    format: Format, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface.write_huggingface, "__defaults__", (9_000,))  # several shards
    monkeypatch.setattr(webdataset.write_webdataset, "__defaults__", (9_000,))
    out = tmp_path / "out"
    export(format, out, dataset)
    found = OPEN[format](out)
    records = read_records(dataset)
    assert set(found) == set(records["id"])
    for row in records.itertuples():
        pixels, mask, side, facts = found[row.id]
        assert np.array_equal(pixels, read_image(Path(row.image)))
        assert np.array_equal(mask, read_mask(Path(row.mask)))
        assert side == row.side
        expected: dict[str, Any] = {
            name: getattr(row, name) for name in ("id", "label", "source", "source_key")
        }
        for name in ("author", "url", "retrieved_at"):
            expected[name] = getattr(row, name) if isinstance(getattr(row, name), str) else ""
        expected["licence"] = licence_name(row.licence)
        assert {name: facts[name] for name in expected} == expected
    assert format in ("coco", "pairs") or len(list(out.rglob("train-*"))) > 1  # shards
    assert records["id"][0] in (out / "ATTRIBUTION.md").read_text()


@pytest.mark.parametrize("format", FORMATS)
def test_what_its_readme_says_opens_it(
    format: Format, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        {"coco": "pycocotools", "pairs": "pandas", "huggingface": "datasets"}.get(format, format)
    )
    export(format, tmp_path / "out", dataset)
    text = (tmp_path / "out/README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path / "out")
    names: dict[str, Any] = {}
    exec(code, names)
    if format == "webdataset":
        assert set(np.unique(names["mask"])) == {0, 255}
        assert names["facts"]["side"] == "train"
    elif format == "coco":
        assert set(np.unique(names["coco"].annToMask(names["one"]))) == {0, 1}
    elif format == "pairs":
        assert Path(names["row"].file).is_file() and Path(f"masks/{names['row'].id}.png").is_file()
    else:
        assert names["row"]["side"] == "train"
        assert set(np.unique(np.asarray(names["row"]["mask"]))) == {0, 255}


@pytest.mark.parametrize("format", FORMATS)
def test_the_readme_of_one_side_opens_that_side(format: Format, dataset: Path, tmp_path: Path) -> None:
    export(format, tmp_path / "out", dataset, "--side", "test")
    code = (tmp_path / "out/README.md").read_text().split("```python\n")[1].split("```")[0]
    assert "train" not in code and "SIDE" not in code
    assert format == "pairs" or "test" in code


def test_a_name_with_a_carriage_return_stays_one_row_of_a_table(tmp_path: Path) -> None:
    rows = [
        finished_row(tmp_path / "scratch", 0, source_key="odd\rname.jpg"),
        finished_row(tmp_path / "scratch", 2),
    ]
    write_dataset(PictureFolder(tmp_path / "dataset"), make_records(rows))
    export("pairs", tmp_path / "out", tmp_path / "dataset")
    for table in (tmp_path / "dataset/records.csv", tmp_path / "out/sources.csv"):
        assert "odd\rname.jpg" in set(pd.read_csv(table)["source_key"])
    assert "odd\rname.jpg" in {facts["source_key"] for *_, facts in opened_pairs(tmp_path / "out").values()}


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_person_asked_to_have_taken_out_is_not_handed_on(
    format: Format, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = read_records(dataset)["id"][0]
    write_takedowns([TakenDown(key=one, date="2025-01-31", pixels=(one,))])
    with pytest.raises(PipelineError, match=r"people asked to have 1 of these .* run `dvc repro` first"):
        export(format, tmp_path / "out", dataset)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [".", "there/.."])
def test_the_current_folder_is_refused(
    name: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match="expected a folder of its own, found the current one"):
        export("pairs", Path(name), dataset)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_bytes_twice(format: Format, dataset: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        export(format, tmp_path / name, dataset)
    assert digest(tmp_path / "one") == digest(tmp_path / "other")


def test_one_side_and_one_licence_alone(dataset: Path, tmp_path: Path) -> None:
    export("coco", tmp_path / "out", dataset, "--side", "train", "--side", "dev", "--allow", "CC-BY")
    found = opened_coco(tmp_path / "out")
    assert {(facts["licence"], side) for _, _, side, facts in found.values()} == {("CC-BY-4.0", "train")}
    assert "CC-BY-4.0 | 4 |" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--side", "val"], r"expected a side \(train, dev, test\), found 'val'"),
        (["--allow", "CCBY"], "expected an SPDX id, a family of them .* found 'CCBY'"),
        (["--allow", "MIT"], "expected portraits of that side and licence .* found none"),
    ],
)
def test_what_is_asked_for_and_not_there_is_told(
    dataset: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        export("pairs", tmp_path / "out", dataset, *words)
    assert list(tmp_path.iterdir()) == []


def test_the_card_is_read_by_the_hub_library(dataset: Path, tmp_path: Path) -> None:
    export("huggingface", tmp_path / "out", dataset)
    text = (tmp_path / "out/README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == ["cc-by-4.0", "cc0-1.0", "other", "unknown"]
    assert head["size_categories"] == ["n<1K"]
    library = pytest.importorskip("huggingface_hub")
    card = library.DatasetCard(text)
    assert card.data.task_categories == ["image-segmentation"]
    assert "1 of the masks were made by a model and looked at by nobody" in text


def test_a_folder_that_holds_something_is_refused_and_left_alone(dataset: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(PipelineError, match=r"new or an empty folder, found that .*out holds something"):
        export("pairs", tmp_path / "out", dataset)
    mine.unlink()
    export("pairs", tmp_path / "out", dataset)
    assert (tmp_path / "out/images").is_dir()


def test_a_missing_picture_is_named_with_what_brings_it_back(tmp_path: Path) -> None:
    records = write_finished(tmp_path / "dataset", tmp_path / "scratch")
    gone = Path(records["mask"][3])
    gone.unlink()
    with pytest.raises(PipelineError, match=rf"{gone.name}, found no such file; `dvc pull"):
        export("webdataset", tmp_path / "out", tmp_path / "dataset")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "dataset/images/a.jpg", None, "out/a.jpg")

    monkeypatch.setattr(export_dataset, "attribution", full)
    with pytest.raises(OSError, match="No space left") as told:
        export("huggingface", tmp_path / "out", dataset)
    assert told.value.filename == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_half_export(dataset: Path, tmp_path: Path) -> None:
    """Killed after the first tar: nothing stands at OUT, and the same command makes it whole."""
    code = f"""
import os, signal
from pathlib import Path
from pipeline.handing_over import export_dataset
def killed(*_): os.kill(os.getpid(), signal.SIGKILL)
export_dataset.attribution = killed
export_dataset.main("webdataset", Path({str(tmp_path / "out")!r}), (), (), Path({str(dataset)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    export("webdataset", tmp_path / "out", dataset)
    assert len(opened_webdataset(tmp_path / "out")) == 10


def test_without_the_library_coco_says_what_to_install(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(PipelineError, match="pip install pycocotools"):
        export("coco", tmp_path / "out", dataset)


@pytest.fixture
def sizes(dataset: Path) -> Iterator[list[int]]:
    records = read_records(dataset)
    yield [one.size() for one in dataset_pictures.dataset_pictures(dataset, records)]


def test_shards_hold_at_most_their_limit_and_everything_once(dataset: Path, sizes: list[int]) -> None:
    pictures = dataset_pictures.dataset_pictures(dataset, read_records(dataset))
    for limit in (1, max(sizes), 2 * max(sizes), sum(sizes)):
        shards = list(dataset_pictures.shards_of(pictures, limit))
        assert [one for shard in shards for one in shard] == pictures
        assert all(len(shard) == 1 or sum(one.size() for one in shard) <= limit for shard in shards)
    assert len(shards) == 1
