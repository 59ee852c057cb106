"""Stage evaluate on a small dataset: the test side alone, figures by source, errors as sentences."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline import evaluate as stage
from pipeline.core.errors import PipelineError
from pipeline.core.paths import DATASET, PICTURE_FACTS, SINET, SPLIT
from pipeline.core.records import make_records, write_records
from pipeline.dataset.facts_table import FACTS, write_facts
from pipeline.dataset.near_test import write_near_test
from sinet import native
from sinet.core.recipe import EvaluateRecipe
from sinet.evaluation.slices import SLICES
from sinet.images.sample import Sample
from tests.sinet.portraits import taught_model, write_portraits, write_weights

RECIPE = EvaluateRecipe(size=224, boundary_kernel=15, gallery=2)
FOUR = ("foreground_iou", "mean_iou", "boundary_f1", "foreground_iou_native")


def row(number: int, sample: Sample, side: str, source: str, label: str) -> dict[str, object]:
    return {
        "id": f"{number:016x}",
        "source": source,
        "source_key": sample.id,
        "label": label,
        "image": str(sample.image),
        "mask": str(sample.mask),
        "width": 1,
        "height": 1,
        "sha256": "0" * 64,
        "side": side,
    }


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Three test pictures of two sources, one of dev; weights in the place of the recipe."""
    monkeypatch.chdir(tmp_path)
    samples = write_portraits(DATASET, 4)
    write_weights(SINET, taught_model())
    kinds = [
        ("test", "eg1800", "human"),
        ("test", "eg1800", "human"),
        ("test", "baidu", "crop"),
        ("dev", "x", "human"),
    ]
    return make_records(
        [row(n, sample, *kind) for n, (sample, kind) in enumerate(zip(samples, kinds, strict=True))]
    )


def test_the_test_side_alone(records: pd.DataFrame) -> None:
    dev = records[records["side"] == "dev"].iloc[0]
    Path(dev["image"]).unlink()
    Path(dev["mask"]).unlink()
    metrics, table = stage.evaluate_sinet(records, SINET, RECIPE, Path("gallery"))
    assert metrics["count"] == 3
    assert table["id"].tolist() == records["id"].tolist()[:3]
    assert metrics["foreground_iou"] == pytest.approx(table["foreground_iou"].mean())


def test_figures_by_source_and_by_label(records: pd.DataFrame) -> None:
    metrics, table = stage.evaluate_sinet(records, SINET, RECIPE, Path("gallery"))
    assert {name: figures["count"] for name, figures in metrics["by_source"].items()} == {
        "baidu": 1,
        "eg1800": 2,
    }
    assert set(metrics["by_label"]) == {"crop", "human"}
    of_baidu = table[table["source"] == "baidu"]["boundary_f1"].mean()
    assert metrics["by_source"]["baidu"]["boundary_f1"] == pytest.approx(of_baidu)
    alone, _ = stage.evaluate_sinet(records[records["source"] != "baidu"], SINET, RECIPE, Path("gallery"))
    assert not {"by_source", "by_label"} & set(alone)


def test_figures_without_what_is_near_anything_on_train(records: pd.DataFrame) -> None:
    """A picture is near by itself, or by the photograph that it was cut from."""
    records.loc[2, "parent_id"] = "f" * 16
    metrics, table = stage.evaluate_sinet(
        records, SINET, RECIPE, Path("gallery"), near=[records["id"][0], "f" * 16, "e" * 16]
    )
    assert table["near_train"].tolist() == [True, False, True]
    apart = metrics["without_near_train"]
    assert apart["count"] == 1 and metrics["count"] == 3
    assert {name: apart[name] for name in FOUR} == {name: table[name][1] for name in FOUR}
    everything, _ = stage.evaluate_sinet(records, SINET, RECIPE, Path("gallery"))
    assert everything["without_near_train"] == {name: everything[name] for name in (*FOUR, "count")}
    nothing, _ = stage.evaluate_sinet(records, SINET, RECIPE, Path("gallery"), near=records["id"])
    assert nothing["without_near_train"] == {"count": 0}


def test_the_stage_writes_metrics_rows_and_a_gallery(records: pd.DataFrame, root: Path) -> None:
    Path("params.yaml").write_text((root / "params.yaml").read_text())
    write_records(DATASET, records)
    write_near_test(SPLIT / "near_test.csv", pd.DataFrame({"id": [records["id"][1]]}))
    facts = pd.DataFrame({"id": records["id"], **dict.fromkeys(FACTS, 0.5)}).assign(faces=[1, 2, 2, 2])
    write_facts(PICTURE_FACTS, facts.assign(face_height=[0.2, 0.3, float("nan"), 0.2]))
    stage.main()
    metrics = json.loads(Path("metrics/evaluate.json").read_text())
    assert all(0 < metrics[name] <= 1 for name in FOUR)
    assert metrics["without_near_train"]["count"] == 2
    assert metrics["unreviewed_pseudo_labels"] == 3  # as the weights' card says
    by_slice = metrics["by_slice"]
    assert set(by_slice) == {"worst_tenth", *SLICES}
    counts = [
        by_slice[name]["count"] for name in ("worst_tenth", "several_people", "small_face", "light_skin")
    ]
    assert counts == [1, 2, 1, 0]
    rows = pd.read_csv("plots/evaluate.csv", dtype={"id": str})
    assert len(rows) == 3
    assert by_slice["worst_tenth"]["foreground_iou"] == pytest.approx(rows["foreground_iou"].min())
    assert by_slice["small_face"]["boundary_f1"] == pytest.approx(rows["boundary_f1"][0])
    assert set(FOUR) <= set(rows.columns)
    assert list(rows.columns[:4]) == ["id", "source", "label", "near_train"]
    assert rows[["source", "label"]].values.tolist() == records[["source", "label"]].values.tolist()[:3]
    listed = json.loads(Path("data/gallery/gallery.json").read_text())
    assert len(listed) == 3
    assert all(Path("data/gallery", entry["file"]).is_file() for entry in listed)


def test_figures_that_were_not_computed_in_c_are_announced(
    records: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They may differ from those of another machine, which whoever compares the two should know."""
    monkeypatch.setattr(native, "kernel", None)  # as where nothing was built
    stage.evaluate_sinet(records, SINET, RECIPE, Path("gallery"))
    assert "evaluate: prediction runs in torch, not in C: nothing was built" in caplog.text


def test_the_same_bytes_again(records: pd.DataFrame) -> None:
    contents = []
    for folder in (Path("one"), Path("two")):
        stage.evaluate_sinet(records, SINET, RECIPE, folder)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_no_test_side_is_an_error(records: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match="test side, found none"):
        stage.evaluate_sinet(records[records["side"] == "dev"], SINET, RECIPE, Path("gallery"))


def test_missing_weights_are_an_error(records: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match="expected SINet weights in models/sinet"):
        SINET.unlink()
        stage.evaluate_sinet(records, SINET, RECIPE, Path("gallery"))


def test_a_broken_picture_is_an_error(records: pd.DataFrame) -> None:
    Path(records["image"][0]).write_bytes(b"")
    with pytest.raises(PipelineError, match="cannot be used: the file has zero bytes"):
        stage.evaluate_sinet(records, SINET, RECIPE, Path("gallery"))
